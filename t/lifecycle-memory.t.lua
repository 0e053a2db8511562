-- lifecycle-memory: memory runs out while sockets are made; no descriptor is left behind.  In a process of its own, of
-- which the address space is limited.
--
-- Interpreted in every mode: when memory runs out inside a trace that calls ffi.gc, LuaJIT 2.1.0-beta3 itself ends in a
-- segmentation fault, with no library loaded (a loop of ffi.gc(ffi.new(T), free) shows it).
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(7)
local before = leak.count()
local socket = L.socket
local ai = net.addr()
local listener, there = net.listener(L.AF_INET, true)

local hoard
local function take_all() while true do hoard = { hoard, hoard } end end -- until it raises

-- Leaves a little memory, a bit more with every round.
local function leave_some(round)
  pcall(take_all)
  for _ = 1, round % 64 do hoard = hoard[1] end
  collectgarbage()
end

-- Makes things in a loop until memory runs out; keeps them, so that it must.
local function until_out(make)
  local kept
  for _ = 1, 80 do kept = { kept, make() } end
  return kept
end

local ROUNDS = 300
local LEAST = ROUNDS / (rawget(_G, "ngx") and 30 or 10) -- must run out; a worker of nginx has more memory to spare

-- Answers how many rounds ran out of memory, and the first other error.
local function starve(make)
  local starved, other, start = 0, nil, sys.memory()
  sys.limit_memory(start + 2 ^ 21)
  for round = 1, ROUNDS do
    leave_some(round)
    local ok, err = pcall(until_out, make)
    if not ok and err == "not enough memory" then starved = starved + 1 elseif not ok then other = other or err end
  end
  hoard = nil
  collectgarbage() -- raising the limit allocates
  sys.limit_memory(start + 2 ^ 30)
  return starved, other
end

-- Calls fn under many frames.  Where a finaliser finds too little stack and there is no memory to grow it, LuaJIT drops
-- the finaliser; a stack with many frames is not shrunk, and has room.
local function deep(depth, fn, arg)
  if depth == 0 then return fn(arg) end
  local first, second = deep(depth - 1, fn, arg)
  return first, second
end

local endless = sys.endless_memory()

local function fresh(name, make)
  if endless then return T.skip(1, endless) end
  local child = proc.fork(function()
    jit.off()
    jit.flush()
    make()
    local count = leak.count()
    local starved, other = deep(200, starve, make)
    local after = leak.count()
    assert(not other, other)
    assert(starved > LEAST, "only " .. starved .. " rounds ran out of memory")
    assert(after == count, ("%d descriptors, then %d"):format(count, after))
  end)
  T.is(proc.wait(child), 0, name)
end

local client = assert(socket.new(there))

fresh("new leaks nothing", function() return socket.new(ai) end)
fresh("pair leaks nothing", function() return socket.pair(L.SOCK_STREAM) end)
fresh("dup leaks nothing", function() return client:dup() end)
sys.close(-1) -- a function that is looked up for the first time wants memory
fresh("wrap closes the descriptor that it took over, or leaves it open", function()
  local fd = sys.copy(listener:fd())
  local ok, s = pcall(socket.wrap, fd)
  if ok then return s end
  sys.close(fd)
  error(s, 0)
end)
fresh("accept leaks nothing", function()
  listener:accept() -- what a round left that ran out before it could: musl's SOMAXCONN is 128
  local c = assert(socket.new(there))
  if c:connect() then return c:close() end
  local s = listener:accept()
  c:close()
  return s
end)
fresh("getsockname leaks nothing", function()
  local s = assert(socket.new(ai))
  s:bind()
  return s:getsockname()
end)

client:close()
listener:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
