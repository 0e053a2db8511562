-- cosocket-pool: ten thousand connections go through the pool and leave nothing behind; what closes idle connections; limits when
-- coroutines are dropped, and in a forked child.
local L = require "llsocket"
local cosocket = require "llsocket.cosocket"
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"
local leak = require "leak"
local proc = require "proc"
local T = require("tap").plan(38)
local before = leak.count()

local function in_loop(fn)
  loop.spawn(fn)
  loop.run()
end

local function connect(port, options)
  local sock = cosocket.tcp()
  sock:settimeouts(2000, 2000, 2000)
  local done, err = sock:connect("127.0.0.1", port, options)
  return done and sock, err
end

-- A server of lines in a child process, which closes after `most` lines; answers its port and how to end it.
local function start(most)
  local listener = assert(stream.listen("127.0.0.1", 0))
  local port = listener:getsockname():port()
  local pid = proc.fork(function()
    stream.serve(listener, function(s)
      for _ = 1, most do
        local line = s:line()
        if not line then return end
        s:write(line, "\n")
      end
    end)
  end)
  listener:close()
  return port, function()
    proc.kill(pid)
    proc.reap(pid)
  end
end

local function memory()
  collectgarbage()
  collectgarbage()
  return collectgarbage "count"
end

-- Ten thousand ----------------------------------------------------------------------------------------------

local port, stop = start(7)

local exchange
function exchange(i)
  local sock = assert(connect(port, { pool_size = 20 }))
  assert(sock:send { "line ", i, "\n" })
  local got, reused = sock:receive(), sock:getreusedtimes()
  if not got and reused > 0 then return exchange(i) end -- the peer has closed it just when it was taken
  local same = got == "line " .. i
  local kept = sock:setkeepalive(10000)
  if not kept then sock:close() end
  return same, reused > 0
end

local right, reused = 0, 0
local function many(n)
  for _ = 1, 50 do
    loop.spawn(function()
      for i = 1, n / 50 do
        local same, again = exchange(i)
        right, reused = right + (same and 1 or 0), reused + (again and 1 or 0)
      end
    end)
  end
  loop.run()
end
many(10000)
local first = memory()
many(10000)
T.is(right, 20000, "20,000 exchanges, in 50 coroutines, with a server that closes each connection after 7")
T.ok(reused > 3000, ("%d of them over a connection that was there"):format(reused))
local grown = memory() - first
T.ok(grown < 400, ("memory is back after 10,000: %.1f KiB more, traces among them"):format(grown))
T.ok(cosocket.sweep() <= 20, "no more than pool_size are idle")
stop()
loop.spawn(function() loop.sleep(0.05) end)
loop.run()
T.is(cosocket.sweep(), 0, "sweep closes those whose peer has closed")
T.is(leak.count(), before, "no descriptor is left")

-- Idle connections -------------------------------------------------------------------------------------------

port, stop = start(100)
in_loop(function()
  for _ = 1, 3 do T.is(assert(connect(port, { pool_size = 3 })):setkeepalive(600), 1, "a connection is kept for 600 ms") end
  T.is(cosocket.sweep(), 1, "the one")
  local from = loop.now()
  cosocket.watch()
  T.ok(loop.now() - from > 0.04, "watch ends once there are none left")
  T.is(cosocket.sweep(), 0, "it has closed them as their time ran out")
end)
T.is(leak.count(), before, "no descriptor is left")

in_loop(function()
  local socks = {}
  for i = 1, 5 do socks[i] = assert(connect(port, { pool = "full" })) end
  for i = 1, 5 do socks[i]:setkeepalive(0, 2) end
  T.is(cosocket.sweep(), 2, "of five two are kept, as the size says")
  for _ = 1, 2 do connect(port, { pool = "full" }):close() end
  T.is(cosocket.sweep(), 0, "taken and closed")
end)

in_loop(function()
  local socks = {}
  for i = 1, 5 do socks[i] = assert(connect(port, { pool = "drained " .. i % 2, pool_size = 3 })) end
  for i = 1, 4 do socks[i]:setkeepalive(0) end
  local held = leak.count()
  T.is(cosocket.drain(), 4, "drain closes all idle connections, of every pool, whatever their time")
  T.is(held - leak.count(), 4, "with their descriptors")
  T.is(cosocket.drain() + cosocket.sweep(), 0, "and then there are none")
  T.is(socks[5]:send "line\n", 5, "one in use goes on")
  T.is(socks[5]:receive(), "line", "as it was")
  socks[5]:close()
  local options = { pool = "drained", pool_size = 1, backlog = 0 }
  connect(port, options):setkeepalive(0)
  cosocket.drain()
  T.is(connect(port, options):getreusedtimes(), 0, "a place is free again")
  collectgarbage(); collectgarbage()
end)

-- A pool that nobody uses must not hold the place of connections whose sockets were dropped.
in_loop(function()
  local options = { pool = "dropped", pool_size = 2, backlog = 1 }
  connect(port, options)
  connect(port, options)
  collectgarbage()
  collectgarbage()
  local sock, err = connect(port, options)
  T.ok(sock and not err, "sockets that were dropped without close give their places back")
end)
-- Whether who waits for a place has one within 1.3 s after a socket was dropped.
local function is_noticed(try)
  local options = { pool = "late " .. try, pool_size = 1, backlog = 2 }
  local kept, got = { connect(port, options) }, nil
  loop.spawn(function() got = connect(port, options) end)
  loop.sleep(0.05)
  kept[1] = nil
  collectgarbage()
  collectgarbage()
  loop.sleep(1.3)
  return got and not kept[1]
end
in_loop(function() -- what the machine does besides may delay one try, but not each
  T.ok(is_noticed(1) or is_noticed(2) or is_noticed(3), "who waits for a place notices within a second that one was dropped")
end)
in_loop(function()
  local options = { pool = "cancelled", pool_size = 1, backlog = 1 }
  local a = connect(port, options)
  local answer
  local co = loop.spawn(function() answer = { connect(port, options) } end)
  loop.sleep(0.02)
  loop.cancel(co)
  loop.sleep(0.02)
  T.is(answer[1], nil, "a coroutine that is cancelled waits no longer for a place")
  T.is(select(2, connect(port, options)), "timeout", "and its place in the queue is free")
  a:close()
end)
do -- a coroutine that is never resumed
  local options = { pool = "left", pool_size = 1, backlog = 1 }
  local a
  in_loop(function() a = connect(port, options) end)
  local was = L.wait.set(function() return coroutine.yield() end)
  local co = coroutine.create(function() connect(port, options) end)
  coroutine.resume(co)
  L.wait.set(was)
  co = nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  in_loop(function()
    local sock = cosocket.tcp()
    sock:settimeout(50)
    T.is(select(2, sock:connect("127.0.0.1", port, options)), "timeout", "a coroutine that was dropped in the queue leaves it")
    a:close()
    T.ok(connect(port, options), "and the next one gets the place")
  end)
end
collectgarbage()
collectgarbage()
T.is(leak.count(), before, "no descriptor is left")

-- A forked child ---------------------------------------------------------------------------------------------

local function ask(text)
  local sock = assert(connect(port))
  sock:send(text .. "\n")
  local line = sock:receive()
  return line, sock
end
local _, sock = ask "parent"
sock:setkeepalive(0)
local pid = proc.fork(function()
  local line, mine = ask "child"
  os.exit(line == "child" and mine:getreusedtimes() == 0 and 0 or 1)
end)
T.is(proc.wait(pid), 0, "a forked child does not use its parent's connections")
local line, again = ask "parent again"
T.is(line .. " " .. again:getreusedtimes(), "parent again 1", "the parent still does, without a loop")
again:close()

-- Words -------------------------------------------------------------------------------------------------------

local function refused(changes) return select(2, pcall(cosocket.configure, changes)) end
T.ok(refused(5):find "bad argument #1 to 'configure' %(table expected, got number%)", "configure wants a table")
T.ok(refused({ nothing = 1 }):find "no setting is called 'nothing'", "with names that it knows")
T.ok(refused({ pool_size = "x" }):find "number of 'pool_size' expected, got string", "and values of their type")
T.ok(refused({ read_timeout = -1 }):find "number of 'read_timeout' expected", "which can be")
cosocket.configure { read_timeout = 40, pool_size = 1, keepalive_timeout = 500 }
local quiet = assert(connect(port))
quiet:settimeouts(0, 0, 0)
T.is(select(2, quiet:receive()), "timeout", "a limit of 0 is that of the setting")
quiet:setkeepalive()
T.is(cosocket.sweep(), 1, "so is the size of a pool")
L.wait.poll(before, "r", 0)
in_loop(function() loop.sleep(0.55) end)
T.is(cosocket.sweep(), 0, "and how long a connection stays")
stop()
collectgarbage()
collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
