-- later.lua -- loads rooms by their first use, among the modules that were loaded with this one.
--
-- When package.loaded is cleared and the library loaded anew, an old socket's methods still belong to the old modules.
local const = require "llsocket.const"

local mine = {}

local function is_ours(name) return type(name) == "string" and name:sub(1, 8) == "llsocket" end

-- Puts the modules of `from` in place of the library's that are loaded; answers those.
local function exchange(from)
  local there = {}
  for name, module in pairs(package.loaded) do
    if is_ours(name) then there[name] = module end
  end
  for name in pairs(there) do package.loaded[name] = nil end
  for name, module in pairs(from) do package.loaded[name] = module end
  return there
end

local M = {}

--- Remembers which modules belong together: those that are loaded now.
function M.keep()
  for name, module in pairs(package.loaded) do
    if is_ours(name) and type(module) == "table" then mine[name] = module end
  end
end

--- Remembers one that a program may require by itself.
---@param name string
---@param module table
---@return table module
function M.add(name, module)
  mine[name] = module
  return module
end

--- Tells why no file can be opened now, as EMFILE and ENFILE are.
---@return integer? errno  nil where one can be
---@return string? err
function M.shortage()
  local file, err, e = io.open "/dev/null"
  if file then file:close() end
  if e == const.EMFILE or e == const.ENFILE then return e, err:match ": (.*)$" end
end

-- What failed half-way has left a marker, which would turn the next require's message into "loop or previous error".  It is
-- neither a table nor, as the shim is, something with a metatable.
local function forget_markers()
  for name, module in pairs(package.loaded) do
    if is_ours(name) and type(module) ~= "table" and not getmetatable(module) then package.loaded[name] = nil end
  end
end

-- Where no file can be opened, require says that there is no such module.
local function load(name)
  local loaded, module = pcall(require, name)
  if loaded then return module end
  forget_markers()
  local e, why = M.shortage()
  error(e and ("%s cannot be loaded: %s"):format(name, why) or module, 0)
end

--- Loads a module as require does, beside those that were remembered.
---@param name string
---@return table module
function M.load(name)
  if package.loaded["llsocket.later"] == M then
    local module = load(name)
    M.keep()
    return module
  end
  local theirs = exchange(mine)
  local loaded, module = pcall(load, name)
  mine = exchange(theirs)
  if not loaded then error(module, 0) end
  return module
end

return M
