-- poll-args: what a poller refuses, and how: unknown words, objects added twice or never, closed, or of a wrong kind.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local signature = require "signature"
local pack, line = signature.pack, signature.line
local poll = L.poll

local before = leak.count()
local T = require("tap").plan(#pollers.names * 43 + 11)

local function fails(e, name, ...) T.is(line(pack(...)), signature.failure("object", e), name) end

local function refuses(name)
  local p, a, b = assert(poll.new(name)), net.pair()
  for _, word in ipairs { "", "e", "o", "eo", "rr", "rz", "R", "r w", "r\0", "rwrw", "x", "rxo", "pp" } do
    fails(L.EINVAL, ("%s: add with %q is EINVAL"):format(name, word), p:add(a, word))
  end
  fails(L.EBADF, name .. ": add of -1 is EBADF", p:add(-1, "r"))
  fails(L.EBADF, name .. ": add of a number that is not open is EBADF", p:add(3999, "r"))
  fails(L.ENOENT, name .. ": modify of an object that is not registered is ENOENT", p:modify(a, "r"))
  fails(L.ENOENT, name .. ": remove of an object that is not registered is ENOENT", p:remove(a))
  assert(p:add(a, "r"))
  fails(L.EEXIST, name .. ": adding twice is EEXIST", p:add(a, "w"))
  fails(L.EEXIST, name .. ": by its number as well", p:add(a:fd(), "w"))
  fails(L.EINVAL, name .. ": modify with no word is EINVAL", p:modify(a, "z"))
  fails(L.EINVAL, name .. ": modify to exclusive is EINVAL", p:modify(a, "rx"))
  fails(L.EINVAL, name .. ": an exclusive word with urgent data is EINVAL", p:add(b, "rpx"))
  T.is(pollers.seen(p), "", name .. ": refused calls have changed nothing")
  assert(p:remove(a))
  fails(L.ENOENT, name .. ": removing twice is ENOENT", p:remove(a))
  for _, max in ipairs { 0, -1, 1.5, 2^31, 0 / 0 } do
    fails(L.EINVAL, ("%s: wait for %s events is EINVAL"):format(name, max), p:wait(0, max))
  end
  local waker, start = p:wakefd(), os.time()
  T.ok(not (p:remove(waker) or p:modify(waker, "w")), name .. ": what wakes it is neither removed nor modified")
  T.is(line(pack(assert(p:wake()) and p:wait(5), os.time() - start < 4)), "0, true", name .. ": and wakes it still")
  b:close(); a:close()
  fails(L.EBADF, name .. ": add of a closed socket is EBADF", p:add(a, "r"))
  fails(L.EBADF, name .. ": modify of a closed socket is EBADF", p:modify(a, "r"))
  fails(L.EBADF, name .. ": remove of a closed socket is EBADF", p:remove(a))
  p:close()
end

local function is_closed(name)
  local p, a, b = assert(poll.new(name)), net.pair()
  b:send "x"
  assert(p:add(a, "r"))
  assert(p:wait(0) == 1)
  T.is(select("#", p:close()), 0, name .. ": close answers no values")
  T.is(select("#", p:close()), 0, name .. ": nor does a second close")
  T.is(p:event(1), nil, name .. ": a closed poller has no events")
  fails(L.EBADF, name .. ": add to a closed poller is EBADF", p:add(b, "r"))
  fails(L.EBADF, name .. ": modify in a closed poller is EBADF", p:modify(a, "r"))
  fails(L.EBADF, name .. ": remove from a closed poller is EBADF", p:remove(a))
  fails(L.EBADF, name .. ": wait in a closed poller is EBADF", p:wait(0))
  fails(L.EBADF, name .. ": wake of a closed poller is EBADF", p:wake())
  T.is(p:fd() .. " " .. p:wakefd(), "-1 -1", name .. ": its descriptors are -1")
  a:close(); b:close()
end

for _, name in ipairs(pollers.names) do refuses(name); is_closed(name) end

-- Regular files are always ready: epoll refuses them, poll(2) does not.
local file = assert(io.tmpfile())
local socks = assert(L.socket.pair(L.SOCK_STREAM))
socks[1]:sendfd(file)
file:close()
local desc = assert(socks[2]:recvfd())
local p = assert(poll.new "poll")
assert(p:add(desc, "r", "file"))
T.is(pollers.seen(p), "file:r", "with poll(2) a regular file is always ready")
p:close()
p = poll.new "epoll"
if p then
  fails(L.EPERM, "with epoll a regular file is EPERM", p:add(desc, "r"))
  fails(L.EINVAL, "a poller cannot wait for itself", p:add(p, "r"))
  p:close()
else
  T.skip(2, "no epoll here")
end
local flat = assert(poll.new "poll")
p = assert(poll.new())
fails(L.EBADF, "a poller without a descriptor cannot be nested", p:add(flat, "r"))
flat:close(); p:close()
desc:close(); socks[1]:close(); socks[2]:close()

fails(L.EINVAL, "an unknown back-end is EINVAL", poll.new "select")
local missing = poll.new "kqueue" and "epoll" or "kqueue"
fails(L.ENOSYS, "one of another system is ENOSYS", poll.new(missing))
local ok, why = pcall(p.add, p, {}, "r")
T.is(ok or why:match "bad.*", "bad argument #1 to 'add' (number, socket, descriptor, event or poller expected, got table)",
  "an object without a descriptor raises, in a closed poller too")
T.is(p.nosuchmethod, nil, "an unknown name is nil")
T.is(tostring(p), "llsocket.poller: fd -1", "a closed poller has a text")
p = assert(poll.new())
local best = p:fd() >= 0 and (L.EPOLLIN and "epoll" or "kqueue") or "poll"
T.is(best, pollers.names[1], "the default is the best that the system has")
p:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
