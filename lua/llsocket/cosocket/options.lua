-- options.lua -- a cosocket's options.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local texts = require("llsocket.core.failure").texts
local socket = require "llsocket.socket"
local tonumber, tostring, type = tonumber, tostring, type

local ROWS = {
  keepalive = { const.SOL_SOCKET, const.SO_KEEPALIVE }, reuseaddr = { const.SOL_SOCKET, const.SO_REUSEADDR },
  ["tcp-nodelay"] = { const.IPPROTO_TCP, const.TCP_NODELAY },
  sndbuf = { const.SOL_SOCKET, const.SO_SNDBUF }, rcvbuf = { const.SOL_SOCKET, const.SO_RCVBUF },
}

-- Answers the socket and the option's row; nil, a word.
local function find(self, option)
  if type(self) ~= "table" or not self.link then check.raise "socket is never created nor connected" end
  if type(option) == "nil" then return nil, 'missing the "option" argument' end
  local row = ROWS[option]
  if not row then return nil, "unsupported option " .. tostring(option) end
  local s = self.link.stream
  if not s then return nil, "closed" end
  if s.direct then return s.sock, row end
  return socket.wrap(s.sock.conn:getfd(), { own = false }), row
end

---@class llsocket.cosocket.tcp
local Tcp = {}

--- Sets an option.
---@param option "keepalive"|"reuseaddr"|"tcp-nodelay"|"sndbuf"|"rcvbuf"
---@param value boolean|integer
---@return boolean? done  true
---@return string? err  "closed", "unsupported option ..."
function Tcp:setoption(option, value)
  if type(value) == "nil" and type(option) ~= "nil" and type(self) == "table" and self.link then
    return nil, 'missing the "value" argument'
  end
  local sock, row = find(self, option)
  if not sock then return nil, row end
  if type(value) == "boolean" then value = value and 1 or 0 end
  local number = tonumber(value)
  if not number then check.bad(2, "setoption", "number", value) end
  local done, _, e = sock:setsockopt(row[1], row[2], "int", number)
  if done == nil then return nil, texts[e] end
  return true
end

--- Reads an option.
---@param option "keepalive"|"reuseaddr"|"tcp-nodelay"|"sndbuf"|"rcvbuf"
---@return integer? value
---@return string? err  "closed", "unsupported option ..."
function Tcp:getoption(option)
  local sock, row = find(self, option)
  if not sock then return nil, row end
  local value, _, e = sock:getsockopt(row[1], row[2], "int")
  if value == nil then return nil, texts[e] end
  return value
end

return { methods = Tcp }
