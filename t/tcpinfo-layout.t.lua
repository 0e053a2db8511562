-- tcpinfo-layout: every field of what the kernel tells about a connection is read where C has it, bit fields too.
local ffi = require "ffi"
local tcpinfo = require "llsocket.socket.tcpinfo"
local leak = require "leak"
local lib = require "tcpinfo"
local RELEASES = { 0x505, 0x612, 0x700, lib.kernel }
local OWNERS = { "info", "vegas", "dctcp", "bbr" }

local cases = {}
for _, owner in ipairs(OWNERS) do
  for _, release in ipairs(owner == "info" and RELEASES or { lib.kernel }) do
    for _, image in ipairs(lib.images(owner, release)) do
      if release ~= 0x505 or image.release == 0 then
        cases[#cases + 1] = { owner = owner, release = release, image = image }
      end
    end
  end
end
local T = require("tap").plan(#cases + 10)
local before = leak.count()

local words = ffi.new "uint32_t[128]"

-- The fields that are not zero when the kernel writes these bytes, each with its value.
local function read(owner, release, offset, bytes, length)
  ffi.fill(words, 512)
  if bytes then ffi.copy(ffi.cast("uint8_t *", words) + offset, bytes, #bytes) end
  local out = {}
  for name, value in pairs(tcpinfo.read_fields(tcpinfo.plan_of(owner, length or 512, release), words, {})) do
    if value ~= 0 or not bytes then out[#out + 1] = ("%s=%.17g"):format(name, value) end
  end
  table.sort(out)
  return table.concat(out, " ")
end

-- A field with all bits set is 2^bits - 1.
local function full(bytes)
  local bits = 0
  for byte in bytes:gmatch "." do
    for i = 0, 7 do if math.floor(byte:byte() / 2^i) % 2 == 1 then bits = bits + 1 end end
  end
  return 2^bits - 1
end

-- bbr's bandwidth is one number of two fields.
local function expected(image)
  if image.name == "bw_lo" then return ("bw=%.17g"):format(2^32 - 1) end
  if image.name == "bw_hi" then return ("bw=%.17g"):format((2^32 - 1) * 2^32) end
  return ("%s=%.17g"):format(image.name, full(image.bytes))
end

for _, case in ipairs(cases) do
  local image = case.image
  T.is(read(case.owner, case.release, image.offset, image.bytes), expected(image),
    ("%s of %s, kernel %d.%d: the bits that C sets, and no others"):format(image.name, case.owner,
      math.floor(case.release / 256), case.release % 256))
end

local function names(owner, length, release)
  return (read(owner, release, 0, nil, length):gsub("=0", ""))
end
local LAST = "accecn_fail_mode"
local HAS = #lib.images "info" > 0
local function linux(n, fn)
  if not HAS then return T.skip(n, "struct tcp_info of Linux") end
  fn()
end
linux(8, function()
  T.is(names("info", 3, 0x612), "ca_state retransmits state", "a kernel that tells three bytes tells three fields")
  T.is(names("info", 0, 0x612), "", "and none, if it tells none")
  T.ok(not names("info", 279, 0x612):find "accecn_opt_seen", "a field that is cut is none")
  T.ok(names("info", 278, 0x612):find(LAST), "one before it is")
  T.ok(not names("info", 280, 0x611):find(LAST), "a release that is too old has no field of a younger one")
  T.ok(not names("info", 280, 0x612):find "ecn_mode", "what 7.0 has is not read on 6.18")
  T.ok(names("info", 280, 0x700):find "ecn_mode", "but on 7.0")
  ffi.fill(words, 512)
  words[26], words[27] = 0x89abcdef, 0x01234567 -- pacing_rate, at 104
  local want = ffi.abi "le" and 0x0123456789abcdefULL or 0x89abcdef01234567ULL
  T.is(tcpinfo.read_fields(tcpinfo.plan_of("info", 112, 0x612), words, {}).pacing_rate, tonumber(want),
    "64 bits are read in the byte order of the machine, and rounded once")
end)
-- A system whose struct is another: it has TCP_INFO, and the library has no fields.
local none = ffi.new "struct { const char *owner, *name; uint32_t offset, size, shift, bits, since, before; }[1]"
local shim = require "llsocket.shim"
for name in pairs(package.loaded) do
  if name:find "^llsocket%f[.%z]" then package.loaded[name] = nil end
end
package.loaded["llsocket.shim"] = setmetatable({ llsocket2_tcpinfo = none }, { __index = shim })
local L = require "llsocket"
local sock = assert(L.socket.new(assert(L.addrinfo.inet("127.0.0.1", 0))))
local open = select(3, sock:tcpinfo())
sock:close()
T.is(("%s %s"):format(open, select(3, sock:tcpinfo())), ("%d %d"):format(L.ENOPROTOOPT, L.EBADF),
  "without fields tcpinfo is ENOPROTOOPT")
T.is(leak.count(), before, "no descriptor is left")
T.done()
