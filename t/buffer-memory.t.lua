-- buffer-memory: what counts as the caller's memory, where it begins and how much of it there is.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local values = require "values"
local show = values.show
local before = leak.count()
local has_buffer, buffers = pcall(require, "string.buffer")
local T = require("tap").plan(79)

local EINVAL = values.failed(L.EINVAL)
local a, b = net.pair(L.SOCK_DGRAM, true)
local text = "0123456789abcdef"

-- Receives `text` with fn, and answers what it answered.
local function receive(...)
  a:send(text)
  local got = show(b:recvinto(...))
  b:recv()
  return got
end

-- Into memory of every kind.
local inner = ffi.new "struct { int before; uint8_t bytes[16]; int behind; }"
local TARGETS = {
  { "an array of bytes", ffi.new "uint8_t[16]", 16 },
  { "an array of char", ffi.new "char[16]", 16 },
  { "an array of int", ffi.new "int[4]", 16 },
  { "an array of arrays", ffi.new "char[4][4]", 16 },
  { "an array of structs", ffi.new "struct { short x; }[8]", 16 },
  { "an array of volatile", ffi.new "volatile uint8_t[16]", 16 },
  { "an array in a struct", inner.bytes, 16 },
  { "an array of variable length", ffi.new("uint8_t[?]", 16) },
  { "a pointer", ffi.new("uint8_t[16]") + 0 },
  { "a void pointer", ffi.cast("void *", ffi.new "uint8_t[16]") },
  { "a pointer to an array", ffi.cast("uint8_t (*)[16]", ffi.new "uint8_t[16]") },
  { "a pointer to a struct", ffi.cast("struct { int x; } *", ffi.new "uint8_t[16]") },
}
local keep = {}
for i, row in ipairs(TARGETS) do
  local what, target, fixed = unpack(row)
  if not fixed then
    keep[i] = ffi.new "uint8_t[16]"
    if what ~= "an array of variable length" then target = ffi.cast(ffi.typeof(target), keep[i]) end
  end
  T.is(receive(target, 16), "16, nil, false", what .. " receives")
  T.is(ffi.string(ffi.cast("char *", target), 16), text, what .. " holds what came")
  a:sendfrom(target, 16)
  T.is(b:recv(), text, what .. " sends")
end
T.is(show(inner.before, inner.behind), "0, 0", "what lies beside an array in a struct is not touched")

-- Ranges.
local sixteen = ffi.new "uint8_t[16]"
for _, row in ipairs {
  { "a size beyond a fixed array", 17 }, { "an offset and a size beyond it", 8, 9 }, { "an offset beyond it", nil, 17 },
  { "no room behind the offset", nil, 16 }, { "half a byte", 1.5 }, { "half an offset", 1, 0.5 }, { "an offset below 0", 1, -1 },
} do
  local what, size, offset = unpack(row, 1, 3)
  T.is(receive(sixteen, size, offset), EINVAL, what .. " is EINVAL")
end
T.is(receive(ffi.new "char[4][4]", 17), EINVAL, "a size beyond an array of arrays is EINVAL")
T.is(receive(ffi.new "int (*[1])[4]", ffi.sizeof "void *" + 1), EINVAL, "so is one beyond an array of pointers to arrays")
T.is(show(a:sendfrom(text, 17)), EINVAL, "a size beyond a string is EINVAL")
T.is(show(a:sendfrom(text, nil, 17)), EINVAL, "an offset beyond a string is EINVAL")
T.is(show(a:sendfrom(text, 2^31)), EINVAL, "a size that is no int is EINVAL")
T.is(show((a:sendfrom(text, nil, 16)), (b:recv())), '0, ""', "an offset at the end of a string sends nothing")
T.is(show(a:sendfrom(text, 3, 10)), "3, nil, false", "a part of a string is sent")
T.is(b:recv(), "abc", "and arrives")
T.is(receive(sixteen, 4, 12), "4, nil, false", "an offset and a size that fit receive")
T.is(ffi.string(sixteen, 16), ("\0"):rep(12) .. "0123", "into that part")
T.is(show(b:recvinto(ffi.cast("void *", 8), 4)), values.again(L.EAGAIN), "a wild pointer is looked at by the kernel alone")
a:send "x"
T.is(show(b:recvinto(ffi.cast("void *", 8), 4)), values.failed(L.EFAULT), "which answers EFAULT")

-- What is not to be written, or is no memory.
local function raises(fn, what, ...)
  local good, err = pcall(fn, ...)
  return not good and tostring(err):find(what, 1, true) ~= nil
end
local function into(...) return b:recvinto(...) end
local function from(...) return a:sendfrom(...) end
local const_array = ffi.new("const uint8_t[4]", { 1, 2, 3, 4 })
T.ok(raises(into, "writable array", const_array), "a const array is not received into")
T.ok(raises(into, "writable array", ffi.cast("const char *", text), 4), "nor is a const pointer, a string's say")
T.ok(raises(into, "writable array", text), "nor a string")
T.ok(raises(into, "writable array", ffi.new "int64_t"), "nor a number")
T.ok(raises(into, "writable array", inner), "nor a struct by name")
T.ok(raises(into, "writable array", ffi.cast("int (*)()", sixteen + 0), 4), "nor a function")
T.ok(raises(into, "writable array", io.stdout, 4), "nor a file")
T.ok(raises(from, "string, array", a), "a socket is not sent from")
T.ok(raises(into, "number expected, got nil", sixteen + 0), "a pointer needs a size")
T.ok(raises(from, "number expected, got nil", ffi.new("char[?]", 4)), "so does an array of variable length")
T.is(show(a:sendfrom(const_array)), "4, nil, false", "a const array is sent from")
T.is(b:recv(), "\1\2\3\4", "and arrives")
local pointers = ffi.new "const char *[2]"
T.is(receive(pointers, 8), "8, nil, false", "an array of pointers to const may be written itself")

-- LuaJIT's string.buffer.
if not has_buffer then T.skip(8, "this LuaJIT has no string.buffer") else
  local sb = buffers.new():put "head "
  T.is(receive(sb, 8), "8, nil, false", "a string.buffer receives")
  T.is(tostring(sb), "head 01234567", "behind what it held")
  T.is(receive(sb, 8, 1), EINVAL, "at its end only")
  T.is(receive(sb, 0x7fffffff), values.failed(L.ENOMEM), "a size that it cannot grow to is ENOMEM")
  T.is(show(b:recvfrominto(sb, 0x7fffffff)), values.failed_from(L.ENOMEM), "in recvfrominto, too")
  T.is(show(a:sendfrom(sb)), "13, nil, false", "a string.buffer is sent from")
  T.is(b:recv(), "head 01234567", "whole")
  T.is(show((a:sendfrom(sb, 3, 5)), (b:recv()), tostring(sb)), '3, "012", "head 01234567"', "or in part, and keeps its bytes")
end

-- Memory that nobody else holds, while the collector works.
local good = true
for i = 1, 3000 do
  local part = ffi.new "uint8_t[4]"
  part[0] = i % 256
  a:sendfrom(part)
  local got = ffi.new "uint8_t[4]"
  b:recvinto(got)
  good = good and got[0] == i % 256
  if i % 50 == 0 then collectgarbage() else collectgarbage "step" end
end
T.ok(good, "arrays made on the way arrive while the collector works")
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
