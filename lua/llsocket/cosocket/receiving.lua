-- receiving.lua -- what a cosocket reads: a line, a number of bytes, all, or what is there.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local links = require "llsocket.cosocket.link"
local settings = require "llsocket.cosocket.settings"
local inbox = require "llsocket.stream.inbox"
local type, min = type, math.min

local fill, failed, cut = links.fill, links.failed, inbox.cut
local line_feed, held = inbox.line_feed, inbox.count

local M = {}

--- Takes all that is held, also after a close.
---@param s llsocket.stream?
---@return string
local function rest(s)
  local n = s and held(s) or 0
  return n > 0 and cut(s, n) or ""
end

M.rest = rest

-- nginx drops each carriage return, wherever it stands.
local function clean(text)
  if text:find("\r", 1, true) then return (text:gsub("\r", "")) end
  return text
end

--- Cuts n bytes, which may be none, and drops some behind them.
---@param s llsocket.stream
---@param n integer
---@param skip integer
---@return string
local function take(s, n, skip)
  if n + skip == 0 then return "" end
  return cut(s, n, skip)
end

M.take = take

local function line(sock, link, s)
  local searched = 0
  while true do
    local n = line_feed(s, searched)
    if n then return clean(take(s, n, 1)) end
    searched = held(s)
    local arrived, err = fill(sock, link)
    if not arrived then return failed(link, err, clean(rest(s))) end
  end
end

local function all(sock, link, s)
  while true do
    local arrived, err = fill(sock, link)
    if err then return failed(link, err, rest(s)) end
    if not arrived then return rest(s) end
  end
end

local function exactly(sock, link, s, n)
  while held(s) < n do
    local arrived, err = fill(sock, link)
    if not arrived then return failed(link, err, rest(s)) end
  end
  return cut(s, n)
end

local function any(sock, link, s, most)
  if held(s) == 0 then
    local arrived, err = fill(sock, link)
    if not arrived then return failed(link, err, "") end
  end
  return cut(s, min(held(s), most))
end

local PATTERNS = { ["*l"] = line, ["*a"] = all }

-- Answers what a pattern asks for, or a size; raises for others.
local function asked(pattern)
  local size = settings.integer(pattern)
  if size then
    if size < 0 then settings.refuse(1, "receive", "bad number argument") end
    return exactly, size
  end
  if type(pattern) ~= "string" then settings.refuse(1, "receive", "bad argument") end
  if PATTERNS[pattern] then return PATTERNS[pattern] end
  local is_odd = #pattern ~= 2 or pattern:sub(1, 1) ~= "*"
  return settings.refuse(1, "receive", is_odd and "bad pattern argument: " .. pattern:match "^%Z*" or "bad pattern argument")
end

---@class llsocket.cosocket.tcp
local Tcp = {}

--- Reads a line, a number of bytes, or all up to the end.
---@param what? string|number  "*l" (the default), "*a", or how many bytes
---@param extra? any  raises
---@return string? data
---@return string? err  "timeout", which leaves the socket open; "closed", "connection reset by peer"; "socket busy reading"
---@return string? partial  what came before the error
function Tcp:receive(what, extra)
  settings.no_more(extra, "expecting 1 or 2 arguments (including the object), but got %d", 3)
  settings.self(self, "receive")
  local link, s = links.open(self, "read_closed", "receive")
  if not link then return nil, s end
  if type(what) == "nil" then return line(self, link, s) end
  local read, size = asked(what)
  if size == 0 then return "" end
  return read(self, link, s, size)
end

--- Reads what is there, waiting only where nothing is.
---@param max number  most bytes
---@param extra? any  raises
---@return string? data
---@return string? err  as receive's
---@return string? partial  ""
function Tcp:receiveany(max, extra)
  settings.no_more(extra, "expecting 2 arguments (including the object), but got %d", 3)
  settings.self(self, "receiveany")
  local link, s = links.open(self, "read_closed", "receive")
  if not link then return nil, s end
  local most = settings.integer(max)
  if not most or most <= 0 then settings.refuse(1, "receiveany", "bad max argument") end
  return any(self, link, s, most)
end

M.methods = Tcp
return M
