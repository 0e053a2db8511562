-- reading.lua -- what a stream reads: a line, exactly n bytes, some, all.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local failed = require("llsocket.core.failure").failed
local inbox = require "llsocket.stream.inbox"
local streams = require "llsocket.stream.object"
local type, min = type, math.min

local receive, cut, held_by, line_feed, is_self = inbox.receive, inbox.cut, inbox.count, inbox.line_feed, streams.self
local EBADF, EINVAL, EMSGSIZE = const.EBADF, const.EINVAL, const.EMSGSIZE
local CARRIAGE_RETURN = 13

---@class llsocket.stream
local Stream = streams.methods

-- Answers a count that a caller gave, `default` where it gave none, or nil for an impossible one.
local function count(n, least, default, method)
  if type(n) == "nil" then return default end
  if check.int(n, 1, method) and n >= least then return n end
end

-- Whether the bytes before the line feed, or all where none came yet, are more than `max`.  One more may be a carriage return.
local function is_too_long(s, n, max)
  return n > max + 1 or n == max + 1 and s.block[s.first + max] ~= CARRIAGE_RETURN
end

-- Takes the line of `n` bytes, without its line end.
local function take_line(s, n)
  if n > 0 and s.block[s.first + n - 1] == CARRIAGE_RETURN then return cut(s, n - 1, 2) end
  return cut(s, n, 1)
end

-- Answers what a read answers where no more comes: the bytes that are left, or no values.
local function rest(s)
  local held = held_by(s)
  if held > 0 then return cut(s, held) end
end

--- Reads a line.  Its end, LF or CRLF, is not in the answer.  A last line without an end is a line, too.
---@param max? integer  most bytes without the end, 1 to 2^31-1; the default is 65,536
---@return string? line  no values at all at the end
---@return string? err
---@return integer? errno  EMSGSIZE: longer than max, ETIMEDOUT: the next read finds all that arrived; ECONNRESET, ECANCELED;
---EINVAL; EBADF once closed
function Stream:line(max)
  is_self(self, "line")
  max = count(max, 1, 65536, "line")
  if not max then return failed(EINVAL) end
  if self.is_closed then return failed(EBADF) end
  local searched, more = 0, false
  while true do
    local n = line_feed(self, searched)
    searched = held_by(self)
    if is_too_long(self, n or searched, max) then return failed(EMSGSIZE) end
    if n then return take_line(self, n) end
    local arrived, err, e = receive(self, more)
    if e then return nil, err, e end
    more = true
    if not arrived then
      if searched > max then return failed(EMSGSIZE) end
      return rest(self)
    end
  end
end

local function next_line(s) return s:line() end

--- Walks over the lines up to the end, or to an error, which only line() tells.
---@return function iterator
---@return llsocket.stream s
function Stream:lines()
  is_self(self, "lines")
  return next_line, self
end

--- Reads n bytes.  When the end comes before them it answers no values, and some() and all() still have what came.
---@param n integer  0 to 2^31-1
---@return string? bytes  no values at all at the end
---@return string? err
---@return integer? errno  ETIMEDOUT: the next read finds all that arrived; ECONNRESET, ECANCELED, ENOMEM; EMSGSIZE: more
---than 1 GiB would be held; EINVAL; EBADF once closed
function Stream:exactly(n)
  is_self(self, "exactly")
  check.number(n, 1, "exactly")
  if not count(n, 0, nil, "exactly") then return failed(EINVAL) end
  if self.is_closed then return failed(EBADF) end
  if n == 0 then return "" end
  local more = false
  while held_by(self) < n do
    local arrived, err, e = receive(self, more)
    if e then return nil, err, e end
    if not arrived then return end
    more = true
  end
  return cut(self, n)
end

--- Reads what is there, waiting only where nothing is.
---@param max? integer  most bytes, 1 to 2^31-1; the default is no limit
---@return string? bytes  no values at all at the end
---@return string? err
---@return integer? errno  ETIMEDOUT, ECONNRESET, ECANCELED; EINVAL; EBADF once closed
function Stream:some(max)
  is_self(self, "some")
  max = count(max, 1, 2^31, "some")
  if not max then return failed(EINVAL) end
  if self.is_closed then return failed(EBADF) end
  if held_by(self) == 0 then
    local arrived, err, e = receive(self, false)
    if e then return nil, err, e end
    if not arrived then return end
  end
  return cut(self, min(held_by(self), max))
end

--- Reads everything up to the end.
---@param max? integer  most bytes, 1 to 2^31-1; the default is no limit
---@return string? bytes  no values at all where nothing was left
---@return string? err
---@return integer? errno  EMSGSIZE: more than max came, ETIMEDOUT: the next read finds all that arrived; ECONNRESET,
---ECANCELED, ENOMEM; EINVAL; EBADF once closed
function Stream:all(max)
  is_self(self, "all")
  max = count(max, 1, 2^31, "all")
  if not max then return failed(EINVAL) end
  if self.is_closed then return failed(EBADF) end
  local more = false
  while true do
    if held_by(self) > max then return failed(EMSGSIZE) end
    local arrived, err, e = receive(self, more)
    if e then return nil, err, e end
    if not arrived then return rest(self) end
    more = true
  end
end

return { methods = Stream }
