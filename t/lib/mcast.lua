-- mcast.lua -- groups with real datagrams: senders with several sources, a receiver, and the sequence of joins,
-- blocks and leaves that lo and a veth pair have in common.
local L = require "llsocket"
local emulator = require "emulator"
local proc = require "proc"
local show = require("show").show

local M = {}

local ANY = { [L.AF_INET] = "0.0.0.0", [L.AF_INET6] = "::" }

local function dgram(host, port) return assert(L.inet.getaddrinfo(host, tostring(port), L.SOCK_DGRAM))[1] end
M.dgram = dgram

-- A group for this process alone, since others run beside it: M.group(L.AF_INET, 1).
function M.group(family, n)
  local pid = proc.getpid() % 65536
  if family == L.AF_INET then return ("239.%d.%d.%d"):format(100 + n, math.floor(pid / 256), pid % 256) end
  return ("ff15::%x:%x"):format(pid, n)
end

-- A socket that waits for datagrams to any address, and its port.
function M.receiver(family)
  local sock = assert(L.socket.new(dgram(ANY[family], 0)))
  assert(not sock:bind())
  sock:rcvtimeo(3)
  return sock, sock:getsockname():port()
end

-- A function that sends from a source by an interface: send(source, host, port, text); further, the sockets by source.
function M.sender(ifname)
  local socks = {}
  return function(source, host, port, text)
    local sock = socks[source]
    if not sock then
      sock = assert(L.socket.new(dgram(source, 0)))
      assert(not sock:bind(), "bind " .. source)
      assert(sock:mcastif(ifname))
      socks[source] = sock
    end
    return sock:sendto(text, dgram(host, port))
  end, socks
end

-- What of "1" and "2", sent to the group by the two sources, reaches the receiver.  A third datagram that it hears
-- in any case tells the end; what is wanted may come after that, since two processors may serve them.
local round = 0
local function heard(case, group, want)
  round = round + 1
  local got, ended, missing = {}, false, #want:gsub("[^12]", "")
  for i, source in ipairs(case.sources) do
    assert(case.send(source, group, case.port, round .. " " .. i))
  end
  assert(case.send(case.sources[1], case.own, case.port, round .. " end"))
  repeat
    local msg = case.receiver:recv()
    local at, text = (msg or ""):match "^(%d+) (%w+)$"
    if not at then return "nothing more, after " .. table.concat(got, " ") end
    if text == "end" then ended = true else
      got[#got + 1] = tonumber(at) == round and text or msg
      if want:find(text, 1, true) then missing = missing - 1 end
    end
  until ended and missing <= 0
  table.sort(got)
  return table.concat(got, " ")
end

M.COUNT = 34

-- Runs M.COUNT tests.  `case`: family, name, ifname, sources (two), own (the receiver's address), send.
function M.exercise(T, case)
  if emulator.groups then return T.skip(M.COUNT, emulator.groups) end
  local sock, port = M.receiver(case.family)
  case.receiver, case.port = sock, port
  local group, other, on = M.group(case.family, 1), M.group(case.family, 2), case.ifname
  local s1, s2 = case.sources[1], case.sources[2]
  local function hears(want, name, to) T.is(heard(case, to or group, want), want, ("%s: %s"):format(case.name, name)) end
  local function done(name, ...) T.is(show(...), "", ("%s: %s"):format(case.name, name)) end
  local function fails(e, name, ...) T.is(select(2, ...), e, ("%s: %s"):format(case.name, name)) end

  hears("", "who has not joined hears nothing")
  done("mcastjoin succeeds without a value", sock:mcastjoin(group, on))
  hears("1 2", "who has joined hears both sources")
  hears("", "but no other group", other)
  fails(L.EADDRINUSE, "joining twice is EADDRINUSE", sock:mcastjoin(group, on))

  done("mcastblocksrc succeeds without a value", sock:mcastblocksrc(group, s1, on))
  hears("2", "a blocked source is not heard, the other is")
  done("the other can be blocked too", sock:mcastblocksrc(group, s2, on))
  hears("", "then nothing is heard")
  done("mcastunblocksrc succeeds without a value", sock:mcastunblocksrc(group, s1, on))
  hears("1", "an unblocked source is heard again")
  fails(L.EADDRNOTAVAIL, "unblocking what is not blocked is EADDRNOTAVAIL", sock:mcastunblocksrc(group, s1, on))
  sock:mcastunblocksrc(group, s2, on)
  hears("1 2", "with none blocked both are heard")

  done("mcastleave succeeds without a value", sock:mcastleave(group, on))
  hears("", "who has left hears nothing")
  fails(L.EADDRNOTAVAIL, "leaving twice is EADDRNOTAVAIL", sock:mcastleave(group, on))
  local err, e = sock:mcastblocksrc(group, s1, on)
  T.ok(err and (e == L.EINVAL or e == L.EADDRNOTAVAIL), case.name .. ": blocking without a membership is an error")

  done("mcastjoinsrc succeeds without a value", sock:mcastjoinsrc(group, s2, on))
  hears("2", "who has joined a source hears that only")
  fails(L.EADDRNOTAVAIL, "joining a source twice is EADDRNOTAVAIL", sock:mcastjoinsrc(group, s2, on))
  fails(L.EINVAL, "blocking a source where sources were joined is EINVAL", sock:mcastblocksrc(group, s1, on))
  done("a second source can be joined", sock:mcastjoinsrc(group, s1, on))
  hears("1 2", "then both are heard")
  done("mcastleavesrc succeeds without a value", sock:mcastleavesrc(group, s2, on))
  hears("1", "a source that was left is not heard, the other is")
  fails(L.EADDRNOTAVAIL, "leaving a source twice is EADDRNOTAVAIL", sock:mcastleavesrc(group, s2, on))
  done("the last source can be left", sock:mcastleavesrc(group, s1, on))
  hears("", "then nothing is heard")

  sock:mcastjoinsrc(group, s1, on)
  sock:mcastjoin(other, on)
  hears("1", "two memberships keep apart: the source's group")
  hears("1 2", "and the other's", other)
  done("mcastleave ends the membership of sources", sock:mcastleave(group, on))
  hears("", "which is then not heard")
  hears("1 2", "while the other still is", other)
  sock:mcastleave(other, on)

  local copy = sock:dup()
  copy:mcastjoin(group, on)
  hears("1 2", "a duplicate joins for both")
  copy:close(); sock:close()
end

return M
