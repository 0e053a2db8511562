-- digest.lua -- MD5 (RFC 1321), SHA-1 (RFC 3174), HMAC with it (RFC 2104) and CRC-32, for protocols that name them.
--
-- Plain Lua over LuaJIT's bit operations: a library of C would be one more to install.  MD5 and SHA-1 protect nothing any more;
-- handshakes of old protocols ask for them, with a few hundred bytes.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local floor, abs, sin = math.floor, math.abs, math.sin

local band, bnot, bor, bxor, rol, rshift = bit.band, bit.bnot, bit.bor, bit.bxor, bit.rol, bit.rshift
local bswap, tobit, tohex = bit.bswap, bit.tobit, bit.tohex
local char, concat = string.char, table.concat

-- Answers a number's four bytes, the low one first.
local function bytes_of(word)
  return char(band(word, 255), band(rshift(word, 8), 255), band(rshift(word, 16), 255), rshift(word, 24))
end

-- Answers the text with what both digests put behind it: a bit, zeroes, and its length in bits.
local function padded(text, is_swapped)
  local low, high = tobit(#text * 8 % 2^32), tobit(floor(#text / 2^29))
  local length = bytes_of(low) .. bytes_of(high)
  if is_swapped then length = bytes_of(bswap(high)) .. bytes_of(bswap(low)) end
  return text .. "\128" .. ("\0"):rep((55 - #text) % 64) .. length
end

-- Answers the word at byte `i`, the low byte first.
local function word_at(text, i)
  local a, b, c, d = text:byte(i, i + 3)
  return bor(a, b * 2^8, c * 2^16, d * 2^24)
end

-- MD5 --------------------------------------------------------------------------------------------------------

local SINES, SHIFTS = {}, { { 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 } }
for i = 0, 63 do SINES[i] = tobit(floor(abs(sin(i + 1)) * 2^32)) end

-- Answers the function of a step, and which word it takes.
local function md5_mix(i, b, c, d)
  if i < 16 then return bxor(d, band(b, bxor(c, d))), i end
  if i < 32 then return bxor(c, band(d, bxor(b, c))), (5 * i + 1) % 16 end
  if i < 48 then return bxor(b, c, d), (3 * i + 5) % 16 end
  return bxor(c, bor(b, bnot(d))), 7 * i % 16
end

local function md5_block(words, a, b, c, d)
  local a0, b0, c0, d0 = a, b, c, d
  for i = 0, 63 do
    local f, which = md5_mix(i, b, c, d)
    local sum = tobit(tobit(a + f) + tobit(SINES[i] + words[which]))
    a, d, c, b = d, c, b, tobit(b + rol(sum, SHIFTS[floor(i / 16) + 1][i % 4 + 1]))
  end
  return tobit(a0 + a), tobit(b0 + b), tobit(c0 + c), tobit(d0 + d)
end

local M = {}

--- Answers the MD5 digest, 16 bytes.
---@param text string
---@return string
function M.md5_bin(text)
  local msg, words = padded(text, false), {}
  local a, b, c, d = tobit(0x67452301), tobit(0xefcdab89), tobit(0x98badcfe), tobit(0x10325476)
  for i = 1, #msg, 64 do
    for w = 0, 15 do words[w] = word_at(msg, i + 4 * w) end
    a, b, c, d = md5_block(words, a, b, c, d)
  end
  return bytes_of(a) .. bytes_of(b) .. bytes_of(c) .. bytes_of(d)
end

--- Answers the MD5 digest in 32 hexadecimal digits.
---@param text string
---@return string
function M.md5(text)
  return (M.md5_bin(text):gsub(".", function(byte) return tohex(byte:byte(), 2) end))
end

-- SHA-1 ------------------------------------------------------------------------------------------------------

local KEYS = { tobit(0x5a827999), tobit(0x6ed9eba1), tobit(0x8f1bbcdc), tobit(0xca62c1d6) }

local function sha1_mix(i, b, c, d)
  if i < 20 then return bxor(d, band(b, bxor(c, d))) end
  if i < 40 or i >= 60 then return bxor(b, c, d) end
  return bor(band(b, c), band(d, bor(b, c)))
end

local function sha1_words(words, msg, at)
  for w = 0, 15 do words[w] = bswap(word_at(msg, at + 4 * w)) end
  for w = 16, 79 do words[w] = rol(bxor(words[w - 3], words[w - 8], words[w - 14], words[w - 16]), 1) end
end

local function sha1_block(words, h)
  local a, b, c, d, e = h[1], h[2], h[3], h[4], h[5]
  for i = 0, 79 do
    local sum = tobit(tobit(rol(a, 5) + sha1_mix(i, b, c, d)) + tobit(e + words[i]))
    a, b, c, d, e = tobit(sum + KEYS[floor(i / 20) + 1]), a, rol(b, 30), c, d
  end
  h[1], h[2], h[3], h[4], h[5] = tobit(h[1] + a), tobit(h[2] + b), tobit(h[3] + c), tobit(h[4] + d), tobit(h[5] + e)
end

--- Answers the SHA-1 digest, 20 bytes.
---@param text string
---@return string
function M.sha1_bin(text)
  local msg, words = padded(text, true), {}
  local h = { tobit(0x67452301), tobit(0xefcdab89), tobit(0x98badcfe), tobit(0x10325476), tobit(0xc3d2e1f0) }
  for i = 1, #msg, 64 do
    sha1_words(words, msg, i)
    sha1_block(words, h)
  end
  local out = {}
  for i = 1, 5 do out[i] = bytes_of(bswap(h[i])) end
  return concat(out)
end

local function masked(key, byte)
  return (key:gsub(".", function(c) return char(bxor(c:byte(), byte)) end))
end

--- Answers the HMAC-SHA1 of a text, 20 bytes.
---@param key string
---@param text string
---@return string
function M.hmac_sha1(key, text)
  if #key > 64 then key = M.sha1_bin(key) end
  key = key .. ("\0"):rep(64 - #key)
  return M.sha1_bin(masked(key, 0x5c) .. M.sha1_bin(masked(key, 0x36) .. text))
end

-- CRC-32 -----------------------------------------------------------------------------------------------------

local TABLE = {}
for i = 0, 255 do
  local sum = i
  for _ = 1, 8 do sum = bxor(rshift(sum, 1), band(-band(sum, 1), tobit(0xedb88320))) end
  TABLE[i] = sum
end

--- Answers the CRC-32 of a text, as zlib does.
---@param text string
---@return integer  0 to 2^32-1
function M.crc32(text)
  local sum = -1
  for i = 1, #text do sum = bxor(rshift(sum, 8), TABLE[band(bxor(sum, text:byte(i)), 255)]) end
  return bnot(sum) % 2^32
end

return M
