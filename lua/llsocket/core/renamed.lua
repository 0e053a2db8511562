-- renamed.lua -- libc for systems whose headers give some functions another symbol than their name, because a struct that
-- they take has grown.
--
-- The FFI binds by name and would call the old function, which reads the compiler's new struct as the old one: with 32 bits
-- and 64-bit time, timerfd_settime read 2 seconds as no time, and the timer never expired.  C makes these calls
-- (csrc/renamed.c); all others go to libc directly.  t/libc-renamed.t.lua compares each name with the compiler's symbol.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"

return setmetatable({
  llsocket2_socket = shim.llsocket2_renamed_socket,
  llsocket2_recvmsg = shim.llsocket2_renamed_recvmsg,
  llsocket2_recvmmsg = shim.llsocket2_renamed_recvmmsg,
  llsocket2_timerfd_settime = shim.llsocket2_renamed_timerfd_settime,
  llsocket2_kevent = shim.llsocket2_renamed_kevent,
}, { __index = ffi.C })
