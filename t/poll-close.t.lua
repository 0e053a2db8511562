-- poll-close: closing takes a socket out of its pollers first; a new socket of the same number is never taken for the old one.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local proc = require "proc"
local sys = require "sys"
local poll, seen = L.poll, pollers.seen

local before = leak.count()
local T = require("tap").plan(#pollers.names * 34 + 1)

local function fresh(name) return assert(poll.new(name)) end

-- The kernel would go on telling of a description that a copy holds.
local function copied(name)
  local p, a, b = fresh(name), net.pair()
  assert(p:add(a, "r", "a"))
  local copy = assert(a:dup())
  b:send "x"
  T.is(seen(p), "a:r", name .. ": a socket is reported")
  a:close()
  T.is(seen(p), "", name .. ": not once it is closed, although a copy holds the description")
  local start = sys.clock()
  p:wait(0.02)
  T.ok(sys.clock() - start >= 0.019, name .. ": nor does it wake the poller for nothing")
  assert(p:add(copy, "r", "copy"))
  T.is(seen(p), "copy:r", name .. ": the copy can be registered")
  local number = copy:fd()
  local again = assert(copy:dup())
  assert(copy:unwrap() == number)
  T.is(seen(p), "", name .. ": giving it up takes it out as well")
  sys.close(number)
  b:close(); again:close(); p:close()
end

local function forked(name)
  local p, a, b = fresh(name), net.pair()
  assert(p:add(a, "r", "a"))
  local stay, go = net.pair()
  local child = proc.fork(function() stay:recv() end)
  a:close()
  b:send "x"
  T.is(seen(p, 0.01), "", name .. ": not once it is closed, although a forked child holds the description")
  local c, d = net.pair()
  assert(p:add(c, "r", "c"))
  T.is(seen(p, 0.01), "", name .. ": nor under the number's next owner")
  d:send "x"
  T.is(seen(p, 1), "c:r", name .. ": which is reported by itself")
  go:send "end"
  T.is(proc.wait(child), 0, name .. ": the child ended well")
  for _, sock in ipairs { b, c, d, stay, go } do sock:close() end
  p:close()
end

-- A child closes what it does not need: the kernel's list belongs to its parent too.
local function closed_by_child(name)
  local p, a, b = fresh(name), net.pair()
  assert(p:add(a, "r", "a"))
  local child = proc.fork(function() return not a:close() and a:fd() == -1 end)
  T.is(proc.wait(child), 0, name .. ": a forked child closes its copy of a registered socket")
  b:send "x"
  T.is(seen(p, 1), "a:r", name .. ": its parent still hears of it")
  a:close(); b:close(); p:close()
end

-- Two are ready; what is done about the first changes the second.
local function batch(name, change)
  local p, socks = fresh(name), {}
  for i = 1, 2 do
    local a, b = net.pair(L.SOCK_STREAM, true)
    b:send "x"
    assert(p:add(a, "r"))
    socks[i], socks[i + 2] = a, b
  end
  assert(p:wait(0) == 2)
  local first, second = p:event(1), p:event(2)
  assert(first ~= second)
  local more, others = change(p, second), {}
  for _, value in p:events() do if value ~= first then others[#others + 1] = tostring(value) end end
  local told = p:event(2)
  for _, sock in ipairs(socks) do sock:close() end
  return p, more, told, table.concat(others)
end

local function done(p, more)
  for _, sock in ipairs(more or {}) do sock:close() end
  p:close()
end

local function batches(name)
  local p, more, told, others = batch(name, function(_, second) second:close() end)
  T.is(told, nil, name .. ": a socket closed after wait is not reported")
  T.is(others, "", name .. ": the iterator passes it over")
  done(p, more)
  p, more, told = batch(name, function(q, second)
    local number = second:fd()
    second:close()
    local c, d = net.pair()
    local reused = c:fd() == number and c or d
    assert(reused:fd() == number and q:add(reused, "rw", "new"))
    return { c, d }
  end)
  T.is(told, nil, name .. ": nor is a new socket of that number reported by the old event")
  T.is(seen(p), "new:w", name .. ": the next wait reports it")
  done(p, more)
  p, more, told = batch(name, function(q, second) assert(q:remove(second)) end)
  T.is(told, nil, name .. ": a socket removed after wait is not reported")
  done(p, more)
  p, more, told = batch(name, function(q, second) assert(q:modify(second, "r", "modified")) end)
  T.is(told, nil, name .. ": a socket modified after wait is reported by the next wait")
  done(p, more)
  p, more, told, others = batch(name, function(q) q:close() end)
  T.is(told == nil and others, "", name .. ": closing the poller ends the batch")
  done(p, more)
end

-- The same number again and again, with and without registering its owners.
local function numbers(name)
  local p, wrong, numbers_used, last = fresh(name), 0, {}, nil
  for i = 1, 200 do
    local a, b = net.pair()
    numbers_used[a:fd()] = true
    assert(p:add(a, i % 3 == 0 and "w" or "r", i))
    if i % 2 == 0 then b:send "x" end
    for k = 1, p:wait(0) do if p:event(k) ~= i then wrong = wrong + 1 end end
    if i % 5 == 0 then assert(p:remove(a)) end
    a:close(); b:close()
    wrong = wrong + p:wait(0)
    last = next(numbers_used)
  end
  T.is(next(numbers_used, last), nil, name .. ": 200 sockets had one number")
  T.is(wrong, 0, name .. ": each was reported with its own value")
  p:close()
end

-- Other objects with descriptors.
local function others(name)
  local p = fresh(name)
  local file = assert(io.popen "echo x")
  local a, b = net.pair()
  a:sendfd(file)
  file:close()
  local desc, timer, inner = assert(b:recvfd()), assert(poll.timer(0)), fresh()
  if inner:fd() < 0 then inner = assert(poll.timer(0)) end
  for _, object in ipairs { desc, timer, inner } do
    local number = object:fd()
    assert(p:add(object, "r", "object"))
    local copy = sys.copy(number)
    object:close()
    T.is(seen(p, 0.01), "", name .. ": a closed " .. tostring(object):match "^[%w.]+" .. " is no longer reported")
    local c, d = net.pair()
    local reused = c:fd() == number and c or d
    T.ok(reused:fd() == number and p:add(reused, "r"), name .. ": its number is free for the next")
    c:close(); d:close()
    sys.close(copy)
  end
  a:close(); b:close(); p:close()
end

local function borrowed(name)
  local p, a, b = fresh(name), net.pair()
  local guest = assert(L.socket.wrap(a:fd(), { own = false }))
  assert(p:add(guest, "r", "guest"))
  b:send "x"
  T.is(seen(p), "guest:r", name .. ": a borrowed socket is reported")
  guest:close()
  T.is(seen(p), "", name .. ": not once it is closed, although the descriptor is open")
  a:close(); b:close(); p:close()
end

local function kept(name)
  local p = fresh(name)
  do
    local a, b = net.pair()
    b:send "x"
    assert(p:add(a, "r"))
    assert(p:modify(a:fd(), "r")) -- by number: the object is kept all the same
    assert(p:add(b, "rw", "b"))
  end
  collectgarbage(); collectgarbage()
  T.is(p:wait(0), 2, name .. ": the poller alone keeps registered sockets alive")
  local open, sock = leak.count(), nil
  for _, value in p:events() do if value ~= "b" then sock = value end end
  T.is(sock:recv(), "x", name .. ": and work")
  assert(p:remove(sock:fd()))
  sock = nil -- luacheck: ignore
  T.is(leak.count(), open - 1, name .. ": one that is removed is collected, and closed")
  p = nil -- luacheck: ignore
  T.is(leak.count(), before, name .. ": all are collected together with their poller")
end

-- A number that its owner has closed without a word.
local function behind(name)
  local p, a, b = fresh(name), net.pair()
  local number = a:unwrap()
  assert(p:add(number, "r", "number"))
  b:send "x"
  T.is(seen(p), "number:r", name .. ": a bare number is reported")
  sys.close(number)
  T.is(seen(p), "", name .. ": a number that is closed by close(2) itself is no longer reported")
  b:close(); p:close()
end

for _, name in ipairs(pollers.names) do
  copied(name); forked(name); closed_by_child(name); batches(name); numbers(name); others(name); borrowed(name)
  kept(name); behind(name)
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
