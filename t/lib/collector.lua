-- collector.lua -- where logs go: a rsyslogd with a configuration of its own, and a small statsd in Python.
local L = require "llsocket"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"

local M = {}

local STATSD = [[
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
sock.bind((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
totals, datagrams, largest = {}, 0, 0
while True:
    data, peer = sock.recvfrom(65536)
    if data == b"report":
        lines = ["%s %d %g" % (name, n, total) for name, (n, total) in sorted(totals.items())]
        sock.sendto("\n".join(["datagrams %d %d" % (datagrams, largest)] + lines).encode(), peer)
        continue
    datagrams, largest = datagrams + 1, max(largest, len(data))
    for line in data.decode().split("\n"):
        name, rest = line.split(":")
        value, kind = rest.split("|")
        n, total = totals.get(name + "|" + kind, (0, 0))
        totals[name + "|" + kind] = n + 1, total + float(value)
]]

-- By its name and kind, how many came and their sum: { ["a|c"] = { n =, sum = }, datagrams = { n =, sum = the largest } }.
local function report(ai)
  local sock, out = assert(L.socket.new(ai)), {}
  sock:rcvtimeo(20)
  assert(not sock:connect())
  sock:send "report"
  for name, n, sum in (sock:recv(65536) or ""):gmatch "(%S+) (%S+) (%S+)" do
    out[name] = { n = tonumber(n), sum = tonumber(sum) }
  end
  sock:close()
  return out
end

-- Starts it; `report()` of what is answered tells what came.
function M.statsd(dir, host, port)
  nginx.write(dir .. "/statsd.py", STATSD)
  local pipe = assert(io.popen(shell.format("echo $$; exec python3 %q/statsd.py %s %d 2>&1", dir, host, port)))
  local statsd = { pid = tonumber(pipe:read "*l"), pipe = pipe }
  local line = pipe:read "*l"
  assert(line == "listening", line)
  local ai = assert(L.inet.getaddrinfo(host, tostring(port), L.SOCK_DGRAM))[1]
  function statsd.report() return report(ai) end
  return statsd
end

-- One line a message, its parts between bars; rsyslog writes a line break as #012.
local RSYSLOG = [[
global(workDirectory="DIR")
module(load="imudp")
input(type="imudp" address="HOST" port="PORT")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" socket="DIR/log" useSpecialParser="off" ignoreTimestamp="off" rateLimit.interval="0")
template(name="bars" type="string"
  string="%inputname%|%pri-text%|%timestamp:::date-rfc3339%|%hostname%|%app-name%|%procid%|%msgid%|%structured-data%|%msg%\n")
action(type="omfile" file="DIR/messages" template="bars" asyncWriting="off")
]]

local function listens(path)
  local sock = assert(L.socket.new(L.unix.getaddrinfo(path, L.SOCK_DGRAM)[1]))
  local err = sock:connect()
  sock:close()
  return not err
end

-- As an unprivileged user, who must be able to read the program.
local START = [[echo $$; cd %q; export LD_LIBRARY_PATH=$(echo %q/usr/lib/*-linux-*)
rsyslogd=%q/usr/sbin/rsyslogd as="setpriv --reuid=nobody --regid=nogroup --clear-groups"
[ "$(id -u)" = 0 ] && $as test -x "$rsyslogd" -a -w . 2>/dev/null || as=
exec $as "$rsyslogd" -n -i NONE -f ./conf -M "$LD_LIBRARY_PATH/rsyslog" 2>&1]]

-- Starts it in a folder that it may write to: it listens on UDP and at DIR/log, and writes DIR/messages.
function M.rsyslog(dir, host, port)
  nginx.write(dir .. "/conf", (RSYSLOG:gsub("%u%u%u%u?", { DIR = dir, HOST = host, PORT = tostring(port) })))
  os.remove(dir .. "/log")
  local pipe = assert(io.popen(shell.format(START, dir, nginx.prefix, nginx.prefix)))
  local rsyslog = { pid = tonumber(pipe:read "*l"), pipe = pipe, dir = dir }
  net.await(function() return listens(dir .. "/log") or not nginx.is_alive(rsyslog.pid) end)
  assert(nginx.is_alive(rsyslog.pid), "rsyslogd ended")
  return rsyslog
end

local FIELDS = { "input", "pri", "timestamp", "host", "app", "procid", "msgid", "data" }

local function split(line)
  local message, rest = { lines = {} }, line
  for _, field in ipairs(FIELDS) do message[field], rest = rest:match "^([^|]*)|(.*)$" end
  for part in (rest:gsub("^ ", "") .. "#012"):gmatch "(.-)#012" do table.insert(message.lines, part) end
  return message
end

-- The messages that were written, each with its fields and lines, of one MSGID.
function M.messages(rsyslog, msgid)
  local out, file = {}, io.open(rsyslog.dir .. "/messages")
  if not file then return out end
  for line in file:read("*a"):gmatch "([^\n]*)\n" do
    local message = split(line)
    if message.msgid == msgid then out[#out + 1] = message end
  end
  file:close()
  return out
end

-- How many lines all of them have.
function M.count(rsyslog, msgid)
  local n = 0
  for _, message in ipairs(M.messages(rsyslog, msgid)) do n = n + #message.lines end
  return n
end

function M.stop(collector, sig)
  proc.kill(collector.pid, sig or proc.SIGKILL)
  collector.pipe:read "*a"
  collector.pipe:close()
end

return M
