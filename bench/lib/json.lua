-- json.lua -- a Lua value as JSON, its keys sorted so that two runs can be compared.
local write

local function number(n) return n == math.floor(n) and ("%d"):format(n) or ("%.4g"):format(n) end

local function text(s)
  return '"' .. s:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function array(list, indent)
  local out = {}
  for i, value in ipairs(list) do out[i] = indent .. "  " .. write(value, indent .. "  ") end
  return "[\n" .. table.concat(out, ",\n") .. "\n" .. indent .. "]"
end

local function object(map, indent)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  for i, key in ipairs(out) do out[i] = ("%s  %s: %s"):format(indent, text(key), write(map[key], indent .. "  ")) end
  return "{\n" .. table.concat(out, ",\n") .. "\n" .. indent .. "}"
end

function write(value, indent)
  if type(value) == "table" then return (#value > 0 and array or object)(value, indent or "") end
  if type(value) == "number" then return number(value) end
  return type(value) == "string" and text(value) or tostring(value)
end

return write
