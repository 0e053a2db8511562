-- stream-serve: clients are served until the listener is closed, whatever clients, handlers and the kernel do.
local L = require "llsocket"
local stream = require "llsocket.stream"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local show = require("show").show

local ERRNOS = { "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPROTO", "EPERM", "EINTR", "EAGAIN", "ECONNABORTED", "ENETDOWN",
  "EHOSTUNREACH" }
local T = require("tap").plan(20 + #loops.names * 7 + #ERRNOS)
loops.settle()
local before = leak.count()

-- The same server in every loop.
local function in_loop(loop)
  local lst = assert(stream.listen("127.0.0.1", 0))
  local ai = lst:getsockname()
  local served, most, now_served, errors, done, bad = 0, 0, 0, {}, nil, 0
  local forgotten
  local function handler(s, peer)
    served, now_served = served + 1, now_served + 1
    most = math.max(most, now_served)
    if tostring(peer) ~= tostring(s.sock:getpeername()) then bad = bad + 1 end
    local line = s:line()
    s:write(line, "!\n")
    now_served = now_served - 1
    forgotten = s
    if line == "raise" then error("on purpose", 0) end
    if line == "stop" then lst:close() end
  end
  loop.spawn(function()
    done = show(stream.serve(lst, handler, {
      max = 3, spawn = loop.spawn, onerror = function(err, peer) errors[#errors + 1] = err .. tostring(peer) end,
    }))
  end)
  local answers, left = 0, 12
  local function client(word)
    local s = assert(stream.connect(ai, 5))
    s:deadline(5)
    s:write(word, "\n")
    if s:line() == word .. "!" and select("#", s:line()) == 0 then answers = answers + 1 end
    s:close()
  end
  for i = 1, left do
    loop.spawn(function()
      client(i == 5 and "raise" or "hello")
      left = left - 1
      if left == 0 then client "stop" end
    end)
  end
  loop.run()
  T.is(answers, 13, loop.name .. ": every client is served, and its connection closed when the handler returns")
  T.is(most <= 3 and served, 13, loop.name .. ": never more than max at once")
  T.is(bad, 0, loop.name .. ": the handler gets the peer's address")
  T.is(#errors == 1 and errors[1]:find "on purpose.*127%.0%.0%.1:%d+$" and 1, 1,
    loop.name .. ": onerror is told of an error, and whose it was")
  T.is(done, "", loop.name .. ": serve returns when the listener is closed")
  T.is(forgotten.sock:fd(), -1, loop.name .. ": what a handler forgets is closed")
  T.is(lst:fd(), -1, loop.name .. ": the listener stays closed")
end

for _, name in ipairs(loops.names) do
  local loop, why = loops.open(name)
  if loop then
    L.wait.set(loop.wait)
    in_loop(loop)
    L.wait.set()
  else T.skip(7, why) end
end

-- A program of its own: without a loop, without options.
local SERVER = [[
local L, stream = require "llsocket", require "llsocket.stream"
local lst = assert(stream.listen(%q))
io.stdout:write "ready\n" io.stdout:flush()
print("served", stream.serve(lst, function(s)
  for line in s:lines() do
    if line == "stop" then lst:close() return end
    if line == "raise" then error("in a handler", 0) end
    s:write(line, "\n")
  end
end%s))
]]

local dir = net.tmpdir()

-- Starts the server below a command; answers the pipe it prints into.
local function start(path, options, command)
  local file = assert(io.open(path .. ".lua", "w"))
  file:write(SERVER:format(path, options or ""))
  file:close()
  os.remove(path)
  local program = shell.quote(proc.luajit) .. " " .. shell.quote(path .. ".lua")
  local pipe = assert(io.popen(("{ %s %s; } 2>&1"):format(command or "", program)))
  net.await(function() return stream.connect(path, nil, 1) end):close()
  return pipe
end

local function stop(path, pipe)
  local s = assert(stream.connect(path, nil, 5))
  s:write "stop\n"
  s:close()
  local out = pipe:read "*a"
  pipe:close()
  return out
end

local function ask(path, word)
  local s, err = stream.connect(path, nil, 5)
  if not s then return err end
  s:deadline(10)
  s:write(word, "\n")
  local line, why = s:line()
  s:close()
  return line or why
end

local pipe = start(dir .. "/plain")
T.is(ask(dir .. "/plain", "hello"), "hello", "outside a coroutine serve runs the loop itself")
T.is(ask(dir .. "/plain", "raise"), nil, "a handler that raises ends its own connection")
T.is(ask(dir .. "/plain", "again"), "again", "and the server goes on")
local out = stop(dir .. "/plain", pipe)
T.ok(out:find("llsocket.stream.serve: in a handler\nstack traceback:", 1, true),
  "without onerror the error goes to standard error")
T.ok(out:find "served\n$", "serve answers no values at the end")

-- 5,000 clients while 256 descriptors are all there are.
pipe = start(dir .. "/flood", ", { onerror = function() end }", "ulimit -n 256;")
local right, wrong, kept = 0, 0, {}
for i = 1, 5000 do
  local s = stream.connect(dir .. "/flood", nil, 5)
  if s then
    if i % 10 == 0 then s.sock:linger(0) end
    s:write(i % 7 == 0 and "raise\n" or "hello\n")
    kept[#kept + 1] = s
  end
  if #kept == 400 or i == 5000 then
    for k, each in ipairs(kept) do
      each:deadline(10)
      local line = k % 3 > 0 and each:line()
      if line == "hello" then right = right + 1 elseif line then wrong = wrong + 1 end
      each:close()
    end
    kept = {}
  end
end
T.is(wrong, 0, "5,000 clients where 256 descriptors are all there are: no wrong answer")
T.ok(right > 2500, ("those that wait are served: %d"):format(right))
T.is(ask(dir .. "/flood", "hello"), "hello", "and the server serves on")
out = stop(dir .. "/flood", pipe)
T.ok(out:find "served\n$", "until it is stopped")

-- Every errno that accept can have, each time the third accept.
local has_strace = select(2, proc.run "strace -o /dev/null -e inject=accept4:error=EMFILE:when=3 true")
for _, errno in ipairs(ERRNOS) do
  if has_strace then
    local path = dir .. "/" .. errno
    pipe = start(path, nil, ("strace -f -qq -o /dev/null -e trace=accept4 -e inject=accept4:error=%s:when=3+5"):format(errno))
    local answers = {}
    for i = 1, 6 do answers[i] = ask(path, "w" .. i) end
    stop(path, pipe)
    T.is(table.concat(answers, " "), "w1 w2 w3 w4 w5 w6", "an accept that fails with " .. errno .. " ends nothing")
  else T.skip(1, "strace is missing, or may not trace here") end
end

-- What serve cannot do.
local lst = assert(stream.listen("127.0.0.1", 0))
local function nothing() end
local udp = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_DGRAM))[1], true))
T.is(show(stream.serve(udp, nothing)), "Operation not supported, " .. L.EOPNOTSUPP, "a datagram socket has nothing to accept")
udp:close()
for _, max in ipairs { 0, -1, 1.5 } do
  T.is(show(stream.serve(lst, nothing, { max = max })), "Invalid argument, " .. L.EINVAL, "max = " .. max .. " is EINVAL")
end
local function error_of(fn, ...) return (select(2, pcall(fn, ...))) end
T.ok(error_of(stream.serve, lst):find("bad argument #2 to 'serve' (function expected, got nil)", 1, true),
  "serve wants a handler")
T.ok(error_of(stream.serve, 1, nothing):find("bad argument #1 to 'serve' (llsocket.socket expected, got number)", 1, true),
  "and a socket")
T.ok(error_of(stream.serve, lst, nothing, { spawn = 1 }):find("spawn = function expected, got number", 1, true),
  "spawn is a function")
lst:close()
T.is(show(stream.serve(lst, nothing)), "", "a closed listener has served")
T.is(show(stream.listen(dir .. "/no/such/folder")), show(nil, "No such file or directory", L.ENOENT), "listen tells its errors")
local taken = assert(stream.listen(dir .. "/taken"))
T.is(select(3, stream.listen(dir .. "/taken")), L.EADDRINUSE, "a path in use is EADDRINUSE")
taken:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
