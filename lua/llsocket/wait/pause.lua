-- pause.lua -- what coroutines wait for that has no descriptor: a time, and the end of another coroutine.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local C = require "llsocket.core.libc"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local failed = require("llsocket.core.failure").failed
local waiting = require "llsocket.wait"
local queue = require "llsocket.wait.queue"
local results = require "llsocket.wait.results"
local timers = require "llsocket.wait.timers"
local ipairs, next, pairs, type, insert, remove = ipairs, next, pairs, type, table.insert, table.remove

local now, errno, enqueue, LONGEST = shim.llsocket2_now, ffi.errno, queue.enqueue, waiting.LONGEST
local running, status, yield = coroutine.running, coroutine.status, require("llsocket.wait.yielding").yield
local EDEADLK, EINVAL, ETIMEDOUT = const.EDEADLK, const.EINVAL, const.ETIMEDOUT

-- by coroutine: its pause.  pause.co; pause.target: the coroutine that it joins; pause.late: the answer when the time runs
-- out; pause.ends: the loop must run until the pause is over.
local pauses = {}
local joining = {} -- by the coroutine that is joined: a list of pauses

---@class llsocket.wait.pause
---@field is_ours fun(co: thread): boolean  set by the loop: whether spawn made it
---@field n integer  how many pauses the loop must see the end of; fewer after an error in the midst of a pause's steps
---@field runs fun(): boolean  set by the loop: whether it runs
local M = { n = 0 }

-- Do not ask for #list after remove(): LuaJIT of 2022 compiles it to the length from before.
local function unlist(pause)
  local list = joining[pause.target]
  if not list then return end -- memory ran out before it was listed
  for i, one in ipairs(list) do
    if one == pause then
      remove(list, i)
      break
    end
  end
  if list[1] == nil then joining[pause.target] = nil end
end

local function drop(pause)
  if pause.ends then M.n = M.n - 1 end
  pauses[pause.co] = nil
  timers.drop(pause)
  if pause.target then unlist(pause) end
end

-- Ends a pause: its coroutine goes on in the next round, with that answer.  Memory may run out in the first step only.
local function leave(pause, answer)
  if pauses[pause.co] ~= pause then return end -- it is over, and an error kept it from being forgotten
  enqueue(pause.co, answer)
  drop(pause)
end

-- A coroutine that runs and pauses has caught an error that came in the midst of a pause.
local function forget(co)
  local pause = pauses[co]
  if pause then drop(pause) end
end

-- A join without a limit does not keep the loop running: if nothing else does, it would wait for ever.  The count comes after
-- what it counts: where an error comes in between, it is too low, which the loop finds before it ends.
local function enter(co, sec, late, target)
  forget(co)
  local pause = { co = co, late = late, target = target, ends = false }
  pauses[co] = pause
  if sec then
    timers.set(pause, now() + sec)
    pause.ends = true
    M.n = M.n + 1
  end
  if not target then return end
  joining[target] = joining[target] or {}
  insert(joining[target], pause)
end

-- Waits for the end of the pause, if there is one.  Who is resumed before that, by what an error has left, waits on.
local function pass(co)
  local told = yield()
  while pauses[co] do told = yield() end
  return told
end

-- Sleeps outside of coroutines: the whole process.
local function nap(sec, milliseconds)
  local n, e = C.llsocket2_poll(nil, 0, milliseconds), errno()
  if n < 0 then return failed(e) end
  if sec * 1000 > LONGEST then return M.sleep(sec - LONGEST / 1000) end
  return true
end

local function answer(told)
  if told == true then return true end
  return failed(told)
end

--- Lets the calling coroutine sleep, while run lets others run; outside a coroutine the whole process sleeps.
---@param sec number  seconds, 0 to below 2^31; 0 lets the others run once
---@return boolean? slept
---@return string? err
---@return integer? errno  ECANCELED; EINTR: a signal handler ran, outside a coroutine; EINVAL for an impossible time
function M.sleep(sec)
  check.number(sec, 1, "sleep")
  local milliseconds, co, is_main = waiting.milliseconds(sec, 1, "sleep"), running()
  if not milliseconds then return failed(EINVAL) end
  if not co or is_main then return nap(sec, milliseconds) end
  forget(co)
  if sec == 0 then enqueue(co, true) else enter(co, sec, true) end
  return answer(pass(co))
end

-- Answers the errno for which co cannot be waited for.
local function refusal(co, milliseconds, me)
  if not milliseconds or not M.is_ours(co) then return EINVAL end
  if me == nil or me == co then return EDEADLK end
  if milliseconds == 0 then return ETIMEDOUT end
end

--- Waits for the end of a coroutine that spawn made.
---@param co thread
---@param sec? number  seconds, below 2^31; the default is for ever
---@return any ...  what its function returned; nil and the text if an error ended it; or nil, text, errno
---@return string? err
---@return integer? errno  ETIMEDOUT; ECANCELED; EDEADLK: it is the calling coroutine, or none calls; EINVAL: spawn did not make
---it, or an impossible time
function M.join(co, sec)
  if type(co) ~= "thread" then check.bad(1, "join", "thread", co) end
  local milliseconds, me, is_main = waiting.milliseconds(sec, 2, "join"), running()
  if milliseconds and results.has(co) then return results.of(co) end
  local e = refusal(co, milliseconds, not is_main and me or nil)
  if e then return failed(e) end
  enter(me, sec, ETIMEDOUT, co)
  local told = pass(me)
  if told ~= true then return failed(told) end
  return results.of(co)
end

--- Forgets the pause of a coroutine that an error has ended.
---@param co thread
function M.forget(co) forget(co) end

--- Ends the pause of a coroutine early.
---@param co thread
---@param e integer  the errno that it is told
---@return boolean ended  false: it does not pause
function M.cancel(co, e)
  local pause = pauses[co]
  if pause then leave(pause, e) end
  return pause ~= nil
end

--- Ends a pause whose time has run out.
---@param pause table
function M.expire(pause)
  leave(pause, pause.late)
  timers.drop(pause) -- also where it was over before
end

--- Tells those who join a coroutine that it has ended.  Called again, it tells those who were not told.
---@param co thread
---@return boolean any  whether there was one
function M.ended(co)
  if pauses[co] then drop(pauses[co]) end
  local list = joining[co]
  if not list then return false end
  for _, pause in ipairs(list) do
    pause.target = nil -- it goes with the list
    leave(pause, true)
  end
  joining[co] = nil
  return true
end

--- Tells whether a coroutine pauses.
---@param co thread
---@return boolean
function M.has(co) return pauses[co] ~= nil end

--- Forgets the pauses of those who are gone, tells who joins them, and counts.
function M.prune()
  local n = 0
  for co, pause in pairs(pauses) do
    if status(co) == "dead" then
      drop(pause)
    elseif pause.ends then
      n = n + 1
    end
  end
  M.n = n
  for co in next, joining do
    if status(co) == "dead" then M.ended(co) end
  end
end

return M
