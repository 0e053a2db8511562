-- rights-memory: memory runs out at every point between a receive and its objects, and no descriptor is lost.
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local before = leak.count()
local T = require("tap").plan(9)

local SENT, POINTS = 20, 120

-- Objects of 1 to 256 bytes, the largest first.
local GRAINS = {}
for i, size in ipairs { 256, 128, 64, 48, 40, 32, 24, 16, 8, 1 } do GRAINS[i] = ffi.typeof("uint8_t[" .. size .. "]") end

-- In a child whose address space is full: answers what it saw, as a line.
local function starve(step)
  local pipe_r, pipe_w = rights.pipe()
  local a, b = net.pair(L.SOCK_DGRAM)
  local message = rights.message(pipe_r, SENT)
  local mh = assert(L.msghdr.new())
  a:sendmsg(message); b:recvmsg(mh); rights.objects(mh) -- all is loaded, every buffer made
  mh:control {}
  local base = rights.settled()
  local failures, done, leaked, stolen = 0, 0, 0, 0
  local ballast, crumbs, canaries, grains, filled = {}, nil, {}, {}, 0
  for i = 1, 4096 do ballast[i] = false end
  for i = 1, 32768 do grains[i] = false end

  -- Large pieces until none is left, then small ones, then those that fit into holes which are smaller still: the descriptors
  -- of the round before leave such holes, of just the size that the next ones need.
  local function fill_large()
    for i = 1, 4096 do ballast[i] = ("b"):rep(32768 + i) end
  end
  local function fill_small()
    for _ = 1, 1e6 do crumbs = { crumbs } end
  end
  local function fill_holes(grain)
    while filled < 32768 do
      grains[filled + 1] = grain()
      filled = filled + 1
    end
  end
  local function sweep()
    for i = 1, filled do grains[i] = false end
    crumbs, filled = nil, 0
  end
  local function release(n)
    for _ = 1, n do crumbs = crumbs and crumbs[1] end
    collectgarbage()
  end

  -- Whoever closes a number twice hits one of these.
  local function plant()
    for i = 1, SENT do canaries[i] = sys.copy(pipe_w) end
  end
  local function harvest()
    for i = 1, SENT do
      if canaries[i] and not sys.close(canaries[i]) then stolen = stolen + 1 end
    end
  end

  for i = 1, SENT do canaries[i] = 0 end
  assert(sys.limit_memory(sys.memory() + 2^22))
  pcall(fill_large)
  for point = 1, POINTS do
    a:sendmsg(message)
    pcall(fill_small)
    for i = 1, #GRAINS do pcall(fill_holes, GRAINS[i]) end
    release(point)
    collectgarbage "stop"
    local ok = pcall(step, b, mh, a, pipe_w)
    collectgarbage "restart"
    sweep()
    collectgarbage(); collectgarbage()
    if ok then done = done + 1 else failures = failures + 1 end
    plant()
    b:recv(1, L.MSG_DONTWAIT) -- where the receive itself did not come about
    mh = L.msghdr.new()
    collectgarbage(); collectgarbage()
    harvest()
    if rights.open() ~= base then leaked = leaked + 1 end
  end
  assert(#ballast == 4096 and #grains == 32768) -- held until here
  return ("failed %s, done %s, leaked in %d, stolen %d"):format(failures > 5 and "often" or failures,
    done > 5 and "often" or done, leaked, stolen)
end

local STEPS = {
  { "receive, and making objects", function(b, mh)
    assert(b:recvmsg(mh))
    mh:control()
  end },
  { "receive into a new message", function(b)
    local mh = assert(L.msghdr.new())
    assert(b:recvmsg(mh))
    mh:control()
  end },
  -- Many times, because one needs hardly any memory.  What remains of a message that was not received is dropped by the caller.
  { "recvfd", function(b, _, a, fd)
    local held = { (assert(b:recvfd())) }
    for i = 2, 40 do
      assert(a:sendfd(fd))
      held[i] = assert(b:recvfd())
    end
    return held
  end },
  { "a second try to make objects", function(b, mh)
    assert(b:recvmsg(mh))
    if not pcall(mh.control, mh) then mh:control() end
  end },
}

-- The child's line; a child that dies of hunger elsewhere tells nothing.
local function in_child(step)
  local near, far = net.pair(L.SOCK_DGRAM)
  local pid = proc.fork(function()
    jit.off(); jit.flush() -- an error raised below compiled code is a segmentation fault in LuaJIT 2.1.0-beta3
    near:send(starve(step))
  end)
  near:close()
  local code, signal = proc.wait(pid)
  local line = code == 0 and far:recv(4096, L.MSG_DONTWAIT) or ("child ended by status %s, signal %s"):format(code, signal)
  far:close()
  return line
end

local endless = sys.endless_memory()
for _, row in ipairs(STEPS) do
  if endless then
    T.skip(2, endless)
  else
    local line = in_child(row[2])
    T.is(line:match ", (leaked.*)$" or line, "leaked in 0, stolen 0", row[1] .. ": no descriptor is lost, none closed twice")
    T.is(line:match "^failed often, done often" or line, "failed often, done often", row[1] .. ": memory runs out early and late")
  end
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
