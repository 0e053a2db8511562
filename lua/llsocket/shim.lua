-- shim.lua -- finds and loads the C shim: the only ffi.load in the library, and the only declarations of what is in it.
--
-- One group of declarations a C file, in this order: lifetime, variadic, platform, event, ancillary, sendfile, facts and
-- tcpinfo, protocols, renamed.  When a declaration changes, raise the ABI number: a VM keeps the first declaration of a name
-- and ignores any other without an error.  Structs are declared void *, and tables of structs char[]: a named struct could
-- not be declared again by a second load of the library.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local error, pcall, package = error, pcall, package
local abs, concat, getinfo = math.abs, table.concat, debug.getinfo

local ABI = 2 -- equals LLSOCKET_ABI in csrc/shim.h
local HOW_TO_BUILD = "or build it in the source folder: cc -O2 -shared -fPIC -Icsrc csrc/*.c -o lua/llsocket/shim.so"

ffi.cdef [[
int llsocket2_abi(int wanted);
void llsocket2_stay(void);
void llsocket2_finalize(void *owner);
const int *llsocket2_forks(void);

int llsocket2_fcntl(int fd, int cmd, int arg);
int llsocket2_ioctl(int fd, uint32_t request, void *arg);

const char *llsocket2_strerror(int errnum, char *buf, size_t size);
double llsocket2_now(void);
double llsocket2_date(void);
int llsocket2_linkaddr(const void *name, const uint8_t **bytes, uint32_t *index);

int llsocket2_signalfd(const int32_t *signals, int count);
int llsocket2_signals_block(void *old);
int llsocket2_signals_restore(const void *old);
int llsocket2_pidfd(int pid);
int llsocket2_pidfd_is(int fd);
int llsocket2_pidfd_wait(int fd, int32_t *status);
void llsocket2_wake(int fd);

uint32_t llsocket2_cmsg_space(uint32_t len);
uint32_t llsocket2_cmsg_len(uint32_t len);
uint32_t llsocket2_cmsg_put(void *control, uint32_t at, int level, int type, const void *data, uint32_t len);
int llsocket2_cmsg_get(const void *control, uint32_t controllen, uint32_t at, int32_t *out);
int llsocket2_cmsg_find(const void *control, uint32_t controllen, uint32_t at, int level, int type, int32_t *out);
int llsocket2_cmsg_owns(int level, int type);
void *llsocket2_control_new(uint32_t size);
void *llsocket2_control_bytes(void *control);
void llsocket2_control_received(void *control, const void *msg, int n);
void llsocket2_control_close(void *control);
int llsocket2_control_single(void *control);
void llsocket2_control_free(void *control);

int llsocket2_sendfile(int sd, int fd, int64_t offset, int64_t bytes);
int llsocket2_guarded_send(int sd, const void *buf, size_t len, int flags);
int llsocket2_guarded_sendto(int sd, const void *buf, size_t len, int flags, const void *name, uint32_t namelen);
int llsocket2_guarded_sendmsg(int sd, const void *msg, int flags);
int llsocket2_guarded_splice(int pipe, int sd, size_t bytes);
int llsocket2_guarded_splice_to(int pipe, int fd, int64_t offset, size_t bytes);

extern const char llsocket2_consts[], llsocket2_fields[], llsocket2_tcpinfo[];
int llsocket2_kernel(void);

double llsocket2_protocol(const char *name);

extern const int llsocket2_renames;
int llsocket2_renamed_socket(int domain, int type, int protocol);
int llsocket2_renamed_recvmsg(int fd, void *msg, int flags);
int llsocket2_renamed_recvmmsg(int fd, void *msgs, size_t count, int flags, void *timeout);
int llsocket2_renamed_timerfd_settime(int fd, int flags, const void *value, void *old);
int llsocket2_renamed_kevent(int kq, const void *changes, int nchanges, void *events, int nevents, const void *timeout);
]]

-- Returns why `lib` is not our shim, or nil.
local function refusal(lib)
  local asked, abi = pcall(function() return lib.llsocket2_abi(ABI) end)
  if not asked then return "no shim of ABI " .. ABI end
  if abi ~= ABI then return ("a shim of ABI %d, not %d"):format(abs(abi), ABI) end
end

local function open(path)
  if not path:find("/", 1, true) then path = "./" .. path end -- a bare name would become lib<name>.so
  local loaded, lib = pcall(ffi.load, path)
  if not loaded and lib:find(path, 1, true) then return nil, lib end
  if not loaded then return nil, path .. ": " .. lib end -- the file is there, but a library that it needs is missing
  local why = refusal(lib)
  if why then return nil, path .. ": " .. why end
  return lib
end

-- The templates for the folder of this Lua file, and for the folder of compiled modules that belongs to it.
local function beside()
  local dir = getinfo(1, "S").source:match "^@(.*)shim%.lua$"
  if not dir then return "" end
  return dir .. "shim.so;" .. dir:gsub("/share/lua/", "/lib/lua/") .. "shim.so"
end

-- Tries each template alone: one search over the whole path would stop at a stale or foreign file.
local function find()
  if not refusal(ffi.C) then return ffi.C end -- the shim is linked into the program
  local refused = {}
  for template in (package.cpath .. ";" .. beside()):gmatch "[^;]+" do
    local path = package.searchpath("llsocket.shim", template)
    local lib, why
    if path then lib, why = open(path) end
    if lib then return lib end
    refused[#refused + 1] = "\n\t" .. (why or ("no file '%s'"):format((template:gsub("%?", "llsocket/shim"))))
  end
  return nil, "llsocket: no usable shim; set LUA_CPATH (nginx: lua_package_cpath), " .. HOW_TO_BUILD .. concat(refused)
end

local lib, why = find()
if not lib then error(why, 0) end
lib.llsocket2_stay()
debug.getregistry()["llsocket2.shim"] = lib -- a collected handle would unmap code that is still called

return lib
