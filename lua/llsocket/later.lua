-- later.lua -- loads rooms by their first use, among the modules that were loaded with this one.
--
-- When package.loaded is cleared and the library loaded anew, an old socket's methods still belong to the old modules.
local const = require "llsocket.const"

local mine = {}

jit.off(true, true) -- loops that run once would be compiled for nothing, which takes longer than they

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

--- Tells why no file can be opened now.
---@return integer|false errno  EMFILE, ENFILE
function M.shortage()
  local file, _, e = io.open "/dev/null"
  if file then file:close() end
  return (e == const.EMFILE or e == const.ENFILE) and e
end

-- Answers the module, or nil and why.  What fails half-way leaves markers, neither tables nor with a metatable as the shim is:
-- they would make the next error "loop or previous error".  Where no file can be opened, require says that there is none.
local function load(name)
  local loaded, module = pcall(require, name)
  if loaded then return module end
  for other, value in pairs(package.loaded) do
    if is_ours(other) and type(value) ~= "table" and not getmetatable(value) then package.loaded[other] = nil end
  end
  return nil, M.shortage() and name .. " cannot be loaded: no descriptor is left" or module
end

--- Loads a module as require does, beside those that were remembered.
---@param name string
---@return table module
function M.load(name)
  local theirs = package.loaded["llsocket.later"] ~= M and exchange(mine)
  local module, why = load(name)
  if theirs then mine = exchange(theirs) else M.keep() end
  return module or error(why, 0)
end

return M
