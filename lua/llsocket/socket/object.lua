-- object.lua -- the object that owns a descriptor: its ctype, its finaliser, its table of methods.
--
-- It stands below the modules that add methods, so that each can check its self without knowing the others.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local report = require "llsocket.errno"
local ipairs, pcall, select, tostring, type, insert = ipairs, pcall, select, tostring, type, table.insert

local READ, WRITE = 1, 2
local band = bit.band
local MSG_ZEROCOPY = const.MSG_ZEROCOPY or 0
local finalize = shim.llsocket2_finalize

---@class llsocket.socket
local Socket = {}

-- Fields are named apart from the methods (`fd` would hide `sock:fd()`); `sd` is first, for the finaliser.
-- `nonblocking` is what llsocket last set or read, `ifindex` what mcastif set; `kind` and `home` are the
-- socket's real type and family, for `type` and `domain` are what dup's address may say instead.  `watched` tells that
-- somebody wants to know of its end, `waits` what the last call would have waited for: 1 to receive, 2 to send.  `asks`
-- makes receives ask for the sender, since 0 bytes alone may be the end: on seqpackets, and on datagram sockets that were
-- shut down for reading.  Two fields are of 16 bits, so that an object takes no more than 32 bytes.  The lookup is a function,
-- folded away when compiled, so that an unknown name is nil and not an error.
local decl = [[
  struct {
    int sd, domain, type, proto;
    int16_t kind, home;
    bool asks, nonblocking, borrowed, watched;
    int ifindex;
    uint8_t waits;
  }
]]
local handle_t = ffi.metatype(decl, {
  __index = function(_, name) return Socket[name] end,
  __tostring = function(sock) return ("llsocket.socket: fd %d"):format(sock.sd) end,
})

--- Makes an object that owns no descriptor yet.
---@return llsocket.socket sock
local function new()
  -- Allocated before its descriptor exists: the other order leaks it when memory runs out.  ffi.gc, not
  -- __gc, because every copy of a struct would inherit a metatype's finaliser and close again.
  local sock = handle_t()
  sock.sd = -1
  return ffi.gc(sock, finalize)
end

local SOCK_STREAM = const.SOCK_STREAM

--- Tells whether 0 bytes can be sent by sockets of this type: all have empty messages but streams.
---@param kind integer  SOCK_*
---@return boolean
local function has_empty(kind) return kind ~= SOCK_STREAM end

-- The address that a socket was made with, for bind and connect without one.
local names = setmetatable({}, { __mode = "k" })

-- Sockets whose descriptor dup has copied, and the copies: closing one of them ends no connection.
local copied = setmetatable({}, { __mode = "k" })

-- Sockets whose connection was reset before the close that comes: there is nothing left to shut down.
local reset = setmetatable({}, { __mode = "k" })

--- What a receive or an accept that failed answers.  A loop may ask what it would have waited for.
---@param sock llsocket.socket
---@param e integer  errno
---@return nil
---@return string? err
---@return boolean again
---@return integer errno
local function not_received(sock, e)
  sock.waits = READ
  return report.not_received(e)
end

--- What a send that failed answers.
---@param sock llsocket.socket
---@param e integer  errno
---@return integer? len
---@return string? err
---@return boolean? again
---@return integer? errno
local function not_sent(sock, e)
  sock.waits = WRITE
  return report.not_sent(e)
end

--- What a send answers that was taken: with bytes left over the next one would block.
---@param sock llsocket.socket
---@param n integer  bytes taken
---@param again boolean  fewer than all
---@return integer len
---@return nil
---@return boolean again
local function sent(sock, n, again)
  if again then sock.waits = WRITE end
  return n, nil, again
end

--- Combines `[flag, ...]` of a send as check.flags does; nil for MSG_ZEROCOPY, too: the kernel would read the memory
--- after the call, and only sendzerocopy keeps it.
---@param position integer  of `flag`, self not counted
---@param method string  the caller's name, for the message
---@param flag any
---@param ... any
---@return integer? bits
local function send_flags(position, method, flag, ...)
  if select("#", ...) == 0 and type(flag) == "nil" then return 0 end
  local bits = check.flags(position, method, flag, ...)
  if bits and band(bits, MSG_ZEROCOPY) == 0 then return bits end
end

-- What the modules above do before a watched descriptor goes, and which objects they are busy with.
local before = {}
local busy = setmetatable({}, { __mode = "k" })

--- Adds a function `fn(object, given_up)`; what it answers or raises is an error's text.
---@param fn fun(object: any, given_up: boolean): string?
---@param position? integer  1 to run before those that are there; the default is after them
local function before_close(fn, position) insert(before, position or #before + 1, fn) end

--- Tells an error as text, which its object may fail to give.
---@param err any
---@return string text
local function text_of(err)
  local ok, text = pcall(tostring, err)
  return ok and text or "an error without a text"
end

-- Do not loop over the first six, which are hooks, pollers, zero-copy and three ways of waiting, and do not call each by
-- pcall: what is called several times below a pcall becomes hot before the caller's loop, and a trace that begins there
-- cannot return (NYI: return to lower frame).
local function tell(object, given_up)
  busy[object] = true
  local a, b = before[1] and before[1](object, given_up), before[2] and before[2](object, given_up)
  local c, d = before[3] and before[3](object, given_up), before[4] and before[4](object, given_up)
  local e, f = before[5] and before[5](object, given_up), before[6] and before[6](object, given_up)
  local first = a or b or c or d or e or f
  for i = 7, #before do
    local err = before[i](object, given_up)
    first = first or err
  end
  return first
end

-- After one raised, for want of memory perhaps, which keeps none of the others from knowing.  Those that were told do
-- nothing the second time.
local function tell_each(object, given_up, err)
  busy[object] = true
  local first = text_of(err)
  for _, fn in ipairs(before) do pcall(fn, object, given_up) end
  return first
end

--- Tells those who want to know that an object's descriptor is about to go.  Raises nothing: an object that stayed busy
--- could not be closed any more.
---@param object any  a socket, descriptor, event or poller
---@param given_up boolean  it will not be closed, but belongs to somebody else
---@return boolean go_on  false: one of them closes the object again, which is about to be closed anyway
---@return string? err  the first error
local function closing(object, given_up)
  if busy[object] and not given_up then return false end
  local ok, err = pcall(tell, object, given_up)
  busy[object] = nil -- at once: the next call may find no stack
  if ok then return true, err end
  local _, text = pcall(tell_each, object, given_up, err)
  busy[object] = nil
  return true, text
end

local self, arg = check.class(handle_t, "llsocket.socket")

return {
  type = handle_t, methods = Socket, new = new, names = names, copied = copied, reset = reset, self = self, arg = arg,
  has_empty = has_empty, before_close = before_close, closing = closing, text_of = text_of,
  READ = READ, WRITE = WRITE, not_received = not_received, not_sent = not_sent, sent = sent, send_flags = send_flags,
}
