-- steer: sockets that share a port get packets by a hash of the flow, or by processor.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local show = require("show").show
local text = require("llsocket.errno").text
local before = leak.count()
local N = 35
local T = require("tap").plan(N)

local function refused(e) return show(text(e), e) end

-- A bound or listening socket of a group; the first one chooses the port.
local function member(family, socktype, ai)
  local sock = assert(L.socket.new(ai or net.addr(family, socktype), true))
  assert(sock:reuseport(true))
  assert(not sock:bind())
  if socktype == L.SOCK_STREAM then assert(not sock:listen()) end
  return sock
end

local function group(family, socktype, n)
  local socks = { member(family, socktype) }
  local ai = assert(socks[1]:getsockname())
  for i = 2, n do socks[i] = member(family, socktype, ai) end
  return socks, ai
end

local function close(...)
  for _, socks in ipairs { ... } do
    for _, sock in ipairs(socks) do sock:close() end
  end
end

local probe = member(L.AF_INET, L.SOCK_DGRAM)
local _, lacks = probe:steer("cpu", 1)
probe:close()
if lacks == L.ENOPROTOOPT then return missing.skip_all(T, N, "no SO_ATTACH_REUSEPORT_CBPF here") end

-- What the kernel's arithmetic would give, in Lua's: the words of the source, and both ports.
local GOLDEN = 0x9e3779b1ULL
local function index_of(from, to, n)
  local _, name = nil, from:bytes()
  local six = from:family() == L.AF_INET6
  local word = from:port() * 65536 + to:port()
  for at = six and 8 or 4, six and 20 or 4, 4 do
    local a, b, c, d = name:byte(at + 1, at + 4)
    word = bit.bxor(word, bit.bor(bit.lshift(a, 24), bit.lshift(b, 16), bit.lshift(c, 8), d))
  end
  local product = (ffi.cast("uint64_t", word % 2^32) * GOLDEN) % 2^32
  return math.floor(math.floor(tonumber(product) / 65536) * n / 65536)
end

-- Receives so many; answers which members had how many: index -> how often.
local function received(socks, total)
  local out = {}
  net.await(function()
    for i, sock in ipairs(socks) do
      while sock:recv() do out[i - 1], total = (out[i - 1] or 0) + 1, total - 1 end
    end
    return total == 0
  end)
  return out
end

-- Accepts the one connection that there is; answers at which listener it was.
local function accepted(socks)
  return net.await(function()
    for i, listener in ipairs(socks) do
      local server = listener:accept()
      if server then
        server:close()
        return i - 1
      end
    end
  end)
end

local function only(seen)
  local index, count = next(seen)
  return next(seen, index) == nil and index, count
end

local function udp_flows(family, title)
  local socks, ai = group(family, L.SOCK_DGRAM, 4)
  T.is(show(socks[2]:steer("hash", 4)), "", title .. ": any of four sockets sets the hash for all")
  local wrong, used = {}, {}
  for i = 1, 96 do
    local from = assert(L.socket.new(ai))
    if family == L.AF_INET and jit.os == "Linux" then -- all of 127/8 is this machine
      from:bind(assert(L.inet.getaddrinfo("127.0.0." .. i, "0", L.SOCK_DGRAM))[1])
    end
    from:connect(ai)
    for _ = 1, 5 do from:send "x" end
    local index, count = only(received(socks, 5))
    if count ~= 5 or index ~= index_of(from:getsockname(), ai, 4) then wrong[#wrong + 1] = i end
    used[index or -1] = true
    from:close()
  end
  T.is(table.concat(wrong, " "), "", title .. ": each flow stays on the one socket that the hash names")
  T.is(show(used[0], used[1], used[2], used[3], used[-1]), "true, true, true, true, nil", title .. ": and all four are used")
  local from = assert(L.socket.new(ai))
  from:connect(ai)
  from:send "x"
  local first = only(received(socks, 1))
  socks[5] = member(family, L.SOCK_DGRAM, ai)
  from:send "x"
  T.is(only(received(socks, 1)), first, title .. ": a fifth socket moves no flow")
  from:close()
  close(socks)
end

local function tcp_flows(family, title)
  local socks, ai = group(family, L.SOCK_STREAM, 4)
  T.is(show(socks[1]:steer("hash", 4)), "", title .. ": four listeners get the hash")
  local wrong, used = {}, {}
  for i = 1, 60 do
    local client = assert(L.socket.new(ai))
    assert(not client:connect())
    local want, got = index_of(client:getsockname(), ai, 4), accepted(socks)
    used[got] = true
    if got ~= want then wrong[#wrong + 1] = i end
    client:close()
  end
  T.is(table.concat(wrong, " "), "", title .. ": each connection waits at the listener that the hash names")
  T.is(show(used[0], used[1], used[2], used[3], used[-1]), "true, true, true, true, nil", title .. ": and all four are used")
  close(socks)
end

-- How many of a group's sockets get less than half or more than twice their share of what connect(2) gives ports to.
local SHARE = 40
local function uneven(socktype, n)
  local socks, ai = group(L.AF_INET, socktype, n)
  assert(not socks[1]:steer("hash", n))
  local clients, seen, wrong = {}, {}, 0
  for i = 1, SHARE * n do
    clients[i] = assert(L.socket.new(ai))
    assert(not clients[i]:connect())
    if socktype == L.SOCK_DGRAM then clients[i]:send "x" end
    local found = socktype == L.SOCK_STREAM and accepted(socks) or only(received(socks, 1))
    seen[found] = (seen[found] or 0) + 1
    clients[i]:close()
  end
  for i = 0, n - 1 do
    local share = (seen[i] or 0) / SHARE
    if share < 0.5 or share > 2 then wrong = wrong + 1 end
  end
  close(socks)
  return wrong
end

for _, n in ipairs { 2, 3, 4, 7, 8 } do
  T.is(uneven(L.SOCK_STREAM, n), 0, ("TCP: each of %d listeners gets about its share"):format(n))
  T.is(uneven(L.SOCK_DGRAM, n), 0, ("UDP: each of %d sockets gets about its share"):format(n))
end

for i, family in ipairs { L.AF_INET, L.AF_INET6 } do
  if net.has(net.places[i]) then
    udp_flows(family, net.places[i].name .. " UDP")
    tcp_flows(family, net.places[i].name .. " TCP")
  else
    T.skip(7, "no " .. net.places[i].name .. " here")
  end
end

-- By processor: this process moves to one, and what it sends over the loopback is taken in there.
ffi.cdef [[
int llsocket_t_setaffinity(int pid, size_t size, const void *mask) __asm__("sched_setaffinity");
int llsocket_t_getaffinity(int pid, size_t size, void *mask) __asm__("sched_getaffinity");
]]
local all, mask = ffi.new "uint8_t[128]", ffi.new "uint8_t[128]"
assert(ffi.C.llsocket_t_getaffinity(0, 128, all) >= 0)

local function processors()
  local out = {}
  for cpu = 0, 1023 do
    if bit.band(all[math.floor(cpu / 8)], bit.lshift(1, cpu % 8)) ~= 0 then out[#out + 1] = cpu end
  end
  return out
end

local function pinned(cpu, fn)
  ffi.fill(mask, 128)
  mask[math.floor(cpu / 8)] = bit.lshift(1, cpu % 8)
  assert(ffi.C.llsocket_t_setaffinity(0, 128, mask) == 0)
  local answer = fn()
  ffi.C.llsocket_t_setaffinity(0, 128, all)
  return answer
end

local function by_cpu(cpus)
  local most = cpus[#cpus] + 1
  local udp, name = group(L.AF_INET, L.SOCK_DGRAM, most)
  local tcp, where = group(L.AF_INET, L.SOCK_STREAM, most)
  T.is(show(udp[1]:steer("cpu", most), tcp[most]:steer("cpu", most)), "nil", "sockets are given to processors")
  local got_udp, got_tcp, want = {}, {}, {}
  for _, cpu in ipairs(cpus) do
    want[#want + 1] = cpu
    got_udp[#got_udp + 1] = pinned(cpu, function()
      for _ = 1, 8 do
        local from = assert(L.socket.new(name))
        from:sendto("x", name)
        from:close()
      end
      return (only(received(udp, 8)))
    end)
    got_tcp[#got_tcp + 1] = pinned(cpu, function()
      local client = assert(L.socket.new(where))
      client:connect()
      local found = accepted(tcp)
      client:close()
      return found
    end)
  end
  T.is(show(unpack(got_udp)), show(unpack(want)), "each processor's datagrams go to its socket")
  T.is(show(unpack(got_tcp)), show(unpack(want)), "each processor's connections go to its listener")
  close(udp, tcp)
end

local rps = io.open "/sys/class/net/lo/queues/rx-0/rps_cpus"
local moves = rps and rps:read("*a"):find "[1-9a-f]"
if rps then rps:close() end
local cpus = processors()
if moves then T.skip(3, "rps_cpus moves what the loopback takes in")
elseif cpus[#cpus] > 63 then T.skip(3, "more processors than this test has sockets for")
else by_cpu(cpus) end

-- Off again, and what cannot be.
local socks, ai = group(L.AF_INET, L.SOCK_DGRAM, 2)
socks[1]:steer("cpu", 1) -- all to the first
local function spread()
  for _ = 1, 40 do
    local from = assert(L.socket.new(ai))
    from:sendto("x", ai)
    from:close()
  end
  local seen = received(socks, 40)
  return show(seen[0] == 40, seen[1])
end
T.is(spread(), "true, nil", "one socket of two may get all")
if L.SO_DETACH_REUSEPORT_BPF then
  T.is(show(socks[2]:steer "off"), "", "off turns it off")
  T.is(spread():match "^false, %d+" ~= nil, true, "and the kernel spreads again")
  T.is(show(socks[1]:steer "off"), refused(L.ENOENT), "off once more is ENOENT")
else
  T.skip(3, "no SO_DETACH_REUSEPORT_BPF here")
end
local wrong = {}
for _, n in ipairs { 0, -1, 65536, 1.5, 0 / 0, 1 / 0, 2^32 + 1 } do
  for _, how in ipairs { "cpu", "hash" } do
    if show(socks[1]:steer(how, n)) ~= refused(L.EINVAL) then wrong[#wrong + 1] = how .. " " .. n end
  end
end
T.is(table.concat(wrong, ", "), "", "an impossible number of sockets is EINVAL")
T.is(show(socks[1]:steer("random", 2)), refused(L.EINVAL), "so is another way")
local alone = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))
T.is(show(alone:steer("cpu", 1)), refused(L.EINVAL), "and a socket without reuseport")
alone:close()
close(socks)
T.is(leak.count(), before, "no descriptor is left")
T.done()
