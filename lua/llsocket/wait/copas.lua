-- copas.lua -- waits in the threads of Copas, whose loop drives them with select(2).
--
-- Not every version of Copas has timers.  A time-out is noticed when its loop goes round; while a thread waits for a limited
-- time, a timer descriptor makes the loop go round every PRECISION seconds.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local copas = require "copas"
local luasocket = require "socket"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local event = require "llsocket.poll.event"
local sockets = require "llsocket.socket.object"
local lifecycle = require "llsocket.socket.lifecycle"
local waiting = require "llsocket.wait"
local next, pairs, setmetatable, max = next, pairs, setmetatable, math.max

local now = shim.llsocket2_now
local EBADF, EINVAL = const.EBADF, const.EINVAL
local SELECTABLE = luasocket._SETSIZE or 1024
local PRECISION = 0.1

-- The class of the objects that Copas uses like luasocket objects.
local Watch = {}
Watch.__index = Watch

-- watches[fd]: the watches in select, so that close can end them.
local watches = {}

-- common.pair: two sockets, of which one is always readable and writable.  A watch that is over by time or by close shows that
-- one to select, which finds it ready.  Only the waiting threads refer to the pair.
local common = setmetatable({}, { __mode = "v" })

-- sleepers[token]: the watch.  Only the waiting coroutine refers to the token: if the coroutine is dropped, Copas keeps the
-- watch for ever, but the token is collected.
local sleepers = setmetatable({}, { __mode = "k" })

local function make_pair()
  local socks, _, e = lifecycle.pair(const.SOCK_STREAM)
  if not socks then return nil, e end
  common.pair = { ready = socks[1], other = socks[2] }
  socks[2]:send "x"
  return common.pair
end

local function close_pair(pair)
  common.pair = nil
  pair.ready:close()
  pair.other:close()
end

-- Answers the token, or nil and the errno.
local function enter(watch)
  local pair, e = common.pair, nil
  if not pair then pair, e = make_pair() end
  if not pair then return nil, e end
  if max(watch.fd, pair.ready.sd) >= SELECTABLE then
    if not next(sleepers) then close_pair(pair) end
    return nil, EINVAL
  end
  local token = { pair = pair }
  sleepers[token] = watch
  watches[watch.fd] = watches[watch.fd] or setmetatable({}, { __mode = "k" })
  watches[watch.fd][watch] = true
  return token
end

local function leave(watch, token)
  sleepers[token] = nil
  local same = watches[watch.fd]
  if same then same[watch] = nil end
  if same and not next(same) then watches[watch.fd] = nil end
  if not next(sleepers) then close_pair(token.pair) end
end

local function is_late(watch) return watch.at and now() >= watch.at end

--- Answers the descriptor that Copas selects; once the wait is over, one that is always ready.
---@return integer
function Watch:getfd()
  local pair = common.pair
  return pair and (self.answer ~= nil or is_late(self)) and pair.ready.sd or self.fd
end

--- Answers false, because nothing was read ahead.
---@return boolean
function Watch.dirty() return false end

--- Does nothing, because this module keeps the time.
function Watch.settimeout() end

--- Does nothing; Copas calls it for the object that a thread waited for last.
function Watch.close() end

--- Tells whether the wait is over; Copas repeats the call until the answer is no longer "timeout".
---@return true?
---@return string?
function Watch:receive()
  if self.answer == nil then
    local is_ready, _, e = waiting.poll(self.fd, self.direction, 0)
    if is_ready or e then self.answer = is_ready or e
    elseif is_late(self) then self.answer = false end
  end
  if self.answer == nil then return nil, "timeout" end
  return true
end

Watch.connect = Watch.receive

local ticking = false

-- Whether there is a watch whose time is not over yet.  Select finds those whose time is over without a tick.
local function is_wanted()
  for _, watch in pairs(sleepers) do
    if watch.at and not is_late(watch) then return true end
  end
  return false
end

-- Makes the loop go round while there are watches with a limited time.
local function tick(timer)
  local watch = setmetatable({ fd = timer:fd() }, { __index = Watch })
  function watch.receive()
    if timer:read() then return true end
    return nil, "timeout"
  end
  while is_wanted() do copas.receive(watch, 1) end
  ticking = false
  timer:close()
end

local function start_ticking()
  local timer = not ticking and event.timer(PRECISION, PRECISION)
  if not timer then return end
  ticking = true
  copas.addthread(function() tick(timer) end)
end

-- Waits; answers true, false or the errno.
local function sleep(fd, direction, sec)
  local watch = setmetatable({ fd = fd, direction = direction, at = sec and now() + sec }, Watch)
  local token, e = enter(watch)
  if not token then return e end
  if sec then start_ticking() end
  if direction == "r" then copas.receive(watch, 1) else copas.connect(watch) end
  leave(watch, token)
  return watch.answer
end

local M = {}

--- Waits in the calling thread of Copas, while its loop lets others run; outside a coroutine with poll(2).
---@param fd integer  below 1024, the limit of select(2)
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31, noticed within 0.1 s; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed during the wait; EINVAL: a descriptor above select's limit;
---EMFILE
function M.wait(fd, direction, sec)
  if not waiting.sleeper(fd, direction, sec) then return waiting.poll(fd, direction, sec) end
  return waiting.answer(sleep(fd, direction, sec))
end

sockets.before_close(function(object)
  local fd = object.sd -- nil for a poller
  if not watches[fd] then return nil end
  for watch in pairs(watches[fd]) do watch.answer = EBADF end
  watches[fd] = nil
end)

return M
