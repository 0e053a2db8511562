-- bpf: the kernel runs random filters over random packets, and answers what an interpreter in Lua does.
local L = require "llsocket"
local cbpf = require "cbpf"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local random = require "random"
local before = leak.count()
local N = 7
local T = require("tap").plan(N)

local PROGRAMS, EACH = 1000, 12 -- programs on a unix socket, and packets for each of them
local UDP_PROGRAMS = 150

local probe = net.pair(L.SOCK_DGRAM)
local has = probe:filter "ret #-1"
probe:close()
if not has then return missing.skip_all(T, N, "no SO_ATTACH_FILTER here") end

local seed = random.seed()
local draw = random.new(seed)
print("# seed: " .. seed)

local function show(rows)
  local out = {}
  for i, row in ipairs(rows) do out[i] = table.concat(row, " ") end
  return table.concat(out, ", ")
end

-- The first differences, and how many packets passed whole, were cut or dropped.
local function tally() return { wrong = {}, whole = 0, cut = 0, dropped = 0 } end

local function count(t, rows, packet, want, got)
  local kind = not want and "dropped" or #want < #packet and "cut" or "whole"
  t[kind] = t[kind] + 1
  if got ~= want and #t.wrong < 3 then
    t.wrong[#t.wrong + 1] = ("%s over %q: %s, not %s"):format(show(rows), packet, tostring(got), tostring(want))
  end
end

-- Sends packets; `header(packet)` is what the filter sees before the packet, and is never cut.
local function compare(t, from, to, header, most)
  local rows = cbpf.program(draw)
  assert(to:filter(rows))
  for _ = 1, EACH do
    local packet = cbpf.packet(draw, most)
    local head = header(packet)
    local n = cbpf.run(rows, head .. packet)
    local want = n > 0 and packet:sub(1, math.min(math.max(0, n - #head), #packet)) or nil
    assert(from:send(packet))
    if want then to:recvable(5) end
    count(t, rows, packet, want, (to:recv()))
  end
end

local a, b = net.pair(L.SOCK_DGRAM, true)
local unix = tally()
for _ = 1, PROGRAMS do compare(unix, a, b, function() return "" end, 60) end
T.is(table.concat(unix.wrong, "; "), "", ("%d packets over a unix socket meet %d filters"):format(PROGRAMS * EACH, PROGRAMS))
T.ok(unix.whole > 1000 and unix.cut > 500 and unix.dropped > 1000, "some pass, some are cut, some are dropped")
print(("# %d whole, %d cut, %d dropped"):format(unix.whole, unix.cut, unix.dropped))
a:close(); b:close()

-- A UDP socket's filter sees the UDP header first.  SO_NO_CHECK makes its checksum 0.
local function word(n) return string.char(math.floor(n / 256), n % 256) end
local sink, ai = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local source = assert(L.socket.new(ai))
assert(not source:connect())
assert(source:setsockopt(L.SOL_SOCKET, L.SO_NO_CHECK, "int", 1))
local ports = word(source:getsockname():port()) .. word(ai:port())
local udp = tally()
for _ = 1, UDP_PROGRAMS do
  compare(udp, source, sink, function(packet) return ports .. word(#packet + 8) .. "\0\0" end, 60)
end
T.is(table.concat(udp.wrong, "; "), "", ("%d datagrams over UDP meet %d filters"):format(UDP_PROGRAMS * EACH, UDP_PROGRAMS))
T.ok(udp.whole > 100 and udp.dropped > 100, "some pass, some are dropped")
print(("# %d whole, %d cut, %d dropped"):format(udp.whole, udp.cut, udp.dropped))

-- What the interpreter has no packet for.
local function passes(program)
  assert(sink:filter(program))
  source:send "x"
  local got = sink:recv()
  return got == "x"
end
T.ok(passes "ldb [SKF_NET_OFF]\nrsh #4\njeq #4, keep\nret #0\nkeep: ret #-1", "SKF_NET_OFF leads to the IP header")
T.ok(passes "ld #proto\njne #ETH_P_IP, drop\nld #ifidx\njne #1, drop\nret #-1\ndrop: ret #0", "extensions tell of IPv4 on lo")
sink:close(); source:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
