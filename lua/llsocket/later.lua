-- later.lua -- loads rooms by their first use, among the modules that were loaded with this one.
--
-- When package.loaded is cleared and the library loaded anew, an old socket's methods still belong to the old modules.

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

--- Loads a module as require does, beside those that were remembered.
---@param name string
---@return table module
function M.load(name)
  if package.loaded["llsocket.later"] == M then
    local module = require(name)
    M.keep()
    return module
  end
  local theirs = exchange(mine)
  local loaded, module = pcall(require, name)
  mine = exchange(theirs)
  if not loaded then error(module, 0) end
  return module
end

return M
