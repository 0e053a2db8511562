-- select.lua -- select: which of several objects can be read or written.
--
-- The answer comes from poll(2), which has no largest descriptor.  In a coroutine of a loop poll(2) only looks; the loop waits
-- for a poller that watches them all.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local ffi = require "ffi"
local shim = require "llsocket.shim"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local iovec = require "llsocket.message.iovec"
local poll = require "llsocket.poll"
local waiting = require "llsocket.wait"
local argument = require "llsocket.luasocket.argument"
local sleeping = require "llsocket.luasocket.sleeping"
local error, getmetatable, ipairs, pcall, sort, tonumber, type = error, getmetatable, ipairs, pcall, table.sort, tonumber, type
local ceil, max, min, running = math.ceil, math.max, math.min, coroutine.running

local errno, now, band, bor = ffi.errno, shim.llsocket2_now, bit.band, bit.bor
local IN, OUT, ERR, HUP, NVAL = const.POLLIN, const.POLLOUT, const.POLLERR, const.POLLHUP, const.POLLNVAL
local READABLE, WRITABLE = bor(IN, HUP, ERR), bor(OUT, ERR)
local EBADF, EINTR, ENOMEM = const.EBADF, const.EINTR, const.ENOMEM
local SIZE = ffi.sizeof(layout.pollfd)
local slots_t = ffi.typeof("$ *", layout.pollfd)
local FOREVER = 2^31 - 1 -- seconds of one sleep
local TICK = 0.01 -- seconds between two looks, where nothing can be waited for

-- What is asked for:
--   objects[fd]          the object of a descriptor, the last one of both lists
--   reads, writes        by descriptor: whether it is asked for
--   order                the descriptors, sorted

local spare, capacity = nil, 0 -- memory for poll(2), of the last call that is done with it

local function take(n)
  local block = spare
  spare = nil
  if block and capacity >= n then return block end
  capacity = max(64, n)
  return iovec.memory(capacity * SIZE)
end

local function write_slots(slots, asked)
  for i, fd in ipairs(asked.order) do
    local slot = slots[i - 1]
    slot.fd, slot.revents = fd, 0
    slot.events = bor(asked.reads[fd] and IN or 0, asked.writes[fd] and OUT or 0)
  end
end

local function read_slots(slots, asked)
  local ready = {}
  for i, fd in ipairs(asked.order) do
    local bits = slots[i - 1].revents
    if band(bits, NVAL) ~= 0 then return nil, EBADF end
    if bits ~= 0 then ready[fd] = bits end
  end
  return ready
end

-- Looks, at most so many milliseconds; answers how many are ready and the bits of each, or nil and the errno.
local function look(asked, milliseconds)
  local n = #asked.order
  local block = take(n)
  if not block then return nil, ENOMEM end
  local slots = ffi.cast(slots_t, block)
  write_slots(slots, asked)
  local found, e = C.llsocket2_poll(slots, n, milliseconds), errno()
  local ready, why = nil, e
  if found >= 0 then ready, why = read_slots(slots, asked) end
  spare = block
  if not ready then return nil, why end
  return found, ready
end

local function direction(asked, fd) return (asked.reads[fd] and "r" or "") .. (asked.writes[fd] and "w" or "") end

-- Waits in the way that is set until one may be ready.
local function wait_for_any(asked, sec)
  if not asked.order[1] then return sleeping.sleep(sec or FOREVER) end
  local poller, _, e = poll.new()
  if not poller then return e end
  if poller:fd() < 0 then -- a system without epoll and kqueue
    poller:close()
    return sleeping.sleep(min(sec or TICK, TICK))
  end
  for _, fd in ipairs(asked.order) do poller:add(fd, direction(asked, fd)) end
  local ready
  ready, _, e = waiting.wait(poller:fd(), "r", sec)
  poller:close()
  return ready == nil and e or nil
end

local function left(at) return at and max(at - now(), 0) end

-- Blocks in poll(2), or where a loop has the calling coroutine, waits there.
local function look_until(asked, at)
  local co, is_main = running()
  local yields = co and not is_main and waiting.is_set()
  while true do
    local sec = left(at)
    local milliseconds = not sec and -1 or min(ceil(sec * 1000), waiting.LONGEST)
    local found, ready = look(asked, yields and 0 or milliseconds)
    if not found and ready ~= EINTR then return nil, ready end
    if found and (found > 0 or sec and sec <= 0) then return found, ready end
    local e = yields and wait_for_any(asked, sec)
    if e and e ~= EINTR then return nil, e end
  end
end

local function get(object, name) return object[name] end

-- Raises what a C function raises, at the line that called into the face.
local function complain(err)
  if type(err) ~= "string" then error(err, 0) end
  argument.complain((err:gsub("^.-:%d+: ", "")))
end

-- Answers a field of what may have none.
local function field(object, name)
  local kind = type(object)
  if kind == "table" or kind == "string" then return object[name] end
  if kind ~= "userdata" and kind ~= "cdata" then complain(("attempt to index a %s value"):format(kind)) end
  local done, value = pcall(get, object, name)
  if done then return value end
  return complain(kind == "cdata" and value or "attempt to index a userdata value")
end

-- Calls a method of an object.
local function call(method, object)
  local kind = type(method)
  local meta = kind ~= "function" and getmetatable(method)
  if kind == "function" or type(meta) == "table" and meta.__call then return method(object) end
  return complain(("attempt to call a %s value"):format(kind))
end

-- The descriptor that an object tells, or nil.
local function fd_of(object)
  local getfd = field(object, "getfd")
  local fd = type(getfd) ~= "nil" and tonumber((call(getfd, object)))
  return fd and fd >= 0 and fd or nil
end

-- Notes what a list asks for; answers its objects that have a descriptor, and the descriptor of each.
local function collect(list, position, asked, wanted)
  local objects, fds = {}, {}
  if type(list) == "nil" then return objects, fds end
  argument.table(list, position)
  local i, n, order = 1, 0, asked.order
  while type(list[i]) ~= "nil" do
    local object = list[i]
    local fd = fd_of(object)
    if fd then
      n = n + 1
      objects[n], fds[n] = object, fd
      if not asked.objects[fd] then order[#order + 1] = fd end
      asked.objects[fd], wanted[fd] = object, true
    end
    i = i + 1
  end
  return objects, fds
end

local function is_dirty(object)
  local dirty = field(object, "dirty")
  return type(dirty) ~= "nil" and call(dirty, object)
end

-- Answers those that hold bytes; the kernel is not asked for them.
local function dirty_ones(objects, fds, asked)
  local out = {}
  for i, object in ipairs(objects) do
    if is_dirty(object) then
      out[#out + 1] = object
      asked.reads[fds[i]] = nil
    end
  end
  return out
end

-- Leaves out the descriptors that are asked for nothing any more, and sorts the others: most lists are in order, and sort() is
-- not compiled.
local function strike(asked)
  local order, n, last, is_sorted = {}, 0, -1, true
  for _, fd in ipairs(asked.order) do
    if asked.reads[fd] or asked.writes[fd] then
      n = n + 1
      order[n], is_sorted, last = fd, is_sorted and fd > last, fd
    end
  end
  if not is_sorted then sort(order) end
  asked.order = order
end

-- Appends those that are ready, and names the place of each.
local function answer(out, asked, wanted, ready, bits)
  for _, fd in ipairs(asked.order) do
    if wanted[fd] and band(ready[fd] or 0, bits) ~= 0 then out[#out + 1] = asked.objects[fd] end
  end
  for i = 1, #out do out[out[i]] = i end
  return out
end

local M = {}

--- Waits until some of several objects can be read or written.  An object is whatever has a method getfd.
---@param recvt? table[]  to be read
---@param sendt? table[]  to be written
---@param timeout? number  seconds; nil or below 0: for ever
---@return table readable  a list, which also has the place of each object by the object
---@return table writable
---@return string? err  "timeout"
function M.select(recvt, sendt, timeout)
  local sec = argument.optional_number(timeout, 3, -1)
  local asked = { objects = {}, reads = {}, writes = {}, order = {} }
  local objects, fds = collect(recvt, 1, asked, asked.reads)
  collect(sendt, 2, asked, asked.writes)
  local readable = dirty_ones(objects, fds, asked)
  strike(asked)
  if readable[1] then sec = 0 end
  local found, ready = look_until(asked, sec >= 0 and now() + sec or nil)
  if not found then argument.complain "select failed" end
  if found == 0 and not readable[1] then return {}, {}, "timeout" end
  return answer(readable, asked, asked.reads, ready, READABLE), answer({}, asked, asked.writes, ready, WRITABLE)
end

return M
