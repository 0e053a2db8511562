-- copas.lua -- waits in the threads of Copas, whose loop drives them with select(2).
--
-- Copas has no timers of its own everywhere.  A time-out is noticed when its loop goes round, and while somebody waits
-- for a limited time a timer makes it go round every PRECISION.
local ffi = require "ffi"
local copas = require "copas"
local luasocket = require "socket"
local shim = require "llsocket.shim"
local const = require "llsocket.const"
local event = require "llsocket.event"
local handle = require "llsocket.handle"
local owner = require "llsocket.owner"
local waiting = require "llsocket.wait"
local next, pairs, setmetatable, max = next, pairs, setmetatable, math.max

ffi.cdef "double llsocket2_now(void);"

local now = shim.llsocket2_now
local EBADF, EINVAL = const.EBADF, const.EINVAL
local SELECTABLE = luasocket._SETSIZE or 1024
local PRECISION = 0.1

-- What Copas takes for a luasocket object.
local Watch = {}
Watch.__index = Watch

-- By descriptor, the watches in select, so that close can end them.
local watches = {}

-- A socket that is always readable and writable: select finds in it what is over by time or by close.  It lives while
-- somebody waits.
local ready, other, sleepers = nil, nil, 0

local function enter(watch)
  if sleepers == 0 then
    local socks, _, e = owner.pair(const.SOCK_STREAM)
    if not socks then return e end
    ready, other = socks[1], socks[2]
    other:send "x"
  end
  if max(watch.fd, ready.sd) >= SELECTABLE then
    if sleepers == 0 then ready:close(); other:close() end
    return EINVAL
  end
  sleepers = sleepers + 1
  watches[watch.fd] = watches[watch.fd] or {}
  watches[watch.fd][watch] = true
end

local function leave(watch)
  sleepers = sleepers - 1
  local same = watches[watch.fd]
  if same then same[watch] = nil end
  if same and not next(same) then watches[watch.fd] = nil end
  if sleepers == 0 then ready:close(); other:close() end
end

local function is_late(watch) return watch.at and now() >= watch.at end

--- Answers the descriptor that Copas selects: one that is always ready once the wait is over.
---@return integer
function Watch:getfd() return (self.answer ~= nil or is_late(self)) and ready.sd or self.fd end

--- Answers false: nothing was read ahead.
---@return boolean
function Watch.dirty() return false end

--- Does nothing: the time is kept here.
function Watch.settimeout() end

--- Does nothing: Copas closes what a thread waited for last.
function Watch.close() end

--- Tells whether the wait is over; Copas asks until the answer is another than "timeout".
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

-- How many wait for a limited time, and the timer that makes the loop go round for them.
local limited, ticking = 0, false

local function tick(timer)
  local watch = setmetatable({ fd = timer:fd() }, { __index = Watch })
  function watch.receive()
    if timer:read() then return true end
    return nil, "timeout"
  end
  while limited > 0 do copas.receive(watch, 1) end
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
  local e = enter(watch)
  if e then return e end
  if sec then
    limited = limited + 1
    start_ticking()
  end
  if direction == "r" then copas.receive(watch, 1) else copas.connect(watch) end
  if sec then limited = limited - 1 end
  leave(watch)
  return watch.answer
end

local M = {}

--- Waits in the thread of Copas that calls, while its loop lets others run; outside a coroutine with poll(2).
---@param fd integer  below 1024, as select(2) wants
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31, to 0.1 s; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed meanwhile; EINVAL: a descriptor above select's; EMFILE
function M.wait(fd, direction, sec)
  if not waiting.sleeper(fd, direction, sec) then return waiting.poll(fd, direction, sec) end
  return waiting.answer(sleep(fd, direction, sec))
end

handle.before_close(function(object)
  local fd = object.sd -- a poller has none
  if not watches[fd] then return nil end
  for watch in pairs(watches[fd]) do watch.answer = EBADF end
  watches[fd] = nil
end)

return M
