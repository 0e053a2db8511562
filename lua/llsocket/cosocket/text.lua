-- text.lua -- Base64 and the escapes of URIs, as nginx does them.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local check = require "llsocket.core.check"
local settings = require "llsocket.cosocket.settings"
local pairs, tonumber, tostring, type = pairs, tonumber, tostring, type
local char, concat, floor = string.char, table.concat, math.floor

local band, lshift, rshift = bit.band, bit.lshift, bit.rshift
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local LETTERS, VALUES = {}, {}
for i = 0, 63 do
  local letter = ALPHABET:sub(i + 1, i + 1)
  LETTERS[i], VALUES[letter] = letter, i
end

local function triple(three)
  local a, b, c = three:byte(1, 3)
  local n = lshift(a, 16) + lshift(b or 0, 8) + (c or 0)
  local out = LETTERS[rshift(n, 18)] .. LETTERS[band(rshift(n, 12), 63)]
  if b then out = out .. LETTERS[band(rshift(n, 6), 63)] end
  if c then out = out .. LETTERS[band(n, 63)] end
  return out
end

local M = {}

--- Encodes in Base64 (RFC 4648).
---@param text string
---@param is_bare? boolean  without the "=" at the end
---@return string
function M.encode_base64(text, is_bare)
  local out = text:gsub("..?.?", triple)
  return is_bare and out or out .. ("="):rep(-#out % 4)
end

local function quadruple(four)
  local n, count = 0, #four
  for i = 1, 4 do n = n * 64 + (VALUES[four:sub(i, i)] or 0) end
  return char(floor(n / 65536), floor(n / 256) % 256, n % 256):sub(1, count - 1)
end

--- Decodes Base64; what follows the first "=" is left out.
---@param text string
---@return string? decoded  nil where it is none
function M.decode_base64(text)
  local body = text:match "^([^=]*)"
  if body:find "[^A-Za-z0-9+/]" or #body % 4 == 1 then return nil end
  return (body:gsub("..?.?.?", quadruple))
end

-- By the number of a kind: the bytes that are escaped.  0 is a whole URI, 2 a component.
local CONTROL, HIGH = "%z\1-\31", "\127-\255"
local ESCAPED = {
  [0] = "[ #%%?" .. CONTROL .. HIGH .. "]", [1] = "[ #%%%+?" .. CONTROL .. HIGH .. "]", [2] = "[^%w%-%._~!'%(%)%*]",
  [3] = "[ #\"%%'" .. CONTROL .. HIGH .. "]", [4] = "[ \"'" .. CONTROL .. HIGH .. "]",
  [5] = "[ %%" .. CONTROL .. "]", [6] = "[ %%" .. CONTROL .. "]",
}

local function escaped(c) return ("%%%02X"):format(c:byte()) end

--- Escapes a component of a URI.
---@param text string
---@param kind? integer  2, the default: a component; 0: a whole URI; up to 6
---@return string
function M.escape_uri(text, kind)
  if type(kind) == "nil" then kind = 2 end
  if type(kind) ~= "number" then check.raise '"type" is not a number' end
  local class = ESCAPED[settings.integer(kind)]
  if not class then check.raise(('"type" %s out of range'):format(kind)) end
  return (text:gsub(class, escaped))
end

--- Takes the escapes of a URI's component back; "+" is a blank.
---@param text string
---@return string
function M.unescape_uri(text)
  text = text:gsub("%+", " ")
  return (text:gsub("%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

local function pair_text(key, value)
  if value == true then return key end
  if type(value) ~= "string" and type(value) ~= "number" then
    check.raise(("attempt to use %s as query arg value"):format(type(value)))
  end
  return key .. "=" .. M.escape_uri(tostring(value))
end

--- Encodes a query: true is a name alone, false is left out, a list is several of that name.
---@param args table
---@return string
function M.encode_args(args)
  if type(args) ~= "table" then check.bad(1, "encode_args", "table", args) end
  local parts = {}
  for key, value in pairs(args) do
    if type(key) ~= "string" then check.raise 'attempt to use a non-string key in the "args" option table' end
    key = M.escape_uri(key)
    for _, each in pairs(type(value) == "table" and value or { value }) do
      if each ~= false then parts[#parts + 1] = pair_text(key, each) end
    end
  end
  return concat(parts, "&")
end

local function add(out, key, value)
  local old = out[key]
  if old == nil then out[key] = value
  elseif type(old) == "table" then old[#old + 1] = value
  else out[key] = { old, value } end
end

--- Decodes a query; a name that comes several times has a list.
---@param text string
---@param most? integer  parts before an "&"; the default is 100, 0 is no limit
---@return table args
---@return string? err  "truncated": there were more
function M.decode_args(text, most)
  text = settings.check_string(text, 1, "decode_args")
  most = type(most) == "nil" and 100 or settings.check_integer(most, 2, "decode_args")
  local out, n = {}, 0
  for part, is_more in text:gmatch "([^&]*)(&?)" do
    local key, value = part:match "^([^=]*)=(.*)$"
    key, value = M.unescape_uri(key or part), key and M.unescape_uri(value) or true
    if key ~= "" then add(out, key, value) end
    if is_more == "&" then n = n + 1 end
    if is_more == "&" and n == most then return out, "truncated" end
  end
  return out
end

return M
