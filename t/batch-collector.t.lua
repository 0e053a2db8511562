-- batch-collector: finalisers and coroutines use batches while a loop checks every answer; a batch to which only the
-- call refers; no memory.
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local show = require("values").show
local before = leak.count()
local T = require("tap").plan(13)
local ROUNDS = 20000

local a, b = net.pair(L.SOCK_DGRAM, true) -- the loop's
local other, peer = net.pair(L.SOCK_DGRAM, true) -- the finalisers'
local quiet, silent = net.pair(L.SOCK_STREAM, true)
local closed = net.pair()
closed:close()

local function batch(fields) return assert(L.batch.new(fields)) end
local mine, mine_too = batch { count = 4, size = 16 }, batch { count = 4, size = 16, controlsize = 0 }
local theirs = batch { count = 4, size = 64 }
for i = 1, 4 do theirs:data(i, ("#"):rep(64)) end

-- What a finaliser does: the same calls as the loop, and another errno left behind.
local ran, spoilt, shared = 0, 0, nil
local function disturb()
  ran = ran + 1
  other:sendbatch(theirs, 3)
  if peer:recvbatch(theirs) ~= 3 or theirs:data(3) ~= ("#"):rep(64) then spoilt = spoilt + 1 end
  closed:sendbatch(theirs, 1)
  if shared then
    shared:data(ran % 4 + 1, "from a finaliser")
    other:sendbatch(shared, 2)
    peer:recvbatch(shared)
  end
  ffi.errno(L.ENOTCONN)
end

local mold = newproxy(true)
getmetatable(mold).__gc = disturb
local function litter()
  newproxy(mold)
  ffi.gc(ffi.new "int[1]", disturb)
end

local function each(n, fn)
  local wrong = 0
  for i = 1, n do
    if i % 4 == 0 then litter() end
    if i % 16 == 0 then collectgarbage "step" end
    if not fn(i) then wrong = wrong + 1 end
  end
  return wrong
end

local function texts(i)
  local text = ("%08d"):format(i)
  mine:data(1, text); mine:data(2, text .. "x"); mine:data(3, "")
  local sent, n = a:sendbatch(mine, 3), b:recvbatch(mine_too)
  return sent == 3 and n == 3 and mine_too:data(1) == text and mine_too:data(2) == text .. "x" and mine_too:length(3) == 0
end
local keep = {} -- what keeps the collector busy
local function held() return #keep end
local function blocked(i)
  keep[1] = "x" .. i
  local n, err, again, e = quiet:recvbatch(mine_too)
  return n == nil and err == nil and again == true and e == L.EAGAIN
end
local function refused(i)
  keep[1] = "y" .. i
  local n, _, again, e = closed:sendbatch(mine, 1)
  return n == nil and again == false and e == L.EBADF
end
for _, row in ipairs { { texts, "batches" }, { blocked, "EAGAIN of recvbatch" }, { refused, "EBADF of sendbatch" } } do
  T.is(each(ROUNDS, row[1]), 0, ("%d %s: none wrong"):format(ROUNDS, row[2]))
end
T.ok(ran > ROUNDS / 4, "finalisers ran all the while")
T.is(spoilt, 0, "and what they received was right")

-- The loop's own batch, used by finalisers in between: what it holds may be theirs, but it stays a batch.
shared = batch { count = 4, size = 16 }
local function mixed(i)
  shared:data(1, ("%d"):format(i))
  a:sendbatch(shared, 1)
  local n = b:recvbatch(shared)
  for k = 1, 4 do
    local at, length = shared:pointer(k)
    if length > 16 or #shared:data(k) > 16 or at == nil then return false end
  end
  return n == 1 and shared:count() <= 4
end
T.is(each(ROUNDS, mixed), 0, "a batch that finalisers use as well stays within its bounds")
shared = nil
while b:recvbatch(mine_too) do end

-- Coroutines that share a batch between a receive and its answer.
local function coroutines()
  local one, wrong = batch { count = 2, size = 8 }, 0
  local function worker(x, y)
    return coroutine.wrap(function()
      for i = 1, 500 do
        one:data(1, "c" .. i)
        if x:sendbatch(one, 1) ~= 1 then wrong = wrong + 1 end
        coroutine.yield()
        if y:recvbatch(one) ~= 1 or one:data(1) ~= "c" .. i then wrong = wrong + 1 end
        coroutine.yield()
      end
    end)
  end
  local x, y = net.pair(L.SOCK_DGRAM, true)
  local first, second = worker(a, b), worker(x, y)
  for _ = 1, 1000 do first() second() end
  x:close(); y:close()
  return wrong
end
T.is(coroutines(), 0, "coroutines take turns with one batch")

-- A batch that nobody else holds is there for as long as the kernel looks.
local function alone(i)
  local text = ("%d."):format(i)
  local only = batch { count = 3, size = 100 }
  only:data(1, text); only:data(2, text:rep(5)); only:data(3, "end")
  return a:sendbatch(only)
end
local function lonely(n)
  local wrong = 0
  for i = 1, n do
    if i % 50 == 0 then collectgarbage() else collectgarbage "step" end
    alone(i)
    keep[1], keep[2] = ("#"):rep(i % 100), batch { count = 3, size = 100 }
    local one, two, three = b:recv(), b:recv(), b:recv()
    if one ~= i .. "." or two ~= one:rep(5) or three ~= "end" then wrong = wrong + 1 end
  end
  return wrong
end
T.is(lonely(3000), 0, "a batch that only the call holds is sent as it was")
T.is(show(b:recv()), show(nil, nil, true, L.EAGAIN), "and nothing else is")

-- What it told outlives it.
local data, name
do
  local server, server_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
  local short = batch { count = 1, size = 100 }
  server:sendto("kept", server_name)
  server:recvbatch(short)
  data, name = short:data(1), short:name(1) == server_name and short:name(1)
  server:close()
end
collectgarbage(); collectgarbage()
keep[1] = batch { count = 64, size = 100 }
T.is(show(data, name and name:addr()), '"kept", "127.0.0.1"', "strings and addresses of a batch outlive it")

-- Without memory; in a process whose address space is limited.
local function without_memory()
  local pid = proc.fork(function()
    collectgarbage(); collectgarbage()
    sys.limit_memory(sys.memory() + 2^28)
    local big, err, e = L.batch.new { count = 1024, size = 2^20 }
    return big == nil and type(err) == "string" and e == L.ENOMEM
  end)
  T.is(show(proc.wait(pid)), "0, 0", "without memory there is no batch: ENOMEM")
end
local endless = sys.endless_memory()
if endless then T.skip(1, endless) else without_memory() end

T.ok(held() > 0, "the collector had something to do")
mold = nil
for _, sock in ipairs { a, b, other, peer, quiet, silent } do sock:close() end
collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
