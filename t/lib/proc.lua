-- proc.lua -- child processes and signals for tests, under private names.
local ffi = require "ffi"
local shell = require "shell"

ffi.cdef [[
int llsocket_t_fork(void) __asm__("fork");
int llsocket_t_waitpid(int pid, int *status, int options) __asm__("waitpid");
void llsocket_t_exit(int status) __asm__("_exit");
int llsocket_t_getpid(void) __asm__("getpid");
int llsocket_t_kill(int pid, int sig) __asm__("kill");
void *llsocket_t_signal(int sig, void *handler) __asm__("signal");
]]

local C = ffi.C
local M = {
  SIGPIPE = 13, SIGKILL = 9, SIGTERM = 15, SIGALRM = 14,
  SIG_DFL = ffi.cast("void *", 0), SIG_IGN = ffi.cast("void *", 1),
}

-- Forks; fn runs in the child, which exits with what it answers (true or nil: 0, false or an error: 1).
function M.fork(fn, ...)
  io.stdout:flush()
  local pid = C.llsocket_t_fork()
  assert(pid >= 0, "fork")
  if pid > 0 then return pid end
  local ok, answer = pcall(fn, ...)
  if not ok then io.stderr:write("# child: ", tostring(answer), "\n") end
  io.stdout:flush()
  C.llsocket_t_exit(not ok and 1 or answer == false and 1 or tonumber(answer) or 0)
end

-- A child that ends at once.  It records no trace: where that fails LuaJIT raises an error, and would wait for ever for a lock
-- of libgcc's that another thread had during fork(2).
function M.ended()
  local pid = C.llsocket_t_fork()
  if pid == 0 then C.llsocket_t_exit(0) end
  assert(pid > 0, "fork")
  return pid
end
jit.off(M.ended)

-- fork(2) as it is: answers the child's number, in the child 0.
function M.split() return C.llsocket_t_fork() end

-- Waits for a child; answers its exit status (nil when a signal ended it) and the signal (0 for none).
function M.wait(pid)
  local status = ffi.new "int[1]"
  repeat local got = C.llsocket_t_waitpid(pid, status, 0) until got == pid
  local signal = bit.band(status[0], 0x7f)
  if signal ~= 0 then return nil, signal end
  return bit.rshift(bit.band(status[0], 0xff00), 8), 0
end

-- Takes a child that may have been taken before.
function M.reap(pid) C.llsocket_t_waitpid(pid, nil, 0) end

function M.kill(pid, sig) return C.llsocket_t_kill(pid, sig or M.SIGTERM) end

function M.getpid() return C.llsocket_t_getpid() end

-- Sets a disposition: M.SIG_DFL or M.SIG_IGN.
function M.signal(sig, handler) C.llsocket_t_signal(sig, handler) end

-- Runs a command of the shell; answers its output, and whether it ended well.
function M.run(command)
  local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1; echo \"exit $?\""))
  local out = pipe:read "*a"
  pipe:close()
  local text, code = out:match "^(.-)exit (%d+)\n$"
  return text, tonumber(code) == 0, tonumber(code)
end

-- The interpreter that runs this test, with LUA_PATH and LUA_CPATH in the environment.
M.luajit = os.getenv "LLSOCKET_LUAJIT" or "luajit"

-- Runs Lua source in a process of its own, under flags such as "-joff".
function M.lua(source, flags)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(source)
  file:close()
  local text, ok, code = M.run(shell.format("%q %s %q", M.luajit, flags or "", path))
  os.remove(path)
  return text, ok, code
end

return M
