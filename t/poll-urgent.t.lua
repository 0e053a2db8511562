-- poll-urgent: urgent data is an event of its own, "p"; with "x" one of several pollers is woken, not all.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local proc = require "proc"
local poll, seen, await = L.poll, pollers.seen, pollers.await

local before = leak.count()
local T = require("tap").plan(#pollers.names * 13 + 10)

local function urgent(name)
  local client, server = net.tcp()
  local p = assert(poll.new(name))
  local added, _, e = p:add(server, "p", "s")
  if not added then
    T.is(e, L.EOPNOTSUPP, name .. ": a kqueue without EVFILT_EXCEPT refuses to wait for urgent data")
    T.skip(12, "this kqueue has no EVFILT_EXCEPT")
    return client:close(), server:close(), p:close()
  end
  T.is(added, true, name .. ": urgent data alone can be waited for")
  client:send "x"
  T.ok(server:recvable(5), name .. ": an ordinary byte comes")
  T.is(seen(p), "", name .. ": it is not urgent")
  client:send("!", L.MSG_OOB)
  T.is(await(p, "s:u"), "s:u", name .. ": an urgent byte is reported, by the iterator's last value")
  assert(p:wait(0))
  T.is(select("#", p:event(1)), 7, name .. ": event answers seven values")
  T.is(select(7, p:event(1)), true, name .. ": of which the seventh says that it is urgent")
  T.is(server:recvable(0), true, name .. ": recvable is as it was")
  T.is(server:recv(1, L.MSG_OOB), "!", name .. ": the byte can be read")
  T.is(seen(p), "", name .. ": and is no longer reported")
  assert(p:modify(server, "rp"))
  T.is(seen(p), "s:r", name .. ": with reading as well the ordinary byte is reported")
  client:send("?", L.MSG_OOB)
  T.is(await(p, "s:ru"), "s:ru", name .. ": then both are")
  assert(p:modify(server, "r"))
  T.is(seen(p), "s:r", name .. ": a registration without p does not report urgent data")
  T.is(select(7, p:event(1)), false, name .. ": the seventh value is false then")
  client:close(); server:close(); p:close()
end
for _, name in ipairs(pollers.names) do urgent(name) end

-- How many of four processes one connection wakes, which all wait for it in pollers of their own.
local function woken(word)
  local listener, ai = net.listener()
  local near, far = net.pair()
  local children, count = {}, 0
  for i = 1, 4 do
    children[i] = proc.fork(function()
      local p = assert(poll.new())
      assert(p:add(listener, word))
      far:send "+"
      return p:wait(1) == 1
    end)
  end
  for _ = 1, 4 do assert(near:recv(1) == "+") end
  near:recvable(0.1) -- until they wait
  local client = assert(L.socket.new(ai))
  assert(not client:connect())
  for i = 1, 4 do if proc.wait(children[i]) == 0 then count = count + 1 end end
  for _, sock in ipairs { listener, near, far, client } do sock:close() end
  return count
end

local p = poll.new "epoll"
if not (p and L.EPOLLEXCLUSIVE) then
  T.skip(9, "this system has no EPOLLEXCLUSIVE")
else
  local a, b = net.pair()
  T.is(p:add(a, "rwx", "a"), true, "epoll: exclusive can be asked for")
  b:send "x"
  T.is(seen(p), "a:rw", "epoll: it is reported as before")
  T.is(select(3, p:modify(a, "r")), L.EINVAL, "epoll: what is exclusive cannot be modified")
  T.is(seen(p), "a:rw", "epoll: which changes nothing")
  assert(p:remove(a))
  T.is(p:add(a, "rex", "a"), true, "epoll: it may be edge-triggered")
  local inner = assert(poll.new "epoll")
  T.is(select(3, p:add(inner, "rx")), L.EINVAL, "epoll: a poller within another cannot be exclusive")
  a:close(); b:close(); inner:close()
  T.is(seen(p), "", "epoll: closing takes it out")
  T.is(woken "r", 4, "epoll: one connection wakes four processes")
  local least = 4
  for _ = 1, 5 do if least == 4 then least = woken "rx" end end
  T.ok(least >= 1 and least < 4, "epoll: but not all four where they are exclusive: " .. least)
end
if p then p:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
