-- kqueue.lua -- the poller's kernel side by kqueue(2); see poll/epoll.lua for the functions of a back-end.
--
-- kqueue has separate filters for reading, writing and urgent data: one registration of ours is up to three filters, each
-- with the generation as its udata.  Their events arrive separately, too.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local descriptor = require "llsocket.descriptor"
local fcntl = require "llsocket.socket.flags"
local layout = require "llsocket.core.layout"
local readiness = require "llsocket.poll.bits"
local shortage = require "llsocket.core.shortage"
local tonumber, floor = tonumber, math.floor

local errno, band, bor = ffi.errno, bit.band, bit.bor
local READ, WRITE, HANGUP, HALF, ERROR = readiness.READ, readiness.WRITE, readiness.HANGUP, readiness.HALF, readiness.ERROR
local EDGE, ONCE, URGENT, EXCLUSIVE = readiness.EDGE, readiness.ONCE, readiness.URGENT, readiness.EXCLUSIVE
local EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT = const.EVFILT_READ, const.EVFILT_WRITE, const.EVFILT_EXCEPT
local ADD, DELETE, CLEAR, DISPATCH, ENABLE = const.EV_ADD, const.EV_DELETE, const.EV_CLEAR, const.EV_DISPATCH, const.EV_ENABLE

local M = { MOST = 1024, available = const.EV_ADD ~= nil }
if not M.available then return M end

local FILTER = { [READ] = EVFILT_READ, [WRITE] = EVFILT_WRITE, [URGENT] = EVFILT_EXCEPT }
local HAS_URGENT = EVFILT_EXCEPT ~= nil and const.NOTE_OOB ~= nil

local events_t = ffi.typeof("$[1024]", layout.kevent)
local cell, time_cell = layout.kevent(), layout.timespec()

--- Makes a back-end.  state.at[fd] holds the bits of each registered descriptor, because EV_ADD does not report whether
--- a filter existed already.
---@return table? state
---@return integer? errno  EMFILE
function M.new()
  local owner = descriptor.new()
  local e
  owner.sd, e = C.llsocket2_kqueue(), errno()
  if owner.sd < 0 then
    if shortage.collected(e) then return M.new() end
    return nil, e
  end
  shortage.made = shortage.made + 1
  e = fcntl.set_cloexec(owner.sd, true)
  if not e then return { owner = owner, events = events_t(), at = {} } end
  owner:close()
  return nil, e
end

-- Turns the generation into the udata that the kernel keeps.  Call it first, before `at` is read and the cell is filled: it
-- allocates, and a finaliser that runs then may change both.
local function data_of(generation) return ffi.cast("void *", ffi.cast("uintptr_t", generation % 2^32)) end

-- Do not branch between filling the cell and the call: a side trace begins with a collector step.
local function change(state, fd, bits, flags, data)
  local kq, filter, fflags = state.owner.sd, FILTER[bits], bits == URGENT and const.NOTE_OOB or 0
  cell.ident, cell.filter, cell.flags, cell.fflags, cell.data, cell.udata = fd, filter, flags, fflags, 0, data
  local rc, e = C.llsocket2_kevent(kq, cell, 1, nil, 0, nil), errno()
  if rc < 0 then return e end
end

-- Changes one filter from the bits `old` to `want`.  EV_ADD on an existing filter does not change EV_CLEAR and EV_DISPATCH
-- (FreeBSD): where these differ, delete the filter first.  It is no error if the filter is already gone.
local function apply(state, fd, bits, old, want, data)
  local had, wanted, mode = band(old, bits) ~= 0, band(want, bits) ~= 0, EDGE + ONCE
  if had and not (wanted and band(old, mode) == band(want, mode)) then change(state, fd, bits, DELETE, data) end
  if not wanted then return nil end
  local edge, once = band(want, EDGE) ~= 0 and CLEAR or 0, band(want, ONCE) ~= 0 and DISPATCH or 0
  return change(state, fd, bits, bor(ADD, ENABLE, edge, once), data)
end

-- Answers the errno where kqueue cannot do what is asked.
local function refused(want)
  if band(want, EXCLUSIVE) ~= 0 then return const.EINVAL end
  if band(want, URGENT) ~= 0 and not HAS_URGENT then return const.EOPNOTSUPP end
end

local function set(state, fd, old, want, data)
  return apply(state, fd, READ, old, want, data) or apply(state, fd, WRITE, old, want, data)
    or apply(state, fd, URGENT, old, want, data)
end

--- Changes the bits that are waited for, and the generation.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer
---@return integer? errno  EBADF; EOPNOTSUPP: urgent data, without EVFILT_EXCEPT; EINVAL: exclusive
function M.modify(state, fd, want, generation)
  local data = data_of(generation)
  local e = refused(want) or set(state, fd, state.at[fd] or 0, want, data)
  if e then return e end
  state.at[fd] = want
end

--- Registers a descriptor.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer
---@return integer? errno  EEXIST, EBADF; EOPNOTSUPP: urgent data, without EVFILT_EXCEPT; EINVAL: exclusive
function M.add(state, fd, want, generation)
  local data = data_of(generation)
  local e = state.at[fd] and const.EEXIST or refused(want)
  if e then return e end
  e = set(state, fd, 0, want, data)
  if not e then
    state.at[fd] = want
    return nil
  end
  set(state, fd, want, 0, data) -- the kernel may have added the first filter and refused the second: remove both
  return e
end

--- Removes a descriptor.
---@param state table
---@param fd integer
function M.remove(state, fd)
  set(state, fd, state.at[fd] or 0, 0, nil)
  state.at[fd] = nil
end

--- Waits for events.
---@param state table
---@param milliseconds integer  -1 for ever
---@param max integer  1 to MOST
---@return integer n  -1 with an errno
---@return integer errno
function M.wait(state, milliseconds, max)
  local timeout = milliseconds >= 0 and time_cell or nil
  time_cell.tv_sec, time_cell.tv_nsec = floor(milliseconds / 1000), milliseconds % 1000 * 1e6
  local n, e = C.llsocket2_kevent(state.owner.sd, nil, 0, state.events, max, timeout), errno()
  return n, e
end

local TOLD = { [EVFILT_READ] = READ, [EVFILT_WRITE] = WRITE }
if HAS_URGENT then TOLD[EVFILT_EXCEPT] = URGENT end
local ENDED = { [READ] = HALF, [WRITE] = HANGUP, [URGENT] = HALF }

--- Reads an event of the last wait.  EV_EOF on the read filter is the peer's half-close; on the write filter it is a hang-up.
---@param state table
---@param i integer  from 0
---@return integer fd
---@return integer generation
---@return integer ready
function M.get(state, i)
  local event = state.events[i]
  local bits, ends = TOLD[event.filter], band(event.flags, const.EV_EOF) ~= 0
  local failed = band(event.flags, const.EV_ERROR) ~= 0 or (ends and event.fflags ~= 0)
  return tonumber(event.ident), tonumber(ffi.cast("uintptr_t", event.udata)),
    bor(bits, ends and ENDED[bits] or 0, failed and ERROR or 0)
end

return M
