-- poll.lua -- the poller's kernel side by poll(2), for systems without better; its cost grows with what is
-- registered.  See epoll.lua for what a back-end answers.
--
-- The slots are read and written as numbers, through pointers to their first descriptor and their first events: `slots[i]`
-- would make an object, which may run a finaliser, and that may close or register sockets in the midst of a change.
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
local MOST = 1024 -- events a call
local SIZE, INT, SHORT = ffi.sizeof(layout.pollfd), ffi.sizeof "int", ffi.sizeof "short"
local FD_AT, EVENTS_AT = ffi.offsetof(layout.pollfd, "fd"), ffi.offsetof(layout.pollfd, "events")
local FD_STEP, SHORT_STEP = SIZE / INT, SIZE / SHORT -- from slot to slot
local REVENTS = (ffi.offsetof(layout.pollfd, "revents") - EVENTS_AT) / SHORT -- from events to revents
local byte_ptr, int_ptr, short_ptr = ffi.typeof "char *", ffi.typeof "int *", ffi.typeof "short *"
local ints_t = ffi.typeof "int[1024]"

local M = { MOST = MOST, available = true }

--- Makes a back-end: `at` tells the slot of a descriptor; the slots from 0 to n - 1 are in use.
---@return table state
function M.new()
  return {
    at = {}, generations = {}, once = {}, n = 0, room = 0, first = 0,
    found_fd = ints_t(), found_generation = ints_t(), found_events = ints_t(),
  }
end

-- Twice the room.  Memory is asked for first: a finaliser that registers sockets meanwhile may have made room itself.
local function grow(state)
  local room = math_max(64, state.room * 2)
  local block = iovec.memory(room * SIZE)
  if not block then return const.ENOMEM end
  local start = ffi.cast(byte_ptr, block)
  local fds, events = ffi.cast(int_ptr, start + FD_AT), ffi.cast(short_ptr, start + EVENTS_AT)
  if state.room >= room then return nil end
  if state.n > 0 then ffi.copy(block, state.block, state.n * SIZE) end
  state.block, state.fds, state.events, state.room = block, fds, events, room
end

local function asked(want)
  return bor(band(want, READ) ~= 0 and bor(IN, RDHUP) or 0, band(want, WRITE) ~= 0 and OUT or 0,
    band(want, URGENT) ~= 0 and PRI or 0)
end

local function set(state, fd, slot, want, generation)
  local at = slot * SHORT_STEP
  state.fds[slot * FD_STEP], state.events[at], state.events[at + REVENTS] = fd, asked(want), 0
  state.generations[fd], state.once[fd] = generation, band(want, ONCE) ~= 0
end

-- One-shot is disarmed by a negative number, which poll(2) passes over; it is its own inverse.
local function armed(fd) return fd >= 0 and fd or -1 - fd end

-- What poll(2) cannot do, as an errno.
local function refused(want)
  if band(want, EXCLUSIVE) ~= 0 then return const.EINVAL end
  if band(want, EDGE) ~= 0 then return const.EOPNOTSUPP end
end

--- Registers a descriptor.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer  any 32 bits, which the events will carry
---@return integer? errno  EEXIST, EBADF, ENOMEM, EOPNOTSUPP: edge-triggered, EINVAL: exclusive
function M.add(state, fd, want, generation)
  local e = refused(want)
  if e then return e end
  while state.n == state.room do
    e = grow(state)
    if e then return e end
  end
  if state.at[fd] then return const.EEXIST end
  if not fcntl.is_open(fd) then return const.EBADF end
  state.at[fd] = state.n
  state.n = state.n + 1
  set(state, fd, state.at[fd], want, generation)
end

--- Changes what is waited for, and the generation.
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

--- Registers no more.  The last slot takes the place of the one that goes.
---@param state table
---@param fd integer
---@return integer? errno  ENOENT
function M.remove(state, fd)
  local slot = state.at[fd]
  if not slot then return const.ENOENT end
  state.n = state.n - 1
  local moved, to, from = state.fds[state.n * FD_STEP], slot * SHORT_STEP, state.n * SHORT_STEP
  state.fds[slot * FD_STEP], state.at[armed(moved)] = moved, slot
  state.events[to], state.events[to + REVENTS] = state.events[from], state.events[from + REVENTS]
  state.at[fd], state.generations[fd], state.once[fd] = nil, nil, nil
end

-- Reads what poll(2) told of a slot and clears it: a slot that moves because another goes is not told twice.
local function take(state, slot)
  local fd, at = state.fds[slot * FD_STEP], slot * SHORT_STEP + REVENTS
  local generation, revents = state.generations[fd], state.events[at]
  state.events[at] = 0
  return fd, revents, generation
end

-- Takes out a descriptor that was closed behind our back.  The list is made for the first one of a wait: mostly there
-- is none.
local function drop(state, fd)
  M.remove(state, fd)
  state.dropped = state.dropped or {}
  insert(state.dropped, fd)
end

-- Keeps an event, with the generation of now: the number's next owner may be registered before it is read.
local function found(state, slot, count, fd, revents, generation)
  state.found_fd[count], state.found_generation[count], state.found_events[count] = fd, generation, revents
  if state.once[fd] then state.fds[slot * FD_STEP] = -1 - fd end
  return count + 1
end

-- Looks at each slot once.  The steps are counted and not the events that are left: where a finaliser or a debug hook
-- closes a socket that is ready, its event would never be found, and the walk never end.
local function walk(state, max)
  local count, slot = 0, state.first
  for _ = 1, state.n do
    if slot >= state.n then slot = 0 end
    if count == max or state.n == 0 then break end
    local fd, revents, generation = take(state, slot)
    local is_here = state.at[fd] == slot
    if is_here and band(revents, NVAL) ~= 0 then
      drop(state, fd) -- the last slot's owner moves here: look at it next
    else
      if is_here and revents ~= 0 then count = found(state, slot, count, fd, revents, generation) end
      slot = slot + 1
    end
  end
  state.first = slot
  return count
end

--- Waits for events.  Each call looks first where the last one stopped, so that none starves when more are ready
--- than are told.  Descriptors that were closed behind our back go, as the kernel does it for epoll; `dropped` tells which.
---@param state table
---@param milliseconds integer  -1 for ever
---@param max integer  1 to MOST
---@return integer n  -1 with an errno
---@return integer errno
function M.wait(state, milliseconds, max)
  local n = state.n -- read before the slots: a hook may register more in between, and then these are in a larger block
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
