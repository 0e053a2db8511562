-- wait-killed: a coroutine that ends in the midst of a wait, in each way that its loop has, leaves nothing behind.
local L = require "llsocket"
local footprint = require "footprint"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local show = require("values").show
loops.settle()
local before = leak.count()
local T = require("tap").plan(9 + 6 + 6 + 3)

local BADF = show(nil, "Bad file descriptor", L.EBADF)
local function pair() return net.pair(L.SOCK_STREAM, true) end

-- A weak reference to a value that make() answers, and nothing else of it.
local function weak(make) return setmetatable({ (make()) }, { __mode = "v" }) end

-- Waits as others do, so that what is kept for each number is there.
local function warm_up(loop, sock)
  loop.spawn(function() sock:recvable(0.001) sock:sendable(1) end)
  loop.run()
end

-- luv ------------------------------------------------------------------------------------------------------

local function active(uv)
  local n = 0
  uv.walk(function(handle) if handle:is_active() then n = n + 1 end end)
  return n
end

local function in_luv(loop, uv)
  local a, b = pair()
  warm_up(loop, a)
  local kept, answer = footprint(loop.wait), nil
  local co = coroutine.create(function() answer = show(a:recvable(60)) end)
  coroutine.resume(co)
  T.is(active(uv), 2, "luv: who waits with a time has a handle and a timer")
  coroutine.resume(co, nil)
  T.is(active(uv), 0, "luv: where somebody else resumes it, both are stopped")
  T.is(uv.run("nowait"), false, "luv: and the loop ends")
  T.ok(footprint(loop.wait) <= kept, "luv: nothing more is kept")
  local gone = weak(function()
    local one = coroutine.create(function() answer = show(a:recvable()) end)
    coroutine.resume(one)
    return one
  end)
  collectgarbage(); collectgarbage()
  T.ok(gone[1], "luv: a coroutine that nobody else has is kept while it waits")
  b:send "x"
  uv.run()
  T.is(answer, "true", "luv: and continued")
  T.ok(footprint(loop.wait) <= kept, "luv: afterwards nothing more is kept")
  T.is(gone[1], nil, "luv: neither is the coroutine")
  uv.walk(function(handle) if not handle:is_closing() then handle:close() end end)
  uv.run()
  loop.spawn(function() answer = show(a:recvable(5)) end)
  loop.run()
  T.is(answer, "true", "luv: where the program has closed all handles, the next wait makes new ones")
  a:close(); b:close()
end

-- cqueues --------------------------------------------------------------------------------------------------

local function abandon(cqueues, sock, finish)
  local controller = cqueues.new()
  for _, sec in ipairs { 60, false } do
    controller:wrap(function() sock:recvable(sec or nil) end)
    controller:wrap(function() sock:sendable(sec or nil) end)
  end
  assert(controller:step(0))
  finish(controller)
end

local function raise(controller)
  controller:wrap(function() error("on purpose", 0) end)
  controller:step(0)
  controller:close()
end

local function in_cqueues(loop, cqueues)
  local a, b = pair()
  repeat local _, _, again = a:send(("x"):rep(65536)) until again
  warm_up(loop, b)
  loop.spawn(function() a:recvable(0.001) a:sendable(0.001) end)
  loop.run()
  local kept, open = footprint(loop.wait), leak.count()
  for how, finish in pairs {
    ["is collected"] = function() end,
    ["is closed"] = function(controller) controller:close() end,
    ["has failed and is closed"] = raise,
  } do
    abandon(cqueues, a, finish)
    T.ok(footprint(loop.wait) <= kept, "cqueues: nothing is kept of the waits of a controller that " .. how)
    T.is(leak.count(), open, "cqueues: and no descriptor")
  end
  a:close(); b:close()
end

-- Copas ----------------------------------------------------------------------------------------------------

-- What a thread of Copas 4 leaves that is removed; older ones have no such function.
local function removed(loop, copas, kept)
  if not copas.removethread then return T.skip(2, "this Copas cannot remove threads") end
  local a, b = pair()
  local is_over = false
  local co = loop.spawn_thread(function()
    a:recvable()
    is_over = true
  end)
  copas.step(0); copas.step(0)
  copas.removethread(co)
  b:send "x"
  co = nil -- luacheck: ignore
  for _ = 1, 3 do copas.step(0.01) end
  T.is(is_over, false, "copas: a thread that was removed is not continued")
  T.ok(footprint(loop.wait) <= kept, "copas: nothing is kept of its wait")
  a:close(); b:close()
end

-- Where no descriptor is left for a timer, or the system has none.
local function unclocked(loop, copas)
  local event = require "llsocket.poll.event"
  local timer, answer = event.timer, nil
  event.timer = function() return nil end
  local a, b = pair()
  loop.spawn(function() answer = show(a:recvable(0.05)) end)
  for _ = 1, 20 do copas.step(0.01) end
  event.timer = timer
  T.is(answer, "false", "copas: without a timer a time-out is noticed when the loop goes round")
  a:close(); b:close()
end

local function in_copas(loop, copas)
  local a, b = pair()
  warm_up(loop, a)
  local kept, answer = footprint(loop.wait), nil
  loop.spawn(function()
    local nested = coroutine.create(function() answer = show(a:recvable(60)) end)
    coroutine.resume(nested)
    coroutine.resume(nested, true)
    T.is(answer, nil, "copas: who resumes a coroutine that waits does not end its wait")
    a:close()
    coroutine.resume(nested)
  end)
  loop.run()
  T.ok(footprint(loop.wait) <= kept, "copas: nothing is kept of a coroutine that is dropped when its socket was closed")
  local c, d = pair()
  loop.spawn(function() answer = show(c:recvable(60)) end)
  loop.spawn(function() c:close() end)
  loop.run()
  T.is(answer, BADF, "copas: others are told of the close")
  removed(loop, copas, kept)
  b:close(); d:close()
  unclocked(loop, copas)
end

-- nginx ----------------------------------------------------------------------------------------------------

local function in_nginx()
  package.loaded.ngx = { sleep = coroutine.yield, get_phase = function() return "content" end }
  local wait = require("llsocket.wait.nginx").wait
  package.loaded.ngx = nil
  local a, b = pair()
  local function begin() coroutine.wrap(function() wait(a:fd(), "r", 60) end)() end
  begin()
  local kept = footprint(wait)
  for _ = 1, 20 do begin() end
  T.ok(footprint(wait) <= kept, "nginx: nothing is kept of light threads that were killed")
  for _ = 1, 20 do begin() end
  a:close()
  T.ok(footprint(wait) <= kept, "nginx: nor when the socket is closed meanwhile")
  b:close()
end

local CHECKS = { luv = { in_luv, 9 }, cqueues = { in_cqueues, 6 }, copas = { in_copas, 6 } }
for _, name in ipairs { "luv", "cqueues", "copas" } do
  local check, count = unpack(CHECKS[name])
  local loop, why = loops.open(name)
  if not loop then T.skip(count, why) else
    L.wait.set(loop.wait)
    check(loop, require(name))
    L.wait.set()
  end
end
if package.loaded.ngx then T.skip(2, "this is nginx itself") else in_nginx() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
