-- poll-events: which events are reported, and when: reading, writing, half-close, reset, errors, edges, one-shot; every
-- back-end.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local poll, seen, await = L.poll, pollers.seen, pollers.await

local before = leak.count()
local T = require("tap").plan(#pollers.names * 52 + 1)

local function fresh(name, ...)
  local p = assert(poll.new(name))
  for i = 1, select("#", ...), 3 do
    local sock, events, value = select(i, ...)
    assert(p:add(sock, events, value))
  end
  return p
end

local picky = ffi.metatype("struct { int x; }", {
  __eq = function(one, other) return one.x == other.x end,
  __tostring = function() return "picky" end,
})()

local function stream(name)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local p = fresh(name)
  T.is(p:add(a, "r", "a"), true, name .. ": add answers true")
  T.is(seen(p), "", name .. ": nothing is ready on a quiet socket")
  T.is(p:wait(0), 0, name .. ": wait answers 0 then")
  b:send "x"
  T.is(seen(p, 1), "a:r", name .. ": data makes it readable")
  T.is(seen(p), "a:r", name .. ": and does so until it is read")
  T.is(p:modify(a, "rw"), true, name .. ": modify answers true")
  T.is(seen(p), "a:rw", name .. ": both directions are reported at once, with the registered value")
  a:recv()
  T.is(seen(p), "a:w", name .. ": capacity to write is reported alone")
  assert(p:modify(a, "w", "other"))
  T.is(seen(p), "other:w", name .. ": modify changes the value")
  T.is(p:remove(a), true, name .. ": remove answers true")
  b:send "x"
  T.is(seen(p), "", name .. ": a removed socket is not reported")
  assert(p:add(a, "r"))
  T.is(p:wait(0), 1, name .. ": a socket that is added again is reported")
  T.ok(p:event(1) == a, name .. ": the default value is the object itself")
  T.is(p:event(0), nil, name .. ": there is no event 0")
  T.is(p:event(2), nil, name .. ": nor one beyond the last")
  T.is(p:event(1.5), nil, name .. ": nor one and a half")
  T.is(p:event(0 / 0), nil, name .. ": nor one that is no number")
  assert(p:modify(a, "r", false))
  T.is(seen(p), "false:r", name .. ": false is a value")
  assert(p:modify(a, "r", ffi.cast("void *", 0)))
  T.is(seen(p), "cdata<void *>: NULL:r", name .. ": a NULL pointer is a value")
  assert(p:modify(a, "r", picky))
  T.is(seen(p), "picky:r", name .. ": an object that cannot be compared with nil can be the value")
  a:close(); b:close(); p:close()
end

local function full(name)
  local a, b = net.pair(L.SOCK_STREAM, true)
  repeat local _, _, again = a:send(("x"):rep(65536)) until again
  local p = fresh(name, a, "w", "a")
  T.is(seen(p), "", name .. ": a full socket is not writable")
  while b:recv(65536) do end -- luacheck: ignore
  T.is(seen(p, 1), "a:w", name .. ": it is once the peer has read")
  a:close(); b:close(); p:close()
end

local function accepting(name)
  local listener, ai = net.listener(L.AF_INET, true)
  local p = fresh(name, listener, "r", "listener")
  T.is(seen(p), "", name .. ": a listener without connections is quiet")
  local client = assert(L.socket.new(ai))
  assert(not client:connect())
  T.is(seen(p, 1), "listener:r", name .. ": a connection makes it readable")
  listener:close(); client:close(); p:close()
end

local function ends(name)
  local client, server = net.tcp(L.AF_INET, true)
  local p = fresh(name, server, "r", "s")
  client:send "last"
  client:shutdown(L.SHUT_WR)
  T.is(await(p, "s:rp"), "s:rp", name .. ": the peer's half-close is reported beside the data")
  T.is(server:recv(), "last", name .. ": the data is there")
  T.is(select("#", server:recv()), 0, name .. ": and then the end")
  assert(p:modify(server, "w"))
  T.is(seen(p), "s:w", name .. ": a registration for writing does not report it")
  assert(p:modify(server, "rw"))
  server:shutdown(L.SHUT_WR)
  T.is(await(p, "s:rwhp"), "s:rwhp", name .. ": both ends shut is a hang-up")
  client:close(); server:close()
  T.is(seen(p), "", name .. ": a closed socket is no longer reported")
  p:close()
end

local function errors(name)
  local client, server = net.tcp(L.AF_INET, true)
  local p = fresh(name, server, "r", "s")
  pollers.reset(client)
  T.is(await(p, "s:rhpe"), "s:rhpe", name .. ": a reset is an error and a hang-up")
  local _, _, _, e = server:recv()
  T.is(e, L.ECONNRESET, name .. ": which receiving tells as ECONNRESET")
  server:close()
  local taken, ai = net.bound() -- bound and not listening: connections are refused
  local sock = assert(L.socket.new(ai, true))
  sock:connect()
  assert(p:add(sock, "w", "c"))
  local got = seen(p, 1)
  T.ok(got:find "^c:.*w" and got:find "e$", name .. ": a refused connect is writable and an error, not " .. got)
  T.is(sock:error(), L.ECONNREFUSED, name .. ": which error() tells as ECONNREFUSED")
  sock:close(); taken:close()
  local a, b = net.pair(L.SOCK_STREAM)
  assert(p:add(a, "r", "a"))
  b:close()
  got = seen(p, 1)
  T.ok(got:find "^a:r" and got:find "h", name .. ": a closed unix peer is a hang-up, " .. got)
  a:close(); p:close()
end

local function once(name)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local c, d = net.pair(L.SOCK_STREAM, true)
  local p = fresh(name, a, "ro", "a", c, "r", "c")
  b:send "x"; d:send "x"
  T.is(seen(p), "a:r c:r", name .. ": one-shot is reported")
  T.is(seen(p), "c:r", name .. ": once")
  b:close()
  T.is(seen(p), "c:r", name .. ": not even a hang-up")
  assert(p:modify(a, "ro"))
  T.ok(seen(p):find "^a:r", name .. ": modify arms it again")
  assert(p:remove(c))
  T.is(p:remove(a), true, name .. ": a disarmed one can be removed")
  assert(p:add(a, "ro", "a"))
  assert(p:add(c, "r", "c"))
  T.ok(seen(p):find "^a:rh?p? c:r", name .. ": and added again")
  T.is(p:remove(c), true, name .. ": another one can be removed while it is disarmed")
  assert(p:add(c, "r", "c"))
  assert(p:remove(c))
  T.is(p:remove(a), true, name .. ": whatever their order")
  T.is(seen(p), "", name .. ": nothing is left")
  a:close(); c:close(); d:close(); p:close()
end

local function edge(name)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local p = fresh(name)
  local added, err, e = p:add(a, "re", "a")
  if name == "poll" then
    T.ok(added == nil and type(err) == "string" and e == L.EOPNOTSUPP, name .. ": edge-triggered is EOPNOTSUPP")
    assert(p:add(a, "r"))
    T.is(select(3, p:modify(a, "rwe")), L.EOPNOTSUPP, name .. ": to modify as well")
    T.skip(3, "poll(2) has no edges")
  else
    b:send "x"
    T.is(seen(p, 1), "a:r", name .. ": an edge is reported")
    T.is(seen(p), "", name .. ": once, though nothing was read")
    b:send "y"
    T.is(seen(p, 1), "a:r", name .. ": more data is another")
    a:recv()
    b:send "z"
    T.is(seen(p, 1), "a:r", name .. ": and more after reading")
    assert(p:modify(a, "rwe"))
    T.is(seen(p), "a:rw", name .. ": modify reports the state again")
  end
  a:close(); b:close(); p:close()
end

-- More is ready than is asked for: each has its turn.
local function some(name)
  local p, socks, counts = fresh(name), {}, { 0, 0, 0, 0, 0 }
  for i = 1, 5 do
    local a, b = net.pair()
    b:send "x"
    assert(p:add(a, "r", i))
    socks[#socks + 1], socks[#socks + 2] = a, b
  end
  T.is(p:wait(0, 2), 2, name .. ": wait reports at most as many as asked for")
  T.is(p:wait(0, 1e6), 5, name .. ": a large number is no promise")
  for _ = 1, 5 do
    p:wait(0, 1)
    local i = p:event(1)
    counts[i] = counts[i] + 1
  end
  T.is(table.concat(counts, " "), "1 1 1 1 1", name .. ": each has its turn, one at a time")
  for _, sock in ipairs(socks) do sock:close() end
  p:close()
end

for _, name in ipairs(pollers.names) do
  stream(name); full(name); accepting(name); ends(name); errors(name); once(name); edge(name); some(name)
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
