-- lifecycle-interrupted: a debug hook raises an error at each instruction of a call that counts what it has done: what was moved
-- into a pipe, what the kernel reads later.  The next call counts right.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local before = leak.count()

jit.off() -- compiled code asks no hook
local STOP = "stopped"
local T = require("tap").plan(5)

-- Runs fn until its n-th instruction; answers whether it ended before.
local interrupt
function interrupt(n, fn)
  debug.sethook(function()
    debug.sethook()
    if debug.getinfo(2, "f").func ~= interrupt then error(STOP, 0) end
  end, "", n + 10) -- ten are this function's
  local ended, err = pcall(fn)
  debug.sethook()
  if not ended and err ~= STOP then error(err, 0) end
  return ended
end

-- Splices what there is; the alarm of Meson ends a wait for an empty pipe.
local function splice_all(from, to, pipe)
  local got = 0
  repeat
    local n = from:splice(to, pipe)
    got = got + (n or 0)
  until not n or n == 0
  return got
end

if not L.SPLICE_F_MOVE then
  T.skip(2, "this system has no splice")
else
  local from, sender = net.pair(L.SOCK_STREAM, true)
  local to, receiver = net.pair(L.SOCK_STREAM, true)
  local pipe, wrong, n = assert(L.pipe.new()), {}, 0
  local ended
  repeat
    n = n + 1
    sender:send "abcdef"
    ended = interrupt(n, function() from:splice(to, pipe) end)
    splice_all(from, to, pipe)
    local got = receiver:recv(64)
    if got ~= "abcdef" or pipe:held() ~= 0 then wrong[#wrong + 1] = ("%d: %s"):format(n, tostring(got)) end
  until ended
  T.ok(n > 50, "a splice is interrupted at each instruction")
  T.is(table.concat(wrong, ", "), "", "the next one moves all bytes, and waits for none that have gone")
  for _, object in ipairs { from, sender, to, receiver, pipe } do object:close() end
end

local SIZE = 16384
local function memory() return ffi.new("uint8_t[16384]") end

-- Interrupts a send, sends other memory; answers whether the call ended before, whether the kernel got both, and whether
-- the first is kept.
local function send_twice(n)
  local client, server = net.tcp(L.AF_INET, true)
  client:sendzerocopy("x") -- makes its state
  local first = setmetatable({ memory() }, { __mode = "v" })
  local ended = interrupt(n, function() client:sendzerocopy(first[1], SIZE) end)
  client:sendzerocopy(memory(), SIZE)
  collectgarbage(); collectgarbage()
  local kept, got = first[1] ~= nil, 0
  while got < 2 * SIZE and server:recvable(0.01) do got = got + #server:recv(3 * SIZE) end
  client:linger(0)
  client:close(); server:close()
  return ended, got >= 2 * SIZE, kept
end

if not L.SO_ZEROCOPY or not net.tcp():sendzerocopy("x") then
  T.skip(2, "this system has no MSG_ZEROCOPY")
else
  local lost, n = {}, 0
  local ended
  repeat
    n = n + 1
    local both, kept
    ended, both, kept = send_twice(n)
    if both and not kept then lost[#lost + 1] = n end
  until ended
  T.ok(n > 50, "a send without a copy is interrupted at each instruction")
  T.is(table.concat(lost, " "), "", "memory that the kernel may read is kept, whatever was sent after it")
end
collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
