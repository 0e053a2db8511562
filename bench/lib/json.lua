-- json.lua -- Lua values as JSON, the keys sorted so that two runs can be compared, and back.
local M = {}
local write_value, read_value

local function number(n) return n == math.floor(n) and ("%d"):format(n) or ("%.6g"):format(n) end

local function text(s)
  return '"' .. s:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function array(list, indent)
  local out = {}
  for i, value in ipairs(list) do out[i] = indent .. "  " .. write_value(value, indent .. "  ") end
  return "[\n" .. table.concat(out, ",\n") .. "\n" .. indent .. "]"
end

local function object(map, indent)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  for i, key in ipairs(out) do out[i] = ("%s  %s: %s"):format(indent, text(key), write_value(map[key], indent .. "  ")) end
  return "{\n" .. table.concat(out, ",\n") .. "\n" .. indent .. "}"
end

function write_value(value, indent)
  if type(value) == "table" then return (#value > 0 and array or object)(value, indent) end
  if type(value) == "number" then return number(value) end
  return type(value) == "string" and text(value) or tostring(value)
end

function M.write(value) return write_value(value, "") end

local function read_text(s, at)
  local last = s:find('"', at + 1, true)
  local raw = s:sub(at + 1, last - 1):gsub("\\u00(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  return raw, last + 1
end

-- Where the next value or sign begins.
local function skip(s, at) return s:find("[^%s,:]", at) end

local function read_array(s, at)
  local out = {}
  at = skip(s, at + 1)
  while s:sub(at, at) ~= "]" do
    out[#out + 1], at = read_value(s, at)
    at = skip(s, at)
  end
  return out, at + 1
end

local function read_object(s, at)
  local out = {}
  at = skip(s, at + 1)
  while s:sub(at, at) ~= "}" do
    local key, after = read_text(s, at)
    out[key], at = read_value(s, skip(s, after))
    at = skip(s, at)
  end
  return out, at + 1
end

local READERS = { ['"'] = read_text, ["["] = read_array, ["{"] = read_object }
local WORDS = { ["true"] = true, ["false"] = false }

function read_value(s, at)
  local reader = READERS[s:sub(at, at)]
  if reader then return reader(s, at) end
  local word, after = s:match("^([%w.+-]+)()", at)
  if WORDS[word] ~= nil then return WORDS[word], after end
  return tonumber(word), after
end

-- Reads what M.write wrote, and no other JSON.
function M.read(s) return (read_value(s, 1)) end

return M
