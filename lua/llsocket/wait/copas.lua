-- copas.lua -- waits in the threads of Copas, whose loop drives them with select(2).
--
-- While a thread waits for a limited time, a thread of this module looks for time-outs every PRECISION seconds.  It pauses where
-- Copas has timers, since version 2; in an older one it waits for a timer descriptor.
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
local crowds = require "llsocket.wait.crowd"
local pairs, rawequal, setmetatable, max = pairs, rawequal, setmetatable, math.max

local now = shim.llsocket2_now
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local EBADF, EINVAL = const.EBADF, const.EINVAL
local SELECTABLE = luasocket._SETSIZE or 1024
local PRECISION = 0.1

-- The objects that Copas uses like luasocket objects: one for each thread that waits, and used again after its wait.  They have
-- no method `dirty`: select would call it for each object each time.
--   fd, at    what is waited for, and until when
--   closed    the descriptor was closed
--   is_late   the time has run out
--   is_unclocked  nobody looks for that but select, when the loop goes round
--   pair      two sockets, of which one is always readable and writable; `number` is its descriptor.  A watch that is over by
--             time or by close shows that one to select, which finds it ready
local Watch = {}
Watch.__index = Watch

local crowd = crowds.new(function() return setmetatable({}, Watch) end)

-- common.pair: the pair.  Only waiting threads refer to it: where none waits the collector closes it.
local common = setmetatable({}, { __mode = "v" })

-- Those of the watches whose time is limited and has not run out.
local timed = setmetatable({}, { __mode = "k" })

local function make_pair()
  local socks, _, e = lifecycle.pair(const.SOCK_STREAM)
  if not socks then return nil, e end
  socks[2]:send "x"
  common.pair = { ready = socks[1], other = socks[2], number = socks[1].sd }
  return common.pair
end

-- Answers the pair; nil and the errno where there is none, or where select cannot take it or the descriptor.
local function selectable(fd)
  local pair, e = common.pair, nil
  if not pair then pair, e = make_pair() end
  if not pair then return nil, e end
  if max(fd, pair.number) < SELECTABLE then return pair end
  if pair.number >= SELECTABLE then -- the next may have lower numbers
    common.pair = nil
    pair.ready:close()
    pair.other:close()
  end
  return nil, EINVAL
end

--- Answers the descriptor that Copas selects; once the wait is over, one that is always ready.
---@return integer
function Watch:getfd()
  if self.is_unclocked and now() >= self.at then self.is_late = true end
  if self.closed or self.is_late then return self.pair.number end
  return self.fd
end

--- Does nothing; Copas calls it before a connect.
function Watch.settimeout() end

--- Does nothing; Copas calls it for the object that a thread waited for last.
function Watch.close() end

--- Answers "timeout", so that Copas puts the thread into a queue.
---@return nil
---@return string
function Watch.receive() return nil, "timeout" end

Watch.connect = Watch.receive

-- Answers the queue into which a function of Copas puts a thread: a thread yields an object and its queue.  To yield these from
-- here, and not by that function, is cheaper, and spares the watch what Copas does to a thread that waits for more than two
-- minutes: it continues it.  A thread of a newer Copas may pause before.
local function queue_of(wait)
  local probe = setmetatable({}, Watch)
  local co = create(wait)
  local ok, object, queue = resume(co, probe, 1)
  while ok and not rawequal(object, probe) do ok, object, queue = resume(co) end
  function probe.receive() return 1 end
  probe.connect = probe.receive
  while resume(co) do end -- it takes back what it noted about the probe
  return queue
end

local QUEUES = { r = queue_of(copas.receive), w = queue_of(copas.connect) }

-- Do not believe anybody but Copas, which continues a thread with the object that it waited for.
local function pause(watch, direction)
  local queue = QUEUES[direction]
  repeat until rawequal(yield(watch, queue), watch)
end

-- Notes whose time has run out, which the next select finds ready; answers whether there are others.
local function look()
  local time, more = now(), false
  for watch in pairs(timed) do
    if time >= watch.at then watch.is_late, timed[watch] = true, nil else more = true end
  end
  return more
end

-- Answers functions to wait for PRECISION seconds, and to end that; nothing where there is no descriptor for a timer.
local function clock()
  if copas.pause then return function() copas.pause(PRECISION) end, function() end end
  local timer = event.timer(PRECISION, PRECISION)
  if not timer then return end
  local watch = setmetatable({ fd = timer:fd() }, Watch)
  return function()
    pause(watch, "r")
    timer:read()
  end, function() timer:close() end
end

local is_looking = false

-- Answers whether somebody looks now.
local function start_looking()
  local tick, stop = clock()
  if not tick then return false end
  is_looking = true
  copas.addthread(function()
    while look() do tick() end
    is_looking = false
    stop()
  end)
  return true
end

local function set_time(watch, sec)
  watch.at, timed[watch] = now() + sec, true
  watch.is_unclocked = not (is_looking or start_looking())
end

-- Whether the wait ended well: select found the descriptor ready, or the pair.  Answers true, false or the errno.
local function result(watch, fd, direction)
  if watch.closed then return EBADF end
  if not watch.is_late then return true end
  local is_ready, _, e = waiting.poll(fd, direction, 0)
  return e or is_ready
end

local function leave(fd, watch)
  if watch.at then watch.at, watch.is_late, watch.is_unclocked, timed[watch] = nil, nil, nil, nil end
  watch.pair = nil
  crowd:leave(fd, watch)
end

-- How many waits in a row found their descriptor ready.  Like Copas, do not let the others run then: a round of its loop costs
-- more than ten such waits.  But let them run now and then, or a thread whose peer is fast could starve them.
local streak, LONGEST_STREAK = 0, 10

-- Waits; answers true, false or the errno.  Call poll(2) first: a number that is not open would end the loop of Copas.
local function sleep(fd, direction, sec)
  local is_ready, _, why = waiting.poll(fd, direction, 0)
  if why then return why end
  streak = is_ready and streak + 1 or 0
  if is_ready and streak < LONGEST_STREAK then return true end
  local pair, e = selectable(fd)
  if not pair then return is_ready or e end
  streak = 0
  local watch = crowd:enter(fd)
  watch.fd, watch.pair = fd, pair
  if sec then set_time(watch, sec) end
  pause(watch, direction)
  local answer = result(watch, fd, direction)
  leave(fd, watch)
  return answer
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

sockets.before_close(function(object) crowd:close(object.sd) end) -- sd is nil for a poller

waiting.note_foreign(M.wait)

return M
