-- log.lua -- what ngx.log writes outside nginx: lines like those of nginx's error log, to standard error.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local C = require "llsocket.core.libc"
local settings = require "llsocket.cosocket.settings"
local ipairs, jit, getmetatable, select, tostring, type = ipairs, jit, getmetatable, select, tostring, type
local concat, date, getinfo, stderr = table.concat, os.date, debug.getinfo, io.stderr

local NAMES = { [0] = "stderr", "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug" }
local LEVELS = { STDERR = 0, EMERG = 1, ALERT = 2, CRIT = 3, ERR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8 }

local M = { levels = LEVELS }

local function write(level, text)
  if settings.values.log then return settings.values.log(level, text) end
  stderr:write(("%s [%s] %d#0: [lua] %s\n"):format(date "%Y/%m/%d %H:%M:%S", NAMES[level], C.llsocket2_getpid(), text))
end

-- The text of one argument.
local function text_of(value, position)
  local kind = type(value)
  if kind ~= "table" and kind ~= "function" and kind ~= "thread" and kind ~= "cdata" then return tostring(value) end
  local meta = kind == "table" and getmetatable(value)
  if type(meta) == "table" and meta.__tostring then return tostring(value) end
  return settings.refuse(position, "log", ("string, number, boolean, or nil expected, got %s"):format(kind))
end

local function joined(first, ...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = text_of((select(i, ...)), i + first - 1) end
  return concat(parts)
end

-- Where a line of the program stands: the caller of the function that calls this.
local function place()
  local info = getinfo(3, "Sl")
  return info and info.currentline > 0 and ("%s:%d: "):format(info.short_src, info.currentline) or ""
end

--- Writes a line, unless its level is above the setting `log_level`.
---@param level integer
---@param ... any
function M.log(level, ...)
  local number = settings.check_integer(level, 1, "log")
  if number < 0 or number > 8 then settings.refuse(1, "log", "bad log level: " .. number) end
  if number > settings.values.log_level then return end
  local where = place()
  write(number, where .. joined(2, ...))
end

for _, fn in ipairs { joined, M.log } do jit.off(fn) end -- see no_more in settings.lua

--- Writes an error of the library itself.
---@param text string
function M.error(text)
  if LEVELS.ERR <= settings.values.log_level then write(LEVELS.ERR, text) end
end

return M
