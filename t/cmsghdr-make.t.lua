-- cmsghdr: the constructors; each decoder reads its own kind, and returns nil for every other.
local ffi = require "ffi"
local L = require "llsocket"
local layout = require "llsocket.core.layout"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local cmsghdr, new = L.cmsghdr, L.cmsghdr.new

ffi.cdef "uint32_t llsocket_t_own_uid(void) __asm__(\"getuid\"); uint32_t llsocket_t_own_gid(void) __asm__(\"getgid\");"
local UID, GID = ffi.C.llsocket_t_own_uid(), ffi.C.llsocket_t_own_gid()

local function failed(e) return show(nil, text(e), e) end
local function raw(object) return ffi.string(object, ffi.sizeof(object)) end
local function int(n) return raw(ffi.new("int32_t[1]", n)) end

-- A table's members, sorted.
local function told(value, ...)
  if type(value) ~= "table" then return show(value, ...) end
  local out = {}
  for key, member in pairs(value) do out[#out + 1] = key .. "=" .. tostring(member) end
  table.sort(out)
  return table.concat(out, " ")
end

local DECODERS = { "rights", "credentials", "pktinfo", "timestamp", "integer", "exterr", "pidfd", "security", "origdst",
  "pathmtu", "auxdata", "optstats", "optpktinfo" }

-- What all decoders tell of one, those with nothing to tell left out.
local function decoded(cmsg)
  local out = {}
  for _, name in ipairs(DECODERS) do
    local got = told(cmsg[name](cmsg))
    if got ~= "nil" and got ~= "no values" then out[#out + 1] = name .. ": " .. got end
  end
  return table.concat(out, "; ")
end

local IP, IPV6, SOCKET, UDP = L.IPPROTO_IP, L.IPPROTO_IPV6, L.SOL_SOCKET, L.IPPROTO_UDP

local ucred = layout.ucred { pid = 7, uid = 2^32 - 1, gid = 9 }
local info4, info6, name = layout.in_pktinfo(), layout.in6_pktinfo(), net.addr(L.AF_INET)
info4.ipi_ifindex, info4.ipi_addr, info4.ipi_spec_dst = 1, name.name.in4.sin_addr, name.name.in4.sin_addr
info6.ipi6_ifindex, info6.ipi6_addr.s6_addr[15] = 0, 1
local err = layout.sock_extended_err {
  ee_errno = L.ECONNREFUSED, ee_origin = 2, ee_type = 3, ee_code = 4, ee_info = 5, ee_data = 6,
}
local ERR = "code=4 data=6 errno=" .. L.ECONNREFUSED .. " info=5 "
local from4, from6 = net.addr(L.AF_INET, nil, 53):bytes(), net.addr(L.AF_INET6, nil, 53):bytes()

-- Beyond 2038 where a time has 64 bits.
local FAR = ffi.sizeof(layout.timespec) == 16 and 2^33 or 2^31 - 1

-- level, type, data, what the decoders tell.
local KINDS = {
  { SOCKET, L.SCM_CREDENTIALS, raw(ucred), "credentials: gid=9 pid=7 uid=4294967295" },
  { IP, L.IP_PKTINFO, raw(info4), "pktinfo: addr=127.0.0.1 index=1 specdst=127.0.0.1" },
  { IPV6, L.IPV6_PKTINFO, raw(info6), "pktinfo: addr=::1 index=0" },
  { SOCKET, L.SCM_TIMESTAMP, raw(layout.timeval { tv_sec = 1e9, tv_usec = 999999 }), "timestamp: 1000000000, 999999000" },
  { SOCKET, L.SCM_TIMESTAMPNS, raw(layout.timespec { tv_sec = FAR, tv_nsec = 5 }), ("timestamp: %.0f, 5"):format(FAR) },
  { IP, L.IP_TTL, int(64), "integer: 64" }, { IP, L.IP_TOS, "\16", "integer: 16" },
  { IP, L.IP_TOS, int(255), "integer: 255" },
  { IPV6, L.IPV6_HOPLIMIT, int(1), "integer: 1" }, { IPV6, L.IPV6_TCLASS, int(0), "integer: 0" },
  { SOCKET, L.SO_RXQ_OVFL, int(-1), "integer: 4294967295" }, { UDP, L.UDP_GRO, int(1200), "integer: 1200" },
  { UDP, L.UDP_SEGMENT, raw(ffi.new("uint16_t[1]", 65535)), "integer: 65535" },
  { IP, L.IP_RECVERR, raw(err), "exterr: " .. ERR .. "origin=2 type=3" },
  { IP, L.IP_RECVERR, raw(err) .. from4, "exterr: " .. ERR .. "offender=127.0.0.1:53 origin=2 type=3" },
  { IPV6, L.IPV6_RECVERR, raw(err) .. from6, "exterr: " .. ERR .. "offender=[::1]:53 origin=2 type=3" },
  { IPV6, L.IPV6_RECVERR, raw(err) .. ("\0"):rep(28), "exterr: " .. ERR .. "origin=2 type=3" },
}

-- What other systems lack.
local function linux(level, kind, data, want)
  if level and kind and data then KINDS[#KINDS + 1] = { level, kind, raw(data), want } end
end

local function made_of(ctype, fields) return ctype and ctype(fields) end

local function times(soft, hard, nsec)
  local cell = ffi.new(ffi.typeof("$[3]", layout.timespec))
  cell[0].tv_sec, cell[0].tv_nsec = soft, soft > 0 and 7 or 0
  cell[2].tv_sec, cell[2].tv_nsec = hard, nsec or hard > 0 and 8 or 0
  return cell
end

local mtuinfo = layout.ip6_mtuinfo and layout.ip6_mtuinfo { ip6m_mtu = 1280 }
if mtuinfo then ffi.copy(mtuinfo.ip6m_addr, from6, #from6) end
local stamp = made_of(layout.sock_extended_err, { ee_errno = L.ENOMSG, ee_origin = L.SO_EE_ORIGIN_TIMESTAMPING or 0,
  ee_info = 1, ee_data = 2^32 - 1 })
local STAMP = ("exterr: code=0 data=4294967295 errno=%s id=4294967295 info=1 origin=4 stage=1 type=0"):format(L.ENOMSG)
local packet = { tp_status = 1, tp_len = 2^32 - 1, tp_snaplen = 3, tp_mac = 4, tp_net = 65535, tp_vlan_tci = 6, tp_vlan_tpid = 7 }
local PACKET = "auxdata: len=4294967295 mac=4 net=65535 snaplen=3 status="
local tagged = bit.bor(1, L.TP_STATUS_VLAN_VALID or 0, L.TP_STATUS_VLAN_TPID_VALID or 0)

linux(SOCKET, L.SCM_TIMESTAMPING, times(FAR, 0), ("timestamp: %.0f, 7"):format(FAR))
linux(SOCKET, L.SCM_TIMESTAMPING, times(0, 1), "timestamp: nil, nil, 1, 8")
linux(SOCKET, L.SCM_TIMESTAMPING, times(0, 5, 0), "timestamp: nil, nil, 5, 0")
linux(SOCKET, L.SCM_TIMESTAMPING, times(0, 0, 9), "timestamp: nil, nil, 0, 9")
linux(SOCKET, L.SCM_TIMESTAMPING, times(5, FAR), ("timestamp: 5, 7, %.0f, 8"):format(FAR))
for _, kind in ipairs { "SO_MARK", "SO_PRIORITY", "SCM_INQ", "SCM_WIFI_STATUS", "SCM_TS_OPT_ID" } do
  linux(SOCKET, L[kind], ffi.new("uint32_t[1]", 2^32 - 2), "integer: 4294967294")
end
linux(L.IPPROTO_TCP, L.TCP_INQ, ffi.new("int32_t[1]", 9), "integer: 9")
linux(IP, L.IP_RECVFRAGSIZE, ffi.new("int32_t[1]", 1500), "integer: 1500")
linux(IPV6, L.IPV6_RECVFRAGSIZE, ffi.new("int32_t[1]", 1500), "integer: 1500")
linux(IP, L.IP_CHECKSUM, ffi.new("uint32_t[1]", 2^32 - 2), "integer: 4294967294")
linux(IPV6, L.IPV6_FLOWINFO, ffi.new("uint8_t[4]", 0, 1, 2, 255), "integer: 66303")
-- Attributes of netlink(7): a byte, 32 bits, 64 bits, an unknown one, one of no known size, one that claims more than there is.
local function attribute(kind, data, claims)
  local head = layout.nlattr { nla_len = 4 + (claims or #data), nla_type = kind }
  return raw(head) .. data .. ("\0"):rep(-#data % 4)
end

if L.TCP_NLA_BUSY then
  KINDS[#KINDS + 1] = { SOCKET, L.SCM_TIMESTAMPING_OPT_STATS, attribute(L.TCP_NLA_CA_STATE, "\3") .. attribute(4000, int(1))
    .. attribute(L.TCP_NLA_BUSY, raw(ffi.new("uint64_t[1]", 2^40))) .. attribute(L.TCP_NLA_SND_CWND, "xyz")
    .. attribute(L.TCP_NLA_SRTT, int(-1)), "optstats: busy=1099511627776 ca_state=3 srtt=4294967295" }
  KINDS[#KINDS + 1] = { SOCKET, L.SCM_TIMESTAMPING_OPT_STATS, attribute(L.TCP_NLA_CA_STATE, "\3")
    .. attribute(L.TCP_NLA_BUSY, int(1), 8), "optstats: ca_state=3" }
end
linux(SOCKET, L.SCM_TIMESTAMPING_PKTINFO, made_of(layout.scm_ts_pktinfo, { if_index = 3, pkt_length = 1500 }),
  "optpktinfo: index=3 length=1500")
linux(L.SOL_NETLINK, L.NETLINK_PKTINFO, ffi.new("uint32_t[1]", 4), "integer: 4")
linux(L.SOL_NETLINK, L.NETLINK_LISTEN_ALL_NSID, ffi.new("int32_t[1]", -1), "integer: -1")
linux(L.SOL_TLS, L.TLS_GET_RECORD_TYPE, ffi.new("uint8_t[1]", 23), "integer: 23")
linux(IPV6, L.IPV6_PATHMTU, mtuinfo, "pathmtu: dest=[::1]:53 mtu=1280")
linux(IP, L.IP_ORIGDSTADDR, L.IP_ORIGDSTADDR and name.name.in4, "origdst: " .. tostring(name))
linux(SOCKET, L.SCM_SECURITY, ffi.new("char[6]", "a:b:c"), 'security: "a:b:c"')
linux(IP, L.SCM_SECURITY, ffi.new("char[5]", { 97, 58, 98, 58, 99 }), 'security: "a:b:c"')
linux(IP, L.SO_EE_ORIGIN_TIMESTAMPING and L.IP_RECVERR, stamp, STAMP)
linux(L.SOL_PACKET, L.PACKET_TX_TIMESTAMP, stamp, STAMP)
linux(L.SOL_VSOCK, L.VSOCK_RECVERR, err, "exterr: " .. ERR .. "origin=2 type=3")
linux(L.SOL_PACKET, L.PACKET_AUXDATA, made_of(layout.tpacket_auxdata, packet), PACKET .. "1")
packet.tp_status = tagged
linux(L.SOL_PACKET, L.PACKET_AUXDATA, L.TP_STATUS_VLAN_VALID and made_of(layout.tpacket_auxdata, packet),
  PACKET .. tagged .. " vlantci=6 vlantpid=7")

local T = require("tap").plan(#KINDS * 4 + 101)

local function shortened(level, type, data)
  local wrong = {}
  for length = 0, #data - 1 do
    local got = decoded(assert(new(level, type, data:sub(1, length))))
    -- An error without the whole of its address is still one; so is a number of fewer bytes.
    local partly = got:find "^exterr" and not got:find "offender" or got:find "^integer" or got:find "^security"
      or got:find "^optstats"
    if got ~= "" and not partly then
      wrong[#wrong + 1] = length .. ": " .. got
    end
  end
  return table.concat(wrong, "; ")
end

for _, row in ipairs(KINDS) do
  local level, type, data, want = unpack(row)
  local cmsg = assert(new(level, type, data))
  T.is(show(cmsg:level(), cmsg:type(), cmsg:data()), show(level, type, data), want .. ": reads what it was made of")
  T.is(decoded(cmsg), want, want .. ": is read by its decoder, and by no other")
  T.is(shortened(level, type, data), "", want .. ": too short it is nothing")
  T.is(decoded(new(level + 1000, type, data)) .. decoded(new(level, type + 1000, data)), "",
    want .. ": another level or type is nothing")
end

-- The lengths of RFC 4884 stand in the place of ee_data.
local lengths = made_of(layout.sock_ee_data_rfc4884, { len = 512, flags = 0 })
local function extended(origin, flags)
  lengths.flags = flags
  local cell = layout.sock_extended_err { ee_origin = origin, ee_errno = 1 }
  local bytes, at = raw(cell), ffi.offsetof(cell, "ee_data")
  return told(assert(new(IP, L.IP_RECVERR, bytes:sub(1, at) .. raw(lengths) .. bytes:sub(at + 5))):rfc4884())
end
if not lengths then T.skip(2, "this system's headers know no lengths of RFC 4884") else
  local INVALID = L.SO_EE_RFC4884_FLAG_INVALID
  T.is(extended(L.SO_EE_ORIGIN_ICMP, 0) .. "; " .. extended(L.SO_EE_ORIGIN_ICMP6, INVALID),
    "invalid=false length=512; invalid=true length=512", "rfc4884 tells length and validity")
  T.is(extended(L.SO_EE_ORIGIN_ZEROCOPY, 0), "nil", "and nothing of what no ICMP message brought")
end

-- Odd data.
for _, data in ipairs { "", "\0", ("x"):rep(10000), ("\255"):rep(300) } do
  for _, level in ipairs { SOCKET, IP, IPV6, -1, 2^31 - 1 } do
    local ok = pcall(function()
      for type = -3, 60 do decoded(assert(new(level, type, data))) end
    end)
    T.ok(ok, ("%d bytes at level %d can be asked anything"):format(#data, level))
  end
end
T.is(show(new(SOCKET, L.SCM_RIGHTS, int(3)):rights()), "nil", "bytes that would be descriptors are nobody's")

-- Constructors.
local function made(cmsg, ...)
  if not cmsg then return show(cmsg, ...) end
  return show(cmsg:level(), cmsg:type(), cmsg:data())
end
T.is(made(new(SOCKET, 77, "x\0y")), show(SOCKET, 77, "x\0y"), "new takes any bytes")
T.is(made(new(2^31, 1, "")), failed(L.EINVAL), "a level above 32 bits is EINVAL")
T.is(made(new(1, 0.5, "")), failed(L.EINVAL), "a type that is no integer is EINVAL")
for _, row in ipairs { { "ttl", IP, L.IP_TTL }, { "tos", IP, L.IP_TOS }, { "hoplimit", IPV6, L.IPV6_HOPLIMIT },
  { "tclass", IPV6, L.IPV6_TCLASS } } do
  local make = cmsghdr[row[1]]
  T.is(made(make(0)) .. made(make(255)), show(row[2], row[3], int(0)) .. show(row[2], row[3], int(255)),
    row[1] .. " takes 0 to 255")
  T.is(show(make(7):integer()), "7", row[1] .. " is read back")
  for _, n in ipairs { -1, 256, 0.5, 0/0, 1/0 } do
    T.is(made(make(n)), failed(L.EINVAL), ("%s(%s) is EINVAL"):format(row[1], n))
  end
end
for _, row in ipairs { { "mark", "SO_MARK", 2^32 - 1 }, { "priority", "SO_PRIORITY", 2^32 - 1 },
  { "timestamping", "SO_TIMESTAMPING", 2^31 - 1 }, { "timestampid", "SCM_TS_OPT_ID", 2^32 - 1 } } do
  local title, kind, most = row[1], L[row[2]], row[3]
  local make = cmsghdr[title]
  if not kind then T.skip(3, "this system has no " .. row[2]) else
    T.is(made(make(most)), show(SOCKET, kind, raw(ffi.new("uint32_t[1]", most))), ("%s takes 0 to %.0f"):format(title, most))
    T.is(show(make(0):integer(), make(most):integer()), show(0, most), title .. " is read back")
    T.is(made(make(-1)) .. made(make(most + 1)) .. made(make(0.5)), failed(L.EINVAL):rep(3), title .. " refuses all else")
  end
end
T.is(show(cmsghdr.segment(1):integer(), cmsghdr.segment(65535):integer()), "1, 65535", "segment takes 1 to 65535")
for _, n in ipairs { 0, 65536, -1, 1.5 } do
  T.is(made(cmsghdr.segment(n)), failed(L.EINVAL), ("segment(%s) is EINVAL"):format(n))
end

T.is(told(cmsghdr.credentials():credentials()), ("gid=%d pid=%d uid=%d"):format(GID, proc.getpid(), UID),
  "credentials are this process's own")
T.is(told(cmsghdr.credentials(1, 2, 3):credentials()), "gid=3 pid=1 uid=2", "or those given")
T.is(told(cmsghdr.credentials(2^31 - 1, 2^32 - 1, 2^32 - 2):credentials()), "gid=4294967294 pid=2147483647 uid=4294967295",
  "up to the greatest")
T.is(told(cmsghdr.credentials(nil, 5):credentials()), ("gid=%d pid=%d uid=5"):format(GID, proc.getpid()), "or only some of them")
for _, args in ipairs { { 2^31 }, { -1 }, { 1, 2^32 }, { 1, -1 }, { 1, 1, 2^32 }, { 1, 1, 0.5 }, { 0/0 } } do
  T.is(made(cmsghdr.credentials(unpack(args))), failed(L.EINVAL), ("credentials(%s) is EINVAL"):format(show(unpack(args))))
end

T.is(told(cmsghdr.pktinfo("192.0.2.1"):pktinfo()), "addr=0.0.0.0 index=0 specdst=192.0.2.1", "pktinfo: an IPv4 source")
T.is(told(cmsghdr.pktinfo("127.0.0.1", "lo"):pktinfo()), "addr=0.0.0.0 index=1 specdst=127.0.0.1", "and an interface")
T.is(told(cmsghdr.pktinfo("2001:db8::1"):pktinfo()), "addr=2001:db8::1 index=0", "pktinfo: an IPv6 source")
T.is(told(cmsghdr.pktinfo("::", "lo"):pktinfo()), "addr=:: index=1", "and an interface")
T.is(told(cmsghdr.pktinfo("fe80::1%lo"):pktinfo()), "addr=fe80::1 index=1", "which a scope names too")
T.is(show(cmsghdr.pktinfo("::1"):level(), cmsghdr.pktinfo("127.0.0.1"):level()), show(IPV6, IP), "each at its own level")
for _, source in ipairs { "", "localhost", "1.2.3", "1.2.3.4\0", "::1\0x", ":::", "1.2.3.4 " } do
  T.is(made(cmsghdr.pktinfo(source)), failed(L.EINVAL), ("pktinfo(%s) is EINVAL"):format(show(source)))
end
for _, ifname in ipairs { "", "no-such-dev0", ("x"):rep(16), ("lo\0x") } do
  T.is(made(cmsghdr.pktinfo("127.0.0.1", ifname)), failed(L.ENODEV),
    ("pktinfo by the interface %s is ENODEV"):format(show(ifname)))
end
T.is(new(1, 1, "").nosuchmethod, nil, "an unknown name is nil")
T.is(leak.count(), before, "no descriptor is left")
T.done()
