-- cmsghdr: the walk over ancillary data never reads beyond it: an unreadable page follows the buffer.
local ffi = require "ffi"
local shim = require "llsocket.shim"
local leak = require "leak"
local proc = require "proc"
local show = require("values").show
local before = leak.count()

ffi.cdef [[
void *llsocket_t_mmap(void *addr, size_t length, int prot, int flags, int fd, long offset) __asm__("mmap");
int llsocket_t_mprotect(void *addr, size_t length, int prot) __asm__("mprotect");
int llsocket_t_pagesize(void) __asm__("getpagesize");
]]
local C = ffi.C
local PAGE = C.llsocket_t_pagesize()
local PROT_READ_WRITE, PROT_NONE, MAP_PRIVATE = 3, 0, 2
local MAP_ANONYMOUS = ffi.os ~= "Linux" and 0x1000 or ffi.arch:find "mips" and 0x800 or 0x20
local pages = ffi.cast("uint8_t *", C.llsocket_t_mmap(nil, 2 * PAGE, PROT_READ_WRITE, MAP_PRIVATE + MAP_ANONYMOUS, -1, 0))
assert(C.llsocket_t_mprotect(pages + PAGE, PAGE, PROT_NONE) == 0)

local HEAD = shim.llsocket2_cmsg_len(0)
local out = ffi.new "int32_t[5]"
local T = require("tap").plan(HEAD + 22)

-- `length` bytes that end with the page; a header at `at` of them.
local function buffer(length) return pages + PAGE - length end

local function put(bytes, at, claims, level, type)
  local cell = ffi.new("size_t[1]", claims)
  ffi.copy(bytes + at, cell, ffi.sizeof(cell)) -- cmsg_len comes first on Linux; HEAD tells where the data begin
  ffi.cast("int32_t *", bytes + at + HEAD - 8)[0], ffi.cast("int32_t *", bytes + at + HEAD - 4)[0] = level or 1, type or 2
end

local function get(bytes, length, at)
  if shim.llsocket2_cmsg_get(bytes, length, at or 0, out) == 0 then return "end" end
  return ("level %d, type %d, %d bytes at %d"):format(out[0], out[1], out[3], out[2])
end

-- All headers of a buffer; reads the first and the last byte of each one's data, as a decoder would.
local function walk(bytes, length)
  local seen, at = {}, 0
  for _ = 1, 1000 do
    local one = get(bytes, length, at)
    if one == "end" then return table.concat(seen, "; ") end
    seen[#seen + 1] = ("%d at %d"):format(out[3], out[2])
    local from, n, next_at = out[2], out[3], out[4]
    ffi.string(bytes + from, n)
    if next_at <= at then return "does not advance" end
    at = next_at
  end
  return "does not end"
end

local child = proc.fork(function() return pages[PAGE] == 0 end)
T.is(show(proc.wait(child)), "nil, 11", "a read beyond the end would end this process")

-- Cut anywhere, nothing is read that is not there.
for length = 0, HEAD do
  local bytes = buffer(length)
  ffi.fill(bytes, length, 0xff)
  T.is(get(bytes, length), "end", ("%d bytes of ones have no header"):format(length))
end
local wrong = {}
for length = HEAD, 200 do
  for claims = 0, 260 do
    local bytes = buffer(length)
    put(bytes, 0, claims)
    local one = get(bytes, length)
    local fits = claims >= HEAD and claims <= length
    local want = fits and ("level 1, type 2, %d bytes at %d"):format(claims - HEAD, HEAD) or "end"
    if one ~= want then wrong[#wrong + 1] = ("%d of %d: %s"):format(claims, length, one) end
  end
end
T.is(table.concat(wrong, "; "), "", "a header is taken when it claims no more than there is, and no less than itself")

-- Claims that overflow.
for _, claims in ipairs { "0", "1", "HEAD - 1", "2^31 - 1", "2^31", "2^32 - 1", "SIZE_MAX", "SIZE_MAX - 7", "SIZE_MAX - HEAD" } do
  local VALUE = { ["0"] = 0, ["1"] = 1, ["HEAD - 1"] = HEAD - 1, ["2^31 - 1"] = 2^31 - 1, ["2^31"] = 2^31,
    ["2^32 - 1"] = 2^32 - 1, ["SIZE_MAX"] = ffi.cast("size_t", -1), ["SIZE_MAX - 7"] = ffi.cast("size_t", -8),
    ["SIZE_MAX - HEAD"] = ffi.cast("size_t", -1 - HEAD) }
  local bytes = buffer(64)
  put(bytes, 0, VALUE[claims])
  T.is(walk(bytes, 64), "", ("a cmsg_len of %s ends the list"):format(claims))
end

-- Several headers.
local SPACE = shim.llsocket2_cmsg_space(4)
local bytes = buffer(2 * SPACE)
put(bytes, 0, HEAD + 4); put(bytes, SPACE, HEAD + 4)
T.is(walk(bytes, 2 * SPACE), ("4 at %d; 4 at %d"):format(HEAD, SPACE + HEAD), "two headers are walked")
put(bytes, SPACE, SPACE + 1)
T.is(walk(bytes, 2 * SPACE), ("4 at %d"):format(HEAD), "one that claims too much ends the list after those before it")
put(bytes, SPACE, 0)
T.is(walk(bytes, 2 * SPACE), ("4 at %d"):format(HEAD), "one of length 0 ends it, and does not go round for ever")
put(bytes, 0, 2 * SPACE)
T.is(walk(bytes, 2 * SPACE), ("%d at %d"):format(2 * SPACE - HEAD, HEAD), "one that claims the next as its data has it")
bytes = buffer(SPACE + HEAD + 4)
put(bytes, 0, HEAD + 4); put(bytes, SPACE, HEAD + 4)
T.is(walk(bytes, SPACE + HEAD + 4), ("4 at %d; 4 at %d"):format(HEAD, SPACE + HEAD), "the last needs no padding")
T.is(get(bytes, SPACE, SPACE), "end", "at the end is the end")
T.is(get(bytes, SPACE, SPACE + 8), "end", "beyond the end is the end")
T.is(get(bytes, SPACE, 2^32 - 8), "end", "far beyond it as well")

-- Noise.
math.randomseed(1)
local bad = {}
for round = 1, 3000 do
  local length = math.random(0, 160)
  bytes = buffer(length)
  for i = 0, length - 1 do bytes[i] = math.random(0, 3) == 0 and math.random(0, 255) or 0 end
  if length >= HEAD then put(bytes, 0, math.random(0, length + 8)) end
  local seen = walk(bytes, length)
  if seen:find "does not" then bad[#bad + 1] = round end
end
T.is(table.concat(bad, " "), "", "3,000 buffers of noise are walked to an end")
T.is(leak.count(), before, "no descriptor is left")
T.done()
