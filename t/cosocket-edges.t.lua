-- cosocket-edges: numbers that are none, a place in a pool that two want, a handshake that nobody may disturb, patterns that are
-- no UTF-8, errors of debug hooks.
local cosocket = require "llsocket.cosocket"
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"
local face = require "llsocket.luasocket"
local finalising = require "finalising"
local leak = require "leak"
local show = require("show").show
local T = require("tap").plan(29)
local before = leak.count()

local function answer(fn, ...)
  local text = show(pcall(fn, ...))
  return (text:gsub("[^ \"]*%.lua:%d+: ", ""))
end

local function in_loop(fn)
  loop.spawn(fn)
  loop.run()
end

-- Answers a listener, its port, and a function that tells how many have called since.
local function listen()
  local listener, called = assert(stream.listen("127.0.0.1", 0)), {}
  return listener, listener:getsockname():port(), function()
    while true do
      local sock = listener:accept(true)
      if not sock then return #called, called end
      called[#called + 1] = sock
    end
  end
end

local function connect(port, options)
  local sock = cosocket.tcp()
  sock:settimeouts(2000, 2000, 2000)
  return sock, sock:connect("127.0.0.1", port, options)
end

local function close_all(listener, called)
  for _, sock in ipairs(called) do sock:close() end
  listener:close()
end

-- Numbers -------------------------------------------------------------------------------------------------------

local NAN, INFINITE = 0 / 0, 1 / 0
local listener, port, count = listen()
local sock = connect(port)
local _, called = count()
called[1]:send "some bytes"
for _, value in ipairs { NAN, INFINITE, "nan" } do
  T.ok(answer(sock.receive, sock, value):find("bad argument #1 to 'receive' (bad number argument)", 1, true),
    ("receive takes no %s of a %s"):format(value, type(value)))
end
T.ok(answer(sock.receiveany, sock, NAN):find("bad max argument", 1, true), "nor does receiveany")
T.is(sock:receive(4), "some", "and loses no byte by that")
T.is(sock:receive(6), " bytes", "nor a later one")
T.ok(answer(sock.connect, cosocket.tcp(), "127.0.0.1", NAN):find("bad port number", 1, true), "a port that is none")
T.ok(answer(sock.connect, cosocket.tcp(), "127.0.0.1", port, { pool_size = NAN }):find('bad "pool_size" option value', 1, true),
  "a pool's size that is none")
T.ok(answer(sock.settimeout, sock, NAN):find("bad timeout value", 1, true), "a time limit that is none")
sock:close()
close_all(listener, called)

T.is(answer(face.skip, 2 ^ 31, 1), "true", "skip skips more than there is")
local object = face.tcp4()
object:close()
object:setfd(NAN)
T.is(object:getfd(), -1, "setfd takes no number that is none, and no descriptor 0 for it")
T.is(answer(face.sleep, NAN), "true", "nor does sleep")

-- One place, and two that want it --------------------------------------------------------------------------------

listener, port, count = listen()
local ONE = { pool = "one place", pool_size = 1, backlog = 5 }
local told = {}
in_loop(function()
  local first = connect(port, ONE)
  for i = 1, 2 do
    loop.spawn(function()
      local other, done = connect(port, ONE)
      told[i] = ("%s %d"):format(tostring(done), done and other:getreusedtimes() or -1)
      loop.sleep(0.01)
      if done then other:setkeepalive() end
    end)
  end
  loop.sleep(0.01)
  first:setkeepalive()
  local late, done = connect(port, ONE) -- before the one that was called has run
  told[3] = ("%s %d"):format(tostring(done), done and late:getreusedtimes() or -1)
  if done then late:close() end
end)
local n, all = count()
T.is(n, 1, "a connection that is given back belongs to who waits, and no other is made")
T.is(table.concat(told, ", "), "1 1, 1 2, 1 3", "all of them have it, in their order")
close_all(listener, all)

-- A handshake -----------------------------------------------------------------------------------------------------

if not pcall(require, "ssl") then
  T.skip(2, "LuaSec is not there")
else
  listener, port, count = listen()
  local word, done
  in_loop(function()
    local secret = connect(port)
    secret:settimeout(30000)
    loop.spawn(function()
      loop.sleep(0.02)
      done, word = secret:send "plain"
      for _, peer in ipairs(select(2, count())) do peer:close() end -- which ends the handshake
    end)
    secret:sslhandshake()
  end)
  T.is(tostring(done) .. ", " .. tostring(word), "nil, socket busy connecting", "nobody sends while there is a handshake")
  sock = connect(port)
  T.ok(answer(sock.sslhandshake, sock, nil, nil, false, nil, 1):find("but seen 6", 1, true), "which has no sixth argument")
  sock:close()
  close_all(listener, select(2, count()))
end

-- Patterns --------------------------------------------------------------------------------------------------------

local re = cosocket.ngx().re
if select(2, re.match("a", "a")) then
  T.skip(6, "no libpcre2-8")
else
  T.is(answer(re.find, "ab", "(a)(c)?(b)", "", nil, 1.5), "true, 1, 1", "a group's number is cut")
  T.is(answer(re.find, "ab", "(a)(c)?(b)", "", nil, NAN), "true, 1, 2", "one that is none is the whole")
  T.is(re.match("ab", "a", "", { pos = NAN })[0], "a", "a place that is none is the first")
  T.ok(select(2, re.match("a", "\255\254\240", "U")):find "UTF%-8", "a pattern that is no UTF-8 is told, also with U")
  T.is(re.gsub("\195\164b", "x*", "-", "u"), "-\195\164-b-", "behind an empty match a whole character is skipped")
  local ends = {}
  for m in re.gmatch("\195\164b", "", "u") do ends[#ends + 1] = m[0] end
  T.is(#ends, 3, "by the iterator, too")
end

-- Errors of debug hooks -------------------------------------------------------------------------------------------

-- Calls fn with a hook that raises at an instruction; answers whether it was reached.
local interrupt
function interrupt(at, fn)
  local is_reached = false
  jit.off()
  debug.sethook(function()
    debug.sethook()
    if debug.getinfo(2, "f").func == interrupt then return end
    is_reached = true
    error("a hook", 0)
  end, "", at)
  pcall(fn)
  debug.sethook()
  jit.on()
  return is_reached
end

-- Interrupts reads at each instruction; answers what a later read raises, or "".
local function interrupt_all(read)
  local wrong, at = "", 10 -- the first ones are of interrupt
  repeat
    called[1]:send "abc--"
    local is_reached = interrupt(at, function() read(sock) end)
    called[1]:send "d--"
    local done, why = pcall(read, sock)
    if not done then wrong = ("%s at %d"):format(why, at) end
    at = at + 1
  until not is_reached or wrong ~= ""
  return wrong
end

listener, port, count = listen()
sock = connect(port)
_, called = count()
for name, read in pairs {
  receiveany = function(one) return one:receiveany(100) end, receive = function(one) return one:receive(1) end,
  receiveuntil = function(one) return one:receiveuntil "--"() end,
} do
  T.is(interrupt_all(read), "", ("an error of a hook in the midst of %s leaves the cosocket usable"):format(name))
end
sock:close()
close_all(listener, called)

-- An object that is none ------------------------------------------------------------------------------------------

local wrong = {}
for name, most in pairs { settimeout = 2, settimeouts = 4 } do
  local said = answer(cosocket.tcp()[name], unpack({ 1, 1, 1, 1 }, 1, most))
  if not said:find("bad argument #1 to '" .. name .. "' (table expected, got number)", 1, true) then wrong[#wrong + 1] = said end
end
T.is(table.concat(wrong), "", "time limits are not set of what is no table")
T.ok(answer(cosocket.udp().settimeout, 1, 1):find("(table expected, got number)", 1, true), "nor of datagrams")

-- A finaliser that uses the same cosocket --------------------------------------------------------------------------

jit.off() -- LuaJIT of 2022 does not survive finalisers at every allocation of compiled code
wrong = {}
for name, call in pairs {
  setkeepalive = function(one) return one:setkeepalive(1) end, send = function(one) return one:send { "a", "b" } end,
  receive = function(one) return one:receive() end, receiveany = function(one) return one:receiveany(9) end,
  receiveuntil = function(one) return one:receiveuntil "-"() end, size = function(one) return one:receive(2) end,
} do
  for k = 1, 6 do
    listener, port, count = listen()
    sock = connect(port)
    _, called = count()
    if name:find "^[rs][ei][cz]" then called[1]:send "ab-\n" end
    local one = sock
    local _, ok, said = finalising.run(k, function() one:setkeepalive(1) end, call, one)
    if not ok then wrong[#wrong + 1] = ("%s at %d: %s"):format(name, k, tostring(said)) end
    one:close()
    close_all(listener, called)
    ok, said = pcall(cosocket.sweep)
    if not ok then wrong[#wrong + 1] = ("sweep after %s at %d: %s"):format(name, k, said) end
  end
end
T.is(table.concat(wrong, "; "), "", "a finaliser may put the cosocket into the pool in the midst of a call")

cosocket.sweep()
called, sock, object = nil, nil, nil -- luacheck: ignore
collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
