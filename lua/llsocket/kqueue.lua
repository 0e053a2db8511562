-- kqueue.lua -- the poller's kernel side by kqueue(2); see epoll.lua for what a back-end answers.
--
-- kqueue keeps reading and writing apart: one registration of ours is two filters, both with the generation as their
-- data.  Its two events come apart, too.
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.libc"
local const = require "llsocket.const"
local descriptor = require "llsocket.descriptor"
local fcntl = require "llsocket.fcntl"
local layout = require "llsocket.layout"
local readiness = require "llsocket.readiness"
local shortage = require "llsocket.shortage"
local tonumber, floor = tonumber, math.floor

local errno, band, bor = ffi.errno, bit.band, bit.bor
local READ, WRITE, HANGUP, HALF, ERROR = readiness.READ, readiness.WRITE, readiness.HANGUP, readiness.HALF, readiness.ERROR
local EDGE, ONCE = readiness.EDGE, readiness.ONCE
local EVFILT_READ, EVFILT_WRITE = const.EVFILT_READ, const.EVFILT_WRITE
local ADD, DELETE, CLEAR, DISPATCH, ENABLE = const.EV_ADD, const.EV_DELETE, const.EV_CLEAR, const.EV_DISPATCH, const.EV_ENABLE

local M = { MOST = 1024, available = const.EV_ADD ~= nil }
if not M.available then return M end

local events_t = ffi.typeof("$[1024]", layout.kevent)
local cell, time_cell = layout.kevent(), layout.timespec()

--- Makes a back-end; `at` has what is registered, since EV_ADD does not tell.
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
  if e then return nil, e end
  return { owner = owner, events = events_t(), at = {} }
end

local function change(state, fd, filter, flags, generation)
  cell.ident, cell.filter, cell.flags, cell.fflags, cell.data = fd, filter, flags, 0, 0
  cell.udata = ffi.cast("void *", ffi.cast("uintptr_t", generation % 2^32))
  local rc, e = C.llsocket2_kevent(state.owner.sd, cell, 1, nil, 0, nil), errno()
  if rc < 0 then return e end
end

-- A filter that is not wanted is deleted; that it was not there is no error.
local function apply(state, fd, filter, wanted, want, generation)
  if not wanted then
    change(state, fd, filter, DELETE, generation)
    return nil
  end
  local edge, once = band(want, EDGE) ~= 0 and CLEAR or 0, band(want, ONCE) ~= 0 and DISPATCH or 0
  return change(state, fd, filter, bor(ADD, ENABLE, edge, once), generation)
end

--- Changes what is waited for.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer
---@return integer? errno
function M.modify(state, fd, want, generation)
  return apply(state, fd, EVFILT_READ, band(want, READ) ~= 0, want, generation)
    or apply(state, fd, EVFILT_WRITE, band(want, WRITE) ~= 0, want, generation)
end

--- Registers a descriptor.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer
---@return integer? errno  EEXIST, EBADF
function M.add(state, fd, want, generation)
  if state.at[fd] then return const.EEXIST end
  local e = M.modify(state, fd, want, generation)
  if e then return e end
  state.at[fd] = true
end

--- Registers no more.
---@param state table
---@param fd integer
function M.remove(state, fd)
  state.at[fd] = nil
  change(state, fd, EVFILT_READ, DELETE, 0)
  change(state, fd, EVFILT_WRITE, DELETE, 0)
end

--- Waits for events.
---@param state table
---@param milliseconds integer  -1 for ever
---@param max integer  1 to MOST
---@return integer n  -1 with an errno
---@return integer errno
function M.wait(state, milliseconds, max)
  time_cell.tv_sec, time_cell.tv_nsec = floor(milliseconds / 1000), milliseconds % 1000 * 1e6
  local timeout = milliseconds >= 0 and time_cell or nil
  local n, e = C.llsocket2_kevent(state.owner.sd, nil, 0, state.events, max, timeout), errno()
  return n, e
end

--- Reads an event of the last wait.  The end of what can be read is the peer's half-close, the end of what can be
--- written a hang-up.
---@param state table
---@param i integer  from 0
---@return integer fd
---@return integer generation
---@return integer ready
function M.get(state, i)
  local event = state.events[i]
  local reads, ends = event.filter == EVFILT_READ, band(event.flags, const.EV_EOF) ~= 0
  local failed = band(event.flags, const.EV_ERROR) ~= 0 or (ends and event.fflags ~= 0)
  local bits = bor(reads and READ or WRITE, ends and (reads and HALF or HANGUP) or 0, failed and ERROR or 0)
  return tonumber(event.ident), tonumber(ffi.cast("uintptr_t", event.udata)), bits
end

return M
