-- data.lua -- what a cosocket sends, or ngx.say writes, as a string: strings, numbers, nested lists of them.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local settings = require "llsocket.cosocket.settings"
local jit, next, rawget, tostring, type = jit, next, rawget, tostring, type
local floor, concat = math.floor, table.concat

local function number_text(number)
  if number == 0 then return "0" end -- not "-0"
  return ("%.14g"):format(number)
end

-- Answers the highest index of a list, which may have holes; raises for another table.
local function length(list, method)
  local most = 0
  for key in next, list do
    if type(key) ~= "number" or floor(key) ~= key or key < 1 then settings.refuse(1, method, "non-array table found") end
    if key > most then most = key end
  end
  return most
end

jit.off(length) -- LuaJIT of 2022 compiles next() so that a walk may end early

-- What has a text for ngx.say also inside a list; the only userdata is ngx.null.
local SAID = { boolean = tostring, userdata = function() return "null" end }

local function flatten(list, parts, method, others)
  for i = 1, length(list, method) do
    local value = rawget(list, i)
    local kind = type(value)
    if kind == "table" then flatten(value, parts, method, others)
    elseif kind == "string" then parts[#parts + 1] = value
    elseif kind == "number" then parts[#parts + 1] = number_text(value)
    elseif others[kind] then parts[#parts + 1] = others[kind](value)
    else settings.refuse(1, method, ("bad data type %s found"):format(kind)) end
  end
  return parts
end

local M = { SAID = SAID }

local NONE = {}

--- Answers the bytes of what is to be sent.
---@param value any
---@param method string  for messages
---@param others? table<string, function>  SAID for ngx.say
---@return string
function M.bytes(value, method, others)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then return number_text(value) end
  if kind == "table" then return concat(flatten(value, {}, method, others or NONE)) end
  if kind == "nil" or kind == "boolean" then return tostring(value) end
  if others and others[kind] then return others[kind](value) end
  return settings.refuse(1, method, ("string, number, boolean, nil, or array table expected, got %s"):format(kind))
end

return M
