-- passing.lua -- runs a Lua program as a service manager would: with descriptors from 3 on, and LISTEN_* in the environment.
local ffi = require "ffi"
local L = require "llsocket"
local example = require "example"
local net = require "net"
local proc = require "proc"
local sys = require "sys"

ffi.cdef [[
int llsocket_t_dup2(int old, int new) __asm__("dup2");
int llsocket_t_setenv(const char *name, const char *value, int overwrite) __asm__("setenv");
int llsocket_t_unsetenv(const char *name) __asm__("unsetenv");
int llsocket_t_execv(const char *path, const char **argv) __asm__("execv");
]]

local C = ffi.C
local FIRST, HIGH = 3, 200
local M = {}

-- Puts the descriptors to 3 and on, where false leaves a hole, and `out` to 1; closes all others.
local function arrange(fds, out)
  local copies = {}
  for i, fd in ipairs(fds) do copies[i] = fd and sys.copy(fd, HIGH) end
  C.llsocket_t_dup2(out, 1)
  for fd = FIRST, HIGH - 1 do sys.close(fd) end
  for i, fd in ipairs(copies) do
    if fd then C.llsocket_t_dup2(fd, FIRST - 1 + i) end
  end
  for _, fd in ipairs(copies) do
    if fd then sys.close(fd) end
  end
end

local function announce(fds, env)
  local values = { LISTEN_PID = proc.getpid(), LISTEN_FDS = #fds, LISTEN_FDNAMES = false }
  for name, value in pairs(env or {}) do values[name] = value end
  for name, value in pairs(values) do
    if value then C.llsocket_t_setenv(name, tostring(value), 1) else C.llsocket_t_unsetenv(name) end
  end
end

local function become(fds, env, out, path)
  arrange(fds, out)
  announce(fds, env)
  C.llsocket_t_execv("/bin/sh", ffi.new("const char *[4]", { "sh", "-c", "exec " .. example.command(path) }))
end

local function read_all(sock)
  local parts = {}
  for part in function() return sock:recv() end do parts[#parts + 1] = part end
  return table.concat(parts)
end

-- Runs `source` with `fds`, numbers; `env` says what LISTEN_* are instead of what is right, false for not at all.  Answers
-- what it printed, its exit status and the signal.
function M.run(source, fds, env)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(source)
  file:close()
  local here, there = net.pair(L.SOCK_STREAM)
  local child = proc.fork(become, fds, env, there:fd(), path)
  there:close()
  local text = read_all(here)
  here:close()
  local status, signal = proc.wait(child)
  os.remove(path)
  return text, status, signal
end

return M
