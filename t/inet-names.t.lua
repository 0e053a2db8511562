-- inet.getaddrinfo: services and hosts by name.  A minimal system has neither /etc/services nor /etc/hosts.
local L = require "llsocket"
local leak = require "leak"
local shown = require "show"
local list, show = shown.list, shown.show
local T = require("tap").plan(15)
local before = leak.count()
local inet = L.inet

-- Whether a line of the file begins or goes on with the words.
local function has(path, pattern)
  local file = io.open(path)
  if not file then return false end
  local found = ("\n" .. file:read "*a"):find(pattern) ~= nil
  file:close()
  return found
end

local SERVICES, HOSTS = "/etc/services", "/etc/hosts"

if has(SERVICES, "\nhttp%s+80/tcp") then
  T.is(list(inet.getaddrinfo("127.0.0.1", "http")), "127.0.0.1:80 stream 6", "a service's name stands for its port")
  T.is(list(inet.getaddrinfo6("::1", "http")), "[::1]:80 stream 6", "so for getaddrinfo6")
else
  T.skip(2, "http is not in " .. SERVICES)
end
if has(SERVICES, "\ntftp%s+69/udp") and not has(SERVICES, "\ntftp%s+69/tcp") then
  local code = select(3, inet.getaddrinfo("127.0.0.1", "tftp"))
  T.is(code, L.EAI_SERVICE, "a datagram service has no stream address, which is the default")
  T.is(list(inet.getaddrinfo("127.0.0.1", "tftp", 0)), "127.0.0.1:69 dgram 17", "asked for all, it has a datagram address")
  T.is(list(inet.getaddrinfo("127.0.0.1", "tftp", L.SOCK_DGRAM)), "127.0.0.1:69 dgram 17", "asked for, too")
else
  T.skip(3, "tftp is not in " .. SERVICES)
end
if has(SERVICES, "\nshell%s+514/tcp") and has(SERVICES, "\nsyslog%s+514/udp") then
  local ai = inet.getaddrinfo("127.0.0.1", "514")[1]
  T.is(ai:nameinfo(L.NI_NUMERICHOST).serv, "shell", "nameinfo tells the service of a port")
  T.is(ai:nameinfo(L.NI_NUMERICHOST, L.NI_DGRAM).serv, "syslog", "NI_DGRAM asks for the datagram service")
  T.is(ai:nameinfo(L.NI_NUMERICHOST, L.NI_DGRAM, L.NI_NUMERICSERV).serv, "514", "NI_NUMERICSERV asks for none")
else
  T.skip(3, "shell and syslog are not in " .. SERVICES)
end

if has(HOSTS, "\n127%.0%.0%.1%s[^\n]*%f[%w]localhost%f[^%w.-]") then
  -- glibc takes a line "::1 localhost" for another 127.0.0.1 when it is asked for IPv4 addresses.
  local times = #inet.getaddrinfo4("localhost", "80")
  T.is(list(inet.getaddrinfo4("localhost", "80")), ("127.0.0.1:80 stream 6; "):rep(times):sub(1, -3), "localhost is the loopback")
  T.is(inet.getaddrinfo4("localhost", "80")[1]:canonname(), nil, "its canonical name does not come unasked")
  T.is(inet.getaddrinfo4("localhost", "80", nil, nil, L.AI_CANONNAME)[1]:canonname(), "localhost", "asked for, it does")
  T.is(#inet.getaddrinfo4("localhost", "80", 0), #inet.getaddrinfo4("127.0.0.1", "80", 0) * times,
    "a name has an address of every type when asked for")
  T.ok(inet.getaddrinfo("localhost", "80", nil, nil, L.AI_ADDRCONFIG), "AI_ADDRCONFIG is taken")
  local ni = inet.getaddrinfo("127.0.0.1", "80")[1]:nameinfo(L.NI_NAMEREQD, L.NI_NUMERICSERV)
  T.is(show(ni and ni.host, ni and ni.serv), "localhost, 80", "nameinfo tells the name of an address")
else
  T.skip(6, "127.0.0.1 is not localhost in " .. HOSTS)
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
