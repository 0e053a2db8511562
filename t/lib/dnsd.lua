-- dnsd.lua -- a small name server for tests, over UDP and TCP, in a child process, and a place where it is the only one:
-- a network and a mount namespace with files of hosts and resolv.conf of their own.
--
-- The first label of a name says what becomes of a question; the rest of the name does not matter:
--   slow       the answer comes after 0.3 s          silent   none comes
--   refused    REFUSED                               failed   SERVFAIL
--   nothing    NXDOMAIN                              empty    no data
--   long       so much that it comes over TCP only   alias    by a CNAME
--   four, six  IPv4 only, IPv6 only                  broken   half a message
-- Any other name has 192.0.2.1 and 2001:db8::1.
local ffi = require "ffi"
local bit = require "bit"
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"
local net = require "net"
local netns = require "netns"
local proc = require "proc"

ffi.cdef [[
int llsocket_t_mount(const char *source, const char *target, const char *kind, unsigned long flags, const void *data)
  __asm__("mount");
]]

local M = {}
local A, CNAME, AAAA = 1, 5, 28

local function word(n) return string.char(bit.rshift(n, 8), bit.band(n, 255)) end

local function record(owner, kind, data) return owner .. word(kind) .. word(1) .. "\0\0\0\60" .. word(#data) .. data end

local ITSELF = "\192\12" -- a pointer to the question's name
local DATA = { [A] = "\192\0\2\1", [AAAA] = "\32\1\13\184" .. ("\0"):rep(11) .. "\1" }

local function addresses(owner, kind, n)
  local out = {}
  for i = 1, n do out[i] = DATA[kind] and record(owner, kind, DATA[kind]:sub(1, -2) .. string.char(i)) end
  return out
end

-- What answers of a name have: the rcode and the records.
local KINDS = {}
function KINDS.refused() return 5, {} end
function KINDS.failed() return 2, {} end
function KINDS.nothing() return 3, {} end
function KINDS.empty() return 0, {} end
function KINDS.four(kind) return 0, kind == A and addresses(ITSELF, kind, 1) or {} end
function KINDS.six(kind) return 0, kind == AAAA and addresses(ITSELF, kind, 1) or {} end
function KINDS.long(kind) return 0, addresses(ITSELF, kind, 100) end
function KINDS.alias(kind)
  local target = "\4real\3lan\0"
  local out = addresses(target, kind, 1)
  table.insert(out, 1, record(ITSELF, CNAME, target))
  return 0, out
end
function KINDS.usual(kind) return 0, addresses(ITSELF, kind, 1) end

local function message(query, rcode, records, truncated)
  local stop = assert(query:find("%z", 13)) + 4 -- behind the question
  return query:sub(1, 2) .. string.char(truncated and 0x87 or 0x85, 0x80 + rcode) .. word(1) .. word(#records)
    .. "\0\0\0\0" .. query:sub(13, stop) .. table.concat(records)
end

-- Answers the reply to a message, or nil; and how long it takes.
local function reply(query, over_tcp)
  local label = query:sub(14, 13 + query:byte(13)):lower():match "^%a*"
  local at = assert(query:find("%z", 13))
  if label == "silent" then return nil end
  local rcode, records = (KINDS[label] or KINDS.usual)(query:byte(at + 1) * 256 + query:byte(at + 2))
  local text = message(query, rcode, records)
  if not over_tcp and #text > 512 then text = message(query, rcode, {}, true) end
  if label == "broken" then text = text:sub(1, 20) end
  return text, label == "slow" and 0.3 or 0
end

local function pause(sec)
  local timer = assert(L.poll.timer(sec))
  loop.wait(timer:fd(), "r")
  timer:close()
end

local function answer_udp(sock, query, ai)
  local text, sec = reply(query, false)
  if not text then return end
  if sec > 0 then pause(sec) end
  sock:sendto(text, ai)
end

local function serve_udp(sock)
  while true do
    local query, ai = sock:recvfrom()
    if query and #query > 16 then loop.spawn(answer_udp, sock, query, ai) end
    if not query then sock:recvable() end
  end
end

-- glibc sends both questions over one connection.
local function talk(sock)
  local held = ""
  repeat
    local msg, _, again = sock:recv()
    held = held .. (msg or "")
    while #held >= 2 and #held >= 2 + held:byte(1) * 256 + held:byte(2) do
      local size = held:byte(1) * 256 + held:byte(2)
      local text = reply(held:sub(3, 2 + size), true)
      held = held:sub(3 + size)
      if text then sock:send(word(#text) .. text) end
    end
  until not msg and not (again and sock:recvable(5))
  sock:close()
end

local function serve_tcp(listener)
  while true do
    local sock = listener:accept(true)
    if sock then loop.spawn(talk, sock) else listener:recvable() end
  end
end

-- Starts the server at an address and port.
function M.start(host, port)
  local udp = assert(L.socket.new(L.inet.getaddrinfo(host, port, L.SOCK_DGRAM)[1], true))
  local tcp = assert(L.socket.new(L.inet.getaddrinfo(host, port)[1], true))
  assert(not udp:bind())
  tcp:reuseaddr(true)
  assert(not tcp:bind())
  assert(not tcp:listen())
  local ours, theirs = net.pair()
  local pid = proc.fork(function()
    ours:close()
    L.wait.set(loop.wait)
    loop.spawn(function() -- however the test ends
      theirs:recvable()
      proc.kill(proc.getpid(), proc.SIGKILL)
    end)
    loop.spawn(serve_udp, udp)
    loop.spawn(serve_tcp, tcp)
    loop.run()
  end)
  udp:close(); tcp:close(); theirs:close()
  return { pid = pid, sock = ours }
end

function M.stop(server)
  server.sock:close()
  proc.wait(server.pid)
end

local MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 2 ^ 18

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function mount(source, target, flags)
  return ffi.C.llsocket_t_mount(source, target, "none", flags, nil) == 0
end

-- Moves this process into namespaces of its own where `conf` and `hosts` are the texts of resolv.conf and hosts; answers
-- the paths of these files, or nil and why that cannot be.
function M.enter(conf, hosts)
  local dir = net.tmpdir()
  local inside, why = netns.enter(true)
  if not inside then return nil, why end
  netns.ip "link set lo up"
  mount("none", "/", MS_REC + MS_PRIVATE)
  local paths = {}
  for name, text in pairs { ["resolv.conf"] = conf, hosts = hosts, ["nsswitch.conf"] = "hosts: files dns\n" } do
    paths[name] = dir .. "/" .. name
    write(paths[name], text)
    if not mount(paths[name], "/etc/" .. name, MS_BIND) then return nil, "nothing may be mounted over /etc/" .. name end
  end
  return paths
end

M.write = write

return M
