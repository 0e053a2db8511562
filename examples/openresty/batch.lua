-- batch.lua -- collects lines in any phase, and sends them as one datagram each second, or at 1,400 bytes.
--
-- It never waits, and drops what the kernel does not take at once.  Longer lines go alone.  Needs `lua_shared_dict counts 64k`.
local L = require "llsocket"

local BYTES, SECONDS = 1400, 1 -- a datagram of this size fits into one Ethernet packet
local counts = assert(ngx.shared.counts, "nginx.conf lacks: lua_shared_dict counts 64k;")

local Batch = {}
Batch.__index = Batch

local function address(host, port)
  if port then return L.inet.getaddrinfo(host, tostring(port), L.SOCK_DGRAM) end
  return L.unix.getaddrinfo(host, L.SOCK_DGRAM)
end

-- Sends to a UDP port, or, without a port, to the path of a unix socket.  Each worker opens its own socket at its first
-- send.  `head()`, if given, returns the beginning of a datagram.
local function new(name, host, port, head)
  local ai = assert(address(host, port))[1]
  return setmetatable({ name = name, ai = ai, head = head, bytes = BYTES, lines = {}, n = 0, size = 0, last = 0 }, Batch)
end

function Batch:count(what, n) counts:incr(self.name .. " " .. what, n, 0) end

function Batch:open()
  local sock = L.socket.new(self.ai, true)
  if sock and not sock:connect() then self.sock = sock elseif sock then sock:close() end -- the path may not exist yet
  return self.sock
end

-- A connected UDP socket reports at the next send that the last datagram was refused.
function Batch:refused()
  local lost = self.ai:family() == L.AF_UNIX and 0 or self.last
  self.last = 0
  self:count("sent", -lost)
  self:count("dropped", lost)
end

-- Returns whether the kernel took it.  Tries twice, because a restarted collector needs a new socket.
function Batch:send(data)
  for _ = 1, 2 do
    local sock = self.sock or self:open()
    if not sock then return false end
    local n, _, again, errno = sock:send(data)
    if n == #data then return true end
    if again then return false end -- its buffer is full
    if errno == L.ECONNREFUSED then self:refused() end
    sock:close()
    self.sock = nil
  end
  return false
end

function Batch:flush()
  if self.n == 0 then return end
  local n = self.n
  self.n = 0
  local taken = self:send(self.begin .. table.concat(self.lines, "\n", 1, n))
  self:count(taken and "sent" or "dropped", n)
  self.last = taken and n or 0
end

-- No timer can be made when the worker is about to end.
function Batch:begins()
  self.begin = self.head and self.head() or ""
  self.size = #self.begin
  self.timer = self.timer or ngx.timer.at(SECONDS, function() self.timer = nil self:flush() end)
end

function Batch:add(line)
  if self.n > 0 and self.size + 1 + #line > self.bytes then self:flush() end
  if self.n == 0 then self:begins() end
  self.n = self.n + 1
  self.lines[self.n], self.size = line, self.size + 1 + #line
  if self.size >= self.bytes or not self.timer then self:flush() end
end

return { new = new }
