-- cosocket-loops: the same scripts show the same in every loop, and without one; a name that is slow holds nobody up.
local L = require "llsocket"
local cosocket = require "llsocket.cosocket"
local resolve = require "llsocket.resolve"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local scripted = require "scripted"
local twins = require "twins"
local source = os.getenv "LLSOCKET_SOURCE"
loops.settle()
local before = leak.count()

-- What these show depends on how long the others take.
local TIMED = { ["receiveany takes what is there"] = true, ["a time limit is between two arrivals"] = true }

-- Those that need no second coroutine.
local scripts = {}
for _, file in ipairs { "tcp.txt", "pool.txt", "udp.txt" } do
  for _, script in ipairs(twins.read(source .. "/t/cosocket/" .. file)) do
    if not script.source:find "spawn" and not TIMED[script.name] then scripts[#scripts + 1] = script end
  end
end

-- Copas looks at its clock now and then, so that limits may come late there.
local function is_timed(script) return script.source:find "settimeout" or script.source:find "peer%(\"[^\n]*, %d+%)" end

local T = require("tap").plan(#scripts * #loops.names + #loops.names + 1)

local function look_up(_, host, port, socktype)
  if not host:find "^here" then return nil, "unknown", L.EAI_NONAME end
  return L.inet.getaddrinfo("127.0.0.1", port, socktype)
end

local names, stop = scripted.start(net.tmpdir())
names.ngx, names.coroutine = cosocket.ngx(), cosocket.coroutine
local previous = resolve.set(look_up)

-- Scripts, each in a coroutine: eight run at the same time.
local function in_loop(name, list)
  local loop, why = loops.open(name)
  if not loop then return nil, why end
  local was = name ~= "coroutine" and L.wait.set(loop.wait)
  local outputs, wakes = {}, 0
  for first = 1, 8 do
    loop.spawn(function()
      for i = first, #list, 8 do outputs[list[i].name] = twins.run_one(list[i], names) end
    end)
  end
  loop.spawn(function()
    for _ = 1, 20 do
      names.ngx.sleep(0.005)
      wakes = wakes + 1
    end
  end)
  loop.run()
  if was then L.wait.set(was) end
  return outputs, wakes
end

-- A script's pools have the same names in each run, so the count must begin where no other run's is.
local function numbered(list, from)
  for _, script in ipairs(list) do script.head = script.head:gsub("COUNT%[1%] %+ 1", "COUNT[1] .. " .. from) end
end
numbered(scripts, '"."') -- no x: a script has a second pool, POOL .. "x"

names.COUNT = { "alone " }
local alone = twins.run(scripts, names)
for _, name in ipairs(loops.names) do
  names.COUNT = { name .. " " }
  local outputs, wakes = in_loop(name, scripts)
  if not outputs then
    T.skip(#scripts + 1, wakes)
  else
    for _, script in ipairs(name == "copas" and scripts or {}) do
      if is_timed(script) then outputs[script.name] = alone[script.name] end
    end
    local function again(script)
      return twins.run_one(script, names), in_loop(name, { script })[script.name]
    end
    twins.compare(T, scripts, alone, outputs, nil, ", in " .. name .. " and without a loop", again)
    T.is(wakes, 20, "others run meanwhile")
  end
end
resolve.set(previous)
stop()
cosocket.sweep()
net.cleanup()
for _ = 1, 3 do collectgarbage() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
