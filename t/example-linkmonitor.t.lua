-- linkmonitor: it prints what happens to interfaces, as ip(8) monitors it.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local T = require("tap").plan(8)
local before = leak.count()

-- Reads lines until one matches; answers it, or what came instead.
local function await(child, pattern)
  local seen = {}
  for text in child.pipe:lines() do
    if text:find(pattern) then return text end
    seen[#seen + 1] = text
  end
  return "none of: " .. table.concat(seen, "; ")
end

-- ip(8), which monitors the same into a file.
local function start_ip(path)
  local command = "echo $$; PATH=$PATH:/sbin:/usr/sbin exec timeout 60 ip -o monitor link address >"
  local pipe = assert(io.popen(command .. path .. " 2>&1"))
  return { pid = tonumber(pipe:read "*l"), pipe = pipe }
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function test()
  local path = net.tmpdir() .. "/ip"
  local child, line = example.start "linkmonitor"
  local own = line:match "^listening as netlink:(%d+)/0x111$"
  T.ok(own, "it says as whom it listens: " .. line)
  local sockets = select(2, read "/proc/net/netlink":gsub("\n", ""))
  local ip = start_ip(path)
  net.await(function() return select(2, read "/proc/net/netlink":gsub("\n", "")) > sockets end) -- until it listens
  netns.ip "link add m0 address 02:00:5e:00:53:0a type veth peer name m1"
  T.is(await(child, "^link is m0 down"), "link is m0 down 02:00:5e:00:53:0a", "a new interface is told")
  netns.ip "link set m0 up"
  netns.ip "link set m1 up"
  T.is(await(child, "^link is m0 up [^,]"), "link is m0 up 02:00:5e:00:53:0a", "and that it is up")
  netns.ip "address add 192.0.2.77/24 dev m0"
  T.is(await(child, "192%.0%.2%.77"), "address is 192.0.2.77/24 m0", "a new address is told")
  netns.ip "address del 192.0.2.77/24 dev m0"
  T.is(await(child, "gone 192"), "address gone 192.0.2.77/24 m0", "and one that is gone")
  netns.ip "link del m0"
  T.is(await(child, "^link gone m0"), "link gone m0 down 02:00:5e:00:53:0a", "and an interface that is gone")
  example.stop(child)
  net.await(function() return read(path):find "Deleted[^\n]*m0@?[^\n]*02:00:5e:00:53:0a" end)
  proc.kill(ip.pid)
  ip.pipe:close()
  local said = read(path)
  T.ok(said:find "m0[^\n]*UP" and said:find "inet 192%.0%.2%.77/24[^\n]*" and said:find "Deleted[^\n]*inet 192%.0%.2%.77/24",
    "ip(8) has told the same")
end

local why = not L.RTM_NEWLINK and "this system has no rtnetlink, or a build with the option fallbacks does without" or nil
if not why then why = select(2, netns.enter()) end
if why then T.skip(7, why) else test() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
