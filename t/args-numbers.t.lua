-- args: an impossible number returns EINVAL in the call's own shape, and changes nothing.
local L = require "llsocket"
local options = require("methods").options
local leak = require "leak"
local net = require "net"
local signature = require "signature"
local pack, line = signature.pack, signature.line

local before = leak.count()
local walked, functions = {}, signature.all()
for _, f in ipairs(functions) do
  for _, param in ipairs(f.params) do if #param.impossible > 0 then walked[f] = true end end
end
local n = 0
for _ in pairs(walked) do n = n + 1 end

-- Words of 32 bits that are good flags, signed or unsigned, and what they are.
local MANY = L.MSG_DONTWAIT + (L.MSG_ZEROCOPY or 0)
local WORDS = { { 2^32 - MANY, "unsigned" }, { -MANY, "signed" } }

local T = require("tap").plan(n * 2 + #WORDS + 21)

-- All that a call could have changed.
local function state(sock)
  local out = { sock:fd(), tostring(sock:cloexec()), tostring(sock:nonblock()), tostring(sock:getsockname()) }
  for _, row in ipairs(options) do
    local value, _, e = sock[row[1]](sock)
    local is_table = row[4] == "ucred" or row[4] == "meminfo"
    if type(value) == "table" and not is_table then value = table.concat(value, " ") end
    if row[1] ~= "error" and not is_table then out[#out + 1] = row[1] .. "=" .. line { n = 2, value, e } end
  end
  for _, name in ipairs { "mcastloop", "mcastttl", "mcastif" } do out[#out + 1] = tostring(sock[name](sock)) end
  return table.concat(out, " ")
end

local function arguments(f, self, position, value)
  local args = { n = position }
  for i = 1, position do args[i] = f.params[i].sample end
  args[position] = value
  if not self then return args end
  table.insert(args, 1, self)
  args.n = args.n + 1
  return args
end

-- Every impossible number at every position; those before are good, those after are left out unless required.
local function refusals(f, self)
  local out = {}
  for i, param in ipairs(f.params) do
    for _, value in ipairs(param.impossible) do
      local args = arguments(f, self, i, value)
      for j = i + 1, #f.params do
        if not f.params[j].optional then args.n, args[args.n + 1] = args.n + 1, f.params[j].sample end
      end
      local below_zero = value < 0 and value > -math.huge and value % 1 == 0
      local want = signature.failure(f.shape, below_zero and param.below_zero or L.EINVAL)
      local ok, got = pcall(function() return line(pack(f.fn(unpack(args, 1, args.n)))) end)
      if not ok or got ~= want then out[#out + 1] = ("#%d %.17g: %s"):format(i, value, got) end
    end
  end
  return table.concat(out, "; ")
end

local udp = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local SELF = { ["llsocket.socket"] = udp, ["llsocket.addrinfo"] = net.addr(L.AF_INET, L.SOCK_DGRAM),
  ["llsocket.poller"] = assert(L.poll.new()), ["llsocket.pipe"] = assert(L.pipe.new()),
  ["llsocket.batch"] = assert(L.batch.new { count = 2, size = 64 }) }
for _, f in ipairs(functions) do
  if walked[f] then
    local was = state(udp)
    T.is(refusals(f, SELF[f.class]), "", f.title .. " answers EINVAL for every number that it cannot mean, or EBADF")
    T.same(state(udp), was, f.title .. " leaves the descriptor as it was")
  end
end

-- Negative flags are words too: the kernel sees the same bits either way.
for _, row in ipairs(WORDS) do
  local got = pack(udp:send("x", row[1]))
  T.ok(got[4] ~= nil and got[4] ~= L.EINVAL, ("a flag word written %s reaches the kernel"):format(row[2]))
end
local function fails(got, shape, e, name) T.is(line(got), signature.failure(shape, e), name) end

fails(pack(udp:send("x", L.MSG_DONTWAIT, 2^32 + 1)), "transfer", L.EINVAL, "a second flag of 33 bits is EINVAL")
fails(pack(udp:send("x", 2^32 + 1, L.MSG_DONTWAIT)), "transfer", L.EINVAL, "a first flag of 33 bits is EINVAL")

-- Possible for Lua, but for no kernel: its own answer comes back.
for _, fd in ipairs { -1, -2^31, -2^40, -2^63 } do
  fails(pack(L.wait.poll(fd, "r", 0)), "object", L.EBADF, ("wait.poll of %g is EBADF"):format(fd))
  fails(pack(L.wait.wait(fd, "r", 0)), "object", L.EBADF, ("wait.wait of %g is EBADF"):format(fd))
end
fails(pack(L.wait.poll(2^31, "r", 0)), "object", L.EINVAL, "wait.poll of 2^31 is EINVAL")
fails(pack(L.socket.wrap(-1)), "object", L.EBADF, "wrap(-1) is EBADF")
fails(pack(L.socket.wrap(2^31 - 1)), "object", L.EBADF, "wrap of a number that is not open is EBADF")
fails(pack(L.socket.pair(-1)), "object", L.EINVAL, "pair(-1) is EINVAL")
local tcp = net.listener()
fails(pack(tcp:getsockopt(L.SOL_SOCKET, -1, "int")), "object", L.ENOPROTOOPT, "an unknown option is ENOPROTOOPT")
tcp:close()

local a, b = net.pair(L.SOCK_STREAM)
a:send "abc"
T.is(line(pack(b:recv(0/0))), signature.failure("transfer", L.EINVAL), "recv(NaN) is EINVAL")
T.is(b:recv(2), "ab", "and takes no byte")
T.is(line(pack(b:recv(2^31 - 1, L.MSG_DONTWAIT))), line { n = 3, "c", nil, false }, "the greatest size receives as any other")
a:close(); b:close()

udp:close()
SELF["llsocket.poller"]:close()
SELF["llsocket.pipe"]:close()
T.is(udp:fd(), -1, "the socket closes after all that")
T.is(signature.difference(), "", "every public function has a row here, and every row a function")
T.is(leak.count(), before, "no descriptor is left")
T.done()
