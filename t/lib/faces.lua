-- faces.lua -- operations of llsocket.luasocket and llsocket.cosocket: rows for operations.lua.  A row has its function beside.
-- M.fuzzed has more: what waits for nothing and makes few system calls, so that nasty values alone are of interest there.
local L = require "llsocket"
local cosocket = require "llsocket.cosocket"
local face = require "llsocket.luasocket"
local net = require "net"
local on = require "makers"
local timer = require "llsocket.cosocket.timer"

local luasocket = face -- what the makers use

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
  net.dir = net.dir or net.tmpdir()
  local name = net.dir .. "/" .. net.unique()
  own.later(function() os.remove(name) end)
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

local M = { rows = {}, fuzzed = {} }

local function add(list, title, want, make, args, fn)
  local name = title:match "^[^,]+"
  local kept = title:find "keepalive" or title:find "a pool"
  list[#list + 1] = { title, "face", want, make, args, fn = fn or method(name:match "%w+$"), kept = kept }
end

local function row(...) add(M.rows, ...) end

-- As LuaSocket's, it raises where the kernel fails.
local function select(...)
  local done, a, b, c = pcall(face.select, ...)
  if done then return a, b, c end
  if tostring(a):find "select failed$" then return nil, "select failed" end
  error(a, 0)
end

local OBJECT = "tcp{client}: .+"
row("luasocket.tcp4", "tcp{master}: .+", on.none, nil, face.tcp4)
row("luasocket.udp4", "udp{unconnected}: .+", on.none, nil, face.udp4)
row("luasocket.connect", OBJECT, on.none, function(_, _, _, own) return place(server(own)) end, face.connect)
row("luasocket:connect", "1", master, function(_, _, _, own) return place(server(own)) end)
row("luasocket:bind", "1", master, { net.own_host(9), 0 }) -- fuzz binds to ports that another process binds to, too
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
row("luasocket.select", "{.*}, {}, nil", on.none, function(_, _, _, own) return { (fed "abc"(own)) }, nil, 0.05 end, select)
row("luasocket.select, in vain", '{}, {}, "timeout"', on.none,
  function(_, _, _, own) return { (pair(own)) }, nil, 0.001 end, select)
row("luasocket.sleep", "", on.none, { 0.001 }, face.sleep)

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
row("cosocket.drain", "[012]", pooled, nil, function() return cosocket.drain() end)
row("cosocket:getreusedtimes", "0", linked())
row("cosocket:setoption", "true", linked(), { "keepalive", true })
row("cosocket:getoption", "%d+", linked(), { "keepalive" })
row("cosocket:close", "1", linked())
row("cosocket:setpeername", "1", function(own) return own(cosocket.udp()) end, { "127.0.0.1", 9 })
row("cosocket:send, a datagram", "1", messages, { "abc" })
row("cosocket:receive, a datagram", '"abc"', messages)
row("cosocket.sleep", "", on.none, { 0.001 }, timer.sleep)

-- Those that are only fuzzed ----------------------------------------------------------------------------------

local function fuzzed(title, make, args, fn) add(M.fuzzed, title, ".*", make, args, fn) end

local function udp4(own) return own(assert(luasocket.udp4())) end
local function udp6(own) return own(assert(luasocket.udp6())) end
local function linked_udp(own)
  local a = datagrams(own)
  assert(a:setpeername("127.0.0.1", 9))
  return a
end
local function dgram(own) return own(limited(assert(luasocket.unix.dgram()), 0.01)) end

for name in ("tcp udp udp6 tcp6 gettime newtry protect"):gmatch "%S+" do
  fuzzed("luasocket." .. name, on.none, nil, face[name])
end
fuzzed("luasocket.skip", on.none, { 1, 2, 3 }, face.skip)
for name in ("toip tohostname getaddrinfo getnameinfo"):gmatch "%S+" do
  fuzzed("luasocket.dns." .. name, on.none, { "127.0.0.1" }, face.dns[name])
end
for name in ("settimeout gettimeout dirty getstats setstats getfamily setsockname"):gmatch "%S+" do
  fuzzed("luasocket:" .. name, pair)
end
fuzzed("luasocket:settimeout, a mode", pair, { 1, "b" })
fuzzed("luasocket:receive, a prefix", fed "abc\n", { "*l", "x" })
fuzzed("luasocket:sendto, a path", dgram, { "abc", "/nowhere" })
fuzzed("luasocket:receivefrom, a path", dgram)
fuzzed("luasocket:bind, a path", dgram, { "" })
fuzzed("luasocket:send, a datagram", linked_udp, { "abc" })
fuzzed("luasocket:setpeername, nobody", linked_udp, { "*" })

-- Options, by the objects that have them: a good value.
local LINGER, JOIN = { on = true, timeout = 0 }, { multiaddr = "239.1.2.3", interface = "127.0.0.1" }
for _, group in ipairs {
  { "tcp", pair, { keepalive = true, reuseaddr = true, reuseport = true, ["tcp-nodelay"] = true, ["tcp-keepidle"] = 9,
    ["tcp-keepcnt"] = 9, ["tcp-keepintvl"] = 9, linger = LINGER, ["ipv6-v6only"] = true, ["recv-buffer-size"] = 9999,
    ["send-buffer-size"] = 9999, ["tcp-defer-accept"] = 1, ["tcp-fastopen"] = 1, ["tcp-fastopen-connect"] = 1, error = 0 } },
  { "udp", udp4, { dontroute = true, broadcast = true, ["ip-multicast-if"] = "127.0.0.1", ["ip-multicast-ttl"] = 9,
    ["ip-multicast-loop"] = true, ["ip-add-membership"] = JOIN, ["ip-drop-membership"] = JOIN } },
  { "udp6", udp6, { ["ipv6-unicast-hops"] = 9, ["ipv6-multicast-hops"] = 9, ["ipv6-multicast-loop"] = true,
    ["ipv6-add-membership"] = { multiaddr = "ff02::9", interface = 1 }, ["ipv6-v6only"] = true,
    ["ipv6-drop-membership"] = { multiaddr = "ff02::9", interface = 1 } } },
} do
  local names = {}
  for name in pairs(group[3]) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    fuzzed(("luasocket:setoption, %s of %s"):format(name, group[1]), group[2], { name, group[3][name] })
    fuzzed(("luasocket:getoption, %s of %s"):format(name, group[1]), group[2], { name })
  end
end

for name in ("tcp udp connect"):gmatch "%S+" do fuzzed("cosocket." .. name, on.none, nil, cosocket[name]) end
for name in ("settimeout settimeouts bind setclientcert"):gmatch "%S+" do fuzzed("cosocket:" .. name, linked()) end
for name in ("settimeout bind close"):gmatch "%S+" do fuzzed(("cosocket:%s, datagrams"):format(name), messages) end
for name in ("reuseaddr tcp-nodelay sndbuf rcvbuf"):gmatch "%S+" do
  fuzzed("cosocket:setoption, " .. name, linked(), { name, 1 })
end
fuzzed("cosocket:connect, options", fresh, function(_, own)
  local host, port = to_port(nil, own)
  return host, port, { pool = "x", pool_size = 2, backlog = 2 }
end)
fuzzed("cosocket:receiveuntil, a pattern", linked "ab--c", { "--", { inclusive = true } })

--- Lets the makers use LuaSocket itself, or with nil its face.
---@param core? table  with its unix module as `unix`
function M.use(core) luasocket = core or face end

--- What `use` was told.
function M.used() return luasocket end

return M
