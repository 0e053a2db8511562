-- stream-odd: objects in a socket's shape that answer odd things; wrong types; servers whose spawn, limit or listener is odd.
local L = require "llsocket"
local stream = require "llsocket.stream"
local resolve = require "llsocket.resolve"
local loop = require "llsocket.wait.coroutine"
local leak = require "leak"
local show = require("show").show

local T = require("tap").plan(33)
local before = leak.count()

local function ready() return true end

-- A stream over an object that receives and sends by these functions.
local function open(recv, send, wait)
  return assert(stream.wrap { recv = recv, send = send or ready, recvable = wait or ready, sendable = wait or ready,
    close = ready })
end

-- A function that answers one value of a list after the other, then nothing.
local function script(list)
  local i = 0
  return function()
    i = i + 1
    if list[i] then return unpack(list[i], 1, 4) end
  end
end

local TIMED_OUT = show(nil, "Connection timed out", L.ETIMEDOUT)
local LONG = ("0123456789abcdef"):rep(20000)

-- Receiving.
T.ok(open(script { { LONG } }):all() == LONG, "nothing is lost where recv answers more than it was asked for")
local s = open(script { { "one\n" }, { LONG .. "\n" }, { "two\n" } })
T.ok(s:line() == "one" and s:line(2 ^ 20) == LONG and s:line() == "two", "nor between lines")
T.is(show(open(script { { nil, "odd" } }):line()), show(nil, "odd", L.EIO), "an error without a number is EIO, and no end")
T.is(show(open(script { { "half" }, { nil, nil, false, L.EPERM } }):line()), show(nil, "Operation not permitted", L.EPERM),
  "an error without a text has the number's")
local function odd() return nil, "odd" end
local again = script { { nil, nil, true, L.EAGAIN } }
T.is(show(open(again, nil, odd):line()), show(nil, "odd", L.EIO), "so is one of recvable")
T.is(show(open(script { { "" }, { "" }, { "a" } }):some()), "a", "some answers no empty string")
s = open(function() return "" end)
s:deadline(0.02)
T.is(show(s:some()), TIMED_OUT, "empty strings without end are no way around a deadline")

-- Another coroutine closes or reads while recv itself waits.
s = open(function()
  coroutine.yield()
  return LONG
end)
local co = coroutine.wrap(function() return #s:exactly(#LONG) end)
co()
s:close()
T.is(co(), #LONG, "a close while recv waits harms nothing")
s:close()
local small = script { { "x" }, { nil, nil, true, L.EAGAIN } }
local turn = 0
s = open(function()
  turn = turn + 1
  if turn > 1 then return small() end
  coroutine.yield()
  return LONG
end, nil, function() return false end)
co = coroutine.wrap(function() return #s:exactly(#LONG) end)
co()
s:deadline(0.01)
s:exactly(9)
T.is(co(), #LONG, "nor does another reader that gives the memory back")
T.is(#s:some(), 1, "and the rest is there")

-- Sending.
T.is(show(open(ready, script { { nil, "odd" } }):write "x"), show(nil, "odd", L.EIO, 0), "an error of send without a number")
T.is(show(open(ready, script { { 1, nil, true }, { 1, nil, true } }, odd):write "xyz"), show(nil, "odd", L.EIO, 1),
  "an error of sendable, with the bytes taken")
T.is(show(open(ready, script { { nil, nil, true, L.EAGAIN }, { 0, nil, true, L.EAGAIN }, { 3 } }):write "xyz"), "true",
  "again is no error")
s = open(ready, function() return 0 end)
s:deadline(0.02)
T.is(show(s:write "x"), TIMED_OUT .. ", 0", "a send that never takes a byte ends at the deadline")

-- Wrong types are told at the caller's line, in the name of what was called.
local lst = assert(stream.listen("127.0.0.1", 0))
local ai = lst:getsockname()
local here = debug.getinfo(1, "S").short_src
local function raises(expected, fn, ...)
  local args, n = { ... }, select("#", ...)
  local _, err = pcall(function() fn(unpack(args, 1, n)) end)
  T.ok(tostring(err):find(here, 1, true) and tostring(err):find(expected, 1, true), expected)
end
raises("#2 to 'connect' (string or number expected, got table)", stream.connect, "127.0.0.1", {})
raises("#1 to 'listen' (string expected, got table)", stream.listen, {}, 1)
raises("#2 to 'listen' (string or number expected, got boolean)", stream.listen, "::1", true)
raises("#3 to 'listen' (number expected, got string)", stream.listen, "127.0.0.1", 0, "ten")
raises("#2 to 'resolve' (string expected, got table)", resolve.resolve, 1, {})
raises("#3 to 'resolve' (string or number expected, got table)", resolve.resolve, 1, "x", {})
raises("#1 to 'wait' (number, socket or object with a method fd or getfd expected, got cdata)", loop.wait,
  require("ffi").new "void *", "r")

for title, fn in pairs {
  ["nothing"] = function() end, ["true"] = function() return true end, ["an address"] = function() return ai end,
} do
  resolve.set(fn)
  local _, err = pcall(stream.connect, "some.name", 80, 5)
  T.is(err, "the function that resolve.set got answered neither a list nor an error",
    "a resolver that answers " .. title .. " is told of")
end
resolve.set()
T.is(show(stream.connect("127.0.0.1", 70000)), show(nil, "Invalid argument", L.EAI_SYSTEM, L.EINVAL),
  "an impossible port has its errno after EAI_SYSTEM")

-- A server that is canceled while it serves as many as it may.
local answer, served = nil, 0
co = loop.spawn(function()
  answer = show(stream.serve(lst, function(client)
    served = served + 1
    client:line()
  end, { max = 1 }))
end)
loop.spawn(function()
  local one, two = assert(stream.connect(ai, 5)), assert(stream.connect(ai, 5))
  loop.sleep(0.05)
  T.ok(loop.cancel(co), "a server at its limit can be canceled")
  loop.sleep(0.05)
  T.is(answer, nil, "it ends with its handlers")
  one:close()
  loop.sleep(0.05)
  two:close()
end)
loop.run()
T.is(show(answer, served), ", 1", "and takes no other client")
lst:close()

-- A spawn that raises after it has made the coroutine.
lst = assert(stream.listen("127.0.0.1", 0))
ai = lst:getsockname()
local ended, errors = 0, 0
local function handler()
  loop.sleep(0.05)
  ended = ended + 1
end
local calls = 0
local function spawn(...)
  loop.spawn(...)
  calls = calls + 1
  if calls == 1 then error "on purpose" end
end
local function onerror()
  errors = errors + 1
  error "also on purpose"
end
loop.spawn(function()
  stream.serve(lst, handler, { spawn = spawn, onerror = onerror })
  T.is(ended, 1, "serve waits for all handlers, also where spawn raised once")
end)
loop.spawn(function()
  local one, two = assert(stream.connect(ai, 5)), assert(stream.connect(ai, 5))
  one:line()
  loop.sleep(0.02)
  lst:close()
  two:line()
  one:close()
  two:close()
end)
loop.run()
T.is(errors, 2, "and onerror, which may raise, was told")

-- Handlers that yield for ever are collected, also where nothing else makes garbage.
lst = assert(stream.listen("127.0.0.1", 0))
ai = lst:getsockname()
local function drop(fn, ...) coroutine.wrap(fn)(...) end
loop.spawn(stream.serve, lst, function(client)
  client:line()
  coroutine.yield()
end, { max = 1, spawn = drop })
local closed = 0
loop.spawn(function()
  for _ = 1, 2 do
    local client = assert(stream.connect(ai, 5))
    client:deadline(20)
    client:write "x\n"
    if select("#", client:line()) == 0 then closed = closed + 1 end
    client:close()
  end
  lst:close()
end)
loop.run()
T.is(closed, 2, "a handler that is dropped makes place for the next client")

-- A listener that blocks.
lst = assert(stream.listen("127.0.0.1", 0))
ai = lst:getsockname()
lst:nonblock(false)
local line
loop.spawn(stream.serve, lst, function(client)
  loop.sleep(0.01)
  client:write "served\n"
  lst:close()
end)
loop.spawn(function()
  local client = assert(stream.connect(ai, 5))
  client:deadline(5)
  line = client:line()
  client:close()
end)
loop.run()
T.is(line, "served", "a listener that was blocking stops no handler")
T.is(leak.count(), before, "no descriptor is left")
T.done()
