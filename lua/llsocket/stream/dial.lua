-- dial.lua -- connects to the first of several addresses that answers, after RFC 8305.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local failed = require("llsocket.core.failure").failed
local socket = require "llsocket.socket"
local poll = require "llsocket.poll"
local waiting = require "llsocket.wait"
local ipairs, pairs, max, min = ipairs, pairs, math.max, math.min

local now, left = shim.llsocket2_now, waiting.left
local AF_INET6 = const.AF_INET6
local EAGAIN, EBADF, EINTR, ETIMEDOUT = const.EAGAIN, const.EBADF, const.EINTR, const.ETIMEDOUT
local MOST_VAIN = 100 -- looks in a row that a ready poller finds nothing for
local DELAY = 0.25 -- seconds until the next attempt; RFC 8305, 5

local M = {}

-- IPv6 first, then one of each family in turn; within a family the order stays.
local function interleaved(list)
  local six, others, out = {}, {}, {}
  for _, ai in ipairs(list) do
    local same = ai:family() == AF_INET6 and six or others
    same[#same + 1] = ai
  end
  for i = 1, max(#six, #others) do
    out[#out + 1] = six[i]
    out[#out + 1] = others[i]
  end
  return out
end

-- Begins to connect; answers the socket and whether it is connected already, or nil, text, errno.
local function begin(ai)
  local sock, err, e = socket.new(ai, true)
  if not sock then return nil, err, e end
  local why, again, no = sock:connect()
  if not no then return sock, true end
  if again and no ~= EAGAIN then return sock, false end -- EAGAIN: a unix socket's backlog is full, nothing is under way
  sock:close()
  return nil, why, no
end

-- Answers whether a connection that was under way is made: the socket, or nil, text, errno.
local function finished(sock)
  local e, err, no = sock:error()
  if e == 0 then return sock end
  sock:close()
  if no then return nil, err, no end
  return failed(e)
end

-- Connects to one address.
local function alone(ai, at)
  local sock, done, e = begin(ai)
  if not sock or done == true then return sock, not sock and done or nil, e end
  local ready, err, no
  repeat ready, err, no = sock:sendable(left(at)) until no ~= EINTR
  if ready then return finished(sock) end
  sock:close()
  if no then return nil, err, no end
  return failed(ETIMEDOUT)
end

-- Waits for a while, in whatever way of waiting is set.
local function pause(sec)
  local timer, why, e = poll.timer(sec)
  if not timer then return nil, why, e end
  local ready, err, no = waiting.wait(timer:fd(), "r")
  timer:close()
  return ready, err, no
end

-- Connects to a unix path.  Where the backlog is full, it asks again, at first after 1 ms.
local function patiently(ai, at)
  local delay = 0.001
  while true do
    local sock, err, e = alone(ai, at)
    if sock or e ~= EAGAIN then return sock, err, e end
    if at and now() + delay > at then return failed(ETIMEDOUT) end
    local slept, why, no = pause(delay)
    if not slept and no ~= EINTR then return nil, why, no end
    delay = min(delay * 2, 0.05)
  end
end

-- A race is attempts to connect that are under way at the same time:
--   list, next   the addresses, and which one is tried next
--   poller       tells which attempt has ended
--   socks, n     the attempts under way: a set, and how many
--   due          when the next attempt begins
--   err, errno   the last error

-- Begins the next attempt; answers the socket where it is connected at once.
local function start_next(race)
  local ai = race.list[race.next]
  race.next, race.due = race.next + 1, now() + DELAY
  local sock, done, e = begin(ai)
  if sock and done then return sock end
  if sock then
    local added, err, no = race.poller:add(sock, "w")
    if added then
      race.socks[sock], race.n = true, race.n + 1
      return
    end
    sock:close()
    done, e = err, no
  end
  race.err, race.errno, race.due = done, e, 0
end

-- Looks which attempts have ended; answers the first that is connected.  After a failure the next one begins at once.  Events
-- that are of no attempt would come without end, so they end the race.
local function look(race)
  local n, err, e = race.poller:wait(0)
  if not n then
    race.err, race.errno = err, e
    return nil, e ~= EINTR
  end
  race.vain = race.ready and race.vain + 1 or 0
  for i = 1, n do
    local sock = race.poller:event(i)
    if sock and race.socks[sock] then
      race.vain = 0
      race.socks[sock], race.n = nil, race.n - 1
      race.poller:remove(sock)
      local won, why, no = finished(sock)
      if won then return won end
      race.err, race.errno, race.due = why, no, 0
    end
  end
  return nil, race.vain > MOST_VAIN
end

-- Waits until an attempt ends, the next one is due, or the time has run out; answers true, or nil, text, errno.
local function wait_for(race, at)
  local due = race.next <= #race.list and race.due or nil
  local limit = due and (at and min(due, at) or due) or at
  local ready, err, e = waiting.wait(race.poller:fd(), "r", left(limit))
  if ready == nil and e ~= EINTR then return nil, err, e end
  race.ready = ready
  if not ready and at and now() >= at then return failed(ETIMEDOUT) end
  return true
end

local function run(race, at)
  while true do
    if race.next <= #race.list and (race.n == 0 or now() >= race.due) then
      local sock = start_next(race)
      if sock then return sock end
    elseif race.n == 0 then
      return nil, race.err, race.errno
    else
      local ok, err, e = wait_for(race, at)
      if not ok then return nil, err, e end
      local sock, is_lost = look(race)
      if sock then return sock end
      if is_lost then return failed(EBADF) end
    end
  end
end

-- Closes the attempts that lost.
local function finish(race, sock, err, e)
  for loser in pairs(race.socks) do loser:close() end
  race.poller:close()
  return sock, err, e
end

local function race(list, at)
  local poller, err, e = poll.new()
  if not poller then return nil, err, e end
  local contest = { list = interleaved(list), next = 1, poller = poller, socks = {}, n = 0, due = 0, vain = 0 }
  return finish(contest, run(contest, at))
end

-- Where the system's poller has no descriptor to wait for, one address is tried after the other, each for its share of the time.
local function one_by_one(list, at)
  local err, e
  for i, ai in ipairs(interleaved(list)) do
    local sock
    sock, err, e = alone(ai, at and now() + left(at) / (#list - i + 1))
    if sock then return sock end
  end
  return nil, err, e
end

--- Connects to one of several addresses.
---@param list llsocket.addrinfo[]  one or more
---@param at? number  until when
---@return llsocket.socket? sock  non-blocking
---@return string? err  of the last attempt
---@return integer? errno
function M.dial(list, at)
  if #list == 1 then return patiently(list[1], at) end
  return (const.EPOLLIN and race or const.EV_ADD and race or one_by_one)(list, at)
end

return M
