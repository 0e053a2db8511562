-- sending.lua -- sends on a cosocket.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local data = require "llsocket.cosocket.data"
local links = require "llsocket.cosocket.link"
local log = require "llsocket.cosocket.log"
local settings = require "llsocket.cosocket.settings"
require "llsocket.stream.writing"

local now, values, ETIMEDOUT = shim.llsocket2_now, settings.values, const.ETIMEDOUT

-- Sends all; the time limit is one of standing still.  Answers the word of an error.
local function write(sock, link, msg)
  local s = link.stream
  if not s then return "closed" end -- by a finaliser, while the bytes were joined
  repeat
    s.at = now() + links.limit(sock, "send_timeout") / 1000
    local done, _, e, taken = s:write(msg)
    if done then return nil end
    local late = now() >= s.at
    if not (e == ETIMEDOUT and late and taken > 0) then return settings.word(e, late) end
    msg = msg:sub(taken + 1)
  until false
end

local function failed(link, err)
  link.write_closed = true
  if values.log_errors then log.error(err) end
  return nil, err
end

---@class llsocket.cosocket.tcp
local Tcp = {}

--- Sends all of a string, a number, or a nested list of them.
---@param value any
---@param extra? any  raises
---@return integer? bytes
---@return string? err  "timeout", "closed", "broken pipe", "connection reset by peer"; "socket busy writing"
function Tcp:send(value, extra)
  settings.no_more(extra, "expecting 2 arguments (including the object), but got %d", 3)
  settings.self(self, "send")
  local link, err = links.open(self, "write_closed", "send")
  if not link then return nil, err end
  local msg = data.bytes(value, "send")
  if msg == "" then return 0 end
  link.writing = links.me()
  local why = write(self, link, msg)
  link.writing = false
  if why then return failed(link, why) end
  return #msg
end

return { methods = Tcp }
