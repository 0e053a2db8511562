-- foreign-partial: after a partial send a loop must wait to write; if it waited to read, it would wait for ever.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"

local before = leak.count()
local BIG = ("x"):rep(8 * 2^20) -- more than any buffer takes
local file = assert(io.tmpfile())
file:write(BIG)
file:flush()
local mh = assert(L.msghdr.new { data = BIG })

local CALLS = {
  { "send", function(sock) return sock:send(BIG) end },
  { "sendto", function(sock, peer) return sock:sendto(BIG, peer) end },
  { "sendmsg", function(sock) return sock:sendmsg(mh) end },
  { "writev", function(sock) return sock:writev { BIG } end },
}
if not require("missing").sendfile then
  CALLS[#CALLS + 1] = { "sendfile", function(sock) return sock:sendfile(file, #BIG) end }
end

local T = require("tap").plan(#CALLS * 3 + 1)
for _, call in ipairs(CALLS) do
  local client, server = net.tcp(L.AF_INET, true)
  local peer = assert(client:getpeername())
  client:recv()
  T.is(client:events(), "r", call[1] .. ": the socket waited to read")
  local n, _, again = call[2](client, peer)
  T.ok(n > 0 and n < #BIG and again, call[1] .. " is taken in part")
  T.is(client:events(), "w", call[1] .. ": now it waits to write")
  client:close(); server:close()
end
file:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
