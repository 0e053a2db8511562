-- renamed.lua -- libc where headers give functions another symbol than their name, since a struct of theirs has grown.
--
-- The FFI binds by name, and the name is the old function's.  It would read the compiler's struct as the old one: with 32
-- bits and 64-bit time timerfd_settime took a time of 2 seconds for none, and the timer never ran out.  C makes these
-- calls (csrc/renamed.c); all others are libc's own.  t/libc-renamed.t.lua compares each name with the compiler's.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"

ffi.cdef [[
int llsocket2_renamed_socket(int domain, int type, int protocol);
int llsocket2_renamed_recvmsg(int fd, void *msg, int flags);
int llsocket2_renamed_recvmmsg(int fd, void *msgs, size_t count, int flags, void *timeout);
int llsocket2_renamed_timerfd_settime(int fd, int flags, const void *value, void *old);
int llsocket2_renamed_kevent(int kq, const void *changes, int nchanges, void *events, int nevents, const void *timeout);
]]

return setmetatable({
  llsocket2_socket = shim.llsocket2_renamed_socket,
  llsocket2_recvmsg = shim.llsocket2_renamed_recvmsg,
  llsocket2_recvmmsg = shim.llsocket2_renamed_recvmmsg,
  llsocket2_timerfd_settime = shim.llsocket2_renamed_timerfd_settime,
  llsocket2_kevent = shim.llsocket2_renamed_kevent,
}, { __index = ffi.C })
