-- midst.lua -- a loop of coroutines in whose midst a debug hook raises an error (a time limit, Ctrl-C): nobody else is harmed,
-- nobody who is gone is waited for, and the loop can be used again.
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"
local kernel = require "llsocket.wait.kernel"
local net = require "net"

local M = {}

local LIBRARY = debug.getinfo(loop.run, "S").source:match "^(.*llsocket)/"
local STOPPED = "stopped by a hook"
local IDLE = 0.2 -- seconds: nothing here takes longer

-- An idle second is over at once; a wait for ever is a fault.
local really, is_stuck = kernel.wait, false
local function hurried(milliseconds)
  if milliseconds >= 0 and milliseconds <= IDLE * 1000 then return really(milliseconds) end
  local n, e = really(milliseconds < 0 and 200 or 0)
  if n == 0 and milliseconds < 0 then
    is_stuck = true
    error("it waits for ever", 0)
  end
  return n, e
end

-- Raises at the n-th instruction from here, if that is one of the library; answers a function that tells where: nil where all
-- was over before.
local function arm(n)
  local where
  debug.sethook(function()
    debug.sethook()
    local info = debug.getinfo(2, "Sl")
    where = ("%s:%d"):format(info.short_src:match "[^/]+/[^/]+$", info.currentline)
    if info.source:sub(1, #LIBRARY) == LIBRARY then error(STOPPED, 0) end
  end, "", n)
  return function() return where end
end

local function is_stopped(err) return tostring(err):find(STOPPED, 1, true) ~= nil end

-- What each coroutine answered, or that it was stopped.
local told
local function spawn(name, fn, finally)
  told[name] = "is lost"
  return loop.spawn(function()
    local ok, value = pcall(fn)
    if not ok and not is_stopped(value) then told[name] = "raises " .. tostring(value) end
    if finally then finally() end
    if not ok then error(value, 0) end
    told[name] = value
  end)
end

local function first(value) return value end

-- Those who are to notice nothing.
local function innocents(sock, peer)
  spawn("asker", function()
    for _ = 1, 3 do
      if not sock:recvable(2) then return told.teller == "is lost" end -- it was stopped before it began
      sock:recv()
    end
    return true
  end)
  spawn("teller", function()
    for _ = 1, 3 do
      loop.sleep(0.0002)
      if not peer:sendable(5) then return false end
      peer:send "x"
    end
    return true
  end, function() peer:shutdown(L.SHUT_WR) end)
  spawn("late", function() return first(peer:recvable(0.0004)) == false end)
  local co = spawn("sleeper", function() return loop.sleep(0.0006) end)
  spawn("joiner", function()
    loop.join(co, 5)
    return true
  end)
end

--- What is interrupted, on a pair of sockets of which the first can be read.
M.OPERATIONS = {
  { "sleep", function() return loop.sleep(0.0002) end }, { "sleep(0)", function() return loop.sleep(0) end },
  { "wait", function(a) return a:recvable() end }, { "a limited wait", function(a) return a:recvable(5) end },
  { "a vain wait", function(_, b) return first(b:recvable(0.0002)) == false end },
  { "wait for a number", function(a) return loop.wait(a:fd(), "r") end },
  { "join", function() return loop.join(loop.spawn(function() return loop.sleep(0.0002) end)) end },
  { "a limited join", function() return loop.join(loop.spawn(function() return loop.sleep(0.0002) end), 5) end },
  { "cancel", function()
    local co = loop.spawn(loop.sleep, 0.05)
    loop.sleep(0)
    return loop.cancel(co) ~= nil -- false where it begins late
  end },
  { "cancel of a wait", function(_, b)
    local co = loop.spawn(function() b:recvable(0.05) end)
    loop.sleep(0)
    return loop.cancel(co) ~= nil -- false where it begins late
  end },
  { "close", function(_, b)
    loop.spawn(function() b:recvable(0.05) end)
    loop.sleep(0)
    b:close()
    return true
  end },
}

--- The ways in which a coroutine may take the error.
M.WAYS = {
  ["ends by it"] = function(fn) return fn() end,
  ["catches it"] = function(fn)
    local ok, value = pcall(fn)
    if not ok and not is_stopped(value) then error(value, 0) end
    return ok and value or loop.sleep(0.0002) and true
  end,
  ["is one in another"] = function(fn)
    local is_over, fault = false, nil
    local co = coroutine.create(function()
      local ok, value = pcall(fn)
      if not ok and not is_stopped(value) then fault = value end
      is_over = true
      if not ok then error(value, 0) end
    end)
    coroutine.resume(co)
    for _ = 1, 100 do
      if is_over then break end
      loop.sleep(0.0002)
    end
    return fault or is_over
  end,
}

local function run_out()
  local faults = {}
  for _ = 1, 8 do
    local ok, err = pcall(loop.run)
    if ok then return faults[1] end
    if not is_stopped(err) then faults[#faults + 1] = err end
  end
  return "the loop does not end"
end

local function socks()
  local a, b = net.pair(L.SOCK_STREAM, true)
  local c, d = net.pair(L.SOCK_STREAM, true)
  b:send "x"
  return { a, b, c, d }
end

local function judge(is_interrupted)
  local stopped = 0
  for name, value in pairs(told) do
    if value ~= true and value ~= "is lost" then return name .. " answers " .. tostring(value) end
    if value == "is lost" then stopped = stopped + 1 end
  end
  if stopped > (is_interrupted and 1 or 0) then return stopped .. " never went on" end
end

-- Whether the loop is as new.
local function again()
  told = {}
  spawn("sleeper", function() return loop.sleep(0.0001) end)
  local fault = run_out() or judge()
  return fault and "afterwards: " .. fault
end

--- Runs the loop with one that does an operation in a way, and others, and stops it once.
---@param op table  a row of OPERATIONS
---@param way function  of WAYS
---@param n integer  at which instruction from the start of the run
---@return string? where  nil: the run took fewer instructions
---@return string? fault
function M.try(op, way, n)
  local s = socks()
  told, kernel.wait = {}, hurried
  innocents(s[3], s[4])
  spawn("it", function() return way(function() return op[2](s[1], s[2]) end) end)
  local where = arm(n)
  local ok, err = pcall(loop.run)
  debug.sethook()
  local fault = L.wait.is_set() and "the way of waiting stays set"
  fault = fault or not ok and not is_stopped(err) and tostring(err) or run_out()
  fault = fault or judge(where())
  fault = fault or again()
  if is_stuck then fault, is_stuck = "it waits for ever; " .. tostring(fault), false end
  for _, sock in ipairs(s) do sock:close() end
  kernel.wait = really
  return where(), fault
end

return M
