-- lifecycle-emfile: descriptors run out, with and without sockets to collect.  Each case is a process of its own that
-- may have few descriptors.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(34)
local before = leak.count()
local socket, pipe, poll = L.socket, L.pipe, L.poll
assert(poll.new "poll"):close() -- its module is read
local ai = net.addr()
local listener, there = net.listener(L.AF_INET, true)

local function is(got, want, what)
  if got ~= want then error(("%s: got %s, want %s"):format(what, tostring(got), tostring(want)), 2) end
end

-- Runs fn in a child with 64 descriptors, where a connection waits to be accepted.
local function starved(name, fn, ...)
  local child = proc.fork(function(...)
    local client = assert(socket.new(there))
    assert(not client:connect())
    collectgarbage(); collectgarbage()
    assert(sys.limit_descriptors(64))
    fn(...)
    is(client:close(), nil, "the client's close")
  end, ...)
  T.is(proc.wait(child), 0, name)
  listener:nonblock(true)
  local waiting = listener:accept()
  while waiting do waiting = waiting:close() or listener:accept() end
end

-- The ways to get a descriptor.
local WAYS = {
  { "new", function() return socket.new(ai) end },
  { "pair", function() return socket.pair(L.SOCK_STREAM) end },
  { "dup", function() return listener:dup() end },
  { "accept", function() return listener:accept() end },
  { "pipe", function() return pipe.new() end },
  { "poller", function() return poll.new() end },
  { "a poller over poll(2)", function() return poll.new "poll" end },
  { "timer", function() return poll.timer(1) end },
  { "signal", function() return poll.signal(10) end },
  { "child", function() return poll.child(proc.getpid()) end },
  { "getifaddrs", function() return L.device.getifaddrs() end },
}
-- Who makes two descriptors; without eventfd(2) a pipe wakes a poller.
local TWO = { pair = true, pipe = true, poller = true, ["a poller over poll(2)"] = not L.EFD_CLOEXEC }
local NONE = { getifaddrs = true } -- it keeps none

-- Fails where a way does not answer EMFILE in its own shape.
local function refused(way, first, second, third, fourth)
  local err, e = second, third
  if way == "accept" then
    is(third, false, "accept: again")
    err, e = third == false and second, fourth
  end
  is(first, nil, way)
  is(type(err), "string", way .. ": err")
  is(e, L.EMFILE, way .. ": errno")
end

-- Whether no descriptor is left to have, asked without the library.
local function full()
  local fd = sys.copy(listener:fd())
  return fd < 0 or not sys.close(fd)
end

local function fill()
  local kept = {}
  while not full() do kept[#kept + 1] = assert(socket.new(ai)) end
  return kept
end

local function nothing_to_collect(way, call)
  local kept = fill()
  for _ = 1, 50 do refused(way, call()) end
  kept[1]:close()
  if TWO[way] then
    refused(way, call()) -- room for one
    is(full(), false, "the half that was made is closed")
    kept[2]:close()
  end
  local got = call()
  is(got ~= nil, true, way .. " once there is room")
  is(full(), not NONE[way], "no descriptor left over")
end

local function drop() assert(socket.new(ai)) end

-- Fills the descriptors with sockets that nothing refers to.
local function fill_with_garbage()
  collectgarbage "stop"
  while not full() do drop() end
end

local function garbage_to_collect(_, call)
  fill_with_garbage()
  local got = call()
  is(got ~= nil, true, "a call with garbage to collect succeeds")
  is(full(), false, "the garbage is closed")
  is(collectgarbage "isrunning", false, "the collector still stands")
end

for _, way in ipairs(WAYS) do
  starved(way[1] .. " with nothing to collect: EMFILE, nothing leaked, and it works once there is room", nothing_to_collect,
    way[1], way[2])
  starved(way[1] .. " with dropped sockets collects them and succeeds; a stopped collector stays stopped",
    garbage_to_collect, way[1], way[2])
end

starved("a running collector runs on", function()
  fill_with_garbage()
  collectgarbage "restart"
  is(socket.new(ai) ~= nil, true, "new")
  is(collectgarbage "isrunning", true, "running")
end)

-- Counts the collections that fn brings about with a collector that stands; answers also how many seconds it took.
local function collections(fn)
  collectgarbage() -- starts it again
  collectgarbage "stop"
  local count, start = 0, sys.clock()
  local function arm()
    getmetatable(newproxy(true)).__gc = function()
      count = count + 1
      arm()
    end
  end
  arm()
  fn()
  return count, sys.clock() - start
end

starved("with 16 descriptors made since, garbage is collected at once, however often", function()
  for _, way in ipairs(WAYS) do
    if way[1] ~= "accept" then
      for i = 1, 500 do
        local got, err = way[2]()
        if not got then error(("%s, the %dth: %s"):format(way[1], i, err)) end
      end
    end
  end
end)

starved("descriptors that arrive: the one for which there is no number is lost, and garbage is collected for the next", function()
  local from, to = net.pair()
  local lost = 0
  for _ = 1, 500 do
    from:sendfd(from)
    local got, _, _, e = to:recvfd()
    if not got then
      is(e, L.EMFILE, "recvfd")
      lost = lost + 1
    end
  end
  is(lost < 500 / 16, true, lost .. " of 500 lost")
end)

-- Without a descriptor glibc cannot read /etc/hosts, and knows no name.
local function resolves(ask)
  local kept = fill()
  local got, err, code, e = ask()
  is(got, nil, "nothing is known")
  is(type(err) == "string" and code == L.EAI_SYSTEM and e, L.EMFILE, "the reason")
  for i = 1, #kept do kept[i] = kept[i]:close() end
  fill_with_garbage()
  is(ask() ~= nil, true, "with garbage to collect")
end

local function localhost() return L.inet.getaddrinfo("localhost", "80") end
local function service() return L.inet.getaddrinfo("127.0.0.1", "discard") end
for _, row in ipairs { { "a host's name", localhost }, { "a service's name", service } } do
  local name = row[1] .. " that cannot be looked up is EMFILE, and is looked up again when garbage was collected"
  if row[2]() then starved(name, resolves, row[2]) else T.skip(1, "this machine has no such name") end
end

starved("with fewer made since, at most once a second, and again later", function()
  local quiet, peer = net.pair()
  local kept = fill()
  local function renew()
    for i = 1, 3 do kept[i] = nil end
  end
  collectgarbage "stop"
  renew()
  kept[1] = assert(socket.new(ai))
  kept[2], kept[3] = assert(socket.new(ai)), assert(socket.new(ai))
  local start = sys.clock()
  renew()
  local _, _, e = socket.new(ai)
  if sys.clock() - start < 1 then is(e, L.EMFILE, "a second time at once") end
  is(quiet:recvable(2.1), false, "waiting")
  is(socket.new(ai) ~= nil, true, "a second time later")
  peer:close()
end)

starved("an error in a finaliser of the program is not the call's", function()
  fill_with_garbage()
  getmetatable(newproxy(true)).__gc = function() error "of the finaliser" end
  local got, err, e = socket.new(ai)
  is(got ~= nil or e == L.EMFILE and type(err) == "string", true, "new answers")
end)

starved("10,000 accepts that fail with a heap of 200 MB collect at most once a second", function()
  local heap, kept = {}, fill()
  for i = 1, 800000 do heap[i] = ("x"):rep(220) .. i end
  is(collectgarbage "count" > 200000, true, "the heap")
  local count, seconds = collections(function()
    for _ = 1, 10000 do refused("accept", listener:accept()) end
  end)
  is(#heap + #kept > 8e5 and count <= 1 + seconds, true, ("%d collections in %.1f s"):format(count, seconds))
end)

starved("a call that fails counts as no descriptor made", function()
  local kept = fill()
  local count, seconds = collections(function()
    for _ = 1, 40 do
      for _, way in ipairs(WAYS) do refused(way[1], way[2]()) end
    end
  end)
  is(#kept > 0 and count <= 1 + seconds, true, ("%d collections in %.1f s"):format(count, seconds))
end)

-- accept: the connection waits until there is room
local client = assert(socket.new(there))
assert(not client:connect())
client:send "patient"
local child = proc.fork(function()
  sys.limit_descriptors(64)
  local kept = fill()
  refused("accept", listener:accept())
  is(listener:recvable(0), true, "it still waits")
  kept[1]:close()
  local server = assert(listener:accept())
  is(server:recv(), "patient", "its bytes")
end)
T.is(proc.wait(child), 0, "a connection that could not be accepted is accepted once a descriptor is free")
client:close()

-- wrap needs no descriptor
child = proc.fork(function()
  sys.limit_descriptors(64)
  fill()
  local s = assert(socket.wrap(listener:fd(), { own = false }))
  is(s:acceptconn(), true, "acceptconn")
end)
T.is(proc.wait(child), 0, "wrap needs no further descriptor")
listener:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
