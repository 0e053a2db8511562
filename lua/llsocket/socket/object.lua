-- object.lua -- the object that owns a descriptor: its ctype, its finaliser, its table of methods.
--
-- The modules that add methods stand above it, so each of them can check `self` without knowing the others.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local ipairs, pcall, setmetatable, tostring, insert = ipairs, pcall, setmetatable, tostring, table.insert

local finalize = shim.llsocket2_finalize

---@class llsocket.socket
local Socket = check.methods() -- socket.lua makes some on first use

-- The struct has few fields, and __index is the table of methods itself: the interpreter finds a method by comparing its name
-- with each field first and then asking __index (570 instructions; 730 with twelve fields and a function).  No field may have
-- the name of a method: a field `fd` would hide `sock:fd()`.
--   sd                  the descriptor.  It must be the first field, for the finaliser
--   home                the kernel's family
--   waits               what the last call would have waited for: answer.READ or answer.WRITE
--   about               all the rest, which no message needs: interpreted code allocates 24 bytes each time it looks in here.
--                       Keep `sock` while you use it: a reference to a part of an object does not keep it alive
-- The fields of `about`; the small ones keep an object within 32 bytes:
--   domain, type        what family() and socktype() report; the address given to dup may override them
--   kind                the kernel's type; all decisions use this and `home`
--   ifindex             the interface that mcastif set
--   registration        the number under which the loop of llsocket.wait.coroutine has registered it with the kernel; 0: none
--   asks                receives also ask for the sender, because 0 bytes alone may be the end: set on seqpackets, and on
--                       datagram sockets that were shut down for reading
--   nonblocking         O_NONBLOCK, as llsocket last set or read it
--   watched             somebody wants to know when the socket is closed
local decl = [[
  struct {
    int sd;
    int16_t home;
    uint8_t waits;
    struct {
      uint16_t domain;
      int8_t kind;
      int type, proto, ifindex;
      uint32_t registration;
      bool asks, nonblocking, borrowed, watched;
    } about;
  }
]]
local handle_t = ffi.metatype(decl, {
  __index = Socket,
  -- It is called for a pointer, too, which may be NULL.
  __tostring = function(sock) return sock == nil and "llsocket.socket: NULL" or ("llsocket.socket: fd %d"):format(sock.sd) end,
})

--- Makes an object that owns no descriptor yet.
---@return llsocket.socket sock
local function new()
  -- Allocate before the descriptor exists: the other order leaks it when memory runs out.  Use ffi.gc, not __gc: a copy of
  -- the struct would inherit a metatype's finaliser and close the descriptor again.
  local sock = handle_t()
  sock.sd = -1
  return (ffi.gc(sock, finalize))
end

-- The address that a socket was made with: bind and connect use it when they are called without one.
local names = setmetatable({}, { __mode = "k" })

-- Sockets whose descriptor dup has copied, and the copies: closing one of them does not end the connection.
local copied = setmetatable({}, { __mode = "k" })

-- Sockets whose connection was reset just before their close: there is nothing left to shut down.
local reset = setmetatable({}, { __mode = "k" })

-- before: functions of the modules above, called before a watched descriptor is closed or given up.  busy: the objects for
-- which they are being called now.
local before = {}
local busy = setmetatable({}, { __mode = "k" })

--- Adds a function `fn(object, given_up)`.  What it returns or raises is the text of an error.
---@param fn fun(object: any, given_up: boolean): string?
---@param position? integer  1 to run before the functions added so far; the default is after them
local function before_close(fn, position) insert(before, position or #before + 1, fn) end

--- Turns an error value into text, even if its __tostring raises.
---@param err any
---@return string text
local function text_of(err)
  local ok, text = pcall(tostring, err)
  return ok and text or "an error without a text"
end

-- Do not loop over the first six functions (hooks, pollers, zero-copy and three ways of waiting), and do not pcall each: a
-- function called several times below a pcall becomes hot before the caller's loop does, and a trace that starts in it
-- cannot return to the caller (NYI: return to lower frame).
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

-- Called after one function raised, for example because memory ran out: all the others must still be told.  A function
-- that was told already does nothing the second time.
local function tell_each(object, given_up, err)
  busy[object] = true
  local first = text_of(err)
  for _, fn in ipairs(before) do pcall(fn, object, given_up) end
  return first
end

--- Calls the functions that want to know before an object's descriptor is closed or given up.  Never raises: the object
--- would stay busy and could never be closed.
---@param object any  a socket, descriptor, event or poller
---@param given_up boolean  true: the descriptor is not closed, somebody else owns it from now on
---@return boolean go_on  false: one of these functions is closing the object again; the outer close does the work
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
  before_close = before_close, closing = closing, text_of = text_of,
}
