-- signals.lua -- dispositions, masks, pending signals and a timer for tests, under private names.
local ffi = require "ffi"

ffi.cdef [[
int llsocket_t_sigemptyset(void *set) __asm__("sigemptyset");
int llsocket_t_sigaddset(void *set, int sig) __asm__("sigaddset");
int llsocket_t_sigismember(const void *set, int sig) __asm__("sigismember");
int llsocket_t_sigprocmask(int how, const void *set, void *old) __asm__("sigprocmask");
int llsocket_t_sigpending(void *set) __asm__("sigpending");
int llsocket_t_siginterrupt(int sig, int flag) __asm__("siginterrupt");
void *llsocket_t_handler(int sig, void *handler) __asm__("signal");
int llsocket_t_raise(int sig) __asm__("raise");
int llsocket_t_setitimer(int which, const void *value, void *old) __asm__("setitimer");
int llsocket_t_abs(int n) __asm__("abs");
]]

local C = ffi.C
local SIG_BLOCK = ffi.os == "Linux" and not ffi.arch:find "mips" and 0 or 1
local SIG_UNBLOCK = SIG_BLOCK + 1
local SIGALRM, ITIMER_REAL = 14, 0
local set_t = ffi.typeof "uint8_t[128]" -- no system's sigset_t is larger

local M = { NSIG = ffi.os == "Linux" and 64 or 31 }

-- A handler may be a C function only: one that touches nothing.
M.harmless = ffi.cast("void *", C.llsocket_t_abs)

-- Sets a disposition; answers the one before, as a number.
function M.handler(sig, handler) return tonumber(ffi.cast("intptr_t", C.llsocket_t_handler(sig, handler))) end

local function set_of(sig)
  local set = set_t()
  C.llsocket_t_sigemptyset(set)
  if sig then C.llsocket_t_sigaddset(set, sig) end
  return set
end

-- The members of a set, as text.
local function members(set)
  local out = {}
  for sig = 1, M.NSIG do
    if C.llsocket_t_sigismember(set, sig) == 1 then out[#out + 1] = sig end
  end
  return table.concat(out, " ")
end

function M.block(sig) assert(C.llsocket_t_sigprocmask(SIG_BLOCK, set_of(sig), nil) == 0) end

function M.unblock(sig) assert(C.llsocket_t_sigprocmask(SIG_UNBLOCK, set_of(sig), nil) == 0) end

function M.mask()
  local set = set_t()
  assert(C.llsocket_t_sigprocmask(SIG_BLOCK, nil, set) == 0)
  return members(set)
end

function M.pending()
  local set = set_t()
  C.llsocket_t_sigpending(set)
  return members(set)
end

function M.raise(sig) assert(C.llsocket_t_raise(sig) == 0) end

-- Raises SIGALRM every `usec` microseconds into a handler that restarts no call; 0 stops it.
function M.alarm(usec)
  if usec > 0 then
    M.handler(SIGALRM, M.harmless)
    C.llsocket_t_siginterrupt(SIGALRM, 1)
  end
  local every = ffi.new("long[4]", 0, usec, 0, usec)
  assert(C.llsocket_t_setitimer(ITIMER_REAL, every, nil) == 0)
end

return M
