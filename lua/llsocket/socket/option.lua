-- option.lua -- socket options: each has one row, and a method that is made on first use, when this module is loaded.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local lazy = require "llsocket.core.lazy"
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
-- socket sets both and reads the second, or has the second alone if they are of different kinds.  The rows are one text: as a
-- table they would take a tenth of the loading time.
--
-- method          level        option               kind    access  what it does
local OPTIONS = [[

acceptconn         SOL_SOCKET   SO_ACCEPTCONN        boolean ro  Tells whether the socket listens.
addrpreferences    IPPROTO_IPV6 IPV6_ADDR_PREFERENCES count   rw  Which source addresses IPv6 takes: IPV6_PREFER_SRC_*.
bindaddressnoport  IPPROTO_IP   IP_BIND_ADDRESS_NO_PORT boolean rw Leaves the port of a bind to 0 to connect.
bindtodevice       SOL_SOCKET   SO_BINDTODEVICE      ifname  rw  Uses one interface only; "" for any.
bindtoifindex      SOL_SOCKET   SO_BINDTOIFINDEX     count   rw  Uses one interface only, by index; 0 for any.
broadcast          SOL_SOCKET   SO_BROADCAST         boolean rw  Allows datagrams to a broadcast address.
busypoll           SOL_SOCKET   SO_BUSY_POLL         count   rw  Polls the device while receiving, microseconds.
cookie             SOL_SOCKET   SO_COOKIE            uint64  ro  Tells the socket's number, which no other socket ever has.
debug              SOL_SOCKET   SO_DEBUG             boolean rw  Records debugging information; needs CAP_NET_ADMIN.
dontfrag           IPPROTO_IP   IP_DONTFRAG          boolean rw  Refuses datagrams that are too long for the path.
dontfrag           IPPROTO_IPV6 IPV6_DONTFRAG        boolean rw  Refuses datagrams that are too long for the path.
dontroute          SOL_SOCKET   SO_DONTROUTE         boolean rw  Sends to directly connected hosts only.
error              SOL_SOCKET   SO_ERROR             int     ro  Tells and clears the pending error, 0 for none.
filterlock         SOL_SOCKET   SO_LOCK_FILTER       boolean rw  Forbids to change or remove the filter, for good.
freebind           IPPROTO_IP   IP_FREEBIND          boolean rw  Binds to an address that the machine does not have.
freebind           IPPROTO_IPV6 IPV6_FREEBIND        boolean rw  Binds to an address that the machine does not have.
hoplimit           IPPROTO_IPV6 IPV6_UNICAST_HOPS    hops    rw  How many hops an IPv6 packet may go, 0 to 255.
incomingcpu        SOL_SOCKET   SO_INCOMING_CPU      int     rw  The CPU that handles what arrives; -1 for none yet.
ipprotocol         IPPROTO_IP   IP_PROTOCOL          int     ro  Tells a raw socket's protocol.
keepalive          SOL_SOCKET   SO_KEEPALIVE         boolean rw  Probes an idle connection.
linger             SOL_SOCKET   SO_LINGER_SEC        linger  rw  Waits in close for unsent data, seconds; 0 resets.
linger             SOL_SOCKET   SO_LINGER            linger  rw  Waits in close for unsent data, seconds; 0 resets.
localportrange     IPPROTO_IP   IP_LOCAL_PORT_RANGE  portrange rw The ports that bind and connect choose from.
mark               SOL_SOCKET   SO_MARK              word    rw  Marks packets for routing; needs CAP_NET_ADMIN.
meminfo            SOL_SOCKET   SO_MEMINFO           meminfo ro  Tells the memory in use: rmem_alloc, drops, ...
minhopcount        IPPROTO_IPV6 IPV6_MINHOPCOUNT     hops    rw  Drops TCP's IPv6 packets with a lower hop limit.
minttl             IPPROTO_IP   IP_MINTTL            hops    rw  Drops TCP's IPv4 packets with a lower time to live.
mtu                IPPROTO_IP   IP_MTU               count   ro  Tells the path MTU of a connected socket, bytes.
mtu                IPPROTO_IPV6 IPV6_MTU             count   ro  Tells the path MTU of a connected socket, bytes.
mtudiscover        IPPROTO_IP   IP_MTU_DISCOVER      hops    rw  How the path MTU is found: IP_PMTUDISC_*.
mtudiscover        IPPROTO_IPV6 IPV6_MTU_DISCOVER    hops    rw  How the path MTU is found: IPV6_PMTUDISC_*.
multicastall       IPPROTO_IP   IP_MULTICAST_ALL     boolean rw  Receives also groups that only other sockets joined.
multicastall       IPPROTO_IPV6 IPV6_MULTICAST_ALL   boolean rw  Receives also groups that only other sockets joined.
napiid             SOL_SOCKET   SO_INCOMING_NAPI_ID  word    ro  Tells the device queue of the last packet; 0 for none.
netnscookie        SOL_SOCKET   SO_NETNS_COOKIE      uint64  ro  Tells the number of the network namespace.
nocheck6           IPPROTO_UDP  UDP_NO_CHECK6_TX     nocheck rw   Sends, and takes, UDP over IPv6 without checksum.
oobinline          SOL_SOCKET   SO_OOBINLINE         boolean rw  Leaves out-of-band data in the stream.
passcred           SOL_SOCKET   SO_PASSCRED          boolean rw  Tells with each message who sent it.
passpidfd          SOL_SOCKET   SO_PASSPIDFD         boolean rw  Brings with each message its sender's process.
passrights         SOL_SOCKET   SO_PASSRIGHTS        boolean rw  Takes descriptors; false: nobody can send any.
passsec            SOL_SOCKET   SO_PASSSEC           boolean rw  Tells with each message its sender's security label.
peekoff            SOL_SOCKET   SO_PEEK_OFF          int     rw  Where the next MSG_PEEK begins, bytes; -1 at the start.
peercred           SOL_SOCKET   SO_PEERCRED          ucred   ro  Tells who connected: pid, uid, gid.
peergroups         SOL_SOCKET   SO_PEERGROUPS        groups  ro  Tells the supplementary groups of who connected.
peersec            SOL_SOCKET   SO_PEERSEC           string  ro  Tells the security label of who connected.
pktinfo            IPPROTO_IP   IP_PKTINFO           boolean rw  Tells with each datagram where it was sent to.
pktinfo            IPPROTO_IPV6 IPV6_RECVPKTINFO     boolean rw  Tells with each datagram where it was sent to.
priority           SOL_SOCKET   SO_PRIORITY          unsigned rw Queueing priority; above 6 needs CAP_NET_ADMIN.
rcvbuf             SOL_SOCKET   SO_RCVBUF            count   rw  Receive buffer, bytes; Linux doubles it.
rcvbufforce        SOL_SOCKET   SO_RCVBUFFORCE       force   rw  As rcvbuf, without limit; needs CAP_NET_ADMIN.
rcvlowat           SOL_SOCKET   SO_RCVLOWAT          count   rw  Bytes that must wait before a receive returns.
rcvmark            SOL_SOCKET   SO_RCVMARK           boolean rw  Tells each datagram's mark.
rcvpriority        SOL_SOCKET   SO_RCVPRIORITY       boolean rw  Tells each datagram's priority.
rcvtimeo           SOL_SOCKET   SO_RCVTIMEO          seconds rw  Receive time-out, seconds; 0 is none.
recverr            IPPROTO_IP   IP_RECVERR           boolean rw  Keeps errors in a queue, read with MSG_ERRQUEUE.
recverr            IPPROTO_IPV6 IPV6_RECVERR         boolean rw  Keeps errors in a queue, read with MSG_ERRQUEUE.
recvfragsize       IPPROTO_IP   IP_RECVFRAGSIZE      boolean rw  Tells the largest fragment of datagrams that came in parts.
recvfragsize       IPPROTO_IPV6 IPV6_RECVFRAGSIZE    boolean rw  Tells the largest fragment of datagrams that came in parts.
recvorigdst        IPPROTO_IP   IP_RECVORIGDSTADDR   boolean rw  Tells where each datagram was first sent to.
recvorigdst        IPPROTO_IPV6 IPV6_RECVORIGDSTADDR boolean rw  Tells where each datagram was first sent to.
recvpathmtu        IPPROTO_IPV6 IPV6_RECVPATHMTU     boolean rw  Tells the path MTU when a send was too long for it.
recvtos            IPPROTO_IP   IP_RECVTOS           boolean rw  Tells each datagram's type of service.
recvtos            IPPROTO_IPV6 IPV6_RECVTCLASS      boolean rw  Tells each datagram's traffic class.
recvttl            IPPROTO_IP   IP_RECVTTL           boolean rw  Tells each datagram's time to live.
recvttl            IPPROTO_IPV6 IPV6_RECVHOPLIMIT    boolean rw  Tells each datagram's hop limit.
reservemem         SOL_SOCKET   SO_RESERVE_MEM       count   rw  Bytes of memory kept for it; wants a memory cgroup.
reuseaddr          SOL_SOCKET   SO_REUSEADDR         boolean rw  Binds over an address in TIME_WAIT.
reuseport          SOL_SOCKET   SO_REUSEPORT         boolean rw  Shares an address among sockets.
routeralert        IPPROTO_IP   IP_ROUTER_ALERT      alert4  rw  Takes forwarded packets with the option Router Alert.
routeralert        IPPROTO_IPV6 IPV6_ROUTER_ALERT    alert6  rw  Takes forwarded packets with the option Router Alert.
rxqovfl            SOL_SOCKET   SO_RXQ_OVFL          boolean rw  Tells with each datagram how many were dropped.
savedsyn           IPPROTO_TCP  TCP_SAVED_SYN        bytes   ro  Tells, once, the headers of the SYN; see tcpsavesyn.
sndbuf             SOL_SOCKET   SO_SNDBUF            count   rw  Send buffer, bytes; Linux doubles it.
sndbufforce        SOL_SOCKET   SO_SNDBUFFORCE       force   rw  As sndbuf, without limit; needs CAP_NET_ADMIN.
sndlowat           SOL_SOCKET   SO_SNDLOWAT          count   rw  Free bytes that make it sendable; Linux only reads it.
sndtimeo           SOL_SOCKET   SO_SNDTIMEO          seconds rw  Send and connect time-out, seconds; 0 is none.
tclass             IPPROTO_IPV6 IPV6_TCLASS          hops    rw  Traffic class of IPv6 packets, 0 to 255.
tcpccinfo          IPPROTO_TCP  TCP_CC_INFO          ccinfo  ro  Tells what the congestion control has measured.
tcpcongestion      IPPROTO_TCP  TCP_CONGESTION       string  rw  Congestion control, by name.
tcpcork            IPPROTO_TCP  TCP_CORK             boolean rw  Holds back partial segments.
tcpcork            IPPROTO_TCP  TCP_NOPUSH           boolean rw  Holds back partial segments.
tcpdeferaccept     IPPROTO_TCP  TCP_DEFER_ACCEPT     count   rw  Accepts once data is there, or after seconds.
tcpfastopen        IPPROTO_TCP  TCP_FASTOPEN         count   rw  Fast-open requests that may wait on a listener.
tcpfastopenconnect IPPROTO_TCP  TCP_FASTOPEN_CONNECT boolean rw  Sends the first data with the SYN.
tcpinfo            IPPROTO_TCP  TCP_INFO             tcpinfo ro  Tells the state: rtt, total_retrans, ...
tcpinq             IPPROTO_TCP  TCP_INQ              boolean rw  Tells with each message how many bytes still wait.
tcpkeepalive       IPPROTO_TCP  TCP_KEEPIDLE         count   rw  Idle time before the first probe, whole seconds.
tcpkeepalive       IPPROTO_TCP  TCP_KEEPALIVE        count   rw  Idle time before the first probe, whole seconds.
tcpkeepcnt         IPPROTO_TCP  TCP_KEEPCNT          count   rw  Unanswered probes that end a connection.
tcpkeepintvl       IPPROTO_TCP  TCP_KEEPINTVL        count   rw  Time between two probes, whole seconds.
tcplinger2         IPPROTO_TCP  TCP_LINGER2          int     rw  How long FIN_WAIT2 lasts after close, whole seconds.
tcpmaxseg          IPPROTO_TCP  TCP_MAXSEG           count   rw  Largest segment to send, bytes.
tcpnodelay         IPPROTO_TCP  TCP_NODELAY          boolean rw  Sends small segments at once.
tcpnotsentlowat    IPPROTO_TCP  TCP_NOTSENT_LOWAT    word    rw  Unsent bytes below which it is sendable; 0 for any.
tcpquickack        IPPROTO_TCP  TCP_QUICKACK         boolean rw  Acknowledges at once, for a while.
tcprtomax          IPPROTO_TCP  TCP_RTO_MAX_MS       count   rw  Longest wait before a repetition, milliseconds.
tcprtomin          IPPROTO_TCP  TCP_RTO_MIN_US       count   rw  Shortest wait before a repetition, microseconds.
tcpsavesyn         IPPROTO_TCP  TCP_SAVE_SYN         count   rw  Keeps the headers of each SYN: 1 from IP, 2 all.
tcpsyncnt          IPPROTO_TCP  TCP_SYNCNT           count   rw  Repetitions of the SYN before connect gives up.
tcpthin            IPPROTO_TCP  TCP_THIN_LINEAR_TIMEOUTS boolean rw Repeats a thin stream's segments without longer waits.
tcptxdelay         IPPROTO_TCP  TCP_TX_DELAY         count   rw  Delays what it sends, microseconds; wants fq.
tcpusertimeout     IPPROTO_TCP  TCP_USER_TIMEOUT     count   rw  How long data may go unacknowledged, milliseconds.
tcpwindowclamp     IPPROTO_TCP  TCP_WINDOW_CLAMP     count   rw  Largest receive window, bytes; 0 for any.
timestamp          SOL_SOCKET   SO_TIMESTAMP         boolean rw  Stamps received messages with their time.
timestamping       SOL_SOCKET   SO_TIMESTAMPING      count   rw  Stamps messages, sent ones too: SOF_TIMESTAMPING_*.
timestampns        SOL_SOCKET   SO_TIMESTAMPNS       boolean rw  Stamps received messages, to the nanosecond.
tos                IPPROTO_IP   IP_TOS               hops    rw  Type of service of IPv4 packets, 0 to 255.
transparent        IPPROTO_IP   IP_TRANSPARENT       boolean rw  Stands in for other addresses; CAP_NET_ADMIN.
transparent        IPPROTO_IPV6 IPV6_TRANSPARENT     boolean rw  Stands in for other addresses; CAP_NET_ADMIN.
ttl                IPPROTO_IP   IP_TTL               hops    rw  How many hops an IPv4 packet may go, 1 to 255.
txrehash           SOL_SOCKET   SO_TXREHASH          boolean rw  Takes another path after a time-out.
udpencap           IPPROTO_UDP  UDP_ENCAP            count   rw  Takes encapsulated packets: UDP_ENCAP_*; 0 for none.
udpgro             IPPROTO_UDP  UDP_GRO              boolean rw  Receives datagrams of one size and sender joined.
udpsegment         IPPROTO_UDP  UDP_SEGMENT          count   rw  Cuts each send into datagrams, bytes; 0 for not.
unicastif          IPPROTO_IP   IP_UNICAST_IF        netif   rw  Which interface unicast leaves by; "" for any.
unicastif          IPPROTO_IPV6 IPV6_UNICAST_IF      netif   rw  Which interface unicast leaves by; "" for any.
unread             ioctl        FIONREAD             queue   ro  Bytes that wait to be received.
unsent             ioctl        SIOCOUTQ             queue   ro  Bytes that the peer has not acknowledged yet.
v6only             IPPROTO_IPV6 IPV6_V6ONLY          boolean rw  Keeps IPv4 off an IPv6 socket.
]]

local function accessor(name, level, opt, kind, read_only)
  local read, write = kind.read, kind.write
  if kind.takes then
    return function(sock, value)
      is_self(sock, name)
      return read(sock.sd, level, opt, value, name)
    end
  end
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
-- closed.  None blocks, and only those that answer a table, a string or 64 bits allocate; see socket(7), ip(7), ipv6(7),
-- tcp(7).  Their @field lines are in meta.lua.

-- Joins the two methods of an option that has one number for IPv4 and one for IPv6.  Set both on an AF_INET6 socket: it may carry
-- IPv4, and then the kernel uses IPv4's option; with v6only the kernel keeps that for later.  Other families get its answer.
local function both(name, method4, method6, apart)
  return function(sock, value)
    is_self(sock, name)
    if sock.home ~= AF_INET6 then return method4(sock, value) end
    if type(value) ~= "nil" and not apart then
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

--- Answers the functions of a kind; few programs need the rare ones.
---@param kind string  as a row names it
---@return table functions  read and write
local function kind_of(kind) return KIND[kind] or lazy.require("llsocket.socket.rarekind").KIND[kind] end

-- Answers where an option's rows begin; nil or false for any other name, because programs may index a socket with anything.
local function place(name) return type(name) == "string" and not name:find "%W" and OPTIONS:find("\n" .. name .. " ", 1, true) end

--- Makes an option's method.
---@param name any
---@return (fun(sock: llsocket.socket, value?: any): any, string?, integer?)? method  nil for another name
local function make(name)
  local at = place(name)
  if not at then return nil end
  local method, first, first_kind -- first: the level of the row that made the method
  for _, level, opt, kind, access in rows(at, name) do
    local known = const[opt] and accessor(name, const[level], const[opt], kind_of(kind), access == "ro")
    if not first then
      method, first, first_kind = known or absent(name), known and level, kind
    elseif known and first == "IPPROTO_IP" and level == "IPPROTO_IPV6" then
      method = both(name, method, known, access == "ro" or kind ~= first_kind)
    end
  end
  return method
end

--- Iterates over the rows of one method.
---@param name string
---@return (fun(): string?, string, string, string, string, string)? rows  nil for what is no option
local function rows_of(name)
  local at = place(name)
  return at and rows(at, name)
end

return { make = make, rows = rows, rows_of = rows_of, kind_of = kind_of }
