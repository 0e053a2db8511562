-- errno: memory runs out while the names are made, in a process of its own.
local leak = require "leak"
local proc = require "proc"
local T = require("tap").plan(2)
local before = leak.count()

-- The hoard is collected before the limit is raised: that allocates, and would raise "not enough memory" itself.
local STARVED = [[
jit.off()
local L, errno, sys = require "llsocket", require "llsocket.errno", require "sys"
local hoard
local function name() while true do hoard = { hoard, hoard } end end
local function starved()
  pcall(name)
  hoard = hoard[1]
  return errno.name(L.EAGAIN)
end
local start = sys.memory()
sys.limit_memory(start + 2^21)
local ok = pcall(starved)
hoard = nil
collectgarbage()
sys.limit_memory(start + 2^30)
io.write(tostring(ok), " ", tostring(errno.name(L.EPIPE)), " ", tostring(errno.name(L.EBADF)))]]
local endless = require("sys").endless_memory()
if endless then T.skip(1, endless) else
  T.is((proc.lua(STARVED)), "false EPIPE EBADF", "names for which there was no memory are made by the next call")
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
