-- pool.lua -- idle connections by name, and how many a name may have.
--
-- A pool:
--   size, backlog  as connect was told; without a backlog there is no limit
--   idle           the connections that nobody uses, the one used last at the end: { stream =, reused =, at = }
--   busy           those in use, or under way: weak, so that one that is dropped without close gives its place back
--   waiting        who waits for a place, and since when: weak likewise
-- Nothing here runs by itself: what has expired, or was closed by its peer, is closed by the next call that looks.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local forks = require("llsocket.core.forks").counter
local settings = require "llsocket.cosocket.settings"
local socket = require "llsocket.socket"
local waiting = require "llsocket.wait"
local wakers = require "llsocket.poll.waker"
local jit, next, pairs, setmetatable, remove = jit, next, pairs, setmetatable, table.remove
local max, min, huge = math.max, math.min, math.huge

jit.off(true, true) -- LuaJIT of 2022 compiles next() so that a walk may end early, and a count is too small

local now, values = shim.llsocket2_now, settings.values
local MSG_PEEK = const.MSG_PEEK
local LOOK = 1 -- seconds until one that waits looks itself: a connection was dropped, and the collector has found it
local WEAK_KEYS = { __mode = "k" }

local pools, turn = {}, 0
local due = huge -- when the first idle connection expires, or earlier
local born = forks[0] -- a forked child must not use its parent's connections

local M = {}

-- Closes a forked child's copy of a connection.  TLS would send its good-bye on the parent's: without the descriptor it cannot.
local function disown(s)
  local plain = not s.direct and socket.wrap(s.sock.conn:getfd())
  if plain then plain:close() end
  s:close()
end

local function close_all()
  for _, pool in pairs(pools) do
    for _, item in pairs(pool.idle) do disown(item.stream) end
  end
  pools, due, born = {}, huge, forks[0]
end

local function of(key)
  if born ~= forks[0] then close_all() end
  return pools[key]
end

local function count(set)
  local n = 0
  for _ in next, set do n = n + 1 end
  return n
end

local function open(pool) return #pool.idle + count(pool.busy) end

local function total(pool) return open(pool) + count(pool.waiting) end

-- Tells what came from an idle connection: nil while nothing did, "closed", or true for bytes.
local function came(s)
  local msg, err, again
  if s.direct then msg, err, again = s.sock:recv(1, MSG_PEEK) else msg, err, again = s.sock:recv(1) end
  if again then return nil end
  return msg ~= nil or not err and "closed" or true
end

local function wake_one(pool)
  local first
  for waiter, since in next, pool.waiting do
    if not first or since < pool.waiting[first] then first = waiter end
  end
  if not first then return end
  pool.waiting[first], pool.busy[first], first.is_called = nil, true, true
  first.item = remove(pool.idle) -- now: another connect may come before it runs, and both would have a connection
  wakers.wake(first.bell)
end

-- A pool that has no connection is forgotten, so that the next may have another size.
local function settle(pool)
  if total(pool) == 0 and pools[pool.key] == pool then pools[pool.key] = nil else wake_one(pool) end
end

local function is_over(item, t) return item.at and item.at <= t or came(item.stream) ~= nil end

local function sweep_one(pool, t)
  for i = #pool.idle, 1, -1 do
    local item = pool.idle[i]
    if is_over(item, t) then
      remove(pool.idle, i)
      item.stream:close()
      settle(pool)
    elseif item.at then
      due = min(due, item.at)
    end
  end
end

--- Closes the idle connections whose time is over, or that their peers have closed.
---@return integer idle  how many are left
function M.sweep()
  local n = 0
  due = huge
  if born ~= forks[0] then close_all() end
  for _, pool in pairs(pools) do
    sweep_one(pool, now())
    n = n + #pool.idle
    if total(pool) == 0 then pools[pool.key] = nil end -- its last connection was dropped
  end
  return n
end

--- Closes all idle connections, at once.
---@return integer closed  how many there were
function M.drain()
  local n = 0
  if born ~= forks[0] then close_all() end
  for _, pool in pairs(pools) do
    for _ = 1, #pool.idle do
      remove(pool.idle).stream:close()
      n = n + 1
      settle(pool)
    end
  end
  return n
end

local function sweep_if_due()
  if now() >= due then M.sweep() end
end

--- Answers the pool of a name.
---@param key string
---@param size? integer  makes the pool where there is none
---@param backlog? integer
---@return table? pool
function M.get(key, size, backlog)
  local pool = of(key)
  if pool or not size then return pool end
  local made = { key = key, size = size, backlog = backlog, idle = {} }
  made.busy, made.waiting = setmetatable({}, WEAK_KEYS), setmetatable({}, WEAK_KEYS)
  pool = of(key) -- a finaliser may have made it just now
  if pool then return pool end
  pools[key] = made
  return made
end

-- Takes the idle connection that was used last, or the one that was handed over; those that ended meanwhile are closed.
local function take(pool, handed)
  local t, item = now(), handed or remove(pool.idle)
  while item do
    if not is_over(item, t) then return item end
    item.stream:close()
    item = remove(pool.idle)
  end
end

-- Waits for a place; answers true and perhaps an idle connection, or nil and a word.
local function queue(pool, sec)
  local bell = wakers.new()
  if not bell then return nil, "no memory" end
  turn = turn + 1
  local waiter, at = { bell = bell }, now() + sec
  pool.waiting[waiter] = turn
  while not waiter.is_called do
    local left = waiting.left(at)
    if left == 0 then break end
    local _, _, e = waiting.wait(bell.sd, "r", min(left, LOOK))
    if e == const.ECANCELED then break end
    if open(pool) < pool.size then wake_one(pool) end
  end
  pool.waiting[waiter], pool.busy[waiter] = nil, nil
  wakers.close(bell)
  if waiter.is_called then return true, waiter.item end
  return nil, "timeout"
end

--- Enters a connection that is about to be made: takes an idle one where there is, else waits for a place.
---@param pool table
---@param link table  is busy from now on
---@param sec number  seconds to wait for a place
---@return table? item  an idle connection
---@return string? err  false: connect; a word: no place
function M.enter(pool, link, sec)
  sweep_if_due()
  local item = take(pool)
  if not item and pool.backlog then
    local n = total(pool) + 1
    if n > pool.size + pool.backlog then return nil, "too many waiting connect operations" end
    if n > pool.size then
      local called, other = queue(pool, sec)
      if not called then return nil, other end
      item = take(pool, other)
    end
  end
  pools[pool.key], pool.busy[link] = pools[pool.key] or pool, true
  return item, false
end

--- Tells that a connection is over, or could not be made.
---@param link table
function M.leave(link)
  local pool = link.pool
  if not (pool and pool.busy[link]) then return end
  pool.busy[link] = nil
  settle(pool)
end

-- Moves the link's stream into the pool; answers false where a finaliser has closed it or kept it meanwhile.
local function put(pool, link, s, ms)
  local at = ms > 0 and now() + ms / 1000 or nil
  local item = { stream = s, reused = link.reused, at = at }
  if link.stream ~= s then return false end
  link.stream = nil
  if #pool.idle >= pool.size then remove(pool.idle, 1).stream:close() end
  if link.pool then link.pool.busy[link] = nil end
  pool.idle[#pool.idle + 1] = item
  due = min(due, at or huge)
  return true
end

--- Keeps a connection for later.
---@param key string
---@param link table  its stream holds no bytes
---@param ms integer  milliseconds until it is closed; 0 is no limit
---@param size integer  of the pool, where it is to be made
---@return boolean? kept
---@return string? err  "closed": it is still the caller's; "connection in dubious state": it was closed
function M.keep(key, link, ms, size)
  local s = link.stream
  if not s then return nil, "closed" end
  local what = came(s)
  if what == "closed" then return nil, what end
  if what then return nil, "connection in dubious state" end
  sweep_if_due()
  local pool = M.get(key, size)
  local kept = put(pool, link, s, ms)
  settle(pool)
  if not kept then return nil, "closed" end
  return true
end

--- Closes idle connections as their times run out, and as their peers close them; ends once there is none left.
--- For a coroutine of its own.  Looks once a second.
function M.watch()
  while M.sweep() > 0 do
    local bell = wakers.new() -- nobody rings it
    if not bell then return end
    waiting.wait(bell.sd, "r", max(min(due - now(), LOOK), 0.001))
    wakers.close(bell)
  end
end

--- The settings' size of a pool.
---@return integer
function M.usual_size() return values.pool_size end

return M
