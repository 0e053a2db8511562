-- wait-interrupted: a debug hook closes the socket, or raises an error, at each instruction of a wait before it lets the loop go
-- on: the loop ends, nobody stays in it, and later waits are as ever.
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"
local net = require "net"
local leak = require "leak"
local before = leak.count()
local T = require("tap").plan(7)

jit.off() -- compiled code asks no hook

local LIMIT = 0.5 -- seconds of the wait that is interrupted

-- Runs a wait in which `act` happens at the n-th instruction; answers how the loop ended, and what the wait answered.  `first`:
-- the socket waits for the first time; otherwise the loop knows it.
local function interrupted(n, first, act)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local answer, waiter, came = nil, nil, false
  waiter = loop.spawn(function()
    b:send "x"
    if not first then loop.wait(a, "r"); a:recv() end
    debug.sethook(function()
      debug.sethook()
      came = coroutine.running() == waiter
      if came then act(a) end
    end, "", n)
    answer = { loop.wait(a, "r", LIMIT) }
    debug.sethook()
  end)
  local ok, err = pcall(loop.run)
  debug.sethook()
  if not ok then pcall(loop.run) end
  a:close(); b:close()
  return came, ok, answer, err
end

-- Answers what is wrong with the loop: a wait for a ready socket, and one whose time runs out.
local function fault_of_loop()
  local a, b = net.pair(L.SOCK_STREAM, true)
  local ready, late
  loop.spawn(function()
    b:send "x"
    ready = loop.wait(a, "r", 5)
    a:recv()
    late = loop.wait(a, "r", 0.001)
  end)
  local ok, err = pcall(loop.run)
  a:close(); b:close()
  if not ok then return tostring(err) end
  return not (ready == true and late == false) and ("a wait answers %s, then %s"):format(tostring(ready), tostring(late)) or nil
end

-- Walks through the instructions of a wait.
local function walk(first, act, judge)
  local n, fault = 0, nil
  repeat
    n = n + 1
    local came, ok, answer, err = interrupted(n, first, act)
    local wrong = judge(ok, answer, err) or fault_of_loop()
    fault = fault or wrong and ("instruction %d: %s"):format(n, wrong)
  until not came and n > 20 or fault
  return fault, n
end

local function close(sock) sock:close() end
local function judge_closed(ok, answer, err)
  if not ok then return tostring(err) end
  if not answer then return "the wait does not return" end
  -- EINVAL: the loop's own set of descriptors has got the number before it was registered.
  local known = answer[1] ~= nil or answer[3] == L.EBADF or answer[3] == L.EINVAL
  return not known and "the wait answers " .. tostring(answer[2]) or nil
end

local function raise() error("the time is up", 0) end
local function judge_raised(ok, _, err)
  return not ok and not tostring(err):find("the time is up", 1, true) and tostring(err) or nil
end

for _, how in ipairs { { "the first wait for a socket", true }, { "a wait for a socket that the loop knows", false } } do
  local fault, n = walk(how[2], close, judge_closed)
  T.is(fault, nil, ("a close in %s ends it"):format(how[1]))
  T.ok(n > 100, ("it came at each of its instructions: %d"):format(n))
  T.is(walk(how[2], raise, judge_raised), nil, ("an error in %s leaves nothing in the loop"):format(how[1]))
end

collectgarbage(); collectgarbage()
-- The loop's own set of descriptors is lost by an error between epoll_create1(2) and its owner's field.
T.ok(leak.count() - before <= 4, "errors lose no descriptor but that of the loop, at four instructions")
T.done()
