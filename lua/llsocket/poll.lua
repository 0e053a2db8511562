-- poll.lua -- pollers, which wait for many descriptors at once.
--
-- Each registration has a generation number that the kernel returns with the event.  If a descriptor was closed and its
-- number reused, the stale event has an old generation and is dropped.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local descriptor = require "llsocket.descriptor"
local event = require "llsocket.poll.event"
local wakers = require "llsocket.poll.waker"
local failed = require("llsocket.core.failure").failed
local sockets = require "llsocket.socket.object"
local lazy = require "llsocket.core.lazy"
local readiness = require "llsocket.poll.bits"
local waiting = require "llsocket.wait"
local getmetatable, setmetatable, type = getmetatable, setmetatable, type

local band, min, LONGEST = bit.band, math.min, waiting.LONGEST
local is_socket, is_event = check.is(sockets.type), check.is(event.type)
local is_descriptor = check.is(descriptor.type)
local EINVAL, EBADF, ENOENT = const.EINVAL, const.EBADF, const.ENOENT
local READ, WRITE, HANGUP, HALF, ERROR = readiness.READ, readiness.WRITE, readiness.HANGUP, readiness.HALF, readiness.ERROR
local URGENT, EXCLUSIVE = readiness.URGENT, readiness.EXCLUSIVE

local BACKENDS = { epoll = "llsocket.poll.epoll", kqueue = "llsocket.poll.kqueue", poll = "llsocket.poll.poll" }
local PREFERRED = const.EPOLLIN and "epoll" or const.EV_ADD and "kqueue" or "poll"

---@class llsocket.poller
local Poller = {}
local meta = {
  __index = Poller,
  __tostring = function(p) return ("llsocket.poller: fd %d"):format(p:fd()) end,
}

local is_self = check.object(meta, "llsocket.poller")

-- All pollers, so that close can remove a socket from them: a list and its length.  A collected poller leaves a hole.
-- Do not make it a set: LuaJIT does not compile loops over pairs, and code that closes a watched socket would stay interpreted.
local pollers, most = setmetatable({}, { __mode = "v" }), 0

-- Adds a poller to the list, into the first hole if there is one.
local function enlist(p)
  local i = 1
  while i <= most and pollers[i] do i = i + 1 end
  pollers[i], most = p, i > most and i or most
end

local function strike(p)
  for i = 1, most do
    if pollers[i] == p then pollers[i] = nil end
  end
  while most > 0 and not pollers[most] do most = most - 1 end
end

-- Answers the descriptor number of an object that add takes; nil and the errno where it is closed or impossible.
local function number_of(object, method)
  if type(object) == "number" then
    local number = check.fd(object, 1, method)
    if not number then return nil, EINVAL end
    return number >= 0 and number or nil, EBADF
  end
  local fd = -1
  if is_socket(object) or is_event(object) or is_descriptor(object) then
    fd = object.sd
  elseif getmetatable(object) == meta then
    fd = object:fd()
  else
    check.bad(1, method, "number, socket, descriptor, event or poller", object)
  end
  return fd >= 0 and fd or nil, EBADF
end

-- Checks the arguments of add and modify; answers the number and the bits, or nil and the errno.
local function asked(p, object, events, method)
  local fd, why = number_of(object, method)
  check.string(events, 2, method)
  local want = readiness.bits(events)
  if not want then return nil, EINVAL end
  if p.waker.sd < 0 then return nil, EBADF end
  if not fd then return nil, why end
  if fd == p.waker.sd then return nil, EINVAL end
  return fd, want
end

local ints_t = ffi.typeof "int[1024]"

local function blank(backend, state, wake)
  return setmetatable({
    backend = backend, backend_state = state, waker = wake, generation = 0, ready = 0, pid = C.llsocket2_getpid(),
    objects = {}, values = {}, generations = {},
    ready_fd = ints_t(), ready_generation = ints_t(), ready_bits = ints_t(),
  }, meta)
end

local function forget(p, fd) p.objects[fd], p.values[fd], p.generations[fd] = nil, nil, nil end

-- Registers under a new generation; answers the errno, or nil.  The generation is stored before the call, so that a finaliser
-- that registers during the call gets another one.
local function register(p, call, fd, object, want, value)
  local generation = bit.tobit(p.generation + 1)
  p.generation = generation
  local e = call(p.backend_state, fd, want, generation)
  if e then return e end
  p.generations[fd], p.objects[fd] = generation, object
  if type(value) == "nil" then value = object end
  p.values[fd] = value
  if is_socket(object) then object.about.watched = true end
end

-- A forked child shares the kernel's list with its parent.  Leave the list alone there: the parent still waits for the
-- descriptor that the child closes.
local function take_out(p, fd)
  local shared = p.backend_state.owner and p.pid ~= C.llsocket2_getpid()
  forget(p, fd)
  if not shared then p.backend.remove(p.backend_state, fd) end
end

-- Test for a poller by type(): getmetatable of a cdata would abort the trace of the code that closes a socket.
local function fd_of(object) return type(object) == "table" and object:fd() or object.sd end

local function take_out_of(p, object, fd)
  if p and p.objects[fd] == object then take_out(p, fd) end
end

-- Peel the first iteration: with one poller, LuaJIT would see a loop that runs once, and would split the caller's trace.
sockets.before_close(function(object)
  local fd = fd_of(object)
  take_out_of(pollers[1], object, fd)
  for i = 2, most do take_out_of(pollers[i], object, fd) end
end)

lazy.hold()

local backends = {} -- backends[word]: the module, once it was used

-- Answers the module, or nil and the errno.
local function backend_of(word)
  if not BACKENDS[word] then return nil, EINVAL end
  if backends[word] then return backends[word] end
  backends[word] = lazy.require(BACKENDS[word])
  return backends[word]
end

---@class llsocket.poll.module
local M = {}

--- Makes a poller; see epoll(7), kqueue(2), poll(2).
---@param backend? "epoll"|"kqueue"|"poll"  the default is the best that the system has
---@return llsocket.poller? p
---@return string? err
---@return integer? errno  EMFILE, ENFILE; ENOSYS: the system lacks the back-end; EINVAL for an unknown word
function M.new(backend)
  check.optional_string(backend, 1, "new")
  local module, why_not = backend_of(backend or PREFERRED)
  if not module then return failed(why_not) end
  if not module.available then return failed(const.ENOSYS) end
  local state, e = module.new()
  if not state then return failed(e) end
  local wake, why = wakers.new()
  local p = wake and blank(module, state, wake)
  e = why or register(p, module.add, wake:fd(), wake, READ)
  if e then
    if wake then wakers.close(wake) end
    if state.owner then state.owner:close() end
    return failed(e)
  end
  enlist(p)
  return p
end

--- Registers an object to wait for.  The poller refers to the object until it is removed or closed, so it is not collected.
---@param object llsocket.socket|integer|llsocket.descriptor|llsocket.event|llsocket.poller  where it is a number, the
---caller must remove it before closing the descriptor
---@param events string  "r" to read, "w" to write, "p" for urgent data, or several; more letters: "e" edge-triggered,
---"o" one-shot, "x" exclusive
---@param value? any  event() answers it; the default is the object
---@return boolean? added
---@return string? err
---@return integer? errno  EEXIST, EBADF, ENOSPC, ENOMEM, EPERM: a regular file; EOPNOTSUPP: edge-triggered with poll(2), urgent
---data where kqueue has no NOTE_OOB; EINVAL for an unknown word, for "x" without epoll, for "x" with "o", with "p" or of a poller
function Poller:add(object, events, value)
  is_self(self, "add")
  local fd, want = asked(self, object, events, "add")
  if not fd then return failed(want) end
  local e = register(self, self.backend.add, fd, object, want, value)
  if e then return failed(e) end
  return true
end

--- Changes the events to wait for; a one-shot registration is armed again.
---@param object llsocket.socket|integer|llsocket.descriptor|llsocket.event|llsocket.poller
---@param events string  as for add, except "x"
---@param value? any  the default keeps the present value
---@return boolean? modified
---@return string? err
---@return integer? errno  ENOENT: not registered; EBADF; EINVAL: exclusive, or an unknown word; EOPNOTSUPP: see add
function Poller:modify(object, events, value)
  is_self(self, "modify")
  local fd, want = asked(self, object, events, "modify")
  if not fd then return failed(want) end
  if not self.generations[fd] then return failed(ENOENT) end
  if type(value) == "nil" then value = self.values[fd] end
  if type(object) == "number" then object = self.objects[fd] end -- keep the reference to a socket that add got
  if band(want, EXCLUSIVE) ~= 0 then return failed(EINVAL) end
  local e = register(self, self.backend.modify, fd, object, want, value)
  if e then return failed(e) end
  return true
end

--- Removes an object: the poller no longer waits for it.
---@param object llsocket.socket|integer|llsocket.descriptor|llsocket.event|llsocket.poller
---@return boolean? removed
---@return string? err
---@return integer? errno  ENOENT: not registered; EBADF; EINVAL: it is the descriptor that wakes the poller
function Poller:remove(object)
  is_self(self, "remove")
  local fd, why = number_of(object, "remove")
  if self.waker.sd < 0 then return failed(EBADF) end
  if not fd then return failed(why) end
  if fd == self.waker.sd then return failed(EINVAL) end
  if not self.generations[fd] then return failed(ENOENT) end
  forget(self, fd)
  local e = self.backend.remove(self.backend_state, fd)
  if e then return failed(e) end
  return true
end

-- Keeps the kernel's event `i` as the `k`th unless its registration is gone; answers the next `k`.  A wake-up is consumed
-- and not kept.
local function keep(p, i, k)
  local fd, generation, bits = p.backend.get(p.backend_state, i)
  generation = bit.tobit(generation)
  if fd == p.waker.sd then
    wakers.drain(p.waker)
    return k
  end
  if p.generations[fd] ~= generation then return k end
  p.ready_fd[k], p.ready_generation[k], p.ready_bits[k] = fd, generation, bits
  return k + 1
end

-- Peel the first iteration: with one event, LuaJIT would otherwise see two inner loops that run once each (this one and the
-- caller's over the events) and abort the caller's trace.
local function sift(p, n)
  if n == 0 then return 0 end
  local k = keep(p, 0, 0)
  for i = 1, n - 1 do k = keep(p, i, k) end
  return k
end

--- Waits until something is ready; see epoll_wait(2).  Allocates nothing.
---@param sec? number  seconds, below 2^31, rounded up to a millisecond; the default waits for ever
---@param max? integer  the most events of one call, 1 or more; the default is 1024, and a larger number counts as 1024
---@return integer? n  how many are ready, for event(1) to event(n); 0 when the time ran out, or after wake()
---@return string? err
---@return integer? errno  EINTR; EBADF once closed; EINVAL
function Poller:wait(sec, max)
  is_self(self, "wait")
  local milliseconds = waiting.milliseconds(sec, 1, "wait")
  if type(max) == "nil" then max = 1024 end
  local max_ok = check.int(max, 2, "wait") and max >= 1
  if not (milliseconds and max_ok) then return failed(EINVAL) end
  if self.waker.sd < 0 then return failed(EBADF) end
  self.ready = 0
  local n, e = self.backend.wait(self.backend_state, milliseconds, min(max, 1024))
  if n < 0 then return failed(e) end
  if n == 0 and sec and sec * 1000 > LONGEST then return self:wait(sec - LONGEST / 1000, max) end
  local k = sift(self, n)
  self.ready = k
  return k
end

--- Tells event `i` of the last wait.
---@param i integer  1 to the number that wait answered
---@return any value  the registered value; nil where the object was removed, closed or registered again since the wait
---@return boolean? read  there is data to read, the end of the data, or a connection to accept
---@return boolean? write  there is capacity to write
---@return boolean? hangup  both directions are closed
---@return boolean? half  the peer has closed its direction
---@return boolean? err  there is an error: error() tells it
---@return boolean? urgent  there is urgent data, which "p" asks for
function Poller:event(i)
  is_self(self, "event")
  local i_ok = check.int(i, 1, "event")
  if not (i_ok and i >= 1 and i <= self.ready) then return nil end
  local fd, bits = self.ready_fd[i - 1], self.ready_bits[i - 1]
  if self.generations[fd] ~= self.ready_generation[i - 1] then return nil end
  return self.values[fd], band(bits, READ) ~= 0, band(bits, WRITE) ~= 0, band(bits, HANGUP) ~= 0,
    band(bits, HALF) ~= 0, band(bits, ERROR) ~= 0, band(bits, URGENT) ~= 0
end

-- A tail call instead of a loop, for the reason given at sift().
local function next_event(p, i)
  if i >= p.ready then return nil end
  i = i + 1
  local value, read, write, hangup, half, err, urgent = p:event(i)
  if type(value) ~= "nil" then return i, value, read, write, hangup, half, err, urgent end
  return next_event(p, i)
end

--- Iterates over the events of the last wait: `for i, value, read, write, hangup, half, err, urgent in p:events() do`.
---@return function iterator
---@return llsocket.poller p
---@return integer zero
function Poller:events()
  is_self(self, "events")
  return next_event, self, 0
end

--- Makes the present or the next wait return; another coroutine, a signal handler or a forked child may call it.
---@return boolean? woken
---@return string? err
---@return integer? errno  EBADF once closed
function Poller:wake()
  is_self(self, "wake")
  return wakers.wake(self.waker)
end

--- Tells the descriptor that wakes the poller.  A C signal handler writes a uint64_t of value 1 (8 bytes) to it; see
--- eventfd(2).
---@return integer fd  -1 once closed
function Poller:wakefd()
  is_self(self, "wakefd")
  return wakers.fd(self.waker)
end

--- Tells the poller's own descriptor.  It is readable when something is ready, so that another poller can wait for it.
---@return integer fd  -1 once closed, or with the back-end poll(2), which has none
function Poller:fd()
  is_self(self, "fd")
  local owner = self.backend_state.owner
  return owner and owner.sd or -1
end

--- Closes the poller's own descriptors, but not the registered ones.  Closing twice is harmless.
---@return string? err
---@return integer? errno  EIO, EINTR: the poller is closed nevertheless
function Poller:close()
  is_self(self, "close")
  strike(self)
  self.objects, self.values, self.generations, self.ready = {}, {}, {}, 0
  wakers.close(self.waker)
  local owner = self.backend_state.owner
  if not owner or owner.sd < 0 then return end
  local _, err = sockets.closing(self, false)
  if not err then return owner:close() end
  owner:close()
  return err
end

M.timer, M.signal, M.child = event.timer, event.signal, event.child
M.methods = Poller

return lazy.keep("llsocket.poll", M)
