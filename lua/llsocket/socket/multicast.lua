-- multicast.lua -- membership of groups, and the interface and number of hops for sends; the same for IPv4 and IPv6.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"
local sockets = require "llsocket.socket.object"
local interface = require "llsocket.address.interface"
local sockaddr = require "llsocket.address.sockaddr"
local optionkind = require "llsocket.socket.optionkind"
local C = require "llsocket.core.libc"
local ipairs, require, type, floor = ipairs, require, type, math.floor

local is_self, failed, refused, errno = sockets.self, failure.failed, failure.refused, ffi.errno
local KIND, NO_HALF, set = optionkind.KIND, optionkind.NO_HALF, optionkind.set
local AF_INET, AF_INET6 = const.AF_INET, const.AF_INET6
local IPPROTO_IP, IPPROTO_IPV6 = const.IPPROTO_IP, const.IPPROTO_IPV6
local EINVAL, EBADF, EOPNOTSUPP = const.EINVAL, const.EBADF, const.EOPNOTSUPP
local EADDRNOTAVAIL, EAFNOSUPPORT, ENOBUFS = const.EADDRNOTAVAIL, const.EAFNOSUPPORT, const.ENOBUFS
local ENOMEM, ENOPROTOOPT = const.ENOMEM, const.ENOPROTOOPT

local LEVEL = { [AF_INET] = IPPROTO_IP, [AF_INET6] = IPPROTO_IPV6 }
local TYPES = { [const.SOCK_DGRAM] = true, [const.SOCK_RAW] = true }

--- Answers the level of the socket's multicast options.
---@param sock llsocket.socket
---@return integer? level
---@return integer? errno  EBADF, EOPNOTSUPP
local function level_of(sock)
  if sock.sd < 0 then return nil, EBADF end
  local level = TYPES[sock.about.kind] and LEVEL[sock.home] -- not type and domain: dup's address may override those
  if not level then return nil, EOPNOTSUPP end
  return level
end

-- The methods that the rows make have their @field lines in meta.lua; see ip(7), ipv6(7).  An option answers the value, or nil,
-- err and errno.  A membership answers nothing, or err and errno: EADDRINUSE, EADDRNOTAVAIL, ENODEV, ENOBUFS, EINVAL,
-- EAFNOSUPPORT.  All methods answer EOPNOTSUPP on other sockets and EBADF once closed.  None blocks.
---@class llsocket.socket
local Socket = {}

local OPTIONS = {
  -- method       IPv4 option          kind        IPv6 option            kind       what it does
  { "mcastloop", "IP_MULTICAST_LOOP", "byteflag", "IPV6_MULTICAST_LOOP", "boolean", "Gives this host what is sent." },
  { "mcastttl",  "IP_MULTICAST_TTL",  "byte",     "IPV6_MULTICAST_HOPS", "hops",    "Hops that a datagram may go, 0 to 255." },
}

-- Sets an option of a socket.  For an AF_INET6 socket it sets IPv4's option first, which the kernel uses for sends to IPv4
-- groups.  `write` answers the value, or nil, err and errno.
local function write_both(sock, level, write, value)
  if level == IPPROTO_IPV6 then
    local _, err, e = write(sock, IPPROTO_IP, value)
    if e and not NO_HALF[e] then return nil, err, e end
  end
  return write(sock, level, value)
end

-- Check the argument's type first: a wrong type must raise on every socket.
local function accessor(name, opt4, kind4, opt6, kind6)
  local opts, kinds = { [IPPROTO_IP] = opt4, [IPPROTO_IPV6] = opt6 }, { [IPPROTO_IP] = kind4, [IPPROTO_IPV6] = kind6 }
  local check_type = kind6 == KIND.boolean and check.boolean or check.number
  local function write(sock, level, value) return kinds[level].write(sock.sd, level, opts[level], value, 1, name) end
  return function(sock, value)
    is_self(sock, name)
    if type(value) ~= "nil" then check_type(value, 1, name) end
    local level, e = level_of(sock)
    if not level then return failed(e) end
    if type(value) == "nil" then return kinds[level].read(sock.sd, level, opts[level]) end
    return write_both(sock, level, write, value)
  end
end

for _, row in ipairs(OPTIONS) do
  Socket[row[1]] = accessor(row[1], const[row[2]], KIND[row[3]], const[row[4]], KIND[row[5]])
end

local index_cell = ffi.new "uint32_t[1]" -- write it just before the call
local read_word = KIND.int.read
local SIZE = sockaddr.SIZE

-- Answers the interface's name for IPv4.  Linux does not tell the index that was set, so the object keeps it.  If other code sets
-- the interface by an address, the kernel tells that address, and we look it up among the interfaces; ours has no address.
local function ifname4(sock)
  local addr, _, e = read_word(sock.sd, IPPROTO_IP, const.IP_MULTICAST_IF) -- an in_addr is 32 bits
  if not addr then return nil, e end
  if addr == 0 and sock.about.ifindex ~= 0 then return interface.name(sock.about.ifindex, sock.sd) end
  if addr == 0 then return "" end
  local name = sockaddr.type()
  name.in4.sin_addr.s_addr = addr % 2^32
  return require("llsocket.device").of(AF_INET, sockaddr.text(name, SIZE, AF_INET))
end

local function ifname6(sock)
  local index, _, e = read_word(sock.sd, IPPROTO_IPV6, const.IPV6_MULTICAST_IF)
  if not index then return nil, e end
  if index == 0 then return "" end
  return interface.name(index, sock.sd)
end

local function set_ifindex(sock, level, index)
  if level == IPPROTO_IP then
    local req = layout.ip_mreqn()
    req.imr_ifindex = index
    return set(sock.sd, level, const.IP_MULTICAST_IF, req, ffi.sizeof(req))
  end
  index_cell[0] = index
  return set(sock.sd, level, const.IPV6_MULTICAST_IF, index_cell, 4)
end

--- Tells or sets the interface that multicast datagrams leave by; see ip(7), ipv6(7).
---@param ifname? string  at most 15 bytes; with "", the default, the routing table chooses
---@return string? ifname
---@return string? err
---@return integer? errno  ENODEV; ENXIO: the interface is gone; EOPNOTSUPP; EBADF once closed
function Socket:mcastif(ifname)
  is_self(self, "mcastif")
  check.optional_string(ifname, 1, "mcastif")
  local level, e = level_of(self)
  if not level then return failed(e) end
  local index = 0
  if not ifname then
    ifname, e = (level == IPPROTO_IP and ifname4 or ifname6)(self)
    if e then return failed(e) end
    return ifname
  end
  if ifname ~= "" then index, e = interface.index(ifname, self.sd) end
  if e then return failed(e) end
  if level == IPPROTO_IPV6 then e = set_ifindex(self, IPPROTO_IP, index) end
  if not e or NO_HALF[e] then e = set_ifindex(self, level, index) end
  if e then return failed(e) end
  self.about.ifindex = index
  return ifname
end

-- Writes a numeric address into `cell`; answers whether the text is an address, and its scope, which only IPv6 has.
local function read_address(cell, family, text)
  local addr, scope
  if family == AF_INET6 then addr, scope = text:match "^(.-)%%(.+)$" end
  return sockaddr.from_text(cell, family, addr or text) ~= nil, scope
end

-- Parses an address of the socket's family; answers nil and the scope, or the errno.
local function parse(cell, family, text)
  local ok, scope = read_address(cell, family, text)
  if ok then return nil, scope end
  local other = family == AF_INET and AF_INET6 or AF_INET
  return read_address(cell, other, text) and EAFNOSUPPORT or EINVAL
end

-- Reads the arguments of a membership: answers the level and the interface's index, and writes the addresses into `group` and
-- `source`; or answers nil and the errno.  Where no argument names the interface, the zone of the group does, as in
-- "ff02::1%eth0", or the zone of the source, because recvfrom tells that.
local function prepare(sock, group, mcaddr, source, srcaddr, ifname)
  local level, why = level_of(sock)
  if not level then return nil, why end
  local e, scope = parse(group, sock.home, mcaddr)
  local e2, source_scope
  if srcaddr then e2, source_scope = parse(source, sock.home, srcaddr) end
  if e or e2 then return nil, e or e2 end
  local zone, index, absent = scope or source_scope, 0, nil
  if type(ifname) == "number" then
    index = ifname >= 0 and ifname < 2^31 and floor(ifname) == ifname and ifname or nil
    absent = EINVAL
  elseif ifname then index, absent = interface.index(ifname, sock.sd)
  elseif zone then index, absent = interface.zone(zone, sock.sd) end
  if not index then return nil, absent end
  return level, index
end

-- An interface goes by its name or its index.
local function check_interface(ifname, position, method)
  local kind = type(ifname)
  if kind ~= "nil" and kind ~= "string" and kind ~= "number" then check.bad(position, method, "string or number", ifname) end
end

local function membership(name, opt)
  return function(sock, mcaddr, ifname)
    is_self(sock, name)
    check.string(mcaddr, 1, name)
    check_interface(ifname, 2, name)
    local group, req = sockaddr.type(), layout.group_req()
    local level, index = prepare(sock, group, mcaddr, nil, nil, ifname)
    if not level then return refused(index) end
    req.gr_interface = index
    ffi.copy(req.gr_group, group, SIZE)
    local e = set(sock.sd, level, opt, req, ffi.sizeof(req))
    if e then return refused(e) end
  end
end

local function source_membership(name, opt)
  return function(sock, mcaddr, srcaddr, ifname)
    is_self(sock, name)
    check.string(mcaddr, 1, name)
    check.string(srcaddr, 2, name)
    check_interface(ifname, 3, name)
    local group, source, req = sockaddr.type(), sockaddr.type(), layout.group_source_req()
    local level, index = prepare(sock, group, mcaddr, source, srcaddr, ifname)
    if not level then return refused(index) end
    req.gsr_interface = index
    ffi.copy(req.gsr_group, group, SIZE)
    ffi.copy(req.gsr_source, source, SIZE)
    local e = set(sock.sd, level, opt, req, ffi.sizeof(req))
    if e then return refused(e) end
  end
end

local MEMBERSHIPS = {
  -- method              option                       arguments          what it does
  { "mcastjoin",       "MCAST_JOIN_GROUP",         membership,        "Receives what is sent to a group." },
  { "mcastleave",      "MCAST_LEAVE_GROUP",        membership,        "Leaves a group." },
  { "mcastjoinsrc",    "MCAST_JOIN_SOURCE_GROUP",  source_membership, "Receives what one source sends to a group." },
  { "mcastleavesrc",   "MCAST_LEAVE_SOURCE_GROUP", source_membership, "Leaves one source of a group." },
  { "mcastblocksrc",   "MCAST_BLOCK_SOURCE",       source_membership, "Shuts one source of a joined group out." },
  { "mcastunblocksrc", "MCAST_UNBLOCK_SOURCE",     source_membership, "Lets a source in again." },
}

for _, row in ipairs(MEMBERSHIPS) do Socket[row[1]] = row[3](row[1], const[row[2]]) end

-- A struct group_filter of any length: its head, and behind that so many sources.  It comes from malloc, because LuaJIT must not
-- compile an array of variable length.
local MCAST_MSFILTER = const.MCAST_MSFILTER
local MOST = 65536 -- sources; Linux takes 10 for IPv4 and 64 for IPv6, unless it is told otherwise
local head_t, head_pointer, list_at
local byte_pointer = ffi.typeof "uint8_t *"

local function learn_layout()
  if head_t then return end
  head_pointer = ffi.typeof("$ *", layout.group_filter)
  head_t, list_at = layout.group_filter, ffi.offsetof(layout.group_filter, "gf_slist")
end

-- Answers the memory, its head, its list and its length in bytes; nil where there is no memory.
local function new_filter(group, index, count)
  learn_layout()
  local length = list_at + count * SIZE
  local memory = C.llsocket2_calloc(1, length)
  if memory == nil then return nil end
  memory = ffi.gc(memory, C.llsocket2_free)
  local head = ffi.cast(head_pointer, memory)
  head.gf_interface, head.gf_numsrc = index, count
  ffi.copy(head.gf_group, group, SIZE)
  return memory, head, ffi.cast(byte_pointer, memory) + list_at, length
end

local length_cell = ffi.new "uint32_t[1]"

local function source_texts(list, count, family)
  local out, name = {}, sockaddr.type()
  for i = 1, count do
    ffi.copy(name, list + (i - 1) * SIZE, SIZE)
    out[i] = sockaddr.text(name, SIZE, family)
  end
  return out
end

-- Asks for a filter, with capacity for so many sources; answers how many there are, or nil and the errno.
local function ask(sock, level, group, index, count)
  local memory, head, list, length = new_filter(group, index, count)
  if not memory then return nil, ENOMEM end
  length_cell[0] = length
  local rc, e, n = C.llsocket2_getsockopt(sock.sd, level, MCAST_MSFILTER, memory, length_cell), errno(), head.gf_numsrc
  if rc ~= 0 then return nil, e end
  return n, memory, head, list
end

-- Reads a filter, once more where the sources are more than there was capacity for.  The kernel can be told to take more than
-- MOST: those are not read, because the list has no more than `count`.
local function read_filter(sock, level, group, index, count)
  local n, memory, head, list = ask(sock, level, group, index, count)
  if not n then return failed(memory) end
  if n > MOST then return failed(ENOBUFS) end
  if n > count then return read_filter(sock, level, group, index, n) end
  local mode, texts = head.gf_fmode, source_texts(list, n, sock.home)
  C.llsocket2_free(ffi.gc(memory, nil)) -- not earlier: `head` and `list` keep nothing alive
  return mode, texts
end

-- Copies the caller's table: an element may answer otherwise the second time.
local function copy_sources(sources)
  if type(sources) ~= "table" then check.bad(4, "mcastfilter", "array of strings", sources) end
  local out = {}
  for i = 1, #sources do
    out[i] = sources[i]
    if type(out[i]) ~= "string" then check.bad(4, "mcastfilter", "array of strings", out[i]) end
  end
  return out
end

local function write_filter(sock, level, group, index, mode, sources)
  if #sources > MOST then return ENOBUFS end
  local memory, head, list, length = new_filter(group, index, #sources)
  if not memory then return ENOMEM end
  local source = sockaddr.type()
  for i, text in ipairs(sources) do
    local e = parse(source, sock.home, text)
    if e then return e end
    ffi.copy(list + (i - 1) * SIZE, source, SIZE)
  end
  head.gf_fmode = mode
  return set(sock.sd, level, MCAST_MSFILTER, memory, length)
end

-- Answers the interface by which a group was joined, 0 where there is none: Linux does not look for it.
local function joined_by(sock, level, group)
  local links, _, e = require("llsocket.device").list()
  if not links then return nil, e end
  for _, link in ipairs(links) do
    local n, why = ask(sock, level, group, link.index, 0)
    if n then return link.index end
    if why ~= EADDRNOTAVAIL then return nil, why end
  end
  return 0
end

--- Tells or sets which sources of a joined group the socket receives; see ip(7) and RFC 3678.  Opens a descriptor during the call
--- where neither `ifname` nor a zone names the interface.
---@param mcaddr string  a numeric group address of the socket's family
---@param ifname? string|integer  an interface's name or index; the default is the zone of the group, or else the first interface
---by which the group was joined
---@param mode? integer  MCAST_INCLUDE: only these sources; MCAST_EXCLUDE: all but these.  Without both the filter is read
---@param sources? string[]  numeric addresses of the socket's family, at most 65,536; needed with `mode`,
---and never without
---@return integer? mode
---@return string[]|string? sources  or err
---@return integer? errno  EADDRNOTAVAIL, EINVAL: not joined by this interface; ENOBUFS: more sources than the system allows, or
---than 65,536; EAFNOSUPPORT, ENODEV, ENOMEM; EMFILE, ENFILE; EPERM, EACCES where a sandbox refuses netlink; EOPNOTSUPP;
---ENOPROTOOPT where the system has no such filters; EBADF once closed
function Socket:mcastfilter(mcaddr, ifname, mode, sources)
  is_self(self, "mcastfilter")
  check.string(mcaddr, 1, "mcastfilter")
  check_interface(ifname, 2, "mcastfilter")
  local has_mode = type(mode) ~= "nil" or type(sources) ~= "nil" -- sources alone: the mode may be a misspelt constant
  if has_mode then
    check.number(mode, 3, "mcastfilter")
    sources = copy_sources(sources)
  end
  local group = sockaddr.type()
  local level, index = prepare(self, group, mcaddr, nil, nil, ifname)
  if not level then return failed(index) end
  if has_mode and mode ~= const.MCAST_INCLUDE and mode ~= const.MCAST_EXCLUDE then return failed(EINVAL) end
  if not MCAST_MSFILTER then return failed(ENOPROTOOPT) end
  local e
  if index == 0 then index, e = joined_by(self, level, group) end
  if not index then return failed(e) end
  if not has_mode then return read_filter(self, level, group, index, 16) end
  e = write_filter(self, level, group, index, mode, sources)
  if e then return failed(e) end
  return mode, sources
end

return { methods = Socket, OPTIONS = OPTIONS, MEMBERSHIPS = MEMBERSHIPS, level_of = level_of }
