-- demo.lua -- llsocket in one process: a file over TCP, datagrams, a multicast group, refusals.
--
-- It checks everything that it receives, prints what it saw, and exits with 1 if something is wrong.
local L = require "llsocket"
local errno = require "llsocket.errno"
local bit = require "bit"

local inet, unix, socket, device = L.inet, L.unix, L.socket, L.device
local litter = {} -- files to remove at the end

local function say(...) print("   " .. string.format(...)) end
local function title(text) print("\n" .. text) end

-- Stops the demo if something is wrong.
local function must(cond, what, ...)
  if not cond then error(what:format(...), 0) end
  return cond
end

-- Calls without a result, such as bind, return nothing when they succeed.
local function done(what, err) must(not err, "%s: %s", what, err) end

local function address(host, socktype, port)
  local list, err = inet.getaddrinfo(host, tostring(port or 0), socktype)
  return must(list, "%s: %s", host, err)[1]
end

local function scratch(ending)
  local name = os.tmpname()
  litter[#litter + 1] = name
  if ending then litter[#litter + 1] = name .. ending end
  return name .. (ending or "")
end

-- A socket bound to an address, and the address with the port that the kernel chose.
local function bound(ai)
  local sock = must(socket.new(ai, true))
  done("bind", sock:bind())
  return sock, sock:getsockname()
end

-- The same Adler-32 as in zlib: it is short, and it detects every byte that is wrong or in the wrong place.
local function digest(text)
  local a, b = 1, 0
  for i = 1, #text do
    a = (a + text:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return bit.tohex(b * 65536 + a)
end

---------------------------------------------------------------- a file over TCP

local function make_file()
  local path, lines = scratch(), {}
  for i = 1, 65536 do lines[i] = ("%07d the quick brown fox jumps over the lazy dog, every line its own\n"):format(i) end
  local file = must(io.open(path, "w+b"))
  file:write(table.concat(lines))
  file:flush() -- sendfile does not see what io.write still buffers
  return file, file:seek "end", path
end

-- Both ends of one connection. Both are non-blocking.
local function connection()
  local listener, ai = bound(address("127.0.0.1", L.SOCK_STREAM))
  done("listen", listener:listen())
  local client = must(socket.new(ai, true))
  local err = client:connect() -- EINPROGRESS is not an error
  done("connect", err)
  must(listener:recvable(1), "no connection came")
  local server = must(listener:accept())
  must(client:sendable(1) and client:error() == 0, "the connection was not made")
  listener:close()
  return server, client, ai
end

-- Sends and receives in turn, each until it would block.  An event loop does the same for many connections.
local function shuttle(server, client, file, size)
  local sent, calls, parts, got = 0, 0, {}, 0
  while got < size do
    if sent < size then
      local n, err = server:sendfile(file, size - sent, sent)
      sent, calls = sent + must(n, "sendfile: %s", err or "closed by peer"), calls + 1
    end
    must(client:recvable(1), "%d of %d bytes came, and then nothing", got, size)
    local part, err = client:recv(65536)
    parts[#parts + 1] = must(part, "recv: %s", err or "closed by peer")
    got = got + #part
  end
  return table.concat(parts), calls
end

local function file_over_tcp()
  title "A file over TCP, by sendfile"
  local file, size, path = make_file()
  local server, client, ai = connection()
  say("server %s, client %s, neither blocks", tostring(ai), tostring(client:getsockname()))
  local got, calls = shuttle(server, client, file, size)
  say("sent      %d bytes of %s in %d calls, without copying them into Lua", size, path, calls)
  file:seek "set"
  local want = file:read "*a"
  say("received  %d bytes, digest %s; the file's is %s", #got, digest(got), digest(want))
  must(got == want, "what came is not what the file holds")
  server:close()
  must(client:recvable(1) and select("#", client:recv()) == 0, "the end of the stream was not seen")
  say("the server closed, and the client saw the end")
  client:close()
  file:close()
end

--------------------------------------------------------------------- datagrams

local function datagram(label, from_ai, to_ai, message)
  local from, from_name = bound(from_ai)
  local to, to_name = bound(to_ai)
  local n, err = from:sendto(message, to_name)
  must(n == #message, "%s: %s", label, err or "cut short")
  must(to:recvable(1), "%s: the datagram did not come", label)
  local got, sender = to:recvfrom()
  must(got == message, "%s: another message came: %q", label, got)
  must(tostring(sender) == tostring(from_name), "%s: from %s, not %s", label, tostring(sender), tostring(from_name))
  say("%-5s %d bytes  %s -> %s  %q", label, n, tostring(sender), tostring(to_name), got)
  from:close()
  to:close()
end

local function has_ipv6()
  for _, entry in ipairs(must(device.getifaddrs())) do
    if entry.addr == "::1" then return true end
  end
end

local function datagrams()
  title "Datagrams, and who sent them"
  local dgram = L.SOCK_DGRAM
  datagram("IPv4", address("127.0.0.1", dgram), address("127.0.0.1", dgram), "to an IPv4 address")
  if has_ipv6() then datagram("IPv6", address("::1", dgram), address("::1", dgram), "to an IPv6 address")
  else say "IPv6  this machine has no ::1" end
  local one, other = scratch ".a", scratch ".b"
  datagram("unix", unix.getaddrinfo(one, dgram)[1], unix.getaddrinfo(other, dgram)[1], "to a path")
end

--------------------------------------------------------------------- multicast

local function loopback()
  for _, entry in ipairs(must(device.getifaddrs())) do
    if bit.band(entry.flags, L.IFF_LOOPBACK) ~= 0 then return entry.name end
  end
  must(nil, "this machine has no loopback interface")
end

-- A socket that sends multicast datagrams by one interface.  With 0 hops they never leave this machine.
local function speaker(ifname)
  local sock = bound(address("0.0.0.0", L.SOCK_DGRAM))
  must(sock:mcastif(ifname) == ifname and sock:mcastif() == ifname, "mcastif")
  must(sock:mcastttl(0) == 0 and sock:mcastttl() == 0, "mcastttl")
  return sock
end

-- Only this process receives this group: no other on this machine has the port.
local function group_of(port) return ("239.255.%d.%d"):format(bit.rshift(port, 8), bit.band(port, 255)) end

local function multicast()
  local message, ifname = "to whom it may concern", loopback()
  title("A multicast group on the interface " .. ifname)
  local listener, name = bound(address("0.0.0.0", L.SOCK_DGRAM))
  local group = group_of(name:port())
  done("mcastjoin", listener:mcastjoin(group, ifname))
  local sender, to = speaker(ifname), address(group, L.SOCK_DGRAM, name:port())
  local n, err = sender:sendto(message, to)
  must(n == #message, "%s: %s", tostring(to), err)
  must(listener:recvable(1), "nothing came from the group")
  local got, from = listener:recvfrom()
  must(got == message and from:port() == sender:getsockname():port(), "something else came: %q", got)
  say("joined %s; %d bytes sent to %s came from %s  %q", group, #got, tostring(to), tostring(from), got)
  done("mcastleave", listener:mcastleave(group, ifname))
  must(sender:sendto(message, to) == #message and not listener:recvable(0.05), "a group that was left still sends")
  say "left it; what is sent there now does not come"
  listener:close()
  sender:close()
end

---------------------------------------------------------------------- refusals

local function refused(what, wanted, err, e)
  local name = e and errno.name(e) or "nothing"
  must(name == wanted, "%s: %s expected, %s came", what, wanted, name)
  say("%-41s %-13s %s", what, name, err)
end

local function refusals()
  title "What cannot be done is answered, never raised; errors have a text and a number"
  local listener, ai = bound(address("127.0.0.1", L.SOCK_STREAM))
  done("listen", listener:listen())
  local _, err, again, e = listener:accept()
  must(again and not err, "accept: nothing waits, and yet it does not say so")
  refused("accept while nobody waits", "EAGAIN", "try again", e)
  refused("bind to an address in use", "EADDRINUSE", socket.new(ai):bind())
  listener:close()
  local stray = socket.new(ai)
  err, _, e = stray:connect()
  refused("connect to a port that nobody listens on", "ECONNREFUSED", err, e)
  stray:close()
  _, err, _, e = stray:send "too late"
  refused("send on a socket that is closed", "EBADF", err, e)
  local pair = socket.pair(L.SOCK_STREAM)
  pair[2]:close()
  must(select("#", pair[1]:send "anybody there?") == 0, "a send to a closed peer did not say so")
  say "send to a peer that has closed            no values     and no SIGPIPE: this process lives on"
  pair[1]:close()
end

local function demo()
  print(("llsocket %s on %s %s, %s"):format(L._VERSION, jit.os, jit.arch, jit.version))
  file_over_tcp()
  datagrams()
  multicast()
  refusals()
end

local ok, why = pcall(demo)
for _, path in ipairs(litter) do os.remove(path) end
if not ok then
  io.stdout:flush()
  io.stderr:write("\ndemo: ", why, "\n")
  os.exit(1)
end
print "\nEverything came as it was sent."
