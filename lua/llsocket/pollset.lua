-- pollset.lua -- the poller's kernel side by poll(2), for systems without better; its cost grows with what is
-- registered.  See epoll.lua for what a back-end answers.
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.libc"
local const = require "llsocket.const"
local iovec = require "llsocket.iovec"
local layout = require "llsocket.layout"
local readiness = require "llsocket.readiness"
local fcntl = require "llsocket.fcntl"
local math_max, insert = math.max, table.insert

local errno, band, bor = ffi.errno, bit.band, bit.bor
local READ, WRITE, HANGUP, HALF, ERROR = readiness.READ, readiness.WRITE, readiness.HANGUP, readiness.HALF, readiness.ERROR
local EDGE, ONCE = readiness.EDGE, readiness.ONCE
local IN, OUT, HUP, ERR, NVAL = const.POLLIN, const.POLLOUT, const.POLLHUP, const.POLLERR, const.POLLNVAL
local RDHUP = const.POLLRDHUP or 0
local pollfd_ptr = ffi.typeof("$ *", layout.pollfd)

local M = { MOST = 1024, available = true }

--- Makes a back-end: `at` tells the slot of a descriptor; the slots from 0 to n - 1 are in use.
---@return table state
function M.new()
  return { at = {}, generations = {}, once = {}, found = {}, n = 0, room = 0, first = 0 }
end

local function grow(state)
  local room = math_max(64, state.room * 2)
  local block = iovec.memory(room * ffi.sizeof(layout.pollfd))
  if not block then return const.ENOMEM end
  local slots = ffi.cast(pollfd_ptr, block)
  if state.n > 0 then ffi.copy(slots, state.slots, state.n * ffi.sizeof(layout.pollfd)) end
  state.block, state.slots, state.room = block, slots, room
end

local function set(state, fd, slot, want, generation)
  local one = state.slots[slot]
  one.fd, one.revents = fd, 0
  one.events = bor(band(want, READ) ~= 0 and bor(IN, RDHUP) or 0, band(want, WRITE) ~= 0 and OUT or 0)
  state.generations[fd], state.once[fd] = generation, band(want, ONCE) ~= 0
end

-- One-shot is disarmed by a negative number, which poll(2) passes over; it is its own inverse.
local function armed(fd) return fd >= 0 and fd or -1 - fd end

--- Registers a descriptor.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer  any 32 bits, which the events will carry
---@return integer? errno  EEXIST, EBADF, ENOMEM, EOPNOTSUPP: edge-triggered
function M.add(state, fd, want, generation)
  if band(want, EDGE) ~= 0 then return const.EOPNOTSUPP end
  if state.at[fd] then return const.EEXIST end
  if not fcntl.is_open(fd) then return const.EBADF end
  local e = state.n == state.room and grow(state)
  if e then return e end
  state.at[fd] = state.n
  state.n = state.n + 1
  set(state, fd, state.at[fd], want, generation)
end

--- Changes what is waited for, and the generation.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer
---@return integer? errno  ENOENT, EOPNOTSUPP
function M.modify(state, fd, want, generation)
  if band(want, EDGE) ~= 0 then return const.EOPNOTSUPP end
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
  state.slots[slot] = state.slots[state.n]
  state.at[armed(state.slots[slot].fd)] = slot
  state.at[fd], state.generations[fd], state.once[fd] = nil, nil, nil
end

local function found(state, one, count)
  local fd = one.fd
  state.found[count * 2], state.found[count * 2 + 1] = fd, one.revents
  if state.once[fd] then one.fd = -1 - fd end
  return count + 1
end

-- Descriptors that were closed behind our back go, as the kernel does it for epoll.  `dropped` tells which.
local function drop_closed(state)
  state.dropped = {}
  for slot = state.n - 1, 0, -1 do
    local one = state.slots[slot]
    if band(one.revents, NVAL) ~= 0 then
      insert(state.dropped, one.fd)
      M.remove(state, one.fd)
    end
  end
end

--- Waits for events.  Each call looks first where the last one stopped, so that none starves when more are ready
--- than are told.
---@param state table
---@param milliseconds integer  -1 for ever
---@param max integer  1 to MOST
---@return integer n  -1 with an errno
---@return integer errno
function M.wait(state, milliseconds, max)
  local left, e = C.llsocket2_poll(state.slots, state.n, milliseconds), errno()
  state.dropped = nil
  if left < 0 then return left, e end
  local count, closed, slot = 0, false, state.first
  while left > 0 and count < max do
    if slot >= state.n then slot = 0 end
    local one = state.slots[slot]
    if one.revents ~= 0 then
      left = left - 1
      if band(one.revents, NVAL) ~= 0 then closed = true else count = found(state, one, count) end
    end
    slot = slot + 1
  end
  state.first = slot
  if closed then drop_closed(state) end
  return count, 0
end

--- Reads an event of the last wait.
---@param state table
---@param i integer  from 0
---@return integer fd
---@return integer generation
---@return integer ready
function M.get(state, i)
  local fd, events = state.found[i * 2], state.found[i * 2 + 1]
  return fd, state.generations[fd] or 0, bor(band(events, IN) ~= 0 and READ or 0, band(events, OUT) ~= 0 and WRITE or 0,
    band(events, HUP) ~= 0 and HANGUP or 0, band(events, RDHUP) ~= 0 and HALF or 0, band(events, ERR) ~= 0 and ERROR or 0)
end

return M
