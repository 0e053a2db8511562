-- scripted.lua -- servers in a child process that do what the first line of each connection says, for scripts that compare two
-- clients; and ports where nobody answers.
--
-- Commands stand in one line, with "|" in between; a text has bytes as %XX:
--   say TEXT    sends it              drip TEXT  sends it byte by byte, with pauses
--   fill N      sends N digits        echo N     sends back the next N bytes
--   take N      reads N bytes         wait SEC   does nothing for a while
--   hold        reads until the client has closed      stuck  reads nothing more, for 30 s
--   reset       resets the connection
-- Then it closes.  Over UDP "say TEXT" is answered, "silent" is not, "twice TEXT" comes twice.
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"
local net = require "net"
local proc = require "proc"

local M = {}

local function unescaped(text) return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)) end

local DO = {}
function DO.say(s, text) s:write(unescaped(text)) end
function DO.drip(s, text)
  for byte in unescaped(text):gmatch "." do
    s:write(byte)
    loop.sleep(0.003)
  end
end
function DO.fill(s, n) s:write((("0123456789"):rep(math.ceil(n / 10)):sub(1, n))) end
function DO.echo(s, n) s:write(s:exactly(tonumber(n)) or "") end
function DO.take(s, n) s:exactly(tonumber(n)) end
function DO.wait(_, sec) loop.sleep(tonumber(sec)) end
function DO.hold(s) repeat local part = s:some() until not part end
function DO.stuck() loop.sleep(30) end
function DO.reset(s)
  s.sock:linger(0)
  s.sock:close()
end

local function obey(s)
  while true do
    local line = s:line()
    if not line then return end
    for command in line:gmatch "[^|]+" do
      local name, rest = command:match "^(%S+) ?(.*)$"
      if name == "again" then break end
      if not DO[name] then error("no command: " .. command) end
      DO[name](s, rest)
    end
    if not line:find "again$" then return end
  end
end

local function answer(udp)
  while true do
    udp:recvable()
    local msg, from = udp:recvfrom(9000)
    if msg then
      local name, text = msg:match "^(%S*) ?(.*)$"
      if name == "say" or name == "twice" then udp:sendto(unescaped(text), from) end
      if name == "twice" then udp:sendto(unescaped(text), from) end
    end
  end
end

-- A name server: names that begin with "here" have 127.0.0.1, others do not exist.
local function name(udp)
  while true do
    udp:recvable()
    local msg, from = udp:recvfrom(512)
    local question = (msg or ""):sub(13, ((msg or ""):find("\0", 13, true) or 13) + 4)
    local is_known, kind = question:find "^\4here", question:byte(-3)
    local record = is_known and kind == 1 and "\192\12\0\1\0\1\0\0\0\5\0\4\127\0\0\1" or ""
    local head = "\129" .. (is_known and "\128" or "\131") .. "\0\1\0" .. (record ~= "" and "\1" or "\0") .. "\0\0\0\0"
    if msg then udp:sendto(msg:sub(1, 2) .. head .. question .. record, from) end
  end
end

-- A port whose backlog is full: nobody answers there.
local function full()
  local listener, ai = net.bound(L.AF_INET, L.SOCK_STREAM)
  listener:listen(0)
  local kept = { listener }
  for i = 1, 4 do
    kept[i + 1] = assert(L.socket.new(ai, true))
    kept[i + 1]:connect()
  end
  return kept, ai:port()
end

-- A port where nobody listens.  It stays bound: a port that is free goes to another program at any time.
local function dead(kept, socktype)
  local sock, ai = net.bound(L.AF_INET, socktype)
  if socktype == L.SOCK_DGRAM then sock:connect(net.addr(L.AF_INET, L.SOCK_DGRAM, 9)) end -- takes datagrams from there alone
  kept[#kept + 1] = sock
  return ai:port()
end

--- Starts the servers; answers what scripts find as globals, and a function that ends them.
function M.start(dir)
  local tcp, unix = assert(stream.listen("127.0.0.1", 0)), assert(stream.listen(dir .. "/scripted"))
  local six = stream.listen("::1", 0)
  local udp, dns = net.bound(L.AF_INET, L.SOCK_DGRAM, true), net.bound(L.AF_INET, L.SOCK_DGRAM, true)
  local dgram = assert(L.socket.new(L.unix.getaddrinfo(dir .. "/dgram", L.SOCK_DGRAM)[1], true))
  assert(not dgram:bind())
  os.execute(("chmod 777 '%s/scripted' '%s/dgram'"):format(dir, dir))
  local kept, port = full()
  local pid = proc.fork(function()
    for _, listener in ipairs { tcp, unix, six } do loop.spawn(stream.serve, listener, obey) end
    loop.spawn(answer, udp)
    loop.spawn(answer, dgram)
    loop.spawn(name, dns)
    loop.run()
  end)
  local names = {
    PORT = tcp:getsockname():port(), PATH = "unix:" .. dir .. "/scripted", UDP = udp:getsockname():port(),
    DGRAM = "unix:" .. dir .. "/dgram", FULL = port, DEAD = dead(kept, L.SOCK_STREAM), DEAD_UDP = dead(kept, L.SOCK_DGRAM),
    SIX = six and six:getsockname():port(), DIR = dir, DNS = dns:getsockname():port(),
  }
  for _, sock in ipairs { tcp, unix, udp, dgram, dns, six } do sock:close() end
  return names, function()
    proc.kill(pid)
    proc.reap(pid)
    for _, sock in ipairs(kept) do sock:close() end
  end
end

return M
