-- rights-hostile: headers with a false length: reading and closing descriptors stay inside msg_controllen.
local ffi = require "ffi"
local shim = require "llsocket.shim"
local L = require "llsocket"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local before = leak.count()

local HEADER = rights.cmsg_len(0)
local SIZE = 256
local out = ffi.new "int32_t[5]"
local head_ptr, size_ptr = ffi.typeof "struct { uint32_t len, size; } *", ffi.typeof "size_t *"
local byte_ptr, int_ptr = ffi.typeof "uint8_t *", ffi.typeof "int32_t *"

-- A buffer as a receive leaves it: `bytes` is written, `len` of it counts.
local function buffer(len)
  local block = shim.llsocket2_control_new(SIZE)
  local bytes = ffi.cast(byte_ptr, shim.llsocket2_control_bytes(block))
  ffi.fill(bytes, SIZE, 0xee)
  ffi.cast(head_ptr, block).len = len
  return block, bytes
end

local function put(bytes, at, fds)
  local data = ffi.new("int32_t[8]", fds)
  return shim.llsocket2_cmsg_put(bytes, at, L.SOL_SOCKET, L.SCM_RIGHTS, data, #fds * 4)
end

-- cmsg_len is the first field where its place matters here, which the first test shows.
local function forge(bytes, at, claim) ffi.cast(size_ptr, bytes + at)[0] = claim end

local function walk(bytes, len, at)
  if shim.llsocket2_cmsg_get(bytes, len, at, out) == 0 then return "end" end
  return ("%d bytes at %d"):format(out[3], out[2])
end

local TWO = HEADER + 8
local CLAIMS = {
  -- claimed, controllen, what the walk tells
  { TWO, TWO, "8 bytes at " .. HEADER }, { TWO, TWO + 3, "8 bytes at " .. HEADER }, { TWO, TWO - 1, "end" },
  { TWO + 1, TWO, "end" }, { TWO - 1, TWO, "7 bytes at " .. HEADER }, { HEADER, TWO, "0 bytes at " .. HEADER },
  { HEADER - 1, TWO, "end" }, { 1, TWO, "end" }, { 0, TWO, "end" }, { 2^31 - 1, TWO, "end" }, { 2^31, TWO, "end" },
  { 2^32 - 1, TWO, "end" }, { ffi.cast("size_t", -1), TWO, "end" }, { ffi.cast("size_t", -8), TWO, "end" },
  { TWO, HEADER, "end" }, { HEADER, HEADER, "0 bytes at " .. HEADER }, { HEADER, HEADER - 1, "end" }, { TWO, 0, "end" },
}

local T = require("tap").plan(#CLAIMS + 12)

for _, row in ipairs(CLAIMS) do
  local block, bytes = buffer(row[2])
  put(bytes, 0, { -1, -1 })
  forge(bytes, 0, row[1])
  T.is(walk(bytes, row[2], 0), row[3], ("a header that claims %s of %d bytes"):format(tostring(row[1]), row[2]))
  shim.llsocket2_control_free(block)
end

do
  local block, bytes = buffer(0)
  put(bytes, 0, { 1, 2 })
  T.is(walk(bytes, TWO, TWO), "end", "a walk at the end ends")
  T.is(walk(bytes, TWO, TWO + 8), "end", "so does one beyond it")
  T.is(walk(bytes, TWO, 2^32 - 8), "end", "so does one far beyond it")
  shim.llsocket2_control_free(block)
end

-- What is closed: three numbers, of which some lie outside.
local function closed(len, claim)
  local fds = {}
  for i = 1, 3 do fds[i] = sys.copy(1) end
  local block, bytes = buffer(len)
  put(bytes, 0, fds)
  if claim then forge(bytes, 0, claim) end
  shim.llsocket2_control_close(block)
  local gone = 0
  for i = 1, 3 do gone = gone + (sys.is_open(fds[i]) and 0 or 1) end
  shim.llsocket2_control_free(block)
  for i = 1, 3 do if sys.is_open(fds[i]) then sys.close(fds[i]) end end
  return gone
end

T.is(closed(HEADER + 12), 3, "three descriptors inside are closed")
T.is(closed(HEADER + 12, HEADER + 8), 2, "of a header that claims two, two")
T.is(closed(HEADER + 12, HEADER + 11), 2, "of one that claims two and three bytes, two")
T.is(closed(HEADER + 8), 0, "of one that claims more than there is, none")
T.is(closed(HEADER + 12, HEADER + 4000), 0, "also when it claims much more")
T.is(closed(0), 0, "of an empty buffer, none")

-- Random bytes, small lengths among them so that some headers hold.
math.randomseed(20)
local wrong, held = 0, 0
local block, bytes = buffer(0)
for _ = 1, 20000 do
  local len = math.random(0, SIZE)
  for i = 0, SIZE / 4 - 1 do
    ffi.cast(int_ptr, bytes)[i] = math.random(0, 3) == 0 and math.random(-2^31, 2^31 - 1) or math.random(0, 60)
  end
  for at = 0, SIZE - 8, 8 do if math.random(0, 1) == 0 then forge(bytes, at, math.random(0, 80)) end end
  local at, steps = 0, 0
  while shim.llsocket2_cmsg_get(bytes, len, at, out) == 1 do
    held, steps = held + 1, steps + 1
    if out[2] ~= at + HEADER or out[3] < 0 or out[2] + out[3] > len or out[4] <= at or steps > SIZE then
      wrong = wrong + 1
      break
    end
    at = out[4]
  end
end
shim.llsocket2_control_free(block)
T.is(wrong, 0, "no header of 20000 random buffers reaches beyond its buffer, and every walk ends")
T.ok(held > 1000, "some of these were headers: " .. held)

T.is(leak.count(), before, "no descriptor is left")
T.done()
