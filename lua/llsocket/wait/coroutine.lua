-- coroutine.lua -- coroutines that wait with a poller of this module: spawn, run, wait.
--
-- Every wait registers the descriptor again, by its number and for one event.  So a descriptor that was closed or collected
-- unnoticed leaves no registration that could report without end, or be mistaken for that of the number's next owner.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local sockets = require "llsocket.socket.object"
local poll = require "llsocket.poll"
local waiting = require "llsocket.wait"
local error, ipairs, pcall, select, tostring = error, ipairs, pcall, select, tostring
local type, unpack, create, traceback = type, unpack, coroutine.create, debug.traceback

local now = shim.llsocket2_now
local floor, max, min = math.floor, math.max, math.min
local resume, yield = coroutine.resume, coroutine.yield
local EBADF, EBUSY, EINTR, ENOENT = const.EBADF, const.EBUSY, const.EINTR, const.ENOENT

local poller -- made by the first wait, and closed when no coroutine waits any more
local is_running, waiters = false, 0

-- One slot for each descriptor and direction, kept for the next wait.  co: the coroutine that waits; at: until when.
-- key: the time by which the heap sorts the slot; index: its place in the heap.
local slots = { r = {}, w = {} }

-- A heap of slots, sorted by time.  A wait that ends leaves its slot there: most waits end early, and the next wait of the
-- same slot has a later time and then needs no change of the heap.
local heap, heap_size = {}, 0

local function place(slot, i)
  heap[i], slot.index = slot, i
end

local function sift_up(slot, i)
  while i > 1 do
    local parent = heap[floor(i / 2)]
    if parent.key <= slot.key then break end
    place(parent, i)
    i = floor(i / 2)
  end
  place(slot, i)
end

local function sift_down(slot, i)
  while 2 * i <= heap_size do
    local child = 2 * i
    if child < heap_size and heap[child + 1].key < heap[child].key then child = child + 1 end
    if slot.key <= heap[child].key then break end
    place(heap[child], i)
    i = child
  end
  place(slot, i)
end

local function set_time(slot, at)
  if slot.index and slot.key <= at then return end -- expire() looks at the slot again when its key has come
  slot.key = at
  if not slot.index then
    heap_size = heap_size + 1
    slot.index = heap_size
  end
  sift_up(slot, slot.index)
end

local function pop()
  local slot, last = heap[1], heap[heap_size]
  heap[heap_size], slot.index = nil, nil
  heap_size = heap_size - 1
  if heap_size > 0 then sift_down(last, 1) end
  return slot
end

-- The coroutines to run next, each followed by the answer of its wait.
local queue, first, last = {}, 1, 0

local function enqueue(co, answer)
  queue[last + 1], queue[last + 2] = co, answer
  last = last + 2
end

local function wake(slot, answer)
  local co = slot.co
  slot.co, slot.at = nil, nil
  waiters = waiters - 1
  enqueue(co, answer)
end

local function is_waiting(direction, fd)
  local slot = slots[direction][fd]
  return slot and slot.co
end

-- Registers a descriptor for one event, in the directions that a coroutine waits for; answers nil, or the errno.
local function arm(fd)
  local word = is_waiting("r", fd) and (is_waiting("w", fd) and "rwo" or "ro") or "wo"
  local ok, _, e = poller:modify(fd, word)
  if e == ENOENT then ok, _, e = poller:add(fd, word) end
  return not ok and e or nil
end

local function slot_of(direction, fd)
  local slot = slots[direction][fd]
  if not slot then
    slot = { fd = fd }
    slots[direction][fd] = slot
  end
  return slot
end

local M = {}

-- Waits in coroutine `co`; answers true, false or the errno.
local function sleep(co, fd, direction, sec)
  local slot = slot_of(direction, fd)
  if slot.co then return EBUSY end
  if not poller then
    local _, e
    poller, _, e = poll.new()
    if not poller then return e end
  end
  slot.co = co
  local e = arm(fd)
  if e then
    slot.co = nil
    return e
  end
  waiters = waiters + 1
  slot.at = sec and now() + sec
  if sec then set_time(slot, slot.at) end
  return yield()
end

--- Waits in the calling coroutine, while run lets others run; outside a coroutine with poll(2).
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed during the wait; EBUSY: another coroutine waits for the
---same descriptor and direction; EMFILE, EPERM: a regular file; EINVAL
function M.wait(fd, direction, sec)
  local co = waiting.sleeper(fd, direction, sec)
  if not co then return waiting.poll(fd, direction, sec) end
  return waiting.answer(sleep(co, fd, direction, sec))
end

local function wake_closed(slot)
  if slot and slot.co then wake(slot, EBADF) end
end

-- Do not use pairs here: LuaJIT could not compile the code that closes a socket.
sockets.before_close(function(sock)
  local fd = sock.sd
  wake_closed(slots.r[fd])
  wake_closed(slots.w[fd])
end)

--- Makes a coroutine, which run starts.
---@param fn function
---@param ... any  its arguments
---@return thread co
function M.spawn(fn, ...)
  if type(fn) ~= "function" then check.bad(1, "spawn", "function", fn) end
  local n, arguments = select("#", ...), { ... }
  local co = create(function() return fn(unpack(arguments, 1, n)) end)
  enqueue(co)
  return co
end

-- Runs all coroutines that are in the queue now.  Those that they add wait for the next round, so that none can starve the
-- others.
local function run_queue()
  local stop = last
  while first <= stop do
    local co, answer = queue[first], queue[first + 1]
    queue[first], queue[first + 1] = nil, nil
    first = first + 2
    local ok, err = resume(co, answer)
    if not ok then error(traceback(co, tostring(err)), 0) end
  end
  if first > last then first, last = 1, 0 end
end

-- Ends the waits whose time has come.
local function expire()
  local t = heap_size > 0 and now()
  while heap_size > 0 and heap[1].key <= t do
    local slot = pop()
    if slot.at and slot.at <= t then
      wake(slot, false)
    elseif slot.at then
      set_time(slot, slot.at)
    end
  end
end

local function patience()
  if first <= last then return 0 end
  if heap_size > 0 then return min(max(heap[1].key - now(), 0), 2^31 - 1) end
end

-- Look at both directions before any coroutine runs: one that runs may wait again at once.
local function tell(fd, readable, writable)
  local r, w = is_waiting("r", fd), is_waiting("w", fd)
  if r and readable then wake(slots.r[fd], true) end
  if w and writable then wake(slots.w[fd], true) end
  if (r and not readable or w and not writable) and arm(fd) then
    local slot = slots[r and not readable and "r" or "w"][fd]
    wake(slot, EBADF)
  end
end

-- Wakes the coroutines whose descriptor is no longer open.  Only the back-end poll(2) can report such numbers: epoll and
-- kqueue forget a closed descriptor silently.
local function tell_closed(fds)
  for _, fd in ipairs(fds) do
    for _, direction in ipairs { "r", "w" } do
      if is_waiting(direction, fd) then wake(slots[direction][fd], EBADF) end
    end
  end
end

local function wait_for_events()
  local n, err, e = poller:wait(patience())
  if not n then return e == EINTR or error("llsocket.wait.coroutine: " .. err, 0) end
  for i = 1, n do
    local fd, read, write, hangup, half, failure = poller:event(i)
    if fd then tell(fd, read or hangup or half or failure, write or hangup or failure) end
  end
  local dropped = poller.backend_state.dropped
  if dropped then tell_closed(dropped) end
end

local function loop()
  while first <= last or waiters > 0 do
    run_queue()
    if waiters > 0 then
      wait_for_events()
      expire()
    end
  end
  while heap_size > 0 do pop() end
  if poller then poller:close() end
  poller = nil
end

--- Runs until no coroutine waits or is ready to run.  Raises an error that a coroutine raised, with its traceback; the other
--- coroutines are unharmed, and run may be called again.
function M.run()
  if is_running then error("llsocket.wait.coroutine is running", 2) end
  is_running = true
  local ok, err = pcall(loop)
  is_running = false
  if not ok then error(err, 0) end
end

return M
