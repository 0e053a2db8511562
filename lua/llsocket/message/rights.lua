-- rights.lua -- the descriptors in messages: whose number goes out, and who owns what comes in; see SCM_RIGHTS in unix(7).
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local C = require "llsocket.core.libc"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local descriptor = require "llsocket.descriptor"
local shortage = require "llsocket.core.shortage"
local sockets = require "llsocket.socket.object"
local wraps = require "llsocket.socket.wrap"
local type, io_type = type, io.type

local EINVAL, EBADF = const.EINVAL, const.EBADF
local is_socket, is_descriptor = check.is(sockets.type), check.is(descriptor.type)

-- Answers what io.type tells of a file, nil for all else.  LuaJIT does not compile io.type: ask only of what may be a file.
local function file_state(object) return type(object) == "userdata" and io_type(object) or nil end

--- Answers the number of an object's descriptor.  Check the object here again: rights() hands out the table of objects, and
--- the program may have put anything into it.
---@param object any
---@return integer? fd
---@return integer? errno  EBADF
local function number_of(object)
  local is_number = type(object) == "number"
  if file_state(object) == "file" then return (C.llsocket2_fileno(object)) end
  if not (is_number or is_socket(object) or is_descriptor(object)) then return nil, EBADF end
  local fd = is_number and object or object.sd
  if check.int(fd) and fd >= 0 then return fd end
  return nil, EBADF
end

--- Raises unless an object has a descriptor.
---@param object any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
local function check_owner(object, position, method)
  if type(object) == "number" or file_state(object) then return end
  if is_socket(object) or is_descriptor(object) then return end
  check.bad(position, method, "number, socket, descriptor or file", object)
end

--- Answers EINVAL or EBADF for a number that cannot be a descriptor's.  The kernel checks at the send whether it is open.
---@param object any
---@return integer? errno
local function refusal(object)
  local fd = type(object) ~= "number" and 0 or check.fd(object)
  if not fd then return EINVAL end
  return fd < 0 and EBADF or nil
end

--- Makes an object that owns descriptor `i` of a control buffer.  Move the number in one statement that cannot raise: the
--- buffer owns it until then, and closes it if memory runs out.  The receive has already set close-on-exec.
---@param fds ffi.cdata*  the buffer's descriptors
---@param i integer
---@return llsocket.socket|llsocket.descriptor object
local function own(fds, i)
  local fd = fds[i]
  local object = wraps.shell(fd, nil, true) or descriptor.new()
  object.sd, fds[i], shortage.made = fd, -1, shortage.made + 1
  return object
end

return { number_of = number_of, check_owner = check_owner, refusal = refusal, own = own }
