-- planted: faults that are planted on purpose are found, each by the torture that its row names.
--
-- The library is copied, a piece of its text replaced, and the torture walks a few operations of the copy: it must fail, and say
-- what the row expects.  A row whose text the library does not have any more fails, too: plant it where the code went.
local net = require "net"
local proc = require "proc"
local shell = require "shell"

local source = os.getenv "LLSOCKET_SOURCE"
local host, torture_dir = os.getenv "LLSOCKET_TORTURE_HOST", source .. "/t/torture"

-- fault; torture; its operations, a pattern; file; text and what replaces it; what the torture says, a pattern.
local ROWS = {
  { "errno read late", "inject", "^sock:bind$", "lua/llsocket/socket/connect.lua",
    "local rc, e = C.llsocket2_bind(self.sd, name, name.namelen), errno()",
    "local rc = C.llsocket2_bind(self.sd, name, name.namelen); local told = { rc }; local e = errno(); rc = told[1]",
    "it tells EXDEV" },
  { "a descriptor adopted late", "memory", "^socket.new$", "lua/llsocket/socket/lifecycle.lua",
    "sock.sd, e = C.llsocket2_socket(ai.domain, flags, ai.proto), errno()",
    "local sd; sd, e = C.llsocket2_socket(ai.domain, flags, ai.proto), errno(); sock = sockets.new(); sock.sd = sd",
    "left open" },
  { "an anchor dropped", "inject", "^mh:data", "lua/llsocket/msghdr.lua",
    "if start then into.memory, into.start = memory, start end", "if start then into.start = start end",
    "without a fault it answers" },
  { "close(2) retried", "inject", "^sock:close$", "lua/llsocket/socket/lifecycle.lua",
    "local rc, e2 = C.llsocket2_close(sd), errno()",
    "local rc, e2; repeat rc, e2 = C.llsocket2_close(sd), errno() until rc == 0 or e2 ~= const.EINTR",
    "close%(2%) was tried again" },
  { "a signal mask left changed", "inject", "^sock:sendfile$", "csrc/sendfile.c",
    "THREAD_SIGMASK(SIG_SETMASK, &guard->old, NULL);", "if (n >= 0) THREAD_SIGMASK(SIG_SETMASK, &guard->old, NULL);",
    "the signal mask is {13}" },
  { "a failure told as success", "inject", "^sock:keepalive, set$", "lua/llsocket/socket/optionkind.lua",
    "if rc ~= 0 then return e end", "if rc ~= 0 and e ~= const.EPERM then return e end", "EPERM at 1: it tells success" },
  { "an interrupted call told as failed", "inject", "^sock:recv$", "lua/llsocket/socket/answer.lua",
    "[const.EWOULDBLOCK] = true, [const.EINTR] = true }", "[const.EWOULDBLOCK] = true }", "EINTR is told as \"failed\"" },
  { "an answer kept half made", "memory", "^sock:recvfrominto$", "lua/llsocket/message/region.lua",
    'if why == "not enough memory" then error(why, 0) end', "capacity[id] = size", "called again it raises" },
  { "memory that malloc did not give used", "memory", "^sock:writev$", "lua/llsocket/socket/message.lua",
    "if not mh then return not_sent(why) end\n  local e = msghdr.set_data", "local e = why and nil or msghdr.set_data",
    "it raises" },
  { "a descriptor that is closed twice", "threads", "in four threads", "csrc/lifetime.c",
    "if (*fd >= 0) close(*fd);", "if (*fd >= 0 && close(*fd) == 0) usleep(100), close(*fd);", -- time for another to take it
    "not ok" },
  { "a finaliser that shuts down", "threads", "that forks", "csrc/lifetime.c",
    "if (*fd >= 0) close(*fd);", "extern int shutdown(int, int); if (*fd >= 0) shutdown(*fd, 2), close(*fd);",
    "not ok" },
  { "a child that keeps its parent's poller", "threads", "that forks", "lua/llsocket/wait/kernel.lua",
    "is_current() return state and forks[0] == seen end", "is_current() return state end",
    "not ok" },
  { "a length unchecked", "sanitize", "^rights-hostile$", "csrc/ancillary.c",
    "|| cmsg.cmsg_len > controllen - at) return 0;", ") return 0;",
    "not ok" },
  { "a buffer that is 8 bytes short", "sanitize", "^rights-fd$", "csrc/ancillary.c",
    "malloc(sizeof *control + size)", "malloc(sizeof *control + size - 8)",
    "heap%-buffer%-overflow" },
  { "an anchor dropped", "sanitize", "^threads$", "lua/llsocket/msghdr.lua",
    "if start then into.memory, into.start = memory, start end", "if start then into.start = start end",
    "heap%-use%-after%-free" },
  { "descriptors that nobody took are kept", "peers", "^unix recvmsg$", "csrc/ancillary.c",
    "if (fd >= 0) act(fd);", "if (fd >= 1000) act(fd);",
    "descriptors are left" },
  { "a fraction taken for an integer", "fuzz", "^sock:listen", "lua/llsocket/core/check.lua",
    'number", value) end\n  return tobit(value) == value\nend',
    'number", value) end\n  return value == value and value < 2^31\nend',
    "an impossible number is taken" },
  { "a length unchecked", "fuzz", "^sock:sendfrom", "lua/llsocket/message/region.lua",
    "size >= 0 and offset >= 0 and size + offset <= total and", "size >= 0 and offset >= 0 and",
    "an impossible number is taken" },
  { "a shared cell read in a second statement", "hooks", "^sock:recv$", "lua/llsocket/socket/transfer.lua",
    "local msg = to_string(shared, max(min(n, size), 0))",
    "local gap = { {} }; local msg = to_string(shared, max(min(n, size), #gap - 1))",
    "a finaliser that uses the library" },
  { "a descriptor adopted late", "hooks", "^socket.new$", "lua/llsocket/socket/lifecycle.lua",
    "sock.sd, e = C.llsocket2_socket(ai.domain, flags, ai.proto), errno()",
    "local sd; sd, e = C.llsocket2_socket(ai.domain, flags, ai.proto), errno(); collected(0); sock.sd = sd",
    "descriptors are lost at" },
}

local T = require("tap").plan(#ROWS)
if not require("torture").host then
  T.skip(#ROWS, "t/torture/host is not built, for want of LuaJIT's headers")
  T.done()
end
local dir = net.tmpdir()

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- Copies the library into a folder of its own with the fault in it; nil where its text is not there exactly once.
local function plant(row, to)
  local path, text, fault = row[4], row[5], row[6]
  local old = read(source .. "/" .. path)
  local first, last = old:find(text, 1, true)
  if not first or old:find(text, last + 1, true) then return nil end
  local COPY = "mkdir -p %q && cp -r %q/lua %q/csrc %q && ln -s %q/t %q"
  assert(os.execute(shell.format(COPY, to, source, source, to, source, to)) == 0)
  write(to .. "/" .. path, old:sub(1, first - 1) .. fault .. old:sub(last + 1))
  return true
end

local BUILD = "cd %q && mkdir -p so/llsocket && ${CC:-cc} -O1 -shared -fPIC -Icsrc csrc/*.c -o %q/so/llsocket/shim.so"

-- How each torture runs; sanitize builds the copy that it stands in.
local function in_vm(vm, flag)
  return function(_, name) return shell.format("%q %s %q", vm, flag or "", ("%s/%s.lua"):format(torture_dir, name)) end
end

local COMMANDS = {
  fuzz = in_vm(proc.luajit), hooks = in_vm(host, "-joff"), inject = in_vm(host), memory = in_vm(host, "-joff"),
  threads = in_vm(proc.luajit), peers = in_vm(proc.luajit),
  sanitize = function(to) return shell.format("%q/t/torture/sanitize address", to) end,
}
local SECONDS = { threads = "40" } -- it ends with the first failure
local ENVIRONMENT = " LLSOCKET_TORTURE_PATIENCE=2 LLSOCKET_TORTURE_SECONDS=%q LLSOCKET_TORTURE_ONLY=%q "

-- Runs the torture over the copy; answers what it said, and whether it passed.
local function run(row, to)
  local env = shell.format("LUA_PATH=%q/'lua/?.lua;'\"$LUA_PATH\"", to)
  if row[4]:find "^csrc" then
    local built, ok = proc.run(shell.format(BUILD, to, to))
    assert(ok, built)
    env = env .. shell.format(" LUA_CPATH=%q/'so/?.so;'\"$LUA_CPATH\"", to)
  end
  return proc.run(env .. shell.format(ENVIRONMENT, SECONDS[row[2]] or "", row[3])
    .. COMMANDS[row[2]](to, row[2]))
end

local caught = 0
for i, row in ipairs(ROWS) do
  local to, name = dir .. "/" .. i, ("%s is caught by %s"):format(row[1], row[2])
  if not plant(row, to) then
    T.is("the text to replace is not in " .. row[4] .. " once", "", name)
  else
    local said, passed = run(row, to)
    if T.ok(not passed and said:find(row[7]), name) then caught = caught + 1 end
    if passed or not said:find(row[7]) then print((said:gsub("%f[^\n%z]", "#   "))) end
  end
end
print(("# %d planted faults found of %d, %d s"):format(caught, #ROWS, require("torture").elapsed()))
net.cleanup()
T.done()
