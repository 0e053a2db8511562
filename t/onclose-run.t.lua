-- onclose-run: functions that run before a socket is closed: once, the last added first, while the number is still valid.
local L = require "llsocket"
local poll = L.poll -- loaded first: what a hook registers must be taken out again all the same
local sockets = require "llsocket.socket.object"
local leak = require "leak"
local net = require "net"
local rights = require "rights"
local signature = require "signature"
local sys = require "sys"
local show = require("values").show
local pack, line = signature.pack, signature.line

local before = leak.count()
local T = require("tap").plan(57)

local function one() return assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM))) end
local function nothing() end

-- running
local log, sock = {}, one()
local number = sock:fd()
local function add(name)
  return assert(sock:onclose(function(s)
    assert(s == sock)
    log[#log + 1] = ("%s %d %s"):format(name, s:fd(), tostring(sys.is_open(number)))
  end))
end
add "a"; add "b"; add "c"
T.is(select("#", sock:close()), 0, "close answers no values after its hooks")
T.is(table.concat(log, ", "), ("c %d true, b %d true, a %d true"):format(number, number, number),
  "they run last added first, with the socket, before close(2), and fd() tells the number")
T.ok(sock:fd() == -1 and not sys.is_open(number), "then it is closed")
sock:close()
T.is(#log, 3, "they run once")
local again = one()
T.is(again:fd(), number, "the number has a new owner")
again:close()
T.is(#log, 3, "whose end is none of theirs")

-- the same function twice, and one socket's hooks are not another's
local count, other = 0, one()
sock = one()
local function counting() count = count + 1 end
sock:onclose(counting); sock:onclose(counting); other:onclose(counting)
sock:close(L.SHUT_RDWR) -- ENOTCONN
T.is(count, 2, "a function that was added twice runs twice")
other:close()
T.is(count, 3, "each socket has its own")

-- before the shutdown as well
local a, b = net.pair()
a:onclose(function(s) s:send "farewell" end)
T.is(select("#", a:close(L.SHUT_RDWR)), 0, "close with a flag runs them")
T.is(b:recv(), "farewell", "before it shuts down")
b:close()

-- errors
log, sock = {}, one()
sock:onclose(function() log[#log + 1] = "first" end)
sock:onclose(function() error("second fails", 0) end)
sock:onclose(function() log[#log + 1] = "third" end)
sock:onclose(function() error("fourth fails", 0) end)
number = sock:fd()
T.is(line(pack(sock:close())), line { n = 1, "fourth fails" }, "the error of the first that fails is what close answers")
T.is(table.concat(log, " "), "third first", "the others run")
T.is(sys.is_open(number), false, "and the socket is closed")
local MUTE = setmetatable({}, { __tostring = function() error "no text" end })
for _, err in ipairs { { 1 }, MUTE, true } do
  sock = one()
  sock:onclose(function() error(err) end)
  number = sock:fd()
  local got = pack(sock:close())
  T.ok(got.n == 1 and type(got[1]) == "string" and not sys.is_open(number), "an error that is a " .. type(err) .. " has a text")
end
sock = one()
sock:onclose(function() error("of the hook", 0) end)
T.is(line(pack(sock:close(L.SHUT_WR))), line { n = 1, "of the hook" }, "it comes before that of a shutdown that fails")

-- closing from within
log, sock = {}, one()
local function note(s) log[#log + 1] = s:fd() end
number = sock:fd()
sock:onclose(note)
sock:onclose(function(s) log[#log + 1] = s:close() == nil and s:fd() end)
sock:onclose(function(s) log[#log + 1] = s:close(L.SHUT_RDWR) == nil and s:fd() end)
T.is(select("#", sock:close()), 0, "a hook may close the socket once more")
T.is(table.concat(log, " "), ("%d %d %d"):format(number, number, number), "the next ones still find the number")
T.is(sys.is_open(number), false, "it is closed once all have run")

-- giving up from within: the number is not ours to close any more
sock = one()
sock:onclose(function(s) number = s:unwrap() end)
T.is(select("#", sock:close()), 0, "a hook may give the descriptor up")
T.is(sys.is_open(number), true, "which then stays open")
sys.close(number)

-- adding and taking back from within
log, sock = {}, one()
local third = sock:onclose(function() log[#log + 1] = "taken back" end)
sock:onclose(function(s)
  log[#log + 1] = tostring(third:remove())
  s:onclose(function() log[#log + 1] = "added" end)
end)
sock:close()
T.is(table.concat(log, " "), "true added", "a hook may take back one that has not run, and add one")

-- taking back
count, sock = 0, one()
local first, second = sock:onclose(counting), sock:onclose(counting)
T.is(first:remove(), true, "remove answers true")
T.is(first:remove(), false, "and false for a hook that was removed")
sock:close()
T.is(count, 1, "a removed hook does not run, the others do")
T.is(second:remove(), false, "a hook that has run cannot be removed")
T.is(second.nosuchmethod, nil, "an unknown name is nil")

-- giving the descriptor up is no closing
count, sock = 0, one()
sock:onclose(counting)
sys.close(sock:unwrap())
T.is(count, 0, "unwrap runs none")
sock:close()
T.is(count, 0, "nor does close after it")
T.is(line(pack(sock:onclose(nothing))), signature.failure("object", L.EBADF), "onclose of a closed socket is EBADF")

-- alive until closed
local open = leak.count()
do
  sock = one()
  number = sock:fd()
  first, second = sock:onclose(nothing), sock:onclose(counting)
  sock = nil
end
T.is(leak.count(), open + 1, "a socket with hooks is not collected")
first:remove()
T.is(leak.count(), open + 1, "as long as there is one")
second:remove()
T.is(leak.count(), open, "without any it is, although its handles are held")
T.is(count, 0, "and none has run")

-- a hook that registers what is about to go
sock = one()
local p = assert(poll.new())
sock:onclose(function(s) assert(p:add(s, "w")) end)
local copy = assert(sock:dup())
sock:close()
T.is(p:wait(0), 0, "what a hook registers in a poller is taken out again")
copy:close(); p:close()

-- a hook that yields, in a coroutine that nobody resumes, in one that somebody does, and in none
local YIELDS = "attempt to yield from a function that runs before a close"
local function yielding()
  log, sock = {}, one()
  number = sock:fd()
  sock:onclose(function() log[#log + 1] = "first" end)
  sock:onclose(function(s)
    log[#log + 1] = "yields"
    coroutine.yield(s)
    log[#log + 1] = "goes on"
  end)
  return sock
end
local function closed() return show(sock:fd() == -1, sys.is_open(number)) end
local closer = coroutine.wrap(function() return pack(yielding():close()) end)
T.is(line(closer()), line { n = 1, YIELDS }, "a hook that yields is one that fails: close answers that")
T.is(closed(), "true, false", "and closes at once, although the coroutine is not resumed")
T.is(table.concat(log, " "), "yields first", "the others run")
T.is(select("#", sock:close()), 0, "closing once more does nothing")
T.is(line(pack(yielding():close())), line { n = 1, YIELDS }, "so it is outside a coroutine")
T.is(closed(), "true, false", "and closes")
local MUTE_AT_LENGTH = setmetatable({}, { __tostring = function() coroutine.yield() end })
sock = one()
sock:onclose(function() error(MUTE_AT_LENGTH) end)
number = sock:fd()
closer = coroutine.wrap(function() return pack(sock:close()) end)
local told = closer()
T.ok(told and told.n == 1 and type(told[1]) == "string", "an error whose text yields has another")
T.is(closed(), "true, false", "and the socket is closed")

local resumed
sock = one()
number = sock:fd()
local inner
sock:onclose(function()
  inner = coroutine.running()
  coroutine.yield()
  resumed = true
end)
sock:close()
T.is(show(coroutine.resume(inner)), "true", "the hook's coroutine may be resumed later")
T.is(show(resumed, coroutine.status(inner)), 'true, "dead"', "and it ends")

-- Hooks in hooks, and what stays alive.
local outer = one()
sock = one()
sock:onclose(function() log = "inner" end)
outer:onclose(function() sock:close() error("outer fails", 0) end)
T.is(line(pack(outer:close())), line { n = 1, "outer fails" }, "a hook may close another socket with hooks")
T.is(log, "inner", "which run")
local weak = setmetatable({}, { __mode = "v" })
do
  local s, data = one(), {}
  weak.sock, weak.data = s, data
  local function keep() return data end
  jit.off(keep) -- a trace through it would hold the closure
  s:onclose(keep)
  s:close()
end
sock, outer = nil, nil -- luacheck: ignore
collectgarbage(); collectgarbage()
T.is(show(weak.sock, weak.data), "nil, nil", "a hook that has run keeps nothing alive")

-- what the library itself does before an end, and may fail at
local failing
sockets.before_close(function() if failing then error("out of something", 0) end end, 1)
local function end_of(object)
  local fd = object:fd()
  failing = true
  local answer = pack(pcall(object.close, object))
  failing = false
  object:close() -- is not taken for one that is being closed
  return answer[1] and ("%s %d"):format(tostring(answer[2]), answer.n) or "raises " .. tostring(answer[2]), sys.is_open(fd)
end
sock, p = one(), assert(poll.new())
copy = assert(sock:dup())
assert(p:add(sock, "w"))
T.is(show(end_of(sock)), '"out of something 2", false',
  "where the library fails before an end close tells, and the descriptor is closed")
T.is(p:wait(0), 0, "and removed from its pollers in any case")
copy:close()
if p:fd() < 0 then
  T.skip(1, "over poll(2) a poller has no descriptor")
  p:close()
else
  T.is(show(end_of(p)), '"out of something 2", false', "so for a poller")
end
local event = L.TFD_CLOEXEC and assert(poll.timer(60)) or one()
if L.TFD_CLOEXEC then
  T.is(show(end_of(event)), '"out of something 2", false', "and for an event")
else
  T.skip(1, "there are no timers here")
end
event:close()
a, b = net.pair()
local read_end, write_end = rights.pipe()
assert(a:sendfd(read_end))
T.is(show(end_of(assert(b:recvfd()))), '"out of something 2", false', "and for a received descriptor")
a:close(); b:close()
sys.close(read_end); sys.close(write_end)

-- the stack ends in the middle of a close: at every depth the socket can be closed afterwards
local function deep(depth, fn)
  if depth == 0 then return fn() end
  local answer = deep(depth - 1, fn)
  return answer
end
-- Interpreted: an error that LuaJIT raises while it leaves a trace, for want of stack, passes each pcall that is part of the
-- trace, and so what is to be put back after it.
local compiles = jit.status()
jit.off(); jit.flush()
local deepest = 0
for step = 16, 0, -1 do
  while pcall(deep, deepest + 2^step, nothing) do deepest = deepest + 2^step end
end
local stuck, raised = 0, 0
for depth = deepest - 60, deepest do
  sock = one()
  number = sock:fd()
  sock:onclose(nothing)
  local function end_it() return sock:close() end
  local ok, err = pcall(deep, depth, end_it)
  raised = raised + ((not ok or err) and 1 or 0)
  sock:close()
  if sys.is_open(number) then
    stuck = stuck + 1
    sys.close(sock:unwrap())
  end
end
if compiles then jit.on() end
T.ok(raised > 0, ("a close finds no stack in %d of 61 depths"):format(raised))
T.is(stuck, 0, "and none of them leaves the socket open for good")
T.is(leak.count(), before, "no descriptor is left")
T.done()
