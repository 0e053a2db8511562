-- device: answers of netlink and how they are read: dumps of many datagrams, messages that are too long, tables that change
-- during the call, senders that are not the kernel, refusals, and false lengths.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local show = require("show").show
local standin = require "standin"
local text = require("llsocket.errno").text
local PLAN = 27
local T = require("tap").plan(PLAN)
local before = leak.count()
local libc = require "llsocket.core.libc"
local layout = require "llsocket.core.layout"

if not L.RTM_GETLINK then
  T.skip(PLAN, "interfaces come from getifaddrs(3) here")
  T.done()
end
if not L.device.getifaddrs() then
  T.skip(PLAN, "no netlink socket may be made here")
  T.done()
end

-- The kernel's part: `answers` are the datagrams of each socket's dumps, each a string, an errno, or a function of the buffer.
local answers, sockets, sent, sender = nil, 0, {}, 0
local step, real = 0, false
local calls = {
  llsocket2_socket = function(...)
    if ... == L.AF_NETLINK then sockets, step = sockets + 1, 0 end
    return libc.llsocket2_socket(...)
  end,
  llsocket2_send = function(sd, bytes, length, flags)
    sent[#sent + 1] = ffi.string(bytes, length)
    if real then return libc.llsocket2_send(sd, bytes, length, flags) end
    return length
  end,
  llsocket2_recvfrom = function(sd, buf, size, flags, name, namelen)
    if real then return libc.llsocket2_recvfrom(sd, buf, size, flags, name, namelen) end
    step = step + 1
    local answer = answers(sockets, step)
    if type(answer) == "number" then
      ffi.errno(answer)
      return -1
    end
    name.nl_family, name.nl_pid = L.AF_NETLINK, sender
    ffi.copy(buf, answer, math.min(#answer, size))
    return #answer
  end,
}
local other = standin.load({}, calls)
local device = other.device

local function bytes(ctype, fields)
  local cell = ctype()
  for key, value in pairs(fields) do cell[key] = value end
  return ffi.string(cell, ffi.sizeof(ctype))
end
local function padded(s) return s .. ("\0"):rep(-#s % 4) end
local function attr(kind, value, length)
  return padded(bytes(layout.nlattr, { nla_len = length or 4 + #value, nla_type = kind }) .. value)
end
local function message(kind, body, flags, length)
  return padded(bytes(layout.nlmsghdr, { nlmsg_len = length or 16 + #body, nlmsg_type = kind, nlmsg_flags = flags or 2 }) .. body)
end
local function int(n) return ffi.string(ffi.new("int32_t[1]", n), 4) end
local function link(index, ...)
  return message(L.RTM_NEWLINK, bytes(layout.ifinfomsg, { ifi_index = index, ifi_flags = 1 }) .. table.concat { ... })
end
local function addr(index, family, prefix, ...)
  local head = bytes(layout.ifaddrmsg, { ifa_index = index, ifa_family = family, ifa_prefixlen = prefix })
  return message(L.RTM_NEWADDR, head .. table.concat { ... })
end
local DONE = message(L.NLMSG_DONE, int(0))
local ETH = link(7, attr(L.IFLA_IFNAME, "eth7\0"), attr(L.IFLA_ADDRESS, "\2\0\94\0\83\1"))
local OWN = addr(7, L.AF_INET, 24, attr(L.IFA_ADDRESS, "\10\0\0\2"), attr(L.IFA_LOCAL, "\10\0\0\1"))

-- Plays a list of datagrams to each socket; answers the interfaces as one text, and counts the sockets.
local function told(arr, ...)
  if not arr then return show(arr, ...) end
  local out = {}
  for i, e in ipairs(arr) do
    out[i] = ("%s %d %s/%s %s %s"):format(e.name, e.index, tostring(e.addr), tostring(e.netmask), tostring(e.broadaddr),
      tostring(e.mac))
  end
  return table.concat(out, "; ")
end
local function play(list)
  sockets, sender = 0, 0
  answers = type(list) == "function" and list or function(_, n) return list[n] or error "the dump went on" end
  return told(device.getifaddrs())
end
local WANT = "eth7 7 10.0.0.1/255.255.255.0 nil 02:00:5e:00:53:01"
local BARE = "eth7 7 nil/nil nil 02:00:5e:00:53:01"

T.is(play { ETH, DONE, OWN, DONE }, WANT, "a dump of several datagrams is read to its end")
T.is(play { ETH .. DONE, OWN .. DONE }, WANT, "so is one in a single datagram")
T.is(play { L.EINTR, ETH, L.EINTR, DONE, L.EINTR, OWN .. DONE }, WANT, "a signal ends nothing")
T.is(play { ETH .. ETH .. DONE, DONE }, BARE, "an interface that the kernel lists twice is listed once")
T.is(play { link(7, attr(L.IFLA_ADDRESS, "x")) .. ETH .. DONE, DONE }, BARE, "the first with a name counts")

-- Any process may send to a netlink socket.
local strange = 0
T.is(play(function(_, n)
  if n == 1 then sender, strange = 4711, strange + 1 return link(8, attr(L.IFLA_IFNAME, "evil\0")) .. DONE end
  sender = 0
  return ({ ETH .. DONE, OWN .. DONE })[n - 1]
end), WANT, "what another process sends is not read")

-- Beginning again.
local INTR = message(L.RTM_NEWLINK, "", bit.bor(2, L.NLM_F_DUMP_INTR))
T.is(play(function(socket, n) return ({ ETH .. (socket < 3 and INTR or "") .. DONE, OWN .. DONE })[n] end), WANT,
  "a table that changes during the call is read again")
T.is(sockets, 3, "until it did not change")
T.is(play { ETH .. INTR .. DONE, OWN .. DONE }, WANT, "a table that changes all the time is returned as last read")
T.is(sockets, 8, "after eight times")
T.is(play(function(socket, n) return ({ (socket == 1 and "" or ETH) .. DONE, OWN .. DONE })[n] end), WANT,
  "an address of an interface that appears during the call makes it begin again")
T.is(play(function(socket, n)
  if socket == 1 then return L.ENOBUFS end
  return ({ ETH .. DONE, OWN .. DONE })[n]
end), WANT, "so does a socket that overran")
T.is(play { L.ENOBUFS }, show(nil, text(L.ENOBUFS), L.ENOBUFS), "which is ENOBUFS if it goes on")
T.is(play { link(7, attr(L.IFLA_IFNAME, "eth7\0"), attr(99, ("x"):rep(60000))) .. DONE, OWN .. DONE },
  "eth7 7 10.0.0.1/255.255.255.0 nil nil", "a message that is longer than the buffer is read with a longer one")
T.is(sockets, 2, "of its length")

-- Refusals.
T.is(play { message(L.NLMSG_ERROR, int(-L.EPERM)) }, show(nil, text(L.EPERM), L.EPERM), "an error from the kernel is returned")
T.is(play { message(L.NLMSG_DONE, int(-L.ENOMEM)) }, show(nil, text(L.ENOMEM), L.ENOMEM), "so is one at the end")
T.is(play { L.ECONNREFUSED }, show(nil, text(L.ECONNREFUSED), L.ECONNREFUSED), "and one of the socket")

-- Lengths that lie.
local BAD = show(nil, text(L.EBADMSG), L.EBADMSG)
T.is(play { message(L.RTM_NEWLINK, "", 2, 17) }, BAD, "a message that claims more than arrived is EBADMSG")
T.is(play { message(L.RTM_NEWLINK, "", 2, 15) }, BAD, "one that is shorter than its header, too")
T.is(play { message(L.RTM_NEWLINK, "", 2, 2 ^ 32 - 1) }, BAD, "one of 4 GiB, too")
T.is(play { link(7, attr(L.IFLA_IFNAME, "eth7\0"), attr(L.IFLA_ADDRESS, "", 0)) .. message(L.RTM_NEWLINK, "abc") .. DONE, DONE },
  "eth7 7 nil/nil nil nil", "an attribute without a length ends the attributes; a link without its header is ignored")
T.is(play { ETH .. DONE, addr(7, L.AF_INET, 255, attr(L.IFA_LOCAL, "\10\0\0\1\0"))
  .. addr(7, L.AF_INET, 255, attr(L.IFA_LOCAL, "\10\0\0\1"))
  .. addr(7, 77, 0, attr(L.IFA_LOCAL, "\1\2")) .. addr(7, L.AF_INET, 0) .. DONE },
  "eth7 7 10.0.0.1/255.255.255.255 nil 02:00:5e:00:53:01", "an address of another length or family is ignored")

-- What the kernel itself answers, with bytes changed at random: any answer will do, but no crash and no end that never comes.
local kept = {}
real = true
local function record()
  local receive = calls.llsocket2_recvfrom
  calls.llsocket2_recvfrom = function(sd, buf, ...)
    local n = receive(sd, buf, ...)
    if n > 0 then kept[#kept + 1] = ffi.string(buf, n) end
    return n
  end
  device.getifaddrs()
  calls.llsocket2_recvfrom = receive
end
record()
real = false
math.randomseed(7)
local function mutated(s)
  local out = { s }
  for _ = 1, math.random(6) do
    local at = math.random(#s)
    out = { table.concat(out):sub(1, at - 1), string.char(math.random(0, 255)), table.concat(out):sub(at + 1) }
  end
  return table.concat(out):sub(1, math.random(#s))
end
local function fuzz()
  for _ = 1, 300 do play(function(_, n) return n > 40 and DONE or mutated(kept[math.random(#kept)]) end) end
  return true
end
T.ok(#kept >= 4 and fuzz(), "thousands of datagrams with wrong bytes are survived")

-- The request: every interface, however many names it has.
T.ok(sent[1]:sub(17):find(attr(L.IFLA_EXT_MASK, int(L.RTEXT_FILTER_SKIP_STATS)), 1, true),
  "the request has a mask, without which Linux leaves out what does not fit")

-- A socket that is refused is told as it is.
local refused = standin.load({}, { llsocket2_socket = function() ffi.errno(L.EAFNOSUPPORT) return -1 end })
T.is(show(refused.device.getifaddrs()) .. show(refused.device.macaddrs()), show(nil, text(L.EAFNOSUPPORT), L.EAFNOSUPPORT):rep(2),
  "where netlink is refused, that is the answer")

collectgarbage()
collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
