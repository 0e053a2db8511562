-- show.lua -- everything that a call answered as one text, so that a test compares all of it at once.
local L = require "llsocket"

-- show(nil, "Invalid argument", 22) is "nil, Invalid argument, 22"; a list of addresses is put in brackets.
local function show(...)
  local out = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    out[i] = type(value) == "table" and "{" .. show(unpack(value)) .. "}" or tostring(value)
  end
  return table.concat(out, ", ")
end

local TYPE = { [L.SOCK_STREAM] = "stream", [L.SOCK_DGRAM] = "dgram", [L.SOCK_RAW] = "raw" }

-- One address with its type and protocol: "127.0.0.1:80 stream 6".
local function full(ai) return ("%s %s %d"):format(tostring(ai), TYPE[ai:socktype()] or ai:socktype(), ai:protocol()) end

-- A list so, sorted: "127.0.0.1:80 dgram 17; 127.0.0.1:80 stream 6"; what came in place of a list as show has it.
local function list(arr, ...)
  if not arr then return show(arr, ...) end
  local out = {}
  for i, ai in ipairs(arr) do out[i] = full(ai) end
  table.sort(out)
  return table.concat(out, "; ")
end

return { show = show, list = list }
