-- buffer-hot: loops over the caller's memory compile, stay compiled, and allocate nothing.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local trace = require "trace"
local before = leak.count()

local array, variable = ffi.new "uint8_t[64]", ffi.new("uint8_t[?]", 64)
local pointer = ffi.cast("char *", array)
local a, b = net.pair(L.SOCK_DGRAM, true)
local one, from = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local _, ai = one:sendto("x", from), one:recvfrom() and net.addr()

local CASES = {
  { "an array", function() a:sendfrom(array); b:recvinto(array) end },
  { "an array with a size and an offset", function() a:sendfrom(array, 8, 4); b:recvinto(array, 8, 16) end },
  { "an array of variable length", function() a:sendfrom(variable, 64); b:recvinto(variable, 64) end },
  { "a pointer", function() a:sendfrom(pointer, 64, 0, L.MSG_DONTWAIT); b:recvinto(pointer, 64, 0, L.MSG_DONTWAIT) end },
  { "the rest of a string", function() a:sendfrom("head and rest", nil, 9); b:recvinto(array) end },
  { "a receive that finds nothing", function() b:recvinto(array) end },
  { "an address of the caller's", function() one:sendtofrom(array, 8, from); one:recvfrominto(array, 64, ai) end },
  { "a recvfrominto that finds nothing", function() one:recvfrominto(array) end },
}
local has, buffers = pcall(require, "string.buffer")
if has then
  local sb = buffers.new(200):put "text"
  local into = buffers.new(200)
  table.insert(CASES, { "a string.buffer", function() a:sendfrom(sb); into:reset(); b:recvinto(into, 64) end })
end
local T = require("tap").plan(#CASES * 2 + 1)

trace.hot(T, CASES)
a:close(); b:close(); one:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
