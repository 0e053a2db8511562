-- epoll.lua -- the poller's kernel side by epoll(7).
--
-- Each back-end has the same functions: new, add, modify, remove, wait, get.  The argument `want` and the third result of
-- get() are bits of bits.lua.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local descriptor = require "llsocket.descriptor"
local layout = require "llsocket.core.layout"
local readiness = require "llsocket.poll.bits"
local shortage = require "llsocket.core.shortage"

local errno, band, bor = ffi.errno, bit.band, bit.bor
local READ, WRITE, HANGUP, HALF, ERROR = readiness.READ, readiness.WRITE, readiness.HANGUP, readiness.HALF, readiness.ERROR
local EDGE, ONCE, URGENT, EXCLUSIVE = readiness.EDGE, readiness.ONCE, readiness.URGENT, readiness.EXCLUSIVE
local ADD, MOD, DEL = const.EPOLL_CTL_ADD, const.EPOLL_CTL_MOD, const.EPOLL_CTL_DEL
local IN, OUT, HUP, ERR, RDHUP = const.EPOLLIN, const.EPOLLOUT, const.EPOLLHUP, const.EPOLLERR, const.EPOLLRDHUP
local ET, ONESHOT, PRI, ALONE = const.EPOLLET, const.EPOLLONESHOT, const.EPOLLPRI, const.EPOLLEXCLUSIVE

local MOST = 1024 -- events of one call
local events_t = const.EPOLLIN and ffi.typeof("$[1024]", layout.epoll_event)
local cell = const.EPOLLIN and layout.epoll_event()

local M = { MOST = MOST, available = const.EPOLLIN ~= nil }

--- Makes a back-end.
---@return table? state  `owner` owns its descriptor
---@return integer? errno  EMFILE
function M.new()
  local owner = descriptor.new()
  local e
  owner.sd, e = C.llsocket2_epoll_create1(const.EPOLL_CLOEXEC), errno()
  if owner.sd < 0 then
    if shortage.collected(e) then return M.new() end
    return nil, e
  end
  shortage.made = shortage.made + 1
  return { owner = owner, events = events_t() }
end

-- Reading also asks for the peer's half-close, except with EPOLLEXCLUSIVE: the kernel refuses EPOLLRDHUP together with that.
local function asked(want)
  local alone = band(want, EXCLUSIVE) ~= 0
  return (bor(band(want, READ) ~= 0 and bor(IN, alone and 0 or RDHUP) or 0, band(want, WRITE) ~= 0 and OUT or 0,
    band(want, URGENT) ~= 0 and PRI or 0, band(want, EDGE) ~= 0 and ET or 0, band(want, ONCE) ~= 0 and ONESHOT or 0,
    alone and ALONE or 0))
end

-- Do not branch between filling the cell and the call: a side trace begins with a collector step, and a finaliser that runs
-- then may overwrite the cell.
local function control(state, op, fd, want, generation)
  if band(want, EXCLUSIVE) ~= 0 and not ALONE then return const.EINVAL end
  local epfd, events = state.owner.sd, asked(want) % 2^32
  cell.events, cell.fd, cell.generation = events, fd, generation % 2^32
  local rc, e = C.llsocket2_epoll_ctl(epfd, op, fd, cell), errno()
  if rc ~= 0 then return e end
end

--- Registers a descriptor.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer  any 32 bits; get answers them with the events
---@return integer? errno  EEXIST, EBADF, EPERM, EINVAL: exclusive, and urgent or another poller
function M.add(state, fd, want, generation) return control(state, ADD, fd, want, generation) end

--- Changes the bits that are waited for, and the generation.
---@param state table
---@param fd integer
---@param want integer  bits
---@param generation integer
---@return integer? errno  ENOENT, EBADF, EINVAL: it is or would be exclusive
function M.modify(state, fd, want, generation) return control(state, MOD, fd, want, generation) end

--- Removes a descriptor.
---@param state table
---@param fd integer
---@return integer? errno  ENOENT, EBADF
function M.remove(state, fd) return control(state, DEL, fd, 0, 0) end

--- Waits for events.
---@param state table
---@param milliseconds integer  -1 for ever
---@param max integer  1 to MOST
---@return integer n  -1 with an errno
---@return integer errno
function M.wait(state, milliseconds, max)
  local n, e = C.llsocket2_epoll_wait(state.owner.sd, state.events, max, milliseconds), errno()
  return n, e
end

--- Reads an event of the last wait if it tells of bytes to read and of nothing else, as most do.
---@param events ffi.cdata*  of the state
---@param i integer  from 0
---@return integer? fd
---@return integer? generation
function M.readable(events, i)
  local event = events[i]
  if event.events == IN then return event.fd, event.generation end
end

--- Reads an event of the last wait.
---@param state table
---@param i integer  from 0
---@return integer fd
---@return integer generation
---@return integer ready
function M.get(state, i)
  local event = state.events[i]
  local events = event.events
  return event.fd, event.generation, bor(band(events, IN) ~= 0 and READ or 0, band(events, OUT) ~= 0 and WRITE or 0,
    band(events, HUP) ~= 0 and HANGUP or 0, band(events, RDHUP) ~= 0 and HALF or 0, band(events, ERR) ~= 0 and ERROR or 0,
    band(events, PRI) ~= 0 and URGENT or 0)
end

return M
