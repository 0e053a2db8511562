-- faces.lua -- operations of llsocket.luasocket and llsocket.cosocket: rows for operations.lua.  A row has its function beside.
local L = require "llsocket"
local cosocket = require "llsocket.cosocket"
local luasocket = require "llsocket.luasocket"
local net = require "net"
local on = require "makers"
local timer = require "llsocket.cosocket.timer"

-- A short limit: nothing here waits for ever.
local function limited(object, limit)
  object:settimeout(limit)
  return object
end

-- Objects of LuaSocket's face around sockets that exist.
local function master(own) return own(limited(assert(luasocket.tcp4()), 5)) end

local function server(own)
  local object = master(own)
  assert(object:bind("127.0.0.1", 0))
  assert(object:listen())
  return object
end

local function place(object)
  local host, port = object:getsockname()
  return host, port
end

local function pair(own)
  local a = server(own)
  local b = own(limited(assert(luasocket.connect(place(a))), 5))
  return b, own(limited(assert(a:accept()), 5))
end

local function fed(message)
  return function(own)
    local a, b = pair(own)
    assert(b:send(message))
    return a, b
  end
end

local function ended(message)
  return function(own)
    local a, b = fed(message)(own)
    b:close()
    return a
  end
end

local function called(own)
  local a = server(own)
  own(assert(luasocket.connect(place(a))))
  return a
end

local function datagrams(own)
  local a, b = own(limited(assert(luasocket.udp4()), 5)), own(assert(luasocket.udp4()))
  assert(a:setsockname("127.0.0.1", 0))
  assert(b:setpeername(place(a)))
  assert(b:send "abc")
  return a, b
end

local function path(own)
  local object = own(limited(assert(luasocket.unix.stream()), 5))
  local name = net.tmpdir() .. "/socket"
  assert(object:bind(name))
  assert(object:listen())
  return own(limited(assert(luasocket.unix.stream()), 5)), name
end

-- Cosockets.
local function port_of(own)
  local sock, ai = net.listener(L.AF_INET, true)
  return own(sock), ai:port()
end

local function fresh(own)
  own.later(function() -- what went into the pool for a millisecond
    luasocket.sleep(0.002)
    cosocket.sweep()
  end)
  return own(limited(cosocket.tcp(), 5000)), own
end

local function linked(message, ends)
  return function(own)
    local listener, port = port_of(own)
    local sock = fresh(own)
    assert(sock:connect("127.0.0.1", port))
    local peer = own(assert(listener:accept()))
    if message then assert(peer:send(message) == #message) end
    if ends then peer:close() end
    return sock, peer
  end
end

local function to_port(_, own)
  local _, port = port_of(own)
  return "127.0.0.1", port
end

local function reader(own)
  local sock = linked "ab--c"(own)
  sock:settimeout(50)
  return sock:receiveuntil "--"
end

-- A cosocket that finds a connection in the pool.
local function pooled(own)
  local listener, port = port_of(own)
  local sock = fresh(own)
  assert(sock:connect("127.0.0.1", port))
  own(assert(listener:accept()))
  assert(sock:setkeepalive(1000))
  return sock, port
end

local function messages(own)
  local peer, ai = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
  own(peer)
  local sock = own(limited(cosocket.udp(), 5000))
  assert(sock:setpeername("127.0.0.1", (ai or peer:getsockname()):port()))
  assert(sock:send "ping" == 1)
  local _, from = peer:recvfrom()
  assert(peer:sendto("abc", from))
  return sock, peer
end

-- An object that was moved to another class raises for the same method, as LuaSocket's.
local function method(name)
  return function(object, ...)
    if (object.was or object.class) ~= object.class then return nil, "moved" end
    object.was = object.class
    return object[name](object, ...)
  end
end

local function call(fn, ...) return fn(...) end

local ROWS = {}

local function row(title, want, make, args, fn)
  local name = title:match "^[^,]+"
  local kept = title:find "keepalive" or title:find "a pool"
  ROWS[#ROWS + 1] = { title, "face", want, make, args, fn = fn or method(name:match "%w+$"), kept = kept }
end

-- As LuaSocket's, it raises where the kernel fails.
local function select(...)
  local done, a, b, c = pcall(luasocket.select, ...)
  if done then return a, b, c end
  if tostring(a):find "select failed$" then return nil, "select failed" end
  error(a, 0)
end

local OBJECT = "tcp{client}: .+"
row("luasocket.tcp4", "tcp{master}: .+", on.none, nil, luasocket.tcp4)
row("luasocket.udp4", "udp{unconnected}: .+", on.none, nil, luasocket.udp4)
row("luasocket.connect", OBJECT, on.none, function(_, _, _, own) return place(server(own)) end, luasocket.connect)
row("luasocket:connect", "1", master, function(_, _, _, own) return place(server(own)) end)
row("luasocket:bind", "1", master, { "127.0.0.1", 0 })
row("luasocket:listen", "1", master)
row("luasocket:accept", OBJECT, called)
row("luasocket:receive", '"abc", nil, nil', fed "abc\r\nde")
row("luasocket:receive, bytes", '"ab", nil, nil', fed "abc", { 2 })
row("luasocket:receive, all", '"abc", nil, nil', ended "abc", { "*a" })
row("luasocket:receive, the end", 'nil, "closed", "abc"', ended "abc")
row("luasocket:send", "3, nil, nil", fed "x", { "abc" })
row("luasocket:send, a part", "2, nil, nil", fed "x", { "abc", 2, 2 })
row("luasocket:getsockname", '"127.0.0.1", "%d+", "inet"', pair)
row("luasocket:getpeername", '"127.0.0.1", %d+, "inet"', pair)
row("luasocket:shutdown", "1", pair)
row("luasocket:close", "1", pair)
row("luasocket:setoption", "1", pair, { "keepalive", true })
row("luasocket:getoption", "false", pair, { "keepalive" })
row("luasocket:setpeername", "1", function(own) return own(assert(luasocket.udp4())) end, { "127.0.0.1", 9 })
row("luasocket:sendto", "3", function(own) return own(assert(luasocket.udp4())) end, { "abc", "127.0.0.1", 9 })
row("luasocket:receive, a datagram", '"abc"', datagrams)
row("luasocket:receivefrom", '"abc", "127.0.0.1", %d+', datagrams)
row("luasocket:connect, a path", "1", path, function(_, name) return name end)
row("luasocket.select", "{.*}, {}, nil", fed "abc", nil, function(object) return select({ object }, nil, 5) end)
row("luasocket.select, in vain", '{}, {}, "timeout"', pair, nil, function(object) return select({ object }, nil, 0.001) end)
row("luasocket.sleep", "", on.none, { 0.001 }, luasocket.sleep)

row("cosocket:connect", "1", fresh, function(_, own) return to_port(nil, own) end)
row("cosocket:connect, a pool", "1", pooled, function(_, port) return "127.0.0.1", port end)
row("cosocket:send", "3", linked(), { { "a", { "b", "c" } } })
row("cosocket:receive", '"abc"', linked "abc\r\nde")
row("cosocket:receive, bytes", '"ab"', linked "abc", { 2 })
row("cosocket:receive, all", '"abc"', linked("abc", true), { "*a" })
row("cosocket:receive, the end", 'nil, "closed", "abc"', linked("abc", true))
row("cosocket:receiveany", '"abc"', linked "abc", { 10 })
row("cosocket:receiveuntil", '"ab"', reader, nil, call)
row("cosocket:setkeepalive", "1", linked(), { 1 })
row("cosocket.drain", "[01]", pooled, nil, function() return cosocket.drain() end)
row("cosocket:getreusedtimes", "0", linked())
row("cosocket:setoption", "true", linked(), { "keepalive", true })
row("cosocket:getoption", "%d+", linked(), { "keepalive" })
row("cosocket:close", "1", linked())
row("cosocket:setpeername", "1", function(own) return own(cosocket.udp()) end, { "127.0.0.1", 9 })
row("cosocket:send, a datagram", "1", messages, { "abc" })
row("cosocket:receive, a datagram", '"abc"', messages)
row("cosocket.sleep", "", on.none, { 0.001 }, timer.sleep)

return ROWS
