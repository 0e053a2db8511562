-- bpf: a filter is set on a socket, read back, locked and removed; eBPF comes by descriptor.
local ffi = require "ffi"
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local proc = require "proc"
local show = require("show").show
local text = require("llsocket.errno").text
local before = leak.count()
local N = 33
local T = require("tap").plan(N)

local function failed(e) return show(nil, text(e), e) end

local a, b = net.pair(L.SOCK_DGRAM, true)
if not b:filter "ret #-1" then return missing.skip_all(T, N, "no SO_ATTACH_FILTER here") end
local removes = b:filter(false) == false -- some emulators know no SO_DETACH_FILTER

-- What arrives of some messages.
local function arrive(...)
  local out = {}
  for i = 1, select("#", ...) do
    assert(a:send((select(i, ...))))
    out[i] = tostring((b:recv()))
  end
  return table.concat(out, " ")
end

local function rows_of(program)
  local out = {}
  for i, row in ipairs(program) do out[i] = table.concat(row, " ") end
  return table.concat(out, ", ")
end

local FIRST = "ldb [0]\njeq #0x21, keep\nret #0\nkeep: ret #-1"
T.is(arrive("?one", "!two"), "?one !two", "without a filter all arrive")
T.is(b:filter(FIRST), FIRST, "filter answers the program as given")
T.is(arrive("?one", "!two", "", "!"), "nil !two nil !", "the filter drops what it answers 0 to, and packets that are too short")
T.is(a:filter(), false, "the other end has none")

-- Some emulators know no SO_GET_FILTER.
local back, _, errno = b:filter()
if errno == L.EOPNOTSUPP or errno == L.ENOPROTOOPT then T.skip(3, "a filter cannot be read here") else
  T.is(rows_of(back), rows_of(assert(L.bpf.assemble(FIRST))), "it is read back as rows")
  T.is(rows_of(back), "48 0 0 0, 21 1 0 33, 6 0 0 0, 6 0 0 4294967295", "with the numbers of linux/filter.h")
  local c, d = net.pair(L.SOCK_DGRAM, true)
  T.is(d:filter(back), back, "and goes to another socket")
  c:close(); d:close()
end
local rows = { { 6, 0, 0, 2 } }
T.is(b:filter(rows), rows, "rows are a program")
T.is(arrive("abc"), "ab", "which replaces the one before; what it answers cuts the message")
T.is(b:filter "1\n6 0 0 1\n", "1\n6 0 0 1\n", "so are decimal numbers")
T.is(arrive("abc"), "a", "and they count")
if example.has "tcpdump" then
  local program, printed = proc.run "tcpdump -ddd -y RAW 'greater 4' 2>&1"
  T.is(printed and b:filter(program), program, "and so is what tcpdump prints")
  T.is(arrive("abc", "abcd"), "nil abcd", "it decides as tcpdump would")
else T.skip(2, "there is no tcpdump") end

-- Refusals leave the old filter.
assert(b:filter "ret #2")
local function refused(what) return show(nil, text(L.EINVAL) .. ": " .. what, L.EINVAL) end
T.is(show(b:filter "ret #1\nfoo"), refused "line 2: no such instruction", "a fault tells its line")
T.is(show(b:filter { { 6, 0, 0, 0 }, { 5, 0, 0, 0 } }), refused "instruction 2: a jump beyond the end", "of rows the instruction")
T.is(show(b:filter "ld #len\n\nld [SKF_AD_OFF+2048]\nret a"), refused "line 3: no such extension",
  "so does an extension that only the kernel can refuse")
T.is(show(b:filter { { 0x20, 0, 0, 2^32 - 2048 }, { 6, 0, 0, 0 } }), refused "instruction 1: no such extension",
  "or that of rows")
T.is(arrive("abc"), "ab", "and the old filter stays")
local long = { ("ld #len\n"):rep(4095), "ret #3" }
local taken, _, full = b:filter(table.concat(long))
if full == L.ENOMEM then T.skip(2, "net.core.optmem_max is too small for 4,096 instructions") else
  T.is(type(taken), "string", "4,096 instructions are taken")
  T.is(arrive("abcd"), "abc", "and run")
end

if removes then
  T.is(b:filter(false), false, "false removes it")
  T.is(arrive("abc"), "abc", "and all arrive again")
  T.is(show(b:filter(false)), failed(L.ENOENT), "there is none to remove then")
else T.skip(3, "no SO_DETACH_FILTER here") end

-- eBPF: "r0 = 4; exit", loaded by bpf(2), whose number differs from machine to machine.
local SYS_BPF = ({ x64 = 321, arm64 = 280 })[jit.arch]
ffi.cdef "int llsocket_t_bpf(long number, long command, void *attributes, long size) __asm__(\"syscall\");"
local function load_ebpf()
  if not SYS_BPF then return nil, "the number of bpf(2) is not known here" end
  local code = ffi.new("uint8_t[16]", { 0xb7, 0, 0, 0, 4, 0, 0, 0, 0x95 })
  local license = ffi.new("char[4]", "GPL")
  local attributes = ffi.new "struct { uint32_t type, count; uint64_t code, license; uint8_t rest[96]; }"
  attributes.type, attributes.count = 1, 2
  attributes.code, attributes.license = ffi.cast("uintptr_t", code), ffi.cast("uintptr_t", license)
  local fd, e = ffi.C.llsocket_t_bpf(SYS_BPF, 5, attributes, ffi.sizeof(attributes)), ffi.errno()
  if fd < 0 then return nil, "bpf(2): " .. text(e) end
  return fd, code, license
end
local fd, why = load_ebpf()
if fd and L.SO_ATTACH_BPF then
  T.is(b:filter(fd), fd, "the number of a descriptor is a program of eBPF")
  T.is(arrive("abcdef"), "abcd", "which runs")
  T.is(show(b:filter()), failed(L.EACCES), "but cannot be read")
  local object = L.descriptor.new() -- owns it from here on
  object.sd = fd
  T.is(b:filter(object), object, "an object is taken, too, and remains the caller's")
  assert(not object:close())
  T.is(arrive("abcdef"), "abcd", "the filter outlives it")
  T.is(show(b:filter(object)), failed(L.EBADF), "a closed one is EBADF")
else T.skip(6, why or "no SO_ATTACH_BPF here") end
T.is(show(b:filter(-1)) .. show(b:filter(1.5)) .. show(b:filter(a:fd())), failed(L.EBADF) .. failed(L.EINVAL) .. failed(L.EINVAL),
  "numbers that are no program's are refused")

-- The lock is for good.
assert(b:filter "ret #1")
if b:filterlock(true) then
  local lock = show(b:filterlock(), b:filterlock(false))
  T.is(lock .. show(b:filter "ret #-1") .. show(b:filter(false)), show(true, nil, text(L.EPERM), L.EPERM) .. failed(L.EPERM)
    .. failed(L.EPERM), "a locked filter cannot be changed or removed, nor the lock")
else T.skip(1, "no SO_LOCK_FILTER here") end
a:close(); b:close()
T.is(show(b:filter "ret #1") .. show(b:filter()) .. show(b:filter(false)), failed(L.EBADF):rep(3), "a closed socket is EBADF")
T.is(leak.count(), before, "no descriptor is left")
T.done()
