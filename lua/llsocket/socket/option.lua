-- option.lua -- socket options: each has one row, and a method that is made on first use.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local failed = require("llsocket.core.failure").failed
local sockets = require "llsocket.socket.object"
local optionkind = require "llsocket.socket.optionkind"
local type = type

local is_self, KIND, NO_HALF = sockets.self, optionkind.KIND, optionkind.NO_HALF
local AF_INET6 = const.AF_INET6
local EBADF, ENOPROTOOPT = const.EBADF, const.ENOPROTOOPT

-- A platform may lack an option, or have it under another name.  Then two rows have the same method, and the first row that
-- the platform knows makes it.  Of two rows at IPPROTO_IP and IPPROTO_IPV6 both are used: an IPv4 socket has the first; an IPv6
-- socket sets both and reads the second.  The rows are one text: as a table they would take a tenth of the loading time.
--
-- method          level        option               kind    access  what it does
local OPTIONS = [[

acceptconn         SOL_SOCKET   SO_ACCEPTCONN        boolean ro  Tells whether the socket listens.
bindtodevice       SOL_SOCKET   SO_BINDTODEVICE      ifname  rw  Uses one interface only; "" for any.
broadcast          SOL_SOCKET   SO_BROADCAST         boolean rw  Allows datagrams to a broadcast address.
busypoll           SOL_SOCKET   SO_BUSY_POLL         count   rw  Polls the device while receiving, microseconds.
debug              SOL_SOCKET   SO_DEBUG             boolean rw  Records debugging information; needs CAP_NET_ADMIN.
dontroute          SOL_SOCKET   SO_DONTROUTE         boolean rw  Sends to directly connected hosts only.
error              SOL_SOCKET   SO_ERROR             int     ro  Tells and clears the pending error, 0 for none.
freebind           IPPROTO_IP   IP_FREEBIND          boolean rw  Binds to an address that the machine does not have.
freebind           IPPROTO_IPV6 IPV6_FREEBIND        boolean rw  Binds to an address that the machine does not have.
hoplimit           IPPROTO_IPV6 IPV6_UNICAST_HOPS    hops    rw  How many hops an IPv6 packet may go, 0 to 255.
incomingcpu        SOL_SOCKET   SO_INCOMING_CPU      int     rw  The CPU that handles what arrives; -1 for none yet.
keepalive          SOL_SOCKET   SO_KEEPALIVE         boolean rw  Probes an idle connection.
linger             SOL_SOCKET   SO_LINGER_SEC        linger  rw  Waits in close for unsent data, seconds; 0 resets.
linger             SOL_SOCKET   SO_LINGER            linger  rw  Waits in close for unsent data, seconds; 0 resets.
mark               SOL_SOCKET   SO_MARK              word    rw  Marks packets for routing; needs CAP_NET_ADMIN.
mtudiscover        IPPROTO_IP   IP_MTU_DISCOVER      hops    rw  How the path MTU is found: IP_PMTUDISC_*.
mtudiscover        IPPROTO_IPV6 IPV6_MTU_DISCOVER    hops    rw  How the path MTU is found: IPV6_PMTUDISC_*.
oobinline          SOL_SOCKET   SO_OOBINLINE         boolean rw  Leaves out-of-band data in the stream.
passcred           SOL_SOCKET   SO_PASSCRED          boolean rw  Tells with each message who sent it.
peercred           SOL_SOCKET   SO_PEERCRED          ucred   ro  Tells who connected: pid, uid, gid.
pktinfo            IPPROTO_IP   IP_PKTINFO           boolean rw  Tells with each datagram where it was sent to.
pktinfo            IPPROTO_IPV6 IPV6_RECVPKTINFO     boolean rw  Tells with each datagram where it was sent to.
priority           SOL_SOCKET   SO_PRIORITY          count   rw  Queueing priority; above 6 needs CAP_NET_ADMIN.
rcvbuf             SOL_SOCKET   SO_RCVBUF            count   rw  Receive buffer, bytes; Linux doubles it.
rcvlowat           SOL_SOCKET   SO_RCVLOWAT          count   rw  Bytes that must wait before a receive returns.
rcvtimeo           SOL_SOCKET   SO_RCVTIMEO          seconds rw  Receive time-out, seconds; 0 is none.
recverr            IPPROTO_IP   IP_RECVERR           boolean rw  Keeps errors in a queue, read with MSG_ERRQUEUE.
recverr            IPPROTO_IPV6 IPV6_RECVERR         boolean rw  Keeps errors in a queue, read with MSG_ERRQUEUE.
recvtos            IPPROTO_IP   IP_RECVTOS           boolean rw  Tells each datagram's type of service.
recvtos            IPPROTO_IPV6 IPV6_RECVTCLASS      boolean rw  Tells each datagram's traffic class.
recvttl            IPPROTO_IP   IP_RECVTTL           boolean rw  Tells each datagram's time to live.
recvttl            IPPROTO_IPV6 IPV6_RECVHOPLIMIT    boolean rw  Tells each datagram's hop limit.
reuseaddr          SOL_SOCKET   SO_REUSEADDR         boolean rw  Binds over an address in TIME_WAIT.
reuseport          SOL_SOCKET   SO_REUSEPORT         boolean rw  Shares an address among sockets.
rxqovfl            SOL_SOCKET   SO_RXQ_OVFL          boolean rw  Tells with each datagram how many were dropped.
sndbuf             SOL_SOCKET   SO_SNDBUF            count   rw  Send buffer, bytes; Linux doubles it.
sndlowat           SOL_SOCKET   SO_SNDLOWAT          count   rw  Free bytes that make it sendable; Linux only reads it.
sndtimeo           SOL_SOCKET   SO_SNDTIMEO          seconds rw  Send and connect time-out, seconds; 0 is none.
tclass             IPPROTO_IPV6 IPV6_TCLASS          hops    rw  Traffic class of IPv6 packets, 0 to 255.
tcpcongestion      IPPROTO_TCP  TCP_CONGESTION       string  rw  Congestion control, by name.
tcpcork            IPPROTO_TCP  TCP_CORK             boolean rw  Holds back partial segments.
tcpcork            IPPROTO_TCP  TCP_NOPUSH           boolean rw  Holds back partial segments.
tcpdeferaccept     IPPROTO_TCP  TCP_DEFER_ACCEPT     count   rw  Accepts once data is there, or after seconds.
tcpfastopen        IPPROTO_TCP  TCP_FASTOPEN         count   rw  Fast-open requests that may wait on a listener.
tcpfastopenconnect IPPROTO_TCP  TCP_FASTOPEN_CONNECT boolean rw  Sends the first data with the SYN.
tcpinfo            IPPROTO_TCP  TCP_INFO             tcpinfo ro  Tells the state: rtt, total_retrans, ...
tcpkeepalive       IPPROTO_TCP  TCP_KEEPIDLE         count   rw  Idle time before the first probe, whole seconds.
tcpkeepalive       IPPROTO_TCP  TCP_KEEPALIVE        count   rw  Idle time before the first probe, whole seconds.
tcpkeepcnt         IPPROTO_TCP  TCP_KEEPCNT          count   rw  Unanswered probes that end a connection.
tcpkeepintvl       IPPROTO_TCP  TCP_KEEPINTVL        count   rw  Time between two probes, whole seconds.
tcpmaxseg          IPPROTO_TCP  TCP_MAXSEG           count   rw  Largest segment to send, bytes.
tcpnodelay         IPPROTO_TCP  TCP_NODELAY          boolean rw  Sends small segments at once.
tcpquickack        IPPROTO_TCP  TCP_QUICKACK         boolean rw  Acknowledges at once, for a while.
tcpusertimeout     IPPROTO_TCP  TCP_USER_TIMEOUT     count   rw  How long data may go unacknowledged, milliseconds.
timestamp          SOL_SOCKET   SO_TIMESTAMP         boolean rw  Stamps received messages with their time.
timestamping       SOL_SOCKET   SO_TIMESTAMPING      count   rw  Stamps messages, sent ones too: SOF_TIMESTAMPING_*.
timestampns        SOL_SOCKET   SO_TIMESTAMPNS       boolean rw  Stamps received messages, to the nanosecond.
tos                IPPROTO_IP   IP_TOS               hops    rw  Type of service of IPv4 packets, 0 to 255.
transparent        IPPROTO_IP   IP_TRANSPARENT       boolean rw  Stands in for other addresses; CAP_NET_ADMIN.
transparent        IPPROTO_IPV6 IPV6_TRANSPARENT     boolean rw  Stands in for other addresses; CAP_NET_ADMIN.
ttl                IPPROTO_IP   IP_TTL               hops    rw  How many hops an IPv4 packet may go, 1 to 255.
udpgro             IPPROTO_UDP  UDP_GRO              boolean rw  Receives datagrams of one size and sender joined.
udpsegment         IPPROTO_UDP  UDP_SEGMENT          count   rw  Cuts each send into datagrams, bytes; 0 for not.
unread             ioctl        FIONREAD             queue   ro  Bytes that wait to be received.
unsent             ioctl        SIOCOUTQ             queue   ro  Bytes that the peer has not acknowledged yet.
v6only             IPPROTO_IPV6 IPV6_V6ONLY          boolean rw  Keeps IPv4 off an IPv6 socket.
]]

local function accessor(name, level, opt, kind, read_only)
  local read, write = kind.read, kind.write
  return function(sock, value)
    is_self(sock, name)
    if type(value) == "nil" or read_only then return read(sock.sd, level, opt) end
    return write(sock.sd, level, opt, value, 1, name)
  end
end

-- Makes the method of an option that the platform lacks: it answers the error that its kernel would.
local function absent(name)
  return function(sock)
    is_self(sock, name)
    return failed(sock.sd < 0 and EBADF or ENOPROTOOPT)
  end
end

-- The methods that the rows make answer the value, or nil, err and errno: EINVAL, ENOPROTOOPT, EOPNOTSUPP; EBADF once
-- closed.  None blocks, and only those that answer a table or a string allocate; see socket(7), ip(7), ipv6(7), tcp(7).
-- Their @field lines are in meta.lua.
---@class llsocket.socket
local Socket = {}

-- Joins the two methods of an option that has one number for IPv4 and one for IPv6.  Set both on an AF_INET6 socket: it may carry
-- IPv4, and then the kernel uses IPv4's option; with v6only the kernel keeps that for later.  Other families get its answer.
local function both(name, method4, method6)
  return function(sock, value)
    is_self(sock, name)
    if sock.home ~= AF_INET6 then return method4(sock, value) end
    if type(value) ~= "nil" then
      local _, err, e = method4(sock, value)
      if e and not NO_HALF[e] then return nil, err, e end
    end
    return method6(sock, value)
  end
end

--- Iterates over the rows.
---@param at integer  where to begin in the text, 1 for the first row
---@param only? string  a method: stops behind its rows; the default is all rows
---@return fun(): string?, string, string, string, string, string rows  method, level, option, kind, access, what it does
local function rows(at, only)
  return function()
    local name, level, opt, kind, access, what, after = OPTIONS:match("^\n(%w+) +(%S+) +(%S+) +(%S+) +(%S+) +([^\n]+)()", at)
    at = after
    if not only or name == only then return name, level, opt, kind, access, what end
  end
end

-- Answers where an option's rows begin; nil or false for any other name, because programs may index a socket with anything.
local function place(name) return type(name) == "string" and not name:find "%W" and OPTIONS:find("\n" .. name .. " ", 1, true) end

--- Makes an option's method.
---@param name any
---@return (fun(sock: llsocket.socket, value?: any): any, string?, integer?)? method  nil for another name
local function make(name)
  local at = place(name)
  if not at then return nil end
  local method, first -- first: the level of the row that made the method
  for _, level, opt, kind, access in rows(at, name) do
    local known = const[opt] and accessor(name, const[level], const[opt], KIND[kind], access == "ro")
    if not first then
      method, first = known or absent(name), known and level
    elseif known and first == "IPPROTO_IP" and level == "IPPROTO_IPV6" then
      method = both(name, method, known)
    end
  end
  return method
end

return { methods = Socket, make = make, rows = rows }
