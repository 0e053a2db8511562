-- args: functions that take flags take eight, and look at each of them; a ninth raises.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local signature = require "signature"
local pack, line = signature.pack, signature.line

local before = leak.count()
local MOST = 8

-- The functions with `[flag, ...]`, and at which position their flags begin.
local taking, first = {}, {}
for _, f in ipairs(signature.all()) do
  if f.params[#f.params] and f.params[#f.params].vararg and f.name ~= "signal" then
    taking[#taking + 1], first[f] = f, #f.params - 1
  end
end

local T = require("tap").plan(#taking * 3 + 11)

local sock = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))
sock:close()
local SELF = { ["llsocket.socket"] = sock, ["llsocket.addrinfo"] = net.addr(L.AF_INET, L.SOCK_DGRAM) }

local HERE = debug.getinfo(1, "S").short_src
local LINE = debug.getinfo(1, "l").currentline + 2
local function call(fn, args)
  local got = pack(fn(unpack(args, 1, args.n)))
  return got
end

-- The arguments of a function with `value` as its flag number k, and nil as all the others.
local function arguments(f, k, value)
  local args, self = {}, SELF[f.class]
  if self then args[1] = self end
  local shift = self and 1 or 0
  for i = 1, first[f] - 1 do args[i + shift] = f.params[i].sample end
  args.n = shift + first[f] - 1 + k
  args[args.n] = value
  return args
end

local function raises(f, k, value, message)
  local ok, got = pcall(call, f.fn, arguments(f, k, value))
  local want = ("%s:%d: bad argument #%d to '%s' (%s)"):format(HERE, LINE, first[f] + k - 1, f.name, message)
  return ok and "no error" or got ~= want and got or nil
end

-- Each of `values` as flag number k; answers what is wrong.
local function all_raise(f, k, values, message)
  local out = {}
  for i = 1, values.n do
    local value = values[i]
    out[#out + 1] = raises(f, k, value, message or "number expected, got " .. type(value))
  end
  return out
end

local WRONG = pack(false, true, "1", {}, print, 1LL, ffi.new "void *", sock)
local NINTH = pack(0, 2^40, false, "1", ffi.new "void *")

local function wrong_types(f)
  local out = {}
  for k = 1, MOST do out[k] = all_raise(f, k, WRONG)[1] end
  return table.concat(out, "; ")
end

local function impossible(f)
  local out, want = {}, signature.failure(f.shape, L.EINVAL)
  for k = 1, MOST do
    local ok, got = pcall(call, f.fn, arguments(f, k, 2^32))
    if not ok or line(got) ~= want then out[#out + 1] = ("#%d: %s"):format(k, ok and line(got) or got) end
  end
  return table.concat(out, "; ")
end

for _, f in ipairs(taking) do
  T.is(wrong_types(f), "", f.title .. " raises on each of eight flags that is no number, and takes nil for none")
  T.is(impossible(f), "", f.title .. " answers EINVAL for each of eight flags that is no 32-bit word")
  T.is(table.concat(all_raise(f, MOST + 1, NINTH, "at most eight flags"), "; "), "", f.title .. " raises on a ninth")
end
T.ok(#taking > 20, "they are all functions with flags")

-- Functions that run for each message have no `...`: LuaJIT would start no trace there.
local FREE = { ["cmsghdr.rights"] = true, ["poll.signal"] = true }
local varargs = {}
for _, f in ipairs(signature.all()) do
  if debug.getinfo(f.fn, "u").isvararg and not FREE[f.title] then varargs[#varargs + 1] = f.title end
end
T.is(table.concat(varargs, ", "), "", "no function has `...` except those that take a list")

-- What the flags do, wherever they stand.
local a, b = net.pair(L.SOCK_STREAM)
local PEEK, DONTWAIT = L.MSG_PEEK, L.MSG_DONTWAIT
a:send "hello"
T.is(b:recv(64, PEEK, PEEK, PEEK, PEEK, PEEK, PEEK, PEEK, PEEK), "hello", "eight flags are combined")
T.is(b:recv(64, 0, 0, 0, 0, 0, 0, 0, PEEK), "hello", "the eighth alone counts")
T.is(b:recv(64, nil, nil, PEEK, nil, DONTWAIT), "hello", "flags between nils count")
T.is(b:recv(64, PEEK, nil, nil, nil, nil, nil, nil, nil, nil), "hello", "a ninth that is nil is none")
local ok, why = pcall(b.recv, b, 64, PEEK, 0, 0, 0, 0, 0, 0, 0, PEEK)
T.is(ok, false, "a ninth raises: " .. tostring(why))
T.is(b:recv(64), "hello", "and takes nothing")
T.is(line(pack(a:send("x", 0, L.MSG_ZEROCOPY or 2^33))), signature.failure("transfer", L.EINVAL),
  "MSG_ZEROCOPY is refused as any flag, not only as the first")

-- The same of compiled code, at the caller's line.
local function many()
  for i = 1, 300 do b:recv(64, DONTWAIT, 0, 0, 0, 0, 0, 0, 0, i == 300 and DONTWAIT or nil) end
end
ok, why = pcall(many)
T.is(not ok and why, ("%s:%d: bad argument #10 to 'recv' (at most eight flags)"):format(HERE,
  debug.getinfo(many, "S").linedefined + 1), "a compiled call raises as well")

a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
