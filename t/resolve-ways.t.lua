-- resolve-ways: names through each ready-made way, in each loop that it works in, while another coroutine goes on: a slow, a
-- silent, a refusing name server, 100 names at once, time limits, what is numeric or in a file, descriptors and memory back.
local L = require "llsocket"
local errno = require "llsocket.errno"
local resolve = require "llsocket.resolve"
local dnsd = require "dnsd"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local proc = require "proc"
local sys = require "sys"

local WAYS = {
  { "luv", "luv" }, { "cqueues", "cqueues" }, { "unbound", "coroutine" }, { "unbound", "luv" }, { "unbound", "cqueues" },
  { "unbound", "copas" },
}

-- What each name gives: the addresses, in any order, or the error.
local function addresses(...)
  local list = { ... }
  table.sort(list)
  return table.concat(list, " ")
end
local BOTH = addresses("192.0.2.1:80", "[2001:db8::1]:80")
local NAMES = {
  { "usual.lan", BOTH }, { "USUAL.lan.", BOTH }, { "slow.lan", BOTH }, { "alias.lan", BOTH }, { "four.lan", "192.0.2.1:80" },
  { "six.lan", "[2001:db8::1]:80" }, { "hosted.lan", addresses("192.0.2.77:80", "[2001:db8::77]:80") },
  { "localhost", "127.0.0.1:80" }, { "short", BOTH }, { "nothing.lan", "EAI_NONAME" }, { "empty.lan", "EAI_NONAME" },
  { "refused.lan", "EAI_AGAIN" }, { "failed.lan", "EAI_AGAIN" }, { ("x"):rep(64) .. ".lan", "EAI_NONAME" },
  { ("x"):rep(50):rep(6, "."), "EAI_NONAME" }, { "two words.lan", "EAI_NONAME" }, { "two..dots.lan", "EAI_NONAME" },
}
-- What each way needs.
local LIBRARIES = { { "unbound", "lunbound" }, { "luv", "luv" }, { "cqueues", "cqueues" }, { "nginx", "ngx" } }
local PER_WAY = #NAMES + 19

local T = require("tap").plan(#WAYS * PER_WAY + #LIBRARIES + 1)
for _, row in ipairs(LIBRARIES) do
  local said = proc.lua(([[
local function ours(paths)
  local out = {}
  for template in paths:gmatch "[^;]+" do
    if not template:find "^/usr/" then out[#out + 1] = template end
  end
  return table.concat(out, ";")
end
package.path, package.cpath = ours(package.path), ours(package.cpath)
for _ = 1, 2 do print((select(2, pcall(require, "llsocket.resolve.%s")):match "module '[^\n]+")) end]]):format(row[1]))
  local want = ("module '%s' not found:\n"):format(row[2])
  T.is(said, want:rep(2), row[1] .. " says what it lacks where its library is not there")
end
loops.settle()
local CONF = "# ours\nnameserver 127.0.0.1\nsearch nothing.lan good.lan\noptions ndots:1 timeout:1 attempts:2\n"
local paths, why = dnsd.enter(CONF, "127.0.0.1 localhost # and nobody else\n192.0.2.77 Hosted.lan h\n2001:db8::77\thosted.lan\n")
local server = paths and dnsd.start("127.0.0.1", "53")

local function name_of(code, e)
  for _, name in ipairs { "EAI_NONAME", "EAI_AGAIN", "EAI_FAIL", "EAI_SERVICE", "EAI_SYSTEM" } do
    if L[name] == code then return code == L.EAI_SYSTEM and errno.name(e) or name end
  end
  return tostring(code)
end

local function show(arr, _, code, e)
  if not arr then return name_of(code, e) end
  local list = {}
  for i, ai in ipairs(arr) do list[i] = tostring(ai) end
  return addresses(unpack(list))
end

local function raised(...)
  local ok, err = pcall(...)
  return not ok and err or "no error"
end

-- Counts while `fn` runs in a coroutine; answers how often another one ran meanwhile.
local function ticking(loop, fn)
  local ticks, over = 0, false
  loop.spawn(function()
    local timer = assert(L.poll.timer(0.005, 0.005))
    while not over do
      loop.wait(timer:fd(), "r")
      timer:read()
      ticks = ticks + 1
    end
    timer:close()
  end)
  loop.spawn(function()
    fn()
    over = true
  end)
  loop.run()
  return ticks
end

local function names(loop, way, say)
  local got = {}
  for i, row in ipairs(NAMES) do
    loop.spawn(function() got[i] = show(way.resolve(10, row[1], 80)) end)
  end
  loop.run()
  for i, row in ipairs(NAMES) do T.is(got[i], row[2], say(row[1]:sub(1, 20) .. " gives what it should")) end
end

local function arguments(loop, way, say)
  loop.spawn(function()
    T.is(show(way.resolve(0, "192.0.2.9", "http")), "192.0.2.9:80", say "a numeric host is not asked for")
    T.is(show(way.resolve(0, "usual.lan", 80, nil, nil, L.AI_NUMERICHOST)), "EAI_NONAME", say "nor a name with AI_NUMERICHOST")
    T.is(show(way.resolve(0, "usual.lan", "no-such-service")), "EAI_SERVICE", say "nor for a service that nobody knows")
    T.is(show(way.resolve(0)) .. " " .. show(way.resolve(0, nil, 80)), "EAI_NONAME 127.0.0.1:80 [::1]:80",
      say "nor where there is no host")
    T.is(show(way.resolve(0, "usual.lan", 80, 1.5)) .. show(way.resolve(-1, "usual.lan")), "EINVALEINVAL",
      say "impossible values are EINVAL")
    T.ok(raised(way.resolve, nil, {}):find("bad argument #1 to 'getaddrinfo' (string expected, got table)", 1, true),
      say "a host that is no string raises")
    T.ok(raised(way.resolve, "5", "usual.lan"):find("bad argument #1 to 'resolve' (number expected, got string)", 1, true),
      say "so do seconds that are no number")
    local arr = assert(way.resolve(5, "alias.lan", "80", L.SOCK_DGRAM, nil, L.AI_CANONNAME))
    T.is(("%s %d %d"):format(arr[1]:canonname(), arr[1]:socktype(), arr[1]:protocol()),
      ("real.lan %d %d"):format(L.SOCK_DGRAM, L.IPPROTO_UDP), say "type, protocol and canonical name are as asked for")
  end)
  loop.run()
end

-- Names that were not asked for yet: libunbound keeps what it has heard.
local count = 0
local function fresh(kind)
  count = count + 1
  return ("%s%d.lan"):format(kind, count)
end

local function many(loop, way, say)
  local right, from = 0, sys.clock()
  for _ = 1, 100 do
    loop.spawn(function()
      if show(way.resolve(20, fresh "usual", 80)) == BOTH then right = right + 1 end
    end)
  end
  loop.run()
  T.is(right, 100, say "100 names at once are found")
  T.ok(sys.clock() - from < 20, say(("in %.3f s"):format(sys.clock() - from)))
  right = 0
  for _ = 1, 4 do
    loop.spawn(function()
      if show(way.resolve(20, fresh "slow", 80)) == BOTH then right = right + 1 end
    end)
  end
  from = sys.clock()
  T.ok(ticking(loop, function() way.resolve(20, fresh "slow", 80) end) >= 10, say "another coroutine goes on meanwhile")
  T.is(right, 4, say "and several slow names are asked for at once")
  T.ok(sys.clock() - from < 5, say(("in %.3f s"):format(sys.clock() - from)))
end

local function limits(loop, way, say)
  local took, got
  local ticks = ticking(loop, function()
    local from = sys.clock()
    got = show(way.resolve(0.3, fresh "silent", 80))
    took = sys.clock() - from
  end)
  T.is(got, "ETIMEDOUT", say "a server that is silent is timed out")
  T.ok(took >= 0.3 and took < 3, say(("when the time has run out: %.3f s of 0.3"):format(took)))
  T.ok(ticks >= 10, say "while another coroutine goes on")
end

-- What two hundred more lookups leave behind: bytes of Lua, of the first two rounds that leave few.  A loop keeps something for
-- each descriptor that it has ever seen, and now and then a round has more of them than any before.
local FEW, ROUNDS = 1000, 20
local function left(loop, way)
  local function round()
    for _ = 1, 100 do
      loop.spawn(function() way.resolve(20, fresh "usual", 80) end)
    end
    loop.run()
    collectgarbage(); collectgarbage()
    return collectgarbage "count" * 1024
  end
  local compiles = jit.status()
  jit.off() -- new traces would count
  jit.flush()
  local first, second, grown = round(), round(), math.huge
  local rounds = 0
  while math.abs(grown) >= FEW and rounds < ROUNDS do -- where a table shrinks a leak would not show
    local now = round()
    grown, rounds, first, second = now - first, rounds + 1, second, now
  end
  if compiles then jit.on() end
  return grown
end

-- How many descriptors there are.  What libunbound was asked and nobody waits for any more its thread goes on asking, so
-- that its sockets do not count.
local function descriptors(way_name)
  if way_name ~= "unbound" then return leak.count() end
  collectgarbage(); collectgarbage()
  return (select(2, proc.run("ls -l /proc/" .. proc.getpid() .. "/fd"):gsub("anon_inode", "")))
end

local function exercise(way_name, loop_name)
  local loop, reason = loops.open(loop_name)
  local is_there, way = pcall(require, "llsocket.resolve." .. way_name)
  if not (loop and is_there) then return T.skip(PER_WAY, reason or "this machine has no lua-unbound for LuaJIT") end
  local function say(text) return ("%s in %s: %s"):format(way_name, loop_name, text) end
  L.wait.set(loop.wait)
  loop.spawn(way.resolve, 5, "usual.lan")
  loop.run()
  local before = descriptors(way_name) -- with what the way and the loop keep for good
  names(loop, way, say)
  arguments(loop, way, say)
  many(loop, way, say)
  limits(loop, way, say)
  resolve.set(way.resolve)
  loop.spawn(function() T.is(show(resolve.resolve(5, "usual.lan", 80)), BOTH, say "resolve.set takes it") end)
  loop.run()
  resolve.set()
  local bytes = left(loop, way)
  T.ok(bytes < FEW, say(("two hundred lookups leave no memory behind: %d bytes"):format(bytes)))
  T.is(descriptors(way_name), before, say "nor a descriptor")
end

for _, row in ipairs(WAYS) do
  if server then exercise(row[1], row[2]) else T.skip(PER_WAY, why) end
end
L.wait.set()
if server then dnsd.stop(server) end
net.cleanup()
T.is(L.wait.is_set(), false, "the way of waiting is as before")
T.done()
