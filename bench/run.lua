-- run.lua -- measures the echo servers against each other: many short turns, one server after the other.
--
--   luajit run.lua LOAD ECHO [TURNS [SECONDS]]     the two programs that Meson has built
local load, in_c, turns, seconds = arg[1], arg[2], tonumber(arg[3] or 31), tonumber(arg[4] or 0.1)
local here = arg[0]:match "^(.*/)" or "./"
local luajit = os.getenv "LLSOCKET_LUAJIT" or "luajit"

local function lua(name) return luajit .. " " .. here .. name end

-- The first is what the others are compared with.
local SERVERS = {
  { name = "C, epoll", command = in_c },
  { name = "llsocket", command = lua "echo.lua" },
  { name = "llsocket, strings", command = lua "echo-string.lua" },
  { name = "llsocket, coroutines", command = lua "echo-coroutine.lua", needs = "llsocket.wait.coroutine" },
  { name = "luv", command = lua "echo-luv.lua", needs = "luv" },
  { name = "cqueues", command = lua "echo-cqueues.lua", needs = "cqueues" },
}
local CONNECTIONS = { 1, 50, 1000 }
local MESSAGES = { "same", "new" }

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function has(tool) return output_of("command -v " .. tool) ~= "" end

-- The rate, and the server's time on the CPU a round.
local function measure(server, messages, connections)
  local said = output_of(("%s %s %d %g %s"):format(load, messages, connections, seconds, server.command))
  local rate, cpu = said:match "^(%d+) (%d+)"
  return assert(tonumber(rate), server.name .. " failed"), tonumber(cpu)
end

-- The values at the quarters of a list: lower, median, upper.
local function quartiles(list)
  local sorted = { unpack(list) }
  table.sort(sorted)
  local function at(part) return sorted[math.floor((#sorted - 1) * part + 0.5) + 1] end
  return at(0.25), at(0.5), at(0.75)
end

-- Each turn begins with another server, so that none has a better place.
local function take_turns(servers, messages, connections)
  for _, server in ipairs(servers) do server.rates, server.cpus = {}, {} end
  for turn = 1, turns do
    for i = 1, #servers do
      local server = servers[(turn + i) % #servers + 1]
      server.rates[turn], server.cpus[turn] = measure(server, messages, connections)
    end
  end
end

-- The median of the ratios within each turn, which what else the machine does disturbs least.
local function ratio(list, base)
  local ratios = {}
  for turn = 1, #list do ratios[turn] = list[turn] / base[turn] end
  return quartiles(ratios)
end

-- Answers how many rounds the server does in the CPU time in which C does one.
local function show(server, base)
  local low, rate, high = quartiles(server.rates)
  local worst, middle, best = ratio(server.rates, base.rates)
  local _, cpu = quartiles(server.cpus)
  local _, cpu_ratio = ratio(server.cpus, base.cpus)
  print(("# %-21s %7d %7d-%-7d %5.2f %5.2f-%-5.2f %6d %5.2f"):format(server.name, rate, low, high, middle, worst, best,
    cpu, cpu_ratio))
  return 1 / cpu_ratio
end

local function table_of(servers, messages, connections)
  take_turns(servers, messages, connections)
  print(("#\n# %s messages, connections: %d, %d turns of %g s\n#"):format(messages, connections, turns, seconds))
  print(("# %-21s %7s %-15s %5s %-11s %6s %5s"):format("", "round/s", "quartiles", "to C", "quartiles", "ns CPU", "to C"))
  local done = {}
  for _, server in ipairs(servers) do done[server.name] = show(server, servers[1]) end
  return done
end

-- Per round, from a short run and a longer one, so that starting and compiling drop out.
local SHORT, LONG = 10000, 30000

local function instructions(server, messages, rounds)
  local tool = "valgrind --tool=callgrind --smc-check=all-non-file --callgrind-out-file=/dev/null"
  local said = output_of(("%s %s 1 -%d %s %s 2>&1"):format(load, messages, rounds, tool, server.command))
  return tonumber(said:match "Collected : (%d+)") or error(said)
end

local function system_calls(server, messages, rounds)
  local said = output_of(("%s %s 1 -%d strace -c %s 2>&1"):format(load, messages, rounds, server.command))
  return tonumber(said:match "(%d+)%s+%d* total%s*$") or error(said)
end

local function count(server, messages, tool, counted)
  if not has(tool) then return "-" end
  return ("%.1f"):format((counted(server, messages, LONG) - counted(server, messages, SHORT)) / (LONG - SHORT))
end

local function show_counts(servers)
  print "#\n# a round on one connection\n#"
  print(("# %-21s %23s %12s"):format("", "user-space instructions", "system calls"))
  print(("# %-21s %11s %11s %12s"):format("", "same", "new", ""))
  for _, server in ipairs(servers) do
    print(("# %-21s %11s %11s %12s"):format(server.name, count(server, "same", "valgrind", instructions),
      count(server, "new", "valgrind", instructions), count(server, "new", "strace", system_calls)))
  end
end

local function present(server) return not server.needs or pcall(require, server.needs) end

local servers = {}
for _, server in ipairs(SERVERS) do
  if present(server) then table.insert(servers, server) else print("# without " .. server.name) end
end

local failures, number = 0, 0
local function ok(good, name)
  number = number + 1
  failures = failures + (good and 0 or 1)
  print(("%s %d - %s"):format(good and "ok" or "not ok", number, name))
end

-- Judged is what a server does with its time on the CPU: that repeats on a busy machine, and leaves out the client.
-- With strings a message that is new costs its string, see README.md: there the peers, which make one too, are the measure.
local GOALS = {
  same = { { "llsocket", 0.95, "C, epoll" }, { "llsocket, strings", 0.95, "C, epoll" } },
  new = { { "llsocket", 0.95, "C, epoll" } },
}
for _, goals in pairs(GOALS) do
  for _, peer in ipairs { "luv", "cqueues" } do
    table.insert(goals, { "llsocket", 1, peer })
    table.insert(goals, { "llsocket, strings", 1, peer })
  end
end

local function judge(goal, done, messages, connections)
  local who, least, base = unpack(goal)
  local name = ("%s: at least %g of %s in the same CPU time, %s messages on %d"):format(who, least, base, messages, connections)
  if not done[base] then return ok(true, name .. " # SKIP it is not installed") end
  ok(done[who] >= done[base] * least, name)
end

print("1.." .. #CONNECTIONS * (#GOALS.same + #GOALS.new))
show_counts(servers)
for _, connections in ipairs(CONNECTIONS) do
  for _, messages in ipairs(MESSAGES) do
    local done = table_of(servers, messages, connections)
    for _, goal in ipairs(GOALS[messages]) do judge(goal, done, messages, connections) end
  end
end
os.exit(failures == 0 and 0 or 1)
