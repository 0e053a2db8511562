-- poll.lua -- the poller's kernel side by poll(2), for systems without epoll and kqueue.  Its cost grows with the number of
-- registered descriptors.  See epoll.lua for the functions of a back-end.
--
-- Do not write `slots[i]`: that allocates an object, which may run a finaliser, and the finaliser may close or register
-- sockets in the middle of a change.  The slots are read and written as numbers, through a pointer to the first slot's
-- descriptor and one to the first slot's events.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local iovec = require "llsocket.message.iovec"
local layout = require "llsocket.core.layout"
local readiness = require "llsocket.poll.bits"
local fcntl = require "llsocket.socket.flags"
local math_max, insert = math.max, table.insert

local errno, band, bor = ffi.errno, bit.band, bit.bor
local READ, WRITE, HANGUP, HALF, ERROR = readiness.READ, readiness.WRITE, readiness.HANGUP, readiness.HALF, readiness.ERROR
local EDGE, ONCE, URGENT, EXCLUSIVE = readiness.EDGE, readiness.ONCE, readiness.URGENT, readiness.EXCLUSIVE
local IN, OUT, HUP, ERR, NVAL = const.POLLIN, const.POLLOUT, const.POLLHUP, const.POLLERR, const.POLLNVAL
local PRI, RDHUP = const.POLLPRI, const.POLLRDHUP or 0
local MOST = 1024 -- events of one call
local SIZE, INT, SHORT = ffi.sizeof(layout.pollfd), ffi.sizeof "int", ffi.sizeof "short"
local FD_AT, EVENTS_AT = ffi.offsetof(layout.pollfd, "fd"), ffi.offsetof(layout.pollfd, "events")
local FD_STEP, SHORT_STEP = SIZE / INT, SIZE / SHORT -- distance from slot to slot, in ints and in shorts
local REVENTS = (ffi.offsetof(layout.pollfd, "revents") - EVENTS_AT) / SHORT -- distance from events to revents, in shorts
local byte_ptr, int_ptr, short_ptr = ffi.typeof "char *", ffi.typeof "int *", ffi.typeof "short *"
local ints_t = ffi.typeof "int[1024]"

local M = { MOST = MOST, available = true }

--- Makes a back-end.  state.at[fd] is the slot of a descriptor; the slots from 0 to n - 1 are in use.
---@return table state
function M.new()
  return {
    at = {}, generations = {}, once = {}, n = 0, capacity = 0, first = 0,
    found_fd = ints_t(), found_generation = ints_t(), found_events = ints_t(),
  }
end

-- Doubles the capacity.  Test state.capacity again after the allocation: it may have run a finaliser that registered sockets
-- and so grew the block itself.
local function grow(state)
  local capacity = math_max(64, state.capacity * 2)
  local block = iovec.memory(capacity * SIZE)
  if not block then return const.ENOMEM end
  local start = ffi.cast(byte_ptr, block)
  local fds, events = ffi.cast(int_ptr, start + FD_AT), ffi.cast(short_ptr, start + EVENTS_AT)
  if state.capacity >= capacity then return nil end
  if state.n > 0 then ffi.copy(block, state.block, state.n * SIZE) end
  state.block, state.fds, state.events, state.capacity = block, fds, events, capacity
end

local function asked(want)
  return (bor(band(want, READ) ~= 0 and bor(IN, RDHUP) or 0, band(want, WRITE) ~= 0 and OUT or 0,
    band(want, URGENT) ~= 0 and PRI or 0))
end

-- An error of a debug hook may come between any two steps.  So a slot that is found has its generation, and a slot that counts
-- is whole.
local function set(state, fd, slot, want, generation)
  local at = slot * SHORT_STEP
  state.generations[fd], state.once[fd] = generation, band(want, ONCE) ~= 0
  state.fds[slot * FD_STEP], state.events[at], state.events[at + REVENTS] = fd, asked(want), 0
end

-- A one-shot slot is disarmed by the negative number -1 - fd, which poll(2) skips; the same formula gives fd back.
local function armed(fd) return fd >= 0 and fd or -1 - fd end

-- Answers the errno where poll(2) cannot do what is asked.
local function refused(want)
  if band(want, EXCLUSIVE) ~= 0 then return const.EINVAL end
  if band(want, EDGE) ~= 0 then return const.EOPNOTSUPP end
end

--- Registers a descriptor.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer  any 32 bits; get answers them with the events
---@return integer? errno  EEXIST, EBADF, ENOMEM, EOPNOTSUPP: edge-triggered, EINVAL: exclusive
function M.add(state, fd, want, generation)
  local e = refused(want)
  if e then return e end
  while state.n == state.capacity do
    e = grow(state)
    if e then return e end
  end
  if state.at[fd] then return const.EEXIST end
  local _, closed = fcntl.is_cloexec(fd)
  if closed then return closed end
  local slot = state.n
  set(state, fd, slot, want, generation)
  state.n = slot + 1
  state.at[fd] = slot
end

--- Changes the bits that are waited for, and the generation.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer
---@return integer? errno  ENOENT, EOPNOTSUPP, EINVAL
function M.modify(state, fd, want, generation)
  local e = refused(want)
  if e then return e end
  if not state.at[fd] then return const.ENOENT end
  set(state, fd, state.at[fd], want, generation)
end

--- Removes a descriptor.  The last slot is moved into its place.
---@param state table
---@param fd integer
---@return integer? errno  ENOENT
function M.remove(state, fd)
  local slot = state.at[fd]
  if not slot then return const.ENOENT end
  local last = state.n - 1
  local moved, to, from = state.fds[last * FD_STEP], slot * SHORT_STEP, last * SHORT_STEP
  state.events[to], state.events[to + REVENTS] = state.events[from], state.events[from + REVENTS]
  state.fds[slot * FD_STEP], state.at[armed(moved)] = moved, slot
  state.at[fd] = nil
  state.n = last
  state.generations[fd], state.once[fd] = nil, nil
end

-- Reads the events that poll(2) wrote into a slot, and clears them: a slot that is moved during the walk must not be
-- reported twice.
local function take(state, slot)
  local fd, at = state.fds[slot * FD_STEP], slot * SHORT_STEP + REVENTS
  local generation, revents = state.generations[fd], state.events[at]
  state.events[at] = 0
  return fd, revents, generation
end

-- Removes a descriptor that was closed without a call of remove, and notes it in state.dropped.  That list is made only when
-- a wait finds such a descriptor, which is rare.
local function drop(state, fd)
  M.remove(state, fd)
  state.dropped = state.dropped or {}
  insert(state.dropped, fd)
end

-- Keeps an event with its present generation: the number may be closed, reused and registered again before get() reads it.
local function found(state, slot, count, fd, revents, generation)
  state.found_fd[count], state.found_generation[count], state.found_events[count] = fd, generation, revents
  if state.once[fd] then state.fds[slot * FD_STEP] = -1 - fd end
  return count + 1
end

-- Looks at each slot once.  Count the steps and not the events that are left: a finaliser or a debug hook may close a socket
-- that is ready; its event would never be found, and the walk would never end.
local function walk(state, max)
  local count, slot = 0, state.first
  for _ = 1, state.n do
    if slot >= state.n then slot = 0 end
    if count == max or state.n == 0 then break end
    local fd, revents, generation = take(state, slot)
    local is_here = state.at[fd] == slot
    if is_here and band(revents, NVAL) ~= 0 then
      drop(state, fd) -- the last slot has moved to this place: look at this place again
    else
      if is_here and revents ~= 0 then count = found(state, slot, count, fd, revents, generation) end
      slot = slot + 1
    end
  end
  state.first = slot
  return count
end

--- Waits for events.  Each call starts at the slot where the last one stopped, so that no descriptor starves when more than
--- `max` are ready.  Removes descriptors that were closed without a call of remove, as the kernel does for epoll; their
--- numbers are in state.dropped.
---@param state table
---@param milliseconds integer  -1 for ever
---@param max integer  1 to MOST
---@return integer n  -1 with an errno
---@return integer errno
function M.wait(state, milliseconds, max)
  local n = state.n -- read n before block: a debug hook in between may register more, and then block is the larger one
  local left, e = C.llsocket2_poll(state.block, n, milliseconds), errno()
  state.dropped = nil
  if left < 0 then return left, e end
  if left == 0 then return 0, 0 end
  return walk(state, max), 0
end

--- Reads an event of the last wait.
---@param state table
---@param i integer  from 0
---@return integer fd
---@return integer generation
---@return integer ready
function M.get(state, i)
  local events = state.found_events[i]
  return state.found_fd[i], state.found_generation[i], bor(band(events, IN) ~= 0 and READ or 0,
    band(events, OUT) ~= 0 and WRITE or 0, band(events, HUP) ~= 0 and HANGUP or 0, band(events, RDHUP) ~= 0 and HALF or 0,
    band(events, ERR) ~= 0 and ERROR or 0, band(events, PRI) ~= 0 and URGENT or 0)
end

return M
