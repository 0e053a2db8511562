-- clock.lua -- the nanoseconds of the clock on the wall, and of this process on the CPU; see clock_gettime(2).
local ffi = require "ffi"
ffi.cdef [[
int llsocket_bench_clock(int which, void *t) __asm__("clock_gettime");
int llsocket_bench_mark(int pid) __asm__("getpgid");
]]

local t = ffi.new "int64_t[2]"

local function read(which)
  ffi.C.llsocket_bench_clock(which, t)
  return tonumber(t[0]) * 1e9 + tonumber(t[1])
end

return {
  wall = function() return read(1) end, cpu = function() return read(2) end,
  mark = function() ffi.C.llsocket_bench_mark(-1) end, -- a call that callgrind sees and nothing else makes
}
