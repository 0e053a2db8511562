-- kernel.lua -- what llsocket.wait.coroutine has registered with the kernel.  It knows numbers of descriptors and the bits to
-- wait for, and nothing of coroutines: another engine can stand in its place.
--
-- A socket is registered once for its life, level-triggered, so that a wait makes no system call.  Its object carries the
-- number of its registration.  A descriptor without an object is registered for one event by each wait.
--
-- The kernel answers the number with each event.  Where it is not the one that the descriptor has now, a descriptor was closed
-- behind the library, a copy keeps what it stood for, and its number has another owner.  The kernel would tell of it without
-- end, and EPOLL_CTL_DEL would remove the new owner.  Only a new set of registrations helps: renew().
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local forks = require("llsocket.core.forks").counter
local lazy = require "llsocket.core.lazy"
local readiness = require "llsocket.poll.bits"
local ipairs = ipairs

local errno, band, max = ffi.errno, bit.band, math.max
local READ, WRITE, ONCE = readiness.READ, readiness.WRITE, readiness.ONCE
local EBADF, EEXIST, EINVAL, ENOENT = const.EBADF, const.EEXIST, const.EINVAL, const.ENOENT

local BACKENDS = { epoll = "llsocket.poll.epoll", kqueue = "llsocket.poll.kqueue", poll = "llsocket.poll.poll" }
local backend = lazy.require(BACKENDS[const.EPOLLIN and "epoll" or const.EV_ADD and "kqueue" or "poll"])
local IS_INHERITED = const.EPOLLIN ~= nil -- by a forked child; kqueue(2) is not

-- By descriptor: the number of its registration.  reads, writes: it lasts and asks for reading, writing.  onces: it is for one
-- event.  retired: the batch of events during which a registration ended.  Each is false where it was another before: nil
-- would let a table that grows move its numbers to its hash part.
local reads, writes, onces, retired = {}, {}, {}, {}
local highest, last_number = -1, 0

local state -- the back-end's
local batch, at, count = 0, 0, 0 -- the events of the last wait: the next one, how many there are
local events -- the state's
local plain = backend.readable or function() end

-- How often this process came from a fork.  A child has a copy of the descriptor of its parent's set: it must leave the set
-- alone and make its own.  A call of getpid would be a system call each time.
local seen = forks[0] -- when all was registered, or nil
local made = seen -- when the set was made

---@class llsocket.wait.kernel
---@field waited fun(fd: integer): integer  set by the loop: the bits that somebody waits for
---@field lost fun(fd: integer, e: integer)  set by the loop: wakes those who wait for the descriptor with an errno
local M = { reads = reads, writes = writes }

local function number_of(fd) return reads[fd] or writes[fd] or onces[fd] end

local function set(list, fd, number)
  if number or list[fd] then list[fd] = number end
end

local function unnote(fd)
  set(reads, fd, false)
  set(writes, fd, false)
  set(onces, fd, false)
  retired[fd] = batch
end

local function note(fd, number, bits, lasts)
  local had = number_of(fd)
  if had and had ~= number then retired[fd] = batch end
  highest = max(highest, fd)
  set(reads, fd, lasts and band(bits, READ) ~= 0 and number)
  set(writes, fd, lasts and band(bits, WRITE) ~= 0 and number)
  set(onces, fd, not lasts and number)
end

-- Takes back what the kernel is no longer to tell, before it is told so: after an error in between, a wait would take for
-- registered what is not.
local function narrow(fd, bits)
  if bits == 0 then return unnote(fd) end
  if band(bits, READ) == 0 then set(reads, fd, false) end
  if band(bits, WRITE) == 0 then set(writes, fd, false) end
end

local function next_number()
  last_number = last_number % 0x7fffffff + 1
  return last_number
end

-- Lets go of the old set.  The number of a kqueue of the parent may be another file's in the child: do not close that.
local function abandon()
  local owner = state and state.owner
  if owner and (forks[0] == made or IS_INHERITED) then owner:close() end
  if owner then owner.sd = -1 end
  state, events, count = nil, nil, at
end

-- Registers again, under the old number, what somebody waits for; all else is forgotten.  EINVAL: the number was closed, and the
-- new set itself has it now.
local function restore(fd)
  local bits, number, lasting = M.waited(fd), number_of(fd), not onces[fd]
  if not number then return end
  if bits == 0 then return unnote(fd) end
  local e = backend.add(state, fd, lasting and bits or bits + ONCE, number)
  if not e then return note(fd, number, bits, lasting) end
  unnote(fd)
  M.lost(fd, e == EINVAL and EBADF or e)
end

-- Makes a new set with all that is waited for; answers the errno.
local function renew()
  seen = nil
  abandon()
  local e
  made = forks[0]
  state, e = backend.new()
  if not state then return e end
  events = state.events
  for fd = 0, highest do restore(fd) end
  -- At last: where memory runs out before, the next call renews again.  Not forks[0]: a child that a debug hook or a finaliser
  -- has forked meanwhile has the parent's set, and must not take it for its own.
  seen = made
end

local function is_current() return state and forks[0] == seen end

-- Answers the errno where there can be no set.
local function settle()
  if is_current() then return nil end
  return renew()
end

--- Tells whether a socket is registered under its object's number.
---@param fd integer
---@param sock llsocket.socket
---@return boolean is_registered
function M.holds(fd, sock) return number_of(fd) == sock.about.registration end

--- Registers a socket for its life.
---@param fd integer
---@param bits integer  READ, WRITE or both
---@param sock llsocket.socket
---@return integer? errno  EBADF, EMFILE, ENFILE, ENOMEM, ENOSPC, EPERM
---@return boolean? is_new  true: whoever waited for this number until now waited for a file that is closed
function M.register(fd, bits, sock)
  local e = settle()
  if e then return e end
  local number, is_new = next_number(), true
  e = backend.add(state, fd, bits, number)
  if e == EEXIST then e, is_new = backend.modify(state, fd, bits, number), false end
  if e then return e end
  note(fd, number, bits, true)
  sock.about.registration, sock.about.watched = number, true
  return nil, is_new
end

--- Registers a descriptor for one event.
---@param fd integer
---@param bits integer
---@return integer? errno  as register
function M.once(fd, bits)
  local e = settle()
  if e then return e end
  local number, want = next_number(), bits + ONCE
  e = ENOENT
  if number_of(fd) then e = backend.modify(state, fd, want, number) end
  if e == ENOENT then e = backend.add(state, fd, want, number) end
  if e == EEXIST then e = backend.modify(state, fd, want, number) end
  if e then return e end
  note(fd, number, bits, false)
end

--- Changes what the kernel is to tell of a socket that is registered for its life.  Where the kernel no longer knows it, its
--- number was closed behind the library, and all is registered again.
---@param fd integer
---@param bits integer  0: nothing, also no error and no end; the socket is no longer registered
---@return integer? errno  EMFILE, ENFILE, ENOMEM: there is no set of registrations
function M.change(fd, bits)
  if not is_current() then return renew() end
  local number = number_of(fd)
  if not number then return EBADF end -- a debug hook has closed it
  narrow(fd, bits)
  local e
  if bits == 0 then e = backend.remove(state, fd) else e = backend.modify(state, fd, bits, number) end
  if bits ~= 0 then note(fd, number, bits, true) end
  if e then return renew() end
end

--- Forgets a descriptor that is about to be closed or given up: a copy of it may stay open.
---@param fd integer
function M.forget(fd)
  if not number_of(fd) then return end
  unnote(fd)
  if is_current() then backend.remove(state, fd) end
end

--- Forgets a socket that a finaliser or a debug hook closed while its wait began: nobody was told, for nobody was noted.
---@param fd integer
---@param sock llsocket.socket
---@return integer errno  EBADF
function M.closed(fd, sock)
  if M.holds(fd, sock) then M.forget(fd) end
  return EBADF
end

-- Descriptors that poll(2) found closed; epoll and kqueue forget them silently.
local function drop(fds)
  for _, fd in ipairs(fds) do
    unnote(fd)
    M.lost(fd, EBADF)
  end
end

--- Waits for events, which take() answers one by one.
---@param milliseconds integer  -1 for ever
---@return integer n  how many; -1 with an errno
---@return integer errno
function M.wait(milliseconds)
  batch, at, count = batch + 1, 0, 0
  if (state or highest >= 0) and not is_current() then
    local e = renew()
    if e then return -1, e end
    milliseconds = 0 -- renew() may have woken somebody, who must not wait for an event
  end
  if not state then
    local rc, why = C.llsocket2_poll(nil, 0, milliseconds), errno()
    return rc, why
  end
  local n, why = backend.wait(state, milliseconds, backend.MOST)
  if n > 0 then count = n end
  if state.dropped then drop(state.dropped) end
  return n, why
end

-- An event of a registration that ended during this batch is late; any other is an orphan's.
local function stale(fd)
  if retired[fd] ~= batch then renew() end
end

--- Takes the next event.
---@return integer? fd  nil: no event is left, or this one is of a registration that has ended
---@return integer? ready  bits
function M.take()
  local i = at
  if i >= count then return nil end
  at = i + 1
  local fd, number, ready = backend.get(state, i)
  if reads[fd] == number or number_of(fd) == number then return fd, ready end
  stale(fd)
end

--- Tells whether a descriptor is registered.
---@param fd integer
---@return boolean
function M.has(fd) return (number_of(fd) or false) ~= false end

--- Makes the next wait register everything again: an error may have lost events that would not be told again.
function M.distrust() seen = nil end

--- Takes the next event if it only tells of bytes for somebody who waits to read.  It does what take() does, in half the
--- instructions.
---@param readers table  by descriptor: who waits
---@return integer? fd  nil: take() has to look at the next event
function M.readable(readers)
  local i = at
  if i >= count then return nil end
  local fd, number = plain(events, i)
  if not fd or reads[fd] ~= number or not readers[fd] then return nil end
  at = i + 1
  return fd
end

--- Tells how many events are left.
---@return integer n
function M.left() return count - at end

--- Tells the highest number that is or was registered.
---@return integer fd  -1: none
function M.highest() return highest end

--- Forgets everything and closes the set.
function M.close()
  abandon()
  for fd = 0, highest do reads[fd], writes[fd], onces[fd], retired[fd] = nil, nil, nil, nil end
  highest = -1
end

return M
