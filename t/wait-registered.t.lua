-- wait-registered: the loop registers a socket once, level-triggered: nothing that is ready is missed, nothing spins.
local engines = require "engines"
local ffi = require "ffi"
local L = require "llsocket"
local W = require "llsocket.wait.coroutine"
local leak = require "leak"
local net = require "net"
local show = require("values").show
local sys = require "sys"
local T = require("tap").plan(30)
local is_epoll = L.EPOLLIN ~= nil

local before = leak.count()
local calls = engines.count()
local function since(fn)
  local was = {}
  for name, n in pairs(calls) do was[name] = n end
  fn()
  local out = {}
  for name, n in pairs(calls) do out[name] = n - was[name] end
  return out
end

local function tcp()
  local listener = net.listener()
  local client = assert(L.socket.new(listener:getsockname()))
  assert(not client:connect())
  local server = assert(listener:accept(true))
  listener:close()
  return server, client
end

-- Once and for all -----------------------------------------------------------------------------------------

local a, b = net.pair(L.SOCK_STREAM, true)
local function rounds(n)
  for _ = 1, n do
    b:send "x"
    assert(a:recvable(5) and a:recv() == "x")
  end
end
local made = since(function()
  W.spawn(rounds, 100)
  W.run()
end)
T.is(("%d %d %d"):format(made.add, made.modify, made.remove), "1 0 0", "a hundred waits register the socket once")
T.is(made.wait, 100, "and ask nothing first: each is one wait of the engine")

made = since(function()
  W.spawn(function()
    rounds(2)
    assert(a:sendable(5))
  end)
  W.run()
end)
T.is(("%d %d"):format(made.add, made.modify), "1 1", "the first wait in the other direction changes the registration")

-- One reads all the time, one writes all the time.
local text, got = ("x"):rep(300000), 0
do
  W.spawn(function()
    local at = 1
    while at <= #text do
      assert(a:sendable(5))
      at = at + (a:send(text:sub(at, at + 9999)) or 0)
    end
    a:shutdown(L.SHUT_WR)
  end)
  W.spawn(function()
    while b:recvable(5) do
      local part = b:recv()
      if not part then break end
      got = got + #part
      if got % 8192 == 0 then b:send "ok" end
    end
  end)
  W.spawn(function()
    while a:recvable(0.2) and a:recv() do end -- luacheck: ignore
  end)
  W.run()
end
T.is(got, #text, "one coroutine reads and one writes on the same socket")
a:close(); b:close()

-- Three ways to hang with edges ----------------------------------------------------------------------------

-- What a handler receives that waits before each receive.
local function received(sock, size)
  local parts = {}
  W.spawn(function()
    local part
    repeat
      if not sock:recvable(2) then parts[#parts + 1] = "nothing more" end
      part = sock:recv(size)
      parts[#parts + 1] = part or "end"
    until not part or #parts > 5
  end)
  W.run()
  return table.concat(parts, ", ")
end

local function fill(other)
  other:send "abc"
  other:close()
end

a, b = tcp()
W.spawn(function() assert(a:recvable(2)); a:recv() end) -- registered, and then both at once
W.spawn(function() b:send "x" end)
W.run()
fill(b)
T.is(received(a), "abc, end", "bytes and the end in one event are both told")
a:close()

a, b = tcp()
b:send "ab"
b:send("!", L.MSG_OOB)
b:send "cd"
b:close()
T.is(received(a), "ab, cd, end", "so are the bytes behind an urgent mark, where a receive stops")
a:close()

a, b = net.pair(L.SOCK_STREAM, true)
assert(b:sendfd(b))
b:send "two"
b:close()
T.is(received(a), "\0, two, end", "and the bytes behind a message with descriptors")
a:close()

-- Events for which nobody waits ----------------------------------------------------------------------------

a, b = net.pair(L.SOCK_STREAM, true)
local told
made = since(function()
  W.spawn(function()
    rounds(1)
    b:send "y"
    W.sleep(0.1)
    told = show(a:recvable(5), a:recv())
  end)
  W.run()
end)
T.is(told, show(true, "y", nil, false), "what came while nobody waited is told at once")
T.ok(made.wait <= 5, "and meanwhile costs no rounds: " .. made.wait)
made = since(function()
  W.spawn(function()
    rounds(1)
    b:close()
    W.sleep(0.1)
    told = show(a:recvable(5), a:recv())
  end)
  W.run()
end)
T.is(told, show(true), "so is a hang-up")
T.ok(made.wait <= 5, "which is told even to a mask of nothing: " .. made.wait)
a:close()

a, b = net.pair(L.SOCK_STREAM, true)
made = since(function()
  W.spawn(function() told = show(a:recvable(0.1)) end)
  W.spawn(function() assert(a:sendable(5)) end)
  W.run()
end)
T.is(told, "false", "a socket that can be written is not asked for that by who waits to read")
T.ok(made.wait <= 5, "which costs no rounds either: " .. made.wait)
a:close(); b:close()

-- What is resumed may close the next one -------------------------------------------------------------------

local socks, log = {}, {}
for i = 1, 20 do socks[i] = { net.pair(L.SOCK_STREAM, true) } end
made = since(function()
  for i = 1, 20 do
    W.spawn(function()
      local ready, _, errno = socks[i][1]:recvable(5)
      log[#log + 1] = ready and "ready" or errno == L.EBADF and "closed" or "?"
      for j = 1, 20 do
        if j ~= i then socks[j][1]:close() end
      end
    end)
  end
  W.spawn(function()
    for i = 1, 20 do socks[i][2]:send "x" end
    for i = 1, 20 do socks[i][2]:close() end
  end)
  W.run()
end)
table.sort(log)
T.is(table.concat(log, " "), ("closed "):rep(19) .. "ready", "what closes the others of its round is the last of them")
T.is(made.new, 1, "their events are late, and no reason to register all again")
for i = 1, 20 do socks[i][1]:close() end

-- A number that was closed behind the loop -----------------------------------------------------------------

-- Closes the descriptor of a socket without a word; a copy keeps what it stood for.
local function vanish(sock)
  local number = sock:fd()
  local copy = assert(sys.copy(number, 200))
  ffi.gc(sock, nil)
  sys.close(number)
  sock.sd = -1
  return number, copy
end

-- Opens pairs until one of their numbers is this; answers that socket and the other.
local function take(number)
  local others = {}
  repeat
    local c, d = net.pair(L.SOCK_STREAM, true)
    others[#others + 1] = { c, d }
  until c:fd() == number or d:fd() == number or #others > 20
  local c, d = unpack(table.remove(others))
  for _, pair in ipairs(others) do pair[1]:close(); pair[2]:close() end
  if d:fd() == number then return d, c end
  return c, d
end

local bystander, friend = net.pair(L.SOCK_STREAM, true)
local function haunted(is_registered)
  local c, d, copy
  made = since(function()
    W.spawn(function()
      a, b = net.pair(L.SOCK_STREAM, true)
      rounds(1)
      local number
      number, copy = vanish(a)
      c, d = take(number)
      if is_registered then told = show(c:recvable(0.01)) end
      b:send "x" -- what the copy stands for is ready from now on
      W.sleep(0.1)
      W.spawn(function() d:send "new" end)
      told = show(c:fd() == number, c:recvable(5), c:recv())
      friend:send "still there"
    end)
    W.spawn(function() log = show(bystander:recvable(5), bystander:recv()) end)
    W.run()
  end)
  sys.close(copy)
  c:close(); d:close(); b:close()
end

for _, is_registered in ipairs { true, false } do
  local which = is_registered and "its next owner is registered" or "its next owner is not registered"
  haunted(is_registered)
  T.is(told, show(true, true, "new", nil, false), which .. ": it is waited for")
  T.ok(made.wait < 15, which .. ": the copy that stays ready costs no rounds: " .. made.wait)
  T.is(made.new, is_epoll and 2 or 1, which .. ": all is registered again once, where the kernel keeps the copy")
  T.is(log, show(true, "still there", nil, false), which .. ": and who waited for another goes on waiting")
end
bystander:close(); friend:close()

-- A registered socket whose number is closed behind the loop.  `is_lowest`: a set that the loop makes then takes this number.
local function orphaned(sec, is_lowest)
  local low = { net.pair(L.SOCK_STREAM, true) }
  a, b = net.pair(L.SOCK_STREAM, true)
  rounds(1)
  local number = a:fd()
  if not is_lowest then low[1]:close(); low[2]:close() end
  sys.close(number)
  local said = show(a:sendable(sec))
  ffi.gc(a, nil)
  a.sd = -1
  b:close(); low[1]:close(); low[2]:close()
  return said, number
end

local describe = require("llsocket.errno").text

-- Who waits for a registered socket is whoever runs, which is not always the coroutine that the loop resumed.
W.spawn(function()
  a, b = net.pair(L.SOCK_STREAM, true)
  rounds(1)
  local outer = coroutine.running()
  local inner = coroutine.create(function() log = show(coroutine.running() ~= outer, a:recvable(5), a:recv()) end)
  coroutine.resume(inner)
  told = show(coroutine.status(inner), a:recvable(5))
  b:send "x"
  W.sleep(0.01)
  told = told .. " " .. coroutine.status(inner)
  a:close(); b:close()
end)
W.run()
T.is(log, show(true, true, "x", nil, false), "a coroutine inside of a coroutine waits for itself")
T.is(told, show("suspended", nil, describe(L.EBUSY), L.EBUSY) .. " dead", "and the outer one goes on meanwhile")

local EBADF = show(nil, describe(L.EBADF), L.EBADF)
W.spawn(function() log = { (orphaned(5, true)) } end)
W.run()
T.is(log[1], EBADF, "a socket whose number was closed is EBADF, even where a new set has the number")

W.spawn(function()
  local said, number = orphaned(0.05)
  local c, d = take(number)
  repeat local _, _, again = c:send(("x"):rep(65536)) until again
  W.spawn(function()
    W.sleep(0.2)
    c:close()
  end)
  told = show(said, c:sendable())
  d:close()
end)
W.run()
T.is(told, show(EBADF) .. ", " .. EBADF, "and the limit of its wait does not end a later wait for the number")
T.is(leak.count(), before, "no descriptor is left")
engines.others(T)
T.done()
