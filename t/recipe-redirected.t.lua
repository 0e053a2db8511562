-- recipe-redirected: the two programs of the recipe for transparent proxies do what it says, with the rules that it shows, for
-- a client in a network namespace of its own.
local L = require "llsocket"
local leak = require "leak"
local loop = require "llsocket.wait.coroutine"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local stream = require "llsocket.stream"
local N = 12
local T = require("tap").plan(N)
local before = leak.count()

local function blocks()
  local file = assert(io.open(os.getenv "LLSOCKET_SOURCE" .. "/doc/recipes.md"))
  local section = file:read("*a"):match "\n## Where a redirected client wanted to go\n(.-)\n## "
  file:close()
  local out = { sh = {}, lua = {} }
  for kind, text in section:gmatch "```(%l+)\n(.-)\n```" do table.insert(out[kind], text) end
  return out
end

-- The client answers what it got for each order: the kind, the host and the port.
local function ask(kind, host, port)
  if kind == "tcp" then
    local s, err = stream.connect(host, port, 5)
    if not s then return err end
    s:deadline(5)
    s:write "hello"
    s:shutdown()
    local answer, why = s:all()
    s:close()
    return answer or why or "the end"
  end
  local to = L.inet.getaddrinfo(host, port, L.SOCK_DGRAM)[1]
  local sock = assert(L.socket.new(to, true))
  local err = sock:connect()
  assert(not err, err)
  sock:send "where?"
  local answer = sock:recvable(5) and sock:recv() or "nothing"
  sock:close()
  return answer
end

local function serve(control)
  assert(netns.enter())
  control:send "ready"
  assert(control:recv() == "moved")
  netns.batch { "link set lo up", "addr add 192.0.2.2/24 dev c0", "addr add fd00:1::2/64 nodad dev c0", "link set c0 up",
    "route add default via 192.0.2.1", "route add default via fd00:1::1" }
  for order in function() return (control:recv()) end do
    control:send(order == "up" and "up" or ask(order:match "^(%S+) (%S+) (%S+)$"))
  end
end

local entered, why = netns.enter()
if not entered then
  T.skip(N, why)
  T.done()
end
local control, remote = net.pair(L.SOCK_SEQPACKET)
local pid = proc.fork(function()
  control:close()
  serve(remote)
end)
remote:close()
assert(control:recv() == "ready", "the client has a namespace")
netns.batch { "link set lo up", "link add name p0 type veth peer name c0", "link set dev c0 netns " .. pid,
  "addr add 192.0.2.1/24 dev p0", "addr add fd00:1::1/64 nodad dev p0", "link set p0 up",
  "addr add 198.51.100.7/32 dev lo", "addr add 2001:db8:7::7/128 nodad dev lo" }
control:send "moved"

-- The proxy's own connections are those of this user.
local shown = blocks()
local function rules(n)
  local out, ok = proc.run("PATH=$PATH:/usr/sbin:/sbin\nset -e\n" .. shown.sh[n]:gsub("skuid != proxy", "skuid != 0"))
  return ok, "no such rules may be made here: " .. (out:match "[^\n]*" or "")
end

-- What the client answers, while the loop runs.
local function told(...)
  control:send(table.concat({ ... }, " "))
  control:recvable(20)
  return (control:recv())
end
control:nonblock(true)

local function redirected()
  local code, found = shown.lua[1]:gsub("loop%.spawn%(function%(%) %-%- a client that nothing.*", "return listener")
  local listener = assert(loadstring((code:gsub('"::", 0', '"::", 8080')), "=recipes.md"))()
  T.ok(found == 1 and listener:getsockname():port() == 8080, "the first program runs")
  local four, six = assert(stream.listen("198.51.100.7", 80)), assert(stream.listen("2001:db8:7::7", 80))
  local function target(s) s:write(tostring(s.sock:getsockname()), " got ", (s:all())) end
  loop.spawn(stream.serve, four, target)
  loop.spawn(stream.serve, six, target)
  loop.spawn(function()
    T.is(told("tcp", "198.51.100.7", 80), "198.51.100.7:80 got hello", "a redirected client over IPv4 gets where it wanted to go")
    T.is(told("tcp", "2001:db8:7::7", 80), "[2001:db8:7::7]:80 got hello", "and so does one over IPv6")
    local answer = told("tcp", "192.0.2.1", 8080)
    T.ok(answer == "" or answer == "the end" or answer:find "reset", "one that wants the proxy itself gets the end, over IPv4")
    answer = told("tcp", "fd00:1::1", 8080)
    T.ok(answer == "" or answer == "the end" or answer:find "reset", "and over IPv6")
    listener:close(); four:close(); six:close()
  end)
  loop.run()
end

local function handed()
  local code, found = shown.lua[2]:gsub("  local client = assert.*", "  return proxy, answer\nend\nreturn nil, why")
  local proxy, answer = assert(loadstring((code:gsub('"::", 0', '"::", 8053')), "=recipes.md"))()
  T.ok(found == 1 and proxy, "the second program runs: " .. tostring(answer))
  loop.spawn(function()
    for _ = 1, 2 do
      proxy:recvable(10)
      answer(proxy)
    end
    proxy:close()
  end)
  loop.spawn(function()
    T.is(told("udp", "198.51.100.7", 53), "you asked 198.51.100.7:53", "a datagram over IPv4 is answered from there")
    T.is(told("udp", "2001:db8:7::7", 53), "you asked [2001:db8:7::7]:53", "and so is one over IPv6")
  end)
  loop.run()
end

-- What the page says of TCP by TPROXY.
local function handed_tcp()
  local listener = assert(L.socket.new(L.addrinfo.inet6("::", 8081), true))
  assert(listener:v6only(false) == false and listener:transparent(true))
  local err = listener:bind() or listener:listen()
  assert(not err, err)
  local name, same
  loop.spawn(stream.serve, listener, function(s)
    local ai, _, errno = s.sock:originaldst()
    name, same = tostring(s.sock:getsockname():unmapped()), errno == L.ENOENT or ai == s.sock:getsockname():unmapped()
    s:write "handed"
  end)
  loop.spawn(function()
    told("tcp", "198.51.100.7", 81)
    listener:close()
  end)
  loop.run()
  T.is(name, "198.51.100.7:81", "TCP by TPROXY: getsockname is where the client wanted to go")
  T.ok(same, "and originaldst is that or ENOENT")
end

loop.spawn(function()
  assert(told "up" == "up")
  netns.settle()
end)
loop.run()
local ok, refused = rules(1)
if ok then redirected() else T.skip(5, refused) end
ok, refused = rules(2)
if ok then handed() else T.skip(3, refused) end
local _, added = proc.run([[PATH=$PATH:/usr/sbin:/sbin
  nft add rule inet handed pre tcp dport 81 tproxy to :8081 meta mark set 1 accept]])
if ok and added then handed_tcp() else T.skip(2, refused) end
control:close()
T.is(proc.wait(pid), 0, "the client ends well")
T.is(leak.count(), before, "no descriptor is left")
T.done()
