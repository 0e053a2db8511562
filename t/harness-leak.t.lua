-- harness-leak: what only a trace holds is not left; what is left is counted, and told.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"

local T = require("tap").plan(4)
local before = leak.count()

-- Hot enough that a trace of `call` calls one of these closures, which holds its socket.
local function call(fn)
  local answer = fn()
  return answer
end
local ai = net.addr()
for _ = 1, 300 do
  loadstring "local sock, call = ...; call(function() return sock and 1 end)"(assert(L.socket.new(ai)), call)
end
T.is(leak.count(), before, "a socket that only a trace holds is none that is left")

local kept = assert(L.socket.new(ai))
T.is(leak.count(), before + 1, "one that is held is counted")
local said, print_it = {}, print
function _G.print(text) said[#said + 1] = text end
leak.tell(require("proc").getpid())
_G.print = print_it
T.ok(#said == 1 and said[1]:find(("descriptor %d is open, and was not at first: socket:"):format(kept:fd()), 1, true),
  "and told")
kept:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
