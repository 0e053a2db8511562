-- link.lua -- a cosocket's connection: which halves are open, and who waits for it.
--
-- A cosocket (tcp.lua) has as `link`:
--   stream                             the connection, a llsocket.stream; nil once it is closed.  Read it once in a call:
--                                      a finaliser may close the cosocket, or put it into the pool, between any two lines
--   read_closed, write_closed          that half has failed
--   is_ended                           the peer has sent its last byte
--   connecting, reading, writing       the coroutine that does so, or false
--   pool, reused                       see pool.lua; how often it came from there
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local log = require "llsocket.cosocket.log"
local pool = require "llsocket.cosocket.pool"
local settings = require "llsocket.cosocket.settings"
local inbox = require "llsocket.stream.inbox"
local const = require "llsocket.core.const"
local waiting = require "llsocket.wait"
local running, status = coroutine.running, coroutine.status

local now, left, values, word = shim.llsocket2_now, waiting.left, settings.values, settings.word
local EINTR = const.EINTR

local M = {}

--- Makes a link that is about to connect.
---@return table link
function M.new()
  return {
    reused = 0, read_closed = false, write_closed = false, is_ended = false, connecting = false, reading = false, writing = false,
  }
end

--- The mark of who is at work.
---@return thread|boolean
function M.me() return running() or true end

--- Tells whether another coroutine is at work.  One that an error has ended is not, nor is the calling one: it has left its call
--- by an error.
---@param mark thread|boolean  what `me` answered there
---@return boolean
local function is_busy(mark)
  if not mark or mark == M.me() then return false end
  return mark == true or status(mark) ~= "dead"
end

M.is_busy = is_busy

--- Tells whether a link has a connection, or another coroutine makes one.
---@param link table?
---@return boolean
function M.is_alive(link) return link ~= nil and (link.stream ~= nil or is_busy(link.connecting)) end

--- Tells what another coroutine does with the link.
---@param link table
---@param reads boolean  whether the caller wants to read
---@param writes boolean
---@return string? word
function M.busy(link, reads, writes)
  if is_busy(link.connecting) then return "socket busy connecting" end
  if reads and is_busy(link.reading) then return "socket busy reading" end
  if writes and is_busy(link.writing) then return "socket busy writing" end
end

--- Closes the connection.
---@param link table
function M.finish(link)
  link.read_closed, link.write_closed = true, true
  local s = link.stream
  link.stream = nil
  if s then s:close() end
  pool.leave(link)
end

--- Answers the link of a cosocket whose half is open, and its stream; else nil, a word.
---@param sock table
---@param half "read_closed"|"write_closed"
---@param what string  for the log
---@return table? link
---@return llsocket.stream|string s_or_err
function M.open(sock, half, what)
  local link = sock.link
  if not M.is_alive(link) or link[half] then
    if values.log_errors then log.error(("attempt to %s data on a closed socket"):format(what)) end
    return nil, "closed"
  end
  local busy = M.busy(link, half == "read_closed", half == "write_closed")
  if busy then return nil, busy end
  local s = link.stream
  if not s then return nil, "closed" end
  return link, s
end

--- The time limit of a cosocket in milliseconds.
---@param sock table
---@param name "connect_timeout"|"send_timeout"|"read_timeout"
---@return integer
function M.limit(sock, name)
  local ms = sock[name]
  if ms and ms > 0 then return ms end
  return values[name]
end

-- Waits until bytes are there; answers nil and a word where none are.
local function await(s, at)
  inbox.shrink(s)
  local ready, err, e = s.sock:recvable(left(at))
  if ready or e == EINTR then return true end
  if ready == false then return nil, "timeout" end
  return nil, e and word(e, false) or err
end

-- Receives what is there.  Do not use the stream's deadline: another coroutine may be sending under its own.
local function receive(s, at)
  while true do
    local n, err, again, e = inbox.once(s)
    if n and n > 0 then return true end
    if not (n or again) then return nil, e and word(e, false) or err end
    if e ~= EINTR then
      local ready, why = await(s, at)
      if not ready then return nil, why end
    end
  end
end

--- Receives what is there, waiting where nothing is.
---@param sock table
---@param link table
---@return boolean? arrived  nil and no word at the end
---@return string? err
function M.fill(sock, link)
  if link.is_ended then return nil end
  local s = link.stream
  if not s then return nil, "closed" end
  link.reading = M.me()
  local arrived, err = receive(s, now() + M.limit(sock, "read_timeout") / 1000)
  link.reading = false
  if not (arrived or err) then link.is_ended = true end
  return arrived, err
end

--- Answers a read that failed; only a time limit leaves the socket open.
---@param link table
---@param err string?  nil at the end
---@param partial string
---@return nil
---@return string err
---@return string partial
function M.failed(link, err, partial)
  if err ~= "timeout" then link.read_closed = true end
  if err and err ~= "timeout" and values.log_errors then log.error(err) end
  return nil, err or "closed", partial
end

return M
