-- attacks.lua -- what hostile peers do to a server; t/torture/peers.lua sets them upon each.
--
-- An attack is a function of a server: { ai = its address, kind =, pid =, talk = }.  It answers the sockets that it keeps open.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"

local CROWD, LIMIT = 1000, 256 -- clients at once; descriptors of a server
local SIGSTOP, SIGCONT = 19, 18
local TCP_REPAIR = 19 -- Linux: a socket that is closed under it goes without a word to its peer

local M = { LIMIT = LIMIT }

local quiet, other = net.pair(L.SOCK_STREAM)

function M.pause(sec) L.wait.poll(quiet:fd(), "r", sec) end

-- Ends the use of this module.
function M.close()
  quiet:close()
  other:close()
end

local pause = M.pause
local count = 0

-- A connected client; that of a unix datagram socket has a name, so that it can be answered.
function M.dial(one)
  local sock = assert(L.socket.new(one.ai, true))
  if one.kind == "dgram" then
    count = count + 1
    sock:bind(assert(L.unix.getaddrinfo(("\0llsocket-t-%d-%d"):format(proc.getpid(), count), L.SOCK_DGRAM))[1])
  end
  sock:connect()
  return sock
end

local dial = M.dial
-- The attacks ----------------------------------------------------------------------------------------------------------

local STREAMS, PACKETS, TCP, UNIX, UDP = {}, {}, {}, {}, {}

local function several(one, n, fn)
  local socks = {}
  for i = 1, n do
    local sock = dial(one)
    fn(sock, i)
    socks[i] = sock
  end
  return socks
end

local function reset(sock)
  sock:linger(0)
  sock:close()
end

local function say(sock, text) return sock:sendable(0.2) and sock:send(text) end

local function bytes(n)
  local out = {}
  for i = 1, n do out[i] = string.char(math.random(0, 255)) end
  return table.concat(out)
end

TCP["connections that are reset before they are accepted"] = function(one)
  proc.kill(one.pid, SIGSTOP)
  for i = 1, 200 do
    local sock = dial(one)
    if i % 2 == 0 then say(sock, one.talk.say) end
    reset(sock)
  end
  proc.kill(one.pid, SIGCONT)
end

TCP["resets in the midst of an answer"] = function(one)
  for i = 1, 50 do
    local sock = dial(one)
    say(sock, i % 2 == 0 and one.talk.much or one.talk.say)
    if i % 3 == 0 and sock:recvable(0.01) then sock:recv(10) end
    reset(sock)
  end
end

-- The server is stopped meanwhile, so that it answers peers that are gone; of a silent one no server could know.
local VANISH, ITSELF = "peers that vanish without a word", "datagrams from itself"
TCP[VANISH] = function(one)
  proc.kill(one.pid, SIGSTOP)
  for i = 1, 20 do
    local sock = dial(one)
    say(sock, i % 2 == 0 and one.talk.much or one.talk.say)
    assert(sock:setsockopt(L.IPPROTO_TCP, TCP_REPAIR, "int", 1))
    sock:close()
  end
  proc.kill(one.pid, SIGCONT)
end

TCP["urgent bytes unasked for"] = function(one)
  return several(one, 20, function(sock, i)
    for _ = 1, 5 do
      if not sock:sendable(0.1) then break end
      sock:send("!", L.MSG_OOB)
      sock:send(i % 2 == 0 and bytes(3) or one.talk.say)
      sock:send("?", L.MSG_OOB)
    end
  end)
end

STREAMS["half a request, and half a close"] = function(one)
  return several(one, 30, function(sock, i)
    say(sock, one.talk.say:sub(1, i % #one.talk.say))
    if i % 2 == 0 then sock:shutdown(L.SHUT_WR) end
    if i % 3 == 0 then sock:shutdown(L.SHUT_RD) end
  end)
end

STREAMS["a byte each 10 ms"] = function(one)
  local socks = several(one, 20, function() end)
  for i = 1, 20 do
    local at = (i - 1) % #one.talk.say + 1
    for _, sock in ipairs(socks) do sock:send(one.talk.say:sub(at, at)) end
    pause(0.01)
  end
  return socks
end

STREAMS["a flood that reads nothing"] = function(one)
  local text, stop_at = bytes(65536), sys.clock() + 0.5
  local socks = several(one, 30, function(sock) say(sock, one.talk.much) end)
  repeat
    for _, sock in ipairs(socks) do sock:send(text) end
  until sys.clock() > stop_at
  return socks
end

STREAMS["readers of 100 bytes each 10 ms"] = function(one)
  local socks = several(one, 20, function(sock)
    sock:rcvbuf(2048)
    say(sock, one.talk.much)
  end)
  for _ = 1, 20 do
    for _, sock in ipairs(socks) do sock:recv(100) end
    pause(0.01)
  end
  return socks
end

STREAMS["noise"] = function(one)
  for _ = 1, 40 do
    local sock = dial(one)
    say(sock, bytes(math.random(1, 300)))
    if math.random(2) == 1 then say(sock, bytes(20000)) end
    sock:close()
  end
end

STREAMS[("%d clients, with %d descriptors"):format(CROWD, LIMIT)] = function(one)
  local socks = several(one, CROWD, function(sock, i)
    if i % 2 == 0 then sock:send(one.talk.say) end
  end)
  for i = 1, CROWD, 3 do socks[i]:close() end
  pause(0.2)
  for _, sock in ipairs(socks) do sock:close() end
end

-- Descriptors unasked for: many at once, with and without bytes that are wanted.
local function push(sock, text)
  local rights = {}
  for i = 1, 5 do rights[i] = assert(L.cmsghdr.rights(0, 1, sock, sock, 2)) end
  for i = 1, 20 do
    if not sock:sendable(0.1) then break end
    local control = { rights[i % 5 + 1], i % 2 == 0 and L.cmsghdr.credentials() or nil }
    sock:sendmsg(assert(L.msghdr.new { data = text, control = control }))
  end
end

UNIX["descriptors unasked for"] = function(one)
  return several(one, 10, function(sock) push(sock, one.talk.say) end)
end

PACKETS["empty messages, and the longest"] = function(one)
  return several(one, 20, function(sock, i)
    for _ = 1, 10 do
      if sock:sendable(0.1) then sock:send(i % 2 == 0 and "" or bytes(65000)) end
    end
  end)
end

PACKETS["a flood"] = function(one)
  local stop_at = sys.clock() + 0.5
  local socks = several(one, 5, function() end)
  repeat
    for _, sock in ipairs(socks) do sock:send "flood" end
  until sys.clock() > stop_at
  return socks
end

PACKETS["senders that have closed"] = function(one)
  for _ = 1, 200 do
    local sock = dial(one)
    sock:send "gone"
    sock:close()
  end
end

-- Packets made by hand, whose senders are the server itself, and well-known ports.
local function packet(from, to, data)
  local function word(n) return string.char(math.floor(n / 256), n % 256) end
  local udp = word(from) .. word(to) .. word(8 + #data) .. word(0) .. data
  return "\x45\0" .. word(20 + #udp) .. "\0\0\0\0\x40\x11\0\0" .. "\127\0\0\1\127\0\0\1" .. udp
end

UDP[ITSELF] = function(one)
  local place = net.addr(L.AF_INET, L.SOCK_DGRAM):bytes()
  local raw = assert(L.socket.new(assert(L.addrinfo.new(place, L.SOCK_RAW, L.IPPROTO_RAW))))
  local port = one.ai:port()
  for _, from in ipairs { port, 7, 53, port } do raw:sendto(packet(from, port, "storm"), net.addr(L.AF_INET, L.SOCK_DGRAM, 0)) end
  raw:close()
end


local KINDS = {
  tcp = { STREAMS, TCP }, unix = { STREAMS, UNIX }, udp = { PACKETS, UDP }, dgram = { PACKETS, UNIX }, log = { PACKETS, UNIX },
}

--- The attacks on a server, sorted: { title =, fn = }.
---@param one table  an echo without state cannot tell its own datagrams from a client's; knows_itself: its program does
---@param is_root boolean  in a network of its own, where packets can be made by hand
function M.on(one, is_root)
  local list = {}
  for _, set in ipairs(KINDS[one.kind]) do
    for title, fn in pairs(set) do
      local is_forged = title == VANISH or title == ITSELF
      local is_fair = title ~= ITSELF or one.knows_itself
      if is_fair and (is_root or not is_forged) then list[#list + 1] = { title = title, fn = fn } end
    end
  end
  table.sort(list, function(a, b) return a.title < b.title end)
  return list
end

return M
