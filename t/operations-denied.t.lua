-- operations: a filter of system calls refuses what never fails elsewhere, the signal mask and fcntl(2).  strace(1) is it.
local L = require "llsocket"
local missing = require "missing"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local leak = require "leak"
local before = leak.count()

local HEAD = [[
local L, net, signals, shapes = require "llsocket", require "net", require "signals", require "shapes"
local function tell(...) io.write(shapes.line(shapes.pack(...)), " mask {", signals.mask(), "}") end
local a, b = net.tcp()
]]

-- What is done; the system call that fails, and which of the process's last ones; what is told: the answer and the mask.
local ROWS = {
  { "sendfile where SIGPIPE cannot be blocked sends nothing and leaves the mask",
    'local file = io.tmpfile() file:write "abc" file:flush() tell(a:sendfile(file, 3))', "rt_sigprocmask", 2,
    'nil, "Operation not permitted", false, 1 mask {}' },
  { "splice where SIGPIPE cannot be blocked keeps the bytes in the pipe and leaves the mask",
    [[local tube, c = L.pipe.new(), net.tcp() b:send "abc" a:recvable(5)
    tell(a:splice(c, tube, 3)) io.write(" ", tube:held())]], "rt_sigprocmask", 2,
    'nil, "Operation not permitted", false, 1 mask {} 3' },
  { "connect where O_NONBLOCK cannot be asked for is under way all the same",
    'local _, ai = net.listener() tell(L.socket.new(ai, true):connect())', "fcntl", 0,
    "nil, true, " .. L.EINPROGRESS .. " mask {}" },
  { "a poller of poll(2) tells why a descriptor could not be asked for", 'local p = L.poll.new "poll" tell(p:add(a, "r"))',
    "fcntl", 0, 'nil, "Operation not permitted", 1 mask {}' },
}
local T = require("tap").plan(#ROWS + 1)

local dir = net.tmpdir()
local function under(options)
  return proc.run(shell.format("strace -qq -o %q/log %s %q -joff %q/script.lua", dir, options, proc.luajit, dir))
end

local function count(call)
  local n = 0
  for line in io.lines(dir .. "/log") do n = n + (line:find(call .. "(", 1, true) == 1 and 1 or 0) end
  return n
end

-- The mask is asked for once more after the call.
local function denied(row)
  local file = assert(io.open(dir .. "/script.lua", "w"))
  file:write(HEAD, row[2])
  file:close()
  under("-e trace=" .. row[3])
  return (under(("-e trace=%s -e inject=%s:error=EPERM:when=%d"):format(row[3], row[3], count(row[3]) - row[4])))
end

local _, traces = proc.run "strace -qq -o /dev/null -e trace=getsockopt -e inject=getsockopt:error=EPERM:when=1 true"
if not traces or jit.os ~= "Linux" then
  T.skip(#ROWS, "no strace(1) that makes calls fail, or it may not trace here")
else
  for _, row in ipairs(ROWS) do
    local lack = missing[row[1]:match "^%l+"] -- sendfile, splice
    if lack then T.skip(1, row[1] .. ": " .. lack) else T.is(denied(row), row[5], row[1]) end
  end
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
