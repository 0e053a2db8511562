-- client-hostile: what clients (streams, LuaSocket's face, cosockets) answer to servers that reset, are silent, say a byte each
-- 10 ms, lines or headers without end, or read nothing: an error in time, without spinning, and without holding up others.
local askers = require "askers"
local hostile = require "hostile"
local leak = require "leak"
local loops = require "loops"
local sys = require "sys"
local before = leak.count()
local GROWTH = 8192 -- kilobytes
local T = require("tap").plan(#askers.FACES * (#hostile.WAYS + 1) + 4)

local ports, stop = hostile.start()
local cases, faults, pending = {}, {}, 0
for _, face in ipairs(askers.FACES) do
  for _, case in ipairs(hostile.cases(ports, face)) do cases[#cases + 1] = case end
end

-- All at once, and one that comes again and again to the good server.
local loop = loops.open "coroutine"
local served, refused = 0, nil
local function visit()
  while pending > 0 do
    local fault = hostile.judge(askers.CLIENTS.stream, ports["serves well"], true)
    refused, served = refused or fault, served + 1
    require("llsocket.wait.coroutine").sleep(0.02)
  end
end

local function round()
  for _, case in ipairs(cases) do
    pending = pending + 1
    loop.spawn(function()
      faults[case.title] = faults[case.title] or hostile.judge(case.client, case.port, case.is_good)
      pending = pending - 1
    end)
  end
  loop.spawn(visit)
  loop.run()
  collectgarbage(); collectgarbage()
  return collectgarbage "count"
end

local size = round()
local start, used = sys.clock(), os.clock()
size = round() - size
local took, busy = sys.clock() - start, os.clock() - used
for _, case in ipairs(cases) do T.is(faults[case.title], nil, case.title) end
T.is(refused, nil, ("meanwhile %d others are served well"):format(served))
T.ok(size < GROWTH, ("nothing is kept of it: %d KiB"):format(size))
T.ok(busy < 0.9 * took, ("nobody spins: %.1f of %.1f s"):format(busy, took))
stop()
T.is(leak.count(), before, "no descriptor is left")
T.done()
