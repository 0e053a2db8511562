-- bits.lua -- the bits for the events that a poller waits for and answers, and their letters.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"

local M = { READ = 1, WRITE = 2, HANGUP = 4, HALF = 8, ERROR = 16, EDGE = 32, ONCE = 64, URGENT = 128, EXCLUSIVE = 256 }

local LETTER = { r = M.READ, w = M.WRITE, p = M.URGENT, e = M.EDGE, o = M.ONCE, x = M.EXCLUSIVE }

-- words[word]: its bits.  Each word is parsed once and kept; there are few valid words.
local words = {}

local function parse(word)
  local bits = 0
  for letter in word:gmatch "." do
    local one = LETTER[letter]
    if not one or bit.band(bits, one) ~= 0 then return false end
    bits = bits + one
  end
  if bit.band(bits, M.ONCE) ~= 0 and bit.band(bits, M.EXCLUSIVE) ~= 0 then return false end
  return bit.band(bits, M.READ + M.WRITE + M.URGENT) ~= 0 and bits
end

--- Reads a word such as "r", "rw" or "rwe": r to read, w to write, p for urgent data, e edge-triggered, o one-shot,
--- x exclusive, which cannot be one-shot.
---@param word string
---@return integer|false bits  false for any other word
function M.bits(word)
  local bits = words[word]
  if bits == nil then
    bits = parse(word)
    if bits then words[word] = bits end
  end
  return bits
end

return M
