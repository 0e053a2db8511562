-- output.lua -- ngx.say and ngx.print outside nginx: there is no response, so they write to standard output.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local data = require "llsocket.cosocket.data"
local ipairs, jit, select = ipairs, jit, select
local concat, stdout = table.concat, io.stdout

local SAID = data.SAID

local function write(method, ending, ...)
  local parts, n = {}, select("#", ...)
  for i = 1, n do parts[i] = data.bytes((select(i, ...)), method, SAID) end
  parts[n + 1] = ending
  local done, err = stdout:write(concat(parts))
  if not done then return nil, err end
  return 1
end

local M = {}

--- Writes its arguments and a line feed to standard output.
---@param ... any  strings, numbers, booleans, nil, ngx.null, nested lists of them
---@return integer? done  1
---@return string? err
function M.say(...) return write("say", "\n", ...) end

--- Writes its arguments to standard output.
---@param ... any  as of say
---@return integer? done  1
---@return string? err
function M.print(...) return write("print", "", ...) end

for _, fn in ipairs { write, M.say, M.print } do jit.off(fn) end -- see no_more in settings.lua

return M
