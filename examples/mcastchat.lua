-- mcastchat.lua GROUP INTERFACE [NAME [PORT]] -- chat in a multicast group: each typed line goes to all members.
--
-- Start it in two terminals: mcastchat.lua 239.255.42.99 lo ann; mcastchat.lua 239.255.42.99 lo ben
local L = require "llsocket"

local GROUP, IFNAME, NAME, PORT = arg[1], arg[2], arg[3] or os.getenv "USER" or "somebody", arg[4] or "7667"

local function must(value, what, err)
  return value or os.exit(io.stderr:write("mcastchat: ", what, ": ", tostring(err), "\n") and 1)
end

-- The typed lines arrive on a socket, so that a poller can wait for them too: cat(1) copies them there.
local function keyboard()
  local ends = assert(L.socket.pair(L.SOCK_STREAM))
  ends[2]:cloexec(false)
  must(ends[2]:fd() <= 9, "keyboard", "sh(1) knows descriptors of one digit only")
  local cat = io.popen("exec cat >&" .. ends[2]:fd())
  ends[2]:close()
  return ends[1], cat
end

-- Bound to the group itself, so that it receives nothing else.  Other programs on this machine may bind to it, too.
local function ear(ai)
  local sock = assert(L.socket.new(ai))
  sock:reuseaddr(true)
  local err = sock:bind() or sock:mcastjoin(GROUP, IFNAME)
  return must(not err and sock, tostring(ai), err)
end

local function mouth(ai)
  local sock = assert(L.socket.new(ai))
  local _, err = sock:mcastif(IFNAME)
  err = err or sock:connect()
  return must(not err and sock, tostring(ai), err)
end

local function hear(sock, me)
  local msg, from = sock:recvfrom(2048)
  if msg and tostring(from) ~= me then print((msg:gsub("%c", "?"))) end
end

-- Returns false at the end of the typed lines.
local function speak(keys, sock)
  local text = keys:recv(1024)
  for line in (text or ""):gmatch "[^\n]+" do sock:send(NAME .. ": " .. line) end
  return text ~= nil
end

if not IFNAME then must(nil, "usage", "mcastchat.lua GROUP INTERFACE [NAME [PORT]]") end
local scope = GROUP:find(":", 1, true) and "%" .. IFNAME or ""
local list, err = L.inet.getaddrinfo(GROUP .. scope, PORT, L.SOCK_DGRAM)
local ai = must(list, GROUP, err)[1]
local heard, said, keys, cat = ear(ai), mouth(ai), keyboard()
io.stdout:setvbuf "line"
print(("%s joined %s on %s"):format(NAME, tostring(ai), IFNAME))
repeat
  if heard:recvable(0.02) then hear(heard, tostring(said:getsockname())) end
until keys:recvable(0.02) and not speak(keys, said)
cat:close()
