-- stream-listener: servers that share a listener, that lack spawn or descriptors; streams and handlers that are closed already.
local L = require "llsocket"
local stream = require "llsocket.stream"
local own_loop = require "llsocket.wait.coroutine"
local leak = require "leak"
local loops = require "loops"
local proc = require "proc"
local show = require("show").show
local sys = require "sys"

local T = require("tap").plan(14 + #loops.names * 3)
loops.settle()
local before = leak.count()

local function nothing() end

local function raised(fn, ...)
  local done, err = pcall(fn, ...)
  return not done and tostring(err) or "no error"
end

local BUSY = show("Device or resource busy", L.EBUSY)
local CLIENTS = 6

-- Two servers accept from one listener: a loop that has one waiter for a descriptor only ends the second; none stands still.
local function share(loop)
  local lst, results, answers, served = assert(stream.listen("127.0.0.1", 0)), {}, 0, 0
  local ai = lst:getsockname()
  local function handler(s)
    served = served + 1
    s:write "hello\n"
    if served == CLIENTS then lst:close() end
  end
  for i = 1, 2 do
    loop.spawn(function() results[i] = show(stream.serve(lst, handler, { spawn = loop.spawn })) end)
  end
  loop.spawn(function()
    for _ = 1, CLIENTS do
      local s = assert(stream.connect(ai, 5))
      s:deadline(5)
      if s:line() == "hello" then answers = answers + 1 end
      s:close()
    end
  end)
  loop.run()
  T.is(answers, CLIENTS, loop.name .. ": of two servers of one listener none makes the clients wait")
  T.is(results[1] == "" and (results[2] == "" or results[2] == BUSY), true,
    loop.name .. ": the second shares it, or is told that it is busy: " .. results[2])
end

local function without_spawn(loop)
  local lst = assert(stream.listen("127.0.0.1", 0))
  local done, text = pcall(stream.serve, lst, function(s) s:close() lst:close() end)
  T.ok(not done and text:find("'serve' (spawn = function of the loop that llsocket.wait was set to expected, got nil)", 1, true),
    loop.name .. ": without its spawn serve raises, since handlers would never run")
  lst:close()
end

for _, name in ipairs(loops.names) do
  local loop, why = loops.open(name)
  if loop then
    L.wait.set(loop.wait)
    share(loop)
    if name ~= "coroutine" then without_spawn(loop) else T.skip(1, "serve runs that loop itself") end
    L.wait.set()
  else T.skip(3, why) end
end

-- A way of waiting of the program's own.
local lst = assert(stream.listen("127.0.0.1", 0))
L.wait.set(function() return coroutine.yield() end)
T.ok(raised(stream.serve, lst, nothing):find("spawn = function of the loop", 1, true),
  "a way that waits in a loop unknown raises, too")
local calls = 0
L.wait.set(function(...)
  calls = calls + 1
  return own_loop.wait(...)
end)
own_loop.spawn(function() assert(stream.connect(lst:getsockname(), 5)):close() end)
T.is(show(stream.serve(lst, function() lst:close() end)), "", "one that wraps the loop's serves")
T.ok(calls > 0, "by that way")
L.wait.set()

-- The loop itself finds no descriptor to wait with until another coroutine closes some.
local function short_of_descriptors()
  collectgarbage "stop"
  local listener, held = assert(stream.listen("127.0.0.1", 0)), {}
  local ai = listener:getsockname()
  sys.limit_descriptors(leak.count() + 8)
  repeat
    local sock = L.socket.new(ai, true)
    held[#held + 1] = sock
  until not sock
  held[#held]:close() -- one for serve itself
  local answer
  own_loop.spawn(stream.serve, listener, function(s)
    s:write "hello\n"
    listener:close()
  end)
  own_loop.spawn(function()
    for _ = 1, 3 do own_loop.sleep(0) end
    for _, sock in ipairs(held) do sock:close() end
    local s = assert(stream.connect(ai, 5))
    s:deadline(5)
    answer = s:line()
    s:close()
  end)
  own_loop.run()
  return answer == "hello"
end
if not (L.EPOLLIN or L.EV_ADD) then T.skip(1, "here the loop waits without a descriptor")
elseif sys.limit_descriptors then
  T.is(proc.wait(proc.fork(short_of_descriptors)), 0, "a loop without a descriptor lets the others run, which give theirs back")
else T.skip(1, "this system cannot limit descriptors") end

-- The text for an impossible option names it.
lst = assert(stream.listen("127.0.0.1", 0))
T.ok(raised(stream.serve, lst, nothing, { max = "3" }):find("(max = number expected, got string)", 1, true),
  "a max that is no number raises, and names it")
lst:close()

-- An object that was closed: no method of it is called again.
local closes, others = 0, 0
local function other() others = others + 1 end
local function close() closes = closes + 1 end
local s = assert(stream.wrap { recv = other, send = other, recvable = other, sendable = other, shutdown = other, close = close })
T.is(show(s:close()), "", "close closes what was wrapped")
T.is(show(s:close()), "", "a second close does nothing")
T.is(closes, 1, "so the object's close is called once")
local BAD = show(nil, "Bad file descriptor", L.EBADF, 0)
T.is(show(s:write "x"), BAD, "write is EBADF then")
T.is(show(s:write("x", "y")), BAD, "of several strings, too")
T.is(show(s:write ""), BAD, "also of none")
T.is(show(s:shutdown()), show("Bad file descriptor", L.EBADF), "so is shutdown")
T.is(others, 0, "and nothing else of the object is called")
T.is(leak.count(), before, "no descriptor is left")
T.done()
