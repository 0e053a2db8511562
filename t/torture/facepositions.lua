-- facepositions.lua -- one process of t/torture/fuzz: nasty values at every position of the operations of the faces, or a share.
--
-- facepositions.lua SEED SHARE [ONLY], as positions.lua.  Where LuaSocket is installed it gets each call, too, and must raise
-- or answer the same: a line that begins with "! " is a fault.
local faces = require "faces"
local interfere = require "interfere"
local nasty = require "nasty"
local net = require "net"
local operations = require "operations"
local random = require "random"
local shapes = require "shapes"
local verdict = require "verdict"
local is_plain, with = nasty.is_plain, nasty.with

local seed, share, only = tonumber(arg[1]), tonumber(arg[2]), arg[3]
local draw = random.new(seed)
local TOP = 64
-- Seconds that a call may wait for what never comes.  On a busy machine even the loopback may take longer than the first: a call
-- that waited in vain is made once more.
local SHORT, LONGER = 0.003, 0.2
local patience = SHORT
-- The last position to try, where it is not the one behind the last argument.
local MOST = { ["luasocket.connect"] = 5, ["luasocket:send"] = 3, ["cosocket:connect"] = 4, ["cosocket.connect"] = 4 }

io.stdout:setvbuf "line" -- the last line tells what a crash interrupted

local has_luasocket, original = pcall(require, "socket.core")
if has_luasocket then original.unix = require "socket.unix" end

-- What is left out ------------------------------------------------------------------------------------------------

-- Long times, and none, which is for ever.
local LONG = { ["nil"] = true, ["string digit"] = true, ["string blank"] = true, ["string hex"] = true,
  ["string minus"] = true, ["string big port"] = true, ["string word nan"] = true }
local function waits(name)
  return LONG[name] or name:find "^number" ~= nil and not (nasty.by_name[name].make() < 0.1 and nasty.by_name[name].make() >= 0)
end

-- What a resolver would be asked, or another machine.
local NEAR = { ["string IPv6"] = true, ["string mapped"] = true, ["string empty"] = true }
local function asks(name) return name:find "^string" ~= nil and not NEAR[name] or name:find "^number" ~= nil end
-- The same, and addresses where a name is wanted: not every machine has one for ::1, and LuaSocket answers what its memory had
-- where there is none.  As paths to bind to they would be files in the working directory, which the three modes share.
local function names(name) return name ~= "string empty" and (NEAR[name] or asks(name)) end

local AVOID = {
  ["luasocket.sleep 1"] = waits, ["cosocket.sleep 1"] = waits, ["luasocket.select 3"] = waits,
  ["luasocket.connect 1"] = asks, ["luasocket.connect 3"] = asks, ["luasocket:connect 1"] = asks, ["luasocket:bind 1"] = asks,
  ["luasocket:bind, a path 1"] = names,
  ["luasocket:setpeername 1"] = asks, ["luasocket:setsockname 1"] = asks, ["luasocket:sendto 2"] = asks,
  ["luasocket.dns.toip 1"] = asks, ["luasocket.dns.tohostname 1"] = names, ["luasocket.dns.getaddrinfo 1"] = asks,
  ["luasocket.dns.getnameinfo 1"] = names, ["luasocket.dns.getnameinfo 2"] = asks,
  ["cosocket.connect 1"] = asks, ["cosocket:connect 1"] = asks, ["cosocket:setpeername 1"] = asks,
}

local function is_avoided(op, position, name)
  if op.name:find "^cosocket:" and position == 0 and name == "fickle table" then return true end -- it seems to be connected
  local test = AVOID[op.title .. " " .. position] or AVOID[op.name .. " " .. position]
  return test ~= nil and test(name)
end

-- The call --------------------------------------------------------------------------------------------------------

-- Methods and functions are called by source of their own, so that messages know their names.
local METHOD = [[local pack = ... return function(args)
  local answer = pack(args[1]:NAME(unpack(args, 2, args.n)))
  return answer end]]
local FUNCTION = [[local pack, NAME = ... return function(args, first)
  local answer = pack(NAME(unpack(args, first, args.n)))
  return answer end]]
local PLACE = "call:2"

local function compile(source, name, ...) return assert(loadstring((source:gsub("NAME", name)), "=call"))(...) end

local function function_of(op)
  local value = op.name:find "^luasocket" and faces.used() or nil
  if not value then return op.fn end
  for name in op.name:gsub("^luasocket%.", ""):gmatch "%w[%w_]*" do value = value[name] end
  return value
end

-- A caller of the operation, the index of the argument at a position, and that of the first argument.
local function caller(op, position, object)
  local name = op.name:match "[%w_]+$"
  if not op.name:find ":" then return compile(FUNCTION, name, shapes.pack, function_of(op)), position, 1 end
  if op.title == "cosocket:receiveuntil" then return compile(FUNCTION, name, shapes.pack, object), position + 1, 2 end
  if position > 0 then return compile(METHOD, name, shapes.pack), position + 1 end
  return compile(FUNCTION, name, shapes.pack, object[name]), 1, 1
end

local function limit(case)
  for i = 1, case.args.n do
    local object = case.args[i]
    if (type(object) == "table" or type(object) == "userdata") and object.settimeout then
      object:settimeout((object.getfd or type(object) == "userdata") and patience or patience * 1000)
    end
  end
end

-- Answers what pcall does, or nothing where there is no such call.
local function perform(op, case, position, value, field)
  limit(case)
  local call, at, first = caller(op, position, case.args[1])
  local args = case.args
  if field then
    if not is_plain(args[at]) then return end
    value = with(args[at], field, value)
  end
  args.n, args[at] = math.max(args.n, at), value
  return pcall(call, args, first)
end

-- Judging -----------------------------------------------------------------------------------------------------------

local UNSTABLE = { ["luasocket.gettime"] = true, ["luasocket:getstats"] = true, ["luasocket:getsockname"] = true,
  ["luasocket:getpeername"] = true, ["luasocket:receivefrom"] = true }

local function line_of(op, ok, answer)
  if not ok then return "raises " .. tostring(answer):gsub("^" .. PLACE:gsub("%p", "%%%0") .. ": ", "") end
  local line = verdict.stable(op.name, answer):gsub("0x%x+", "0x")
  return UNSTABLE[op.name] and line:gsub("[%d.]+e?%-?%d*", "N") or line
end

local function fault_of(op, ok, answer)
  if not ok then return verdict.raised_by_face(op.name, answer, PLACE) end
  if shapes.judge("face", answer) or answer.n == 1 and answer[1] == nil then return end
  if op.title == "cosocket:receiveuntil" and answer.n == 3 then return end -- behind the last piece
  return "has no shape of its family: " .. verdict.stable(op.name, answer)
end

local before -- the state of the process

local function settle(what, fault)
  local changed = verdict.changed(before)
  if changed then verdict.restore(before) end
  fault = fault or changed
  if fault then print(("! %s: %s"):format(what, fault)) end
end

-- One call; answers its line and what is wrong with it, or nothing where there is no such call.
local function once(op, position, value, field, core)
  faces.use(core)
  local made, case = pcall(operations.ready, op)
  if not made then return end
  local own, dispose = nasty.owner()
  local ok, answer = perform(op, case, position, value.make(own), field)
  local line, fault
  if ok ~= nil then
    line, fault = line_of(op, ok, answer), fault_of(op, ok, answer)
    case.answer = ok and answer or nil
  end
  interfere.dispose(case); dispose()
  faces.use()
  return line, fault
end

local function patiently(...)
  patience = SHORT
  local line, fault = once(...)
  if fault or not (line and line:find '"timeout"') then return line, fault end
  patience = LONGER
  return once(...)
end

-- Why LuaSocket differs from its face.
local function may_differ(op, position, value, mine, its)
  for _, row in ipairs(require "facedifferences") do
    if op.title:find(row[1]) and (not row[2] or row[2] == position) and (row[3] == "" or value.name:find(row[3]))
      and (not row.mine or mine:find(row.mine)) and (not row.its or its:find(row.its)) then return true end
  end
  return false
end

local function try(op, position, value, field)
  local what = ("%s #%d%s %s"):format(op.title, position, field and "." .. field or "", value.name)
  io.write(what, ": ")
  local mine, fault = patiently(op, position, value, field)
  io.write(mine or "", "\n")
  settle(what, fault)
  if not (mine and has_luasocket and op.name:find "^luasocket") then return end
  local its = patiently(op, position, value, field, original)
  if verdict.changed(before) then verdict.restore(before) end -- LuaSocket itself leaves some open
  if its and its ~= mine and not may_differ(op, position, value, mine, its) then
    print(("! %s: %s; LuaSocket: %s"):format(what, mine, its))
  end
end

collectgarbage(); collectgarbage()
before = verdict.state(TOP)
local calls = 0
local function sometimes(op, position, value, field)
  if draw(1000) > share or is_avoided(op, position, value.name) then return end
  try(op, position, value, field)
  calls = calls + 1
end

-- Fields of the tables that they take.
local FIELDS = { 1, 2, "on", "timeout", "multiaddr", "interface", "pool", "pool_size", "backlog", "inclusive" }
local function walk(op)
  local made, case = pcall(operations.ready, op)
  if not made then return end
  operations.dispose(case)
  local self = op.name:find ":" and 1 or 0
  local lowest = op.title == "cosocket:receiveuntil" and 1 or 1 - self -- that is the iterator, which has no self
  for position = lowest, MOST[op.name] or math.max(case.args.n - self + 1, 2) do
    for _, value in ipairs(nasty.list) do sometimes(op, position, value) end
    for _, field in ipairs(is_plain(case.args[position + self]) and FIELDS or {}) do
      for _, value in ipairs(nasty.list) do sometimes(op, position, value, field) end
    end
  end
end

for _, list in ipairs { operations.faces, operations.fuzzed } do
  for _, op in ipairs(list) do
    if not only or op.title:find(only) then walk(op) end
  end
end
net.cleanup()
print("# calls " .. calls)
