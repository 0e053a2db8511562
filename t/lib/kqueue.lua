-- kqueue.lua -- the library loaded anew over a kevent(2) that is made here of poll(2), and behaves as FreeBSD's: EV_ADD on
-- a filter that is there changes its data and looks anew, but leaves EV_CLEAR and EV_DISPATCH as they are.
require "llsocket"
local bit = require "bit"
local ffi = require "ffi"
local K = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local libc = require "llsocket.core.libc"
local standin = require "standin"
local sys = require "sys"

local band, bor = bit.band, bit.bor
local ADD, DELETE, ENABLE, ONESHOT, CLEAR, DISPATCH, EOF = 0x1, 0x2, 0x4, 0x10, 0x20, 0x80, 0x8000
local READ, WRITE, EXCEPT, OOB = -1, -2, -15, 2

local M = { changes = {}, asked = {} } -- what was asked of kevent, as "ADD -1"; and how often by descriptor

local kevent_t = ffi.typeof [[
  struct { uintptr_t ident; int16_t filter; uint16_t flags; uint32_t fflags; intptr_t data; void *udata; }
]]
local change_t, events_t = ffi.typeof("$ *", kevent_t), ffi.typeof("$ *", kevent_t)
local knotes = {} -- by kqueue, a list

local function find(list, ident, filter)
  for i, note in ipairs(list) do
    if note.ident == ident and note.filter == filter then return i, note end
  end
end

local function add(list, ident, change)
  local _, note = find(list, ident, change.filter)
  if not sys.is_open(ident) then return K.EBADF end
  if knotes[ident] == list then return K.EINVAL end -- itself
  if not note then
    note = { ident = ident, filter = change.filter, flags = band(change.flags, bor(CLEAR, DISPATCH, ONESHOT)), enabled = true }
    list[#list + 1] = note
  end
  note.udata, note.fflags, note.told = change.udata, change.fflags, nil
  if band(change.flags, ENABLE) ~= 0 then note.enabled = true end
end

local function apply(list, change)
  local ident = tonumber(change.ident)
  local deletes = band(change.flags, DELETE) ~= 0
  M.asked[ident] = (M.asked[ident] or 0) + 1
  M.changes[#M.changes + 1] = (deletes and "DELETE " or "ADD ") .. change.filter
  if not deletes then return add(list, ident, change) end
  local i = find(list, ident, change.filter)
  if not i then return K.ENOENT end
  table.remove(list, i)
end

local WANT = { [READ] = bor(K.POLLIN, K.POLLRDHUP), [WRITE] = K.POLLOUT, [EXCEPT] = K.POLLPRI }
local ENDS = { [READ] = bor(K.POLLRDHUP, K.POLLHUP), [WRITE] = bor(K.POLLHUP, K.POLLERR), [EXCEPT] = K.POLLHUP }
local pollfd, byte = layout.pollfd(), ffi.new "char[65536]"

-- What there is to tell of a note: a number that changes with each edge; nil when nothing.
local function state(note)
  pollfd.fd, pollfd.events, pollfd.revents = note.ident, WANT[note.filter], 0
  libc.llsocket2_poll(pollfd, 1, 0)
  if band(pollfd.revents, bor(WANT[note.filter], ENDS[note.filter])) == 0 then return nil end
  local waiting = note.filter == READ and libc.llsocket2_recv(note.ident, byte, 65536, bor(K.MSG_PEEK, K.MSG_DONTWAIT)) or 1
  return waiting, band(pollfd.revents, ENDS[note.filter]) ~= 0
end

local function tell(note, event, ends)
  event.ident, event.filter, event.udata, event.fflags, event.data = note.ident, note.filter, note.udata, 0, 0
  event.flags = bor(note.flags, ends and EOF or 0)
  if band(note.flags, DISPATCH) ~= 0 then note.enabled = false end
end

local function collect(list, events, max)
  local n = 0
  for i = #list, 1, -1 do
    if not sys.is_open(list[i].ident) then table.remove(list, i) end
  end
  for _, note in ipairs(list) do
    local now, ends = state(note)
    if note.enabled and now and n < max and not (band(note.flags, CLEAR) ~= 0 and note.told == now) then
      note.told = now
      tell(note, events[n], ends)
      n = n + 1
    end
  end
  return n
end

local calls = {}

function calls.llsocket2_kqueue()
  local fd = libc.llsocket2_epoll_create1(0)
  if fd >= 0 then knotes[fd] = {} end
  return fd
end

local function patience(timeout)
  return timeout and tonumber(timeout.tv_sec) + tonumber(timeout.tv_nsec) / 1e9 or math.huge
end

-- A kernel does it at once: no finaliser and no hook runs in between.
local function at_once(fn, ...)
  local running = collectgarbage "isrunning" -- not in a finaliser
  collectgarbage "stop"
  local hook, mask, count = debug.gethook()
  debug.sethook()
  local answer, e = fn(...)
  debug.sethook(hook, mask, count)
  if running then collectgarbage "restart" end
  if e then ffi.errno(e) end
  return answer
end

local function change_one(list, change)
  local e = apply(list, ffi.cast(change_t, change)[0])
  return e and -1 or 0, e
end

local function wait(list, events, max, timeout)
  local stop, n = sys.clock() + patience(timeout)
  repeat
    n = collect(list, ffi.cast(events_t, events), max)
    if n == 0 then libc.llsocket2_poll(nil, 0, 1) end
  until n > 0 or sys.clock() >= stop
  return n
end

function calls.llsocket2_kevent(kq, change, changes, events, max, timeout)
  local list = knotes[kq]
  if not list then -- it was closed
    ffi.errno(K.EBADF)
    return -1
  end
  if changes == 1 then return at_once(change_one, list, change) end
  return at_once(wait, list, events, max, timeout)
end

local CONSTANTS = {
  EV_ADD = ADD, EV_DELETE = DELETE, EV_ENABLE = ENABLE, EV_DISABLE = 0x8, EV_ONESHOT = ONESHOT, EV_CLEAR = CLEAR,
  EV_DISPATCH = DISPATCH, EV_EOF = EOF, EV_ERROR = 0x4000, EVFILT_READ = READ, EVFILT_WRITE = WRITE,
}

-- Loads it; `urgent`: with EVFILT_EXCEPT, as macOS and OpenBSD have it.
function M.load(urgent)
  CONSTANTS.EVFILT_EXCEPT, CONSTANTS.NOTE_OOB = urgent and EXCEPT or nil, urgent and OOB or nil
  return standin.load(CONSTANTS, setmetatable(calls, nil), { kevent = kevent_t, timespec = layout.timespec })
end

return M
