-- syslog.lua -- RFC 5424 messages for a syslog server, from any phase; over UDP, or, without a port, a unix socket.
--
-- A datagram is one message, as RFC 5426 requires.  All lines of one second share a message, see batch.lua; rsyslog writes
-- a line break as #012.  With `bytes = 0` each line is its own message.
--
-- At /dev/log rsyslog's imuxsock reads RFC 5424 if SysSock.UseSpecialParser="off"; journald keeps the head as text.
local batch = require "batch"

local FACILITY, SEVERITY = 16, 6 -- local0, informational
local PRI = FACILITY * 8 + SEVERITY

local Syslog = {}
Syslog.__index = Syslog

local function read_host()
  local file = io.open "/proc/sys/kernel/hostname"
  local name = file and file:read "*l"
  if file then file:close() end
  return name
end

local HOST = read_host() or "-" -- read once, when nginx starts

-- In UTC, with milliseconds.
local function timestamp()
  local now = ngx.now()
  return os.date("!%Y-%m-%dT%H:%M:%S", now) .. (".%03dZ"):format(now % 1 * 1000)
end

-- <PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG
local function head(id)
  return ("<%d>1 %s %s nginx %d %s - "):format(PRI, timestamp(), HOST, ngx.worker.pid(), id)
end

-- `id` is the MSGID and the name of the counters; `bytes` is the largest size of a message.
local function new(id, host, port, bytes)
  local lines = batch.new(id, host, port, function() return head(id) end)
  lines.bytes = bytes or lines.bytes
  return setmetatable({ batch = lines }, Syslog)
end

-- Replace control characters and #: with a line break or rsyslog's #012 a client could forge log lines.
function Syslog:log(line) self.batch:add((line:gsub("[%c#]", "?"))) end
function Syslog:flush() self.batch:flush() end

return { new = new }
