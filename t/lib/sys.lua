-- sys.lua -- what tests ask of the system beside sockets: clock, limits, raw descriptors.
local ffi = require "ffi"
local K = require "llsocket.core.const"
local shim = require "llsocket.shim"

ffi.cdef [[
int llsocket_t_clock_gettime(int clock, void *now) __asm__("clock_gettime");
int llsocket_t_getrlimit(int what, void *limit) __asm__("getrlimit");
int llsocket_t_setrlimit(int what, const void *limit) __asm__("setrlimit");
int llsocket_t_move(int fd, int to) __asm__("dup2");
int llsocket_t_set(const char *name, const char *value, int overwrite) __asm__("setenv");
int llsocket_t_unset(const char *name) __asm__("unsetenv");
int llsocket_t_rawclose(int fd) __asm__("close");
void *llsocket_t_malloc(size_t size) __asm__("malloc");
void llsocket_t_free(void *memory) __asm__("free");
int llsocket_t_setuid(unsigned int uid) __asm__("setuid");
int llsocket_t_getuid(void) __asm__("getuid");
const char *llsocket_t_libc(void) __asm__("gnu_get_libc_version");
]]

local C = ffi.C
local linux = ffi.os == "Linux"
local M = { linux = linux }

-- The libc is glibc; on Linux without it, musl.
M.glibc = pcall(function() return C.llsocket_t_libc end)
M.musl = linux and not M.glibc

-- Two longs on Linux. With room for two fields of 64 bits: some systems of 32 bits write those.
local now = ffi.new "long[4]"

-- Seconds that only grow.
function M.clock()
  C.llsocket_t_clock_gettime(linux and 1 or 6, now)
  return tonumber(now[0]) + tonumber(now[1]) / 1e9
end

-- musl and the BSDs have limits of 64 bits on every machine, glibc's symbol has longs.
local rlimit = ffi.typeof(M.glibc and "struct { unsigned long soft, hard; }" or "struct { uint64_t soft, hard; }")
local mips = jit.arch:find "mips" -- whose Linux kept the numbers of IRIX
local NOFILE, AS = mips and 5 or linux and 7 or 8, mips and 6 or linux and 9 or 5

M.rlimit, M.now = rlimit, now -- a test compares their sizes with what libc writes

local function limit(what, soft)
  local l = rlimit()
  assert(C.llsocket_t_getrlimit(what, l) == 0)
  local old = tonumber(l.soft)
  if soft > tonumber(l.hard) then return nil end
  l.soft = soft
  assert(C.llsocket_t_setrlimit(what, l) == 0)
  return old
end

-- Sets how many descriptors this process may have; answers the old limit, nil when it may not have so many.
function M.limit_descriptors(n) return limit(NOFILE, n) end

-- Sets how many bytes of address space this process may have; answers whether that binds: an emulator may ignore it,
-- since its own memory would count.
function M.limit_memory(n)
  limit(AS, n)
  local memory = C.llsocket_t_malloc(n)
  C.llsocket_t_free(memory)
  return memory == nil
end

-- Why memory cannot be made to run out, or nil; asked in a child, which keeps the limit.
function M.endless_memory()
  if not (linux and M.has_proc) then return "the address space is limited on Linux with /proc only" end
  local proc = require "proc"
  if proc.wait(proc.fork(function() return M.limit_memory(2 ^ 30) end)) ~= 0 then return "RLIMIT_AS does not bind here" end
end

-- Whether /proc is mounted: a bare chroot has none.
local statm = io.open "/proc/self/statm"
M.has_proc = statm ~= nil
if statm then statm:close() end

-- The bytes of address space in use (Linux with /proc).
function M.memory()
  local file = assert(io.open "/proc/self/statm")
  local pages = file:read "*n"
  file:close()
  return pages * 4096
end

-- Descriptors by number, without the library.
function M.close(fd) return C.llsocket_t_rawclose(fd) == 0 end

function M.is_open(fd) return shim.llsocket2_fcntl(fd, K.F_GETFD, 0) >= 0 end

function M.is_cloexec(fd) return bit.band(shim.llsocket2_fcntl(fd, K.F_GETFD, 0), K.FD_CLOEXEC) ~= 0 end

function M.is_nonblock(fd) return bit.band(shim.llsocket2_fcntl(fd, K.F_GETFL, 0), K.O_NONBLOCK) ~= 0 end

-- Copies a descriptor to the first free number from `least`, without close-on-exec.
function M.copy(fd, least) return shim.llsocket2_fcntl(fd, K.F_DUPFD, least or 0) end

-- Copies a descriptor to a number, which is closed first.
function M.move(fd, to) return C.llsocket_t_move(fd, to) end

-- Sets a variable of the environment; nil takes it away.
function M.setenv(name, value)
  if value then C.llsocket_t_set(name, value, 1) else C.llsocket_t_unset(name) end
end

-- Sets O_NONBLOCK behind the library's back.
function M.set_nonblock(fd, on)
  local flags = shim.llsocket2_fcntl(fd, K.F_GETFL, 0)
  flags = on and bit.bor(flags, K.O_NONBLOCK) or bit.band(flags, bit.bnot(K.O_NONBLOCK))
  assert(shim.llsocket2_fcntl(fd, K.F_SETFL, flags) == 0)
end

function M.getuid() return C.llsocket_t_getuid() end

-- Becomes another user, for good.
function M.setuid(uid) assert(C.llsocket_t_setuid(uid) == 0) end

return M
