-- msghdr: if there is no memory for new values, the message does not change.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local litter = require "litter"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local show = require("values").show
local before = leak.count()
local T = require("tap").plan(4)
local churn, fresh = litter.churn, litter.fresh

ffi.cdef "void *llsocket_t_malloc(size_t size) __asm__(\"malloc\"); void llsocket_t_free(void *memory) __asm__(\"free\");"
local C = ffi.C

-- Takes all that malloc(3) still gives, in ever smaller pieces, runs fn, and gives it back.
local function without_memory(fn)
  churn() -- so that LuaJIT has a little of its own
  local taken, n = ffi.new "void *[4096]", 0
  local size = 2^26
  sys.limit_memory(sys.memory() + 2^20)
  while size >= 16 and n < 4096 do
    taken[n] = C.llsocket_t_malloc(size)
    if taken[n] == nil then size = size / 2 else n = n + 1 end
  end
  local one, two, three = fn()
  for i = 0, n - 1 do C.llsocket_t_free(taken[i]) end
  return one, two, three
end

local endless = sys.endless_memory()
local function alone(fn, title)
  if endless then return T.skip(1, endless) end
  T.is(show(proc.wait(proc.fork(fn))), "0, 0", title)
end

local function fails(answer, err, e) assert(answer == nil and type(err) == "string" and e == L.ENOMEM, tostring(e)) end

alone(function()
  local x, y = net.pair(L.SOCK_DGRAM)
  local one = assert(L.msghdr.new { data = "small", control = { assert(L.cmsghdr.credentials()) } })
  local large = { assert(L.cmsghdr.new(L.SOL_SOCKET, L.SCM_CREDENTIALS, ("x"):rep(2^22))) }
  without_memory(function() fails(one:control(large)) end)
  assert(#one:control() == 1)
  y:passcred(true)
  assert(x:sendmsg(one) == 5)
  local got = assert(L.msghdr.new())
  assert(y:recvmsg(got) == 5 and got:control()[1]:credentials().pid == proc.getpid())
end, "without memory for more control, the old is kept and sent")

alone(function()
  local x, y = net.pair(L.SOCK_DGRAM)
  local list = {}
  for i = 1, 1024 do list[i] = fresh(i, 2) end
  local one = assert(L.msghdr.new { data = fresh(7, 3) })
  without_memory(function() fails(one:data(list)) end)
  churn()
  assert(one:data() == "7.7.7." and x:sendmsg(one) == 6 and y:recv() == "7.7.7.")
end, "without memory for more parts, the old data is kept and sent")

alone(function()
  local x, y = net.pair(L.SOCK_DGRAM)
  local large = assert(L.msghdr.new { size = 2^30 })
  x:send "waits"
  local n, err, again, e
  without_memory(function() n, err, again, e = y:recvmsg(large) end)
  assert(n == nil and type(err) == "string" and again == false and e == L.ENOMEM)
  assert(y:recv() == "waits")
  x:send "again"
  assert(y:recvmsg(assert(L.msghdr.new { size = 100 })) == 5)
end, "without memory to receive into, recvmsg is ENOMEM and takes nothing")
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
