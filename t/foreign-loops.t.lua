-- foreign-loops: luasocket's select, cqueues and luv watch the sockets themselves, through the methods that they call.
local L = require "llsocket"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local sys = require "sys"
local T = require("tap").plan(14 + 3 * 12 + 5 + 1)
loops.settle()
local before = leak.count()

local MESSAGE = ("0123456789abcdef"):rep(25600) -- 400 KiB: more than the buffers between two sockets take

local function try(name)
  local ok, module = pcall(require, name)
  return ok and type(module) == "table" and module
end

-- What the methods answer ----------------------------------------------------------------------------------

local a, b = net.pair(L.SOCK_STREAM, true)
T.is(a:getfd(), a:fd(), "getfd tells the descriptor")
T.is(a:pollfd(), a:fd(), "so does pollfd")
T.is(a:dirty(), false, "nothing is buffered")
T.is(select("#", a:timeout()) .. tostring(a:timeout()), "1nil", "there is no time-out of the socket's own")
T.is(a:events(), "r", "a new socket would wait to read")
while a:send(MESSAGE) > 0 do end
T.is(a:events(), "w", "after a send that would block it would wait to write")
a:recv()
T.is(a:events(), "r", "after a recv that would block, to read")
b:recv()
T.is(b:events(), "r", "what was done does not count")
local listener, ai = net.listener(L.AF_INET, true)
local sock = assert(L.socket.new(ai, true))
sock:connect()
T.is(sock:events(), "w", "a connect under way waits to write")
sock:recvfrom()
T.is(sock:events(), "r", "after a recvfrom it waits to read")
sock:close(); listener:close(); a:close(); b:close()
T.is(a:getfd() .. a:pollfd(), "-1-1", "a closed socket has no number")
T.is(a:events() .. tostring(a:dirty()), "rfalse", "and the others answer still")
T.ok(not pcall(a.getfd, {}), "a wrong self raises")
T.is(L.socket.nosuch, nil, "an unknown name is nil")
collectgarbage()

-- One client and one server, whose `pause` waits in the direction that events() tells --------------------------

local function each(sock_, pause, fn)
  while true do
    local n, err, again = fn()
    if n and not (again and n == 0) then return n end
    if not again then return nil, err end
    pause(sock_)
  end
end

local function send_all(s, pause, text)
  while text ~= "" do
    local n = assert(each(s, pause, function() return s:send(text) end))
    text = text:sub(n + 1)
  end
end

local function receive(s, pause, size)
  local parts, n = {}, 0
  while n < size do
    local msg = assert(each(s, pause, function() return s:recv(65536) end))
    parts[#parts + 1], n = msg, n + #msg
  end
  return table.concat(parts)
end

-- The handler of the server: takes a message whole and gives it back, until the peer has closed.
local function echo(s, pause)
  local msg = receive(s, pause, #MESSAGE)
  send_all(s, pause, msg)
  assert(each(s, pause, function() return s:recv() end) == nil)
  s:close()
end

-- Ten clients of one server; the server ends with the last.
local function pair_up(name, spawn, run, pause, tell)
  local from, at = net.listener(L.AF_INET, true)
  from:onclose(tell)
  local served, right, directions = 0, 0, {}
  local function watched(s)
    directions[s:events()] = true
    return pause(s)
  end
  spawn(function()
    for _ = 1, 10 do
      local s = assert(each(from, watched, function() return from:accept() end))
      s:onclose(tell)
      spawn(function()
        echo(s, watched)
        served = served + 1
      end)
    end
  end)
  for _ = 1, 10 do
    spawn(function()
      local s = assert(L.socket.new(at, true))
      s:onclose(tell)
      s:connect()
      watched(s)
      send_all(s, watched, MESSAGE)
      if receive(s, watched, #MESSAGE) == MESSAGE then right = right + 1 end
      s:close()
    end)
  end
  run()
  T.is(right, 10, name .. ": each of ten clients gets back what it sent")
  T.is(served, 10, name .. ": the server sees the end of each")
  T.ok(directions.r and directions.w, name .. ": both directions were waited for")
  from:close()
end

-- A socket that is watched is closed, and its number used again at once; `tell` is what its loop wants to know.
local function close_watched(name, spawn, run, pause, tell)
  collectgarbage(); collectgarbage() -- what the last loop left open has lower numbers
  local out = {}
  spawn(function()
    local x, y = net.pair(L.SOCK_STREAM, true)
    local fd = x:fd()
    x:onclose(function(s)
      out.number = s:fd() == fd
      return tell(s)
    end)
    spawn(function()
      x:recv()
      pause(x)
      out.woken, out.errno = true, select(4, x:recv())
    end)
    spawn(function()
      out.err = x:close()
      local z, w = net.pair(L.SOCK_STREAM, true)
      out.same = z:fd() == fd
      spawn(function()
        z:onclose(tell)
        z:recv()
        pause(z)
        out.msg = z:recv()
        z:close(); w:close(); y:close()
      end)
      spawn(function() w:send "for the new one" end)
    end)
  end)
  run()
  T.is(out.err, nil, name .. ": a watched socket is closed")
  T.ok(out.number, name .. ": its hook still knows the number")
  T.ok(out.woken, name .. ": the waiting coroutine continues")
  T.is(out.errno, L.EBADF, name .. ": and learns that it is closed")
  T.ok(out.same, name .. ": the next socket has the number")
  T.is(out.msg, "for the new one", name .. ": and is watched in its turn")
end

local function other_events(name, spawn, run, pause, tell)
  local x, at = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
  local y, got = net.bound(L.AF_INET, L.SOCK_DGRAM, true), nil
  spawn(function()
    x:onclose(tell)
    x:recv()
    pause(x)
    got = x:recvfrom()
  end)
  spawn(function() y:sendto("datagram", at) end)
  run()
  T.is(got, "datagram", name .. ": a datagram is noticed")
  x:close(); y:close()
  local p, q = net.pair(L.SOCK_STREAM, true)
  got = nil
  spawn(function()
    p:onclose(tell)
    p:recv()
    pause(p)
    got = { p:recv() }
  end)
  spawn(function() q:close() end)
  run()
  T.is(got and #got, 0, name .. ": so is the end")
  p:close()
  p, q = net.tcp(L.AF_INET, true)
  spawn(function()
    p:onclose(tell)
    p:recv()
    pause(p)
    got = select(4, p:recv())
  end)
  spawn(function()
    q:linger(0)
    q:close()
  end)
  run()
  T.is(got, L.ECONNRESET, name .. ": so is a reset")
  p:close()
end

-- luasocket's select ---------------------------------------------------------------------------------------

local function by_select(select_)
  local waiting = {} -- coroutines by socket and direction
  local function step(co, ...) assert(coroutine.resume(co, ...)) end
  local function run()
    while #waiting > 0 do
      local sets, found = { r = {}, w = {} }, {}
      for _, one in ipairs(waiting) do table.insert(sets[one.direction], one.sock) end
      local readable, writable = select_(sets.r, sets.w, 5)
      for _, s in ipairs(readable) do found[tostring(s) .. "r"] = true end
      for _, s in ipairs(writable) do found[tostring(s) .. "w"] = true end
      local all = waiting
      waiting = {}
      for _, one in ipairs(all) do
        local is_over = one.sock:getfd() < 0 or found[tostring(one.sock) .. one.direction]
        if is_over then step(one.co) else waiting[#waiting + 1] = one end
      end
    end
  end
  local function pause(s)
    waiting[#waiting + 1] = { sock = s, direction = s:events(), co = coroutine.running() }
    coroutine.yield()
  end
  return function(fn) step(coroutine.create(fn)) end, run, pause, function() end
end

-- A controller starts the newest first, so each waits for its turn.
local function by_cqueues(cqueues)
  local controller, last, turn = cqueues.new(), 0, 0
  local function spawn(fn)
    local mine = last + 1
    last = mine
    controller:wrap(function()
      while turn < mine - 1 do cqueues.sleep(0) end
      turn = mine
      fn()
    end)
  end
  return spawn, function() assert(controller:loop()) end, cqueues.poll, cqueues.cancel
end

-- One handle a pause, stopped by the socket's hook or by its event.
local function by_luv(uv)
  local handles = {}
  local function finish(s)
    local one = handles[s:fd()]
    if not one then return end
    handles[s:fd()] = nil
    one.poll:close()
    return one.co
  end
  local function pause(s)
    local poll, co, fd = assert(uv.new_poll(s:fd())), coroutine.running(), s:fd()
    handles[fd] = { poll = poll, co = co }
    poll:start(s:events(), function() assert(coroutine.resume(finish(s))) end)
    coroutine.yield()
  end
  local function tell(s)
    local co = finish(s)
    local timer = co and uv.new_timer()
    if timer then timer:start(0, 0, function() timer:close(); assert(coroutine.resume(co)) end) end
  end
  return function(fn) assert(coroutine.resume(coroutine.create(fn))) end, uv.run, pause, tell
end

local function guest(name, module, make)
  local loop = try(module)
  if not loop then return T.skip(12, "this machine has no " .. module .. " for LuaJIT") end
  local spawn, run, pause, tell = make(loop)
  pair_up(name, spawn, run, pause, tell)
  close_watched(name, spawn, run, pause, tell)
  other_events(name, spawn, run, pause, tell)
end

guest("select", "socket", function(luasocket) return by_select(luasocket.select) end)
guest("cqueues", "cqueues", by_cqueues)
guest("luv", "luv", by_luv)

-- select itself: what it answers is the object that it was given.
local luasocket = try "socket"
if luasocket then
  local x, y = net.pair(L.SOCK_STREAM, true)
  local readable, writable, why = luasocket.select({ x }, nil, 0.01)
  T.is(#readable .. #writable .. tostring(why), "00timeout", "select runs out of time where nothing is ready")
  y:send "x"
  readable, writable = luasocket.select({ y, x }, { x, y }, 1)
  T.ok(#readable == 1 and readable[1] == x and readable[x], "select answers the socket that has data")
  T.ok(#writable == 2 and writable[1] == x and writable[2] == y, "and those that have capacity")
  x:close()
  readable = luasocket.select({ x, y }, nil, 1)
  T.ok(#readable == 1 and readable[1] == y, "a closed one is passed over")
  local start = sys.clock()
  luasocket.select({ x }, { x }, 0.01)
  T.ok(sys.clock() - start < 2, "even alone")
  y:close()
else T.skip(5, "this machine has no socket for LuaJIT") end
T.is(leak.count(), before, "no descriptor is left")
T.done()
