-- handle.lua -- the object that owns a descriptor: its ctype, its finaliser, its table of methods.
--
-- It stands below the rooms that add methods, so that each can check its self without knowing the others.
local ffi = require "ffi"
local shim = require "llsocket.shim"
local check = require "llsocket.check"
local const = require "llsocket.const"

ffi.cdef "void llsocket1_finalize(void *owner);"

local finalize = shim.llsocket1_finalize

---@class llsocket.socket
local Socket = {}

-- Fields are named apart from the methods (`fd` would hide `sock:fd()`); `sd` is first, for the finaliser.
-- `nonblocking` is what llsocket last set or read, `ifindex` what mcastif set; `kind` and `home` are the
-- socket's real type and family, for `type` and `domain` are what dup's address may say instead.  The lookup is a
-- function, folded away when compiled, so that an unknown name is nil and not an error.
local handle_t = ffi.metatype("struct { int sd, domain, type, proto, kind, home, ifindex; bool nonblocking, borrowed; }", {
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

local SOCK_STREAM, SOCK_SEQPACKET = const.SOCK_STREAM, const.SOCK_SEQPACKET

--- Tells whether 0 bytes are a message on sockets of this type, and not the end.
---@param kind integer  SOCK_*
---@return boolean
local function has_empty(kind) return kind ~= SOCK_STREAM and kind ~= SOCK_SEQPACKET end

-- The address that a socket was made with, for bind and connect without one.
local names = setmetatable({}, { __mode = "k" })

local self, arg = check.class(handle_t, "llsocket.socket")

return { type = handle_t, methods = Socket, new = new, names = names, self = self, arg = arg, has_empty = has_empty }
