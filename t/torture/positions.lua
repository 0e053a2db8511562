-- positions.lua -- one process of t/torture/fuzz: every nasty value at every position of every operation, or a share of them.
--
-- positions.lua SEED SHARE [ONLY]: SHARE of 1,000 cases, chosen by the seed; ONLY: operations whose title has this pattern.
-- Each case is a line that is the same in every mode; a line that begins with "! " is a fault.
local L = require "llsocket"
local interfere = require "interfere"
local nasty = require "nasty"
local operations = require "operations"
local random = require "random"
local shapes = require "shapes"
local signature = require "signature"
local verdict = require "verdict"
local is_plain, with = nasty.is_plain, nasty.with

local seed, share, only = tonumber(arg[1]), tonumber(arg[2]), arg[3]
local draw = random.new(seed)
local TOP = 64

io.stdout:setvbuf "line" -- the last line tells what a crash interrupted

-- How many arguments a function takes.
local arity, params = {}, {}
for _, f in ipairs(signature.all()) do arity[f.fn], params[f.fn] = #f.params, f.params end

-- Values that would hang or kill this process by their good meaning, by function and position.
local function is_number(name, least, most)
  local text = name:match "^number (.*)$"
  local n = text and tonumber((text:gsub("2^31%-1", tostring(2 ^ 31 - 1))))
  return n ~= nil and n >= least and n <= most
end
local function waits(name) return name == "nil" or is_number(name, 0.01, 2 ^ 31 - 1) end
local function looked_up(name) return name:find "^string" ~= nil end -- a resolver would be asked
local function is(one) return function(name) return name == one end end
local AVOID = {
  ["socket.wrap 1"] = function(name) return is_number(name, 0, 4096) end, -- it would own them
  ["sock:getsockopt, descriptor 2"] = function() return true end, -- an option that is no descriptor would be owned as one
  ["sock:getsockopt, descriptor 3"] = is "string int", -- the program would own the descriptor
  ["sock:recvinto 1"] = is "pointer to a socket", ["sock:recvfrominto 1"] = is "pointer to a socket", -- it is written over
  ["loop.wait 1"] = function(name) return name:find "socket$" ~= nil end, -- a pointer to a socket is refused in fd's name
  ["sock:setsockopt, seconds 4"] = is "number 1.5", -- possible there
  ["sock:steer, off 2"] = function(name) return name:find "^number" ~= nil end, -- means nothing there
  ["msgs:name 0"] = is "batch", -- has no names, and answers nil
  ["inet.getaddrinfo 1"] = looked_up, ["inet.getaddrinfo4 1"] = looked_up, ["inet.getaddrinfo6 1"] = looked_up,
  ["sock:recvable, in vain 1"] = waits, ["loop.sleep 1"] = waits, ["poller:wait, in vain 1"] = waits,
  ["stream.listen 0"] = looked_up, ["stream.listen 1"] = looked_up, -- a file would be made, or a resolver asked
  ["stream.connect 0"] = looked_up, ["stream.connect 1"] = looked_up,
  ["resolve.resolve 2"] = looked_up, ["resolve.getaddrinfo 2"] = looked_up,
  ["sock:setfd 0"] = function(name) return name:find "socket$" ~= nil and not name:find "^[cN]" end, -- the program would own it
  ["loop.spawn 1"] = is "yielding function", -- it is never resumed
}

local function is_avoided(op, position, name)
  local title = op.title:gsub(", epoll$", ""):gsub(", poll$", ""):gsub(", kqueue$", "")
  local test = AVOID[title .. " " .. position] or AVOID[op.name .. " " .. position]
  return test ~= nil and test(name)
end

local HERE = debug.getinfo(1, "S").short_src
local PLACE -- of the call in `caller`

-- Calls fn with one argument replaced, or one field of it.  No tail call: the line is to be the caller's.
local function caller(fn, at, value, field)
  return function(...)
    local args = shapes.pack(...)
    if args.n < at then args.n = at end
    args[at] = field and with(args[at], field, value) or value
    local answer = shapes.pack(fn(unpack(args, 1, args.n)))
    return answer
  end
end

do -- learn the line of the call
  local info = debug.getinfo(caller(print, 1), "S")
  PLACE = ("%s:%d"):format(HERE, info.linedefined + 4)
end

local function perform(op, case, at, value, field)
  local call = caller(op.fn, at, value, field)
  if not op.run then return pcall(call, unpack(case.args, 1, case.args.n)) end
  local inner
  local ok, err = pcall(op.run, function(...)
    inner = call(...)
    return unpack(inner, 1, inner.n)
  end, unpack(case.args, 1, case.args.n))
  return inner ~= nil or ok, inner or err
end

local before -- the state of the process

-- What the process as a whole would keep.
local function reset()
  L.wait.set()
  L.socket.zerocopykept(false)
end

local function is_impossible(op, position, value)
  local param = params[op.fn] and params[op.fn][position]
  for _, number in ipairs(type(value) == "number" and param and param.impossible or {}) do
    if number == value or number ~= number and value ~= value then return true end
  end
  return false
end

local function fault_of(op, position, ok, answer, value)
  if not ok then
    local fault, at = verdict.raised(op.name, answer, PLACE)
    local is_missing = at and at > position and answer:find "got nil%)"
    if not fault and at and at ~= position and not is_missing then
      fault = ("names argument %d: %s"):format(at, answer)
    end
    return fault
  end
  local outcome = shapes.judge(op.family, answer)
  if outcome == "done" and is_impossible(op, position, value) then return "an impossible number is taken" end
  return not outcome and "has no shape of its family: " .. verdict.stable(op.name, answer) or nil
end

local function try(op, position, value, field)
  local made, case = pcall(operations.ready, op)
  if not made then return end
  local own, dispose = nasty.owner()
  local at = position + (op.name:find ":" and 1 or 0)
  if field and not is_plain(case.args[at]) then return interfere.dispose(case) end
  local what = ("%s #%d%s %s"):format(op.title, position, field and "." .. field or "", value.name)
  io.write(what, ": ")
  local made_value = value.make(own)
  local ok, answer = perform(op, case, at, made_value, field)
  case.answer = ok and answer or nil
  local fault = fault_of(op, position, ok, answer, not field and made_value)
  io.write(ok and verdict.stable(op.name, answer) or tostring(answer):gsub("^.-:%d+: ", ""), "\n")
  interfere.dispose(case); dispose(); reset()
  case, answer, made_value = nil, nil, nil -- luacheck: ignore
  local changed = verdict.changed(before)
  if changed and not op.mask then fault = fault or changed end
  if changed then verdict.restore(before) end
  if fault then print(("! %s: %s"):format(what, fault)) end
end

collectgarbage(); collectgarbage()
before = verdict.state(TOP)
local calls = 0
local function sometimes(op, position, value, field)
  if draw(1000) > share or (only and not op.title:find(only)) or is_avoided(op, position, value.name) then return end
  try(op, position, value, field)
  calls = calls + 1
end

-- Fields that tables may have, of those that operations take.
local FIELDS = { 1, 2, 3, "data", "name", "size", "controlsize", "control", "into", "count", "own", "segment" }
local function has_fields(op, position)
  local made, case = pcall(operations.ready, op)
  if not made then return false end
  interfere.dispose(case)
  return is_plain(case.args[position + (op.name:find ":" and 1 or 0)])
end

for _, op in ipairs(operations.list) do
  for position = op.name:find ":" and 0 or 1, math.max(arity[op.fn] or 3, 1) do
    for _, value in ipairs(nasty.list) do sometimes(op, position, value) end
    for _, field in ipairs(has_fields(op, position) and FIELDS or {}) do
      for _, value in ipairs(nasty.list) do sometimes(op, position, value, field) end
    end
  end
end
print("# calls " .. calls)
