-- sequences.lua -- one process of t/torture/fuzz: performs a random sequence of operations over shared objects.
--
-- sequences.lua SEED LENGTH [STEPS]: STEPS names a file with the numbers of the steps to perform, by default all.  Each step is a
-- line that is the same in every mode; a line that begins with "! " is a fault.
local ffi = require "ffi"
local L = require "llsocket"
local litter = require "litter"
local nasty = require "nasty"
local net = require "net"
local operations = require "operations"
local sequence = require "sequence"
local shapes = require "shapes"
local sockets = require "llsocket.socket.object"
local sys = require "sys"
local verdict = require "verdict"

local seed, length = tonumber(arg[1]), tonumber(arg[2])
io.stdout:setvbuf "line" -- the last line tells what a crash interrupted

local HERE = debug.getinfo(1, "S").short_src
local PLACE -- of the call in `call`
local function call(fn, args)
  local answer = shapes.pack(fn(unpack(args, 1, args.n)))
  return answer
end
PLACE = ("%s:%d"):format(HERE, debug.getinfo(call, "S").linedefined + 1)

-- Objects -------------------------------------------------------------------------------------------------------

local pool, owned = {}, {} -- by name; and every socket there ever was

local function note(name, object)
  pool[name] = object
  if ffi.istype(sockets.type, object) then owned[#owned + 1] = object end
  return object
end

local function two(names, a, b)
  note(names[1], a); note(names[2], b)
end

local function sockets_of()
  two({ "unix1", "unix2" }, net.pair(L.SOCK_STREAM, true))
  two({ "dgram1", "dgram2" }, net.pair(L.SOCK_DGRAM, true))
  two({ "seq1", "seq2" }, net.pair(L.SOCK_SEQPACKET, true))
  two({ "tcp1", "tcp2" }, net.tcp(L.AF_INET, true))
  two({ "udp1", "udp2" }, net.connected(net.places[1], L.SOCK_DGRAM, true))
  two({ "listener", "ai_listener" }, net.listener(L.AF_INET, true))
  note("fresh", assert(L.socket.new(net.addr(), true)))
  note("closed", (net.bound())):close()
end

local function others()
  note("ai_udp", pool.udp1:getsockname()); note("ai_any", net.addr()); note("ai_6", net.addr(L.AF_INET6, L.SOCK_DGRAM))
  note("ai_dgram", pool.dgram1:getsockname())
  note("mh1", assert(L.msghdr.new { size = 64, controlsize = 64 })); note("mh2", assert(L.msghdr.new { data = "abc" }))
  for i = 1, 2 do note("msgs" .. i, assert(L.batch.new { count = 2, size = 64, controlsize = 64, name = net.addr() })) end
  note("tube1", assert(L.pipe.new())); note("cmsg1", (L.cmsghdr.ttl(1)))
  note("poller1", assert(L.poll.new "epoll")); note("poller2", assert(L.poll.new "poll"))
  note("timer1", assert(L.poll.timer(0))); note("hook1", assert(pool.unix1:onclose(function() end)))
  note("bytes1", ffi.new("uint8_t[64]", 120)); note("file1", assert(io.open "/dev/null"))
  assert(pool.unix2:sendfd(pool.file1))
  note("desc1", assert(pool.unix1:recvfd()))
end

-- What functions that are passed do with a socket that is closed.
local FUNCTIONS = {
  closes = function(sock) sock:close() end, raises = function() error("a hook raises", 0) end, yields = coroutine.yield,
  adds = function(sock) pool.poller1:add(sock, "r") end,
}

-- Arguments -----------------------------------------------------------------------------------------------------

local function good(name)
  if name == "cmsgs" then return { pool.cmsg1 } end
  if FUNCTIONS[name] then return FUNCTIONS[name] end
  local value = sequence.GOOD[name]
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, field in pairs(value) do copy[key] = field end
  return copy
end

local function value_of(text, own)
  local mark, name = text:sub(1, 1), text:sub(2)
  if mark == "=" then return good(name) end
  if mark == "?" then return nasty.by_name[name].make(own) end
  return pool[name]
end

-- A number that unwrap answered has one owner only.
local function give_away(step)
  if step.title == "socket.wrap" and step.args[1]:find "^@" then pool[step.args[1]:sub(2)] = nil end
end

local function is_open(sock)
  local fd = sock.sd
  return fd < 0 or sys.is_open(fd)
end

-- No socket may block, whatever was done to it before.
local function unblock()
  for _, sock in ipairs(owned) do
    if sock.sd >= 0 and sys.is_open(sock.sd) then sys.set_nonblock(sock.sd, true) end
  end
end

-- The first object of an answer: a cdata, or a table with a metatable, also inside a list.
local function object_in(answer)
  for i = 1, answer.n do
    local value = answer[i]
    if type(value) == "cdata" or type(value) == "table" and getmetatable(value) then return value end
    if type(value) == "table" and value[1] ~= nil then return object_in { n = 1, value[1] } end
  end
end

local function keep(i, step, answer)
  local name = tostring(i)
  if step.title:find ":unwrap$" and type(answer[1]) == "number" then pool[name] = answer[1] end
  local object = object_in(answer)
  if object then note(name, object) end
  for _, other in ipairs(type(answer[1]) == "table" and not getmetatable(answer[1]) and answer[1] or {}) do
    if ffi.istype(sockets.type, other) then owned[#owned + 1] = other end
  end
end

-- Judging -------------------------------------------------------------------------------------------------------

local family = {}
for _, op in ipairs(operations.list) do family[op.name] = op.family end

local function fault(i, text) print(("! %d %s"):format(i, text)) end

-- Two owners of a number, or an owner of a number that is closed.
local function judge_owners(i, title)
  local numbers = {}
  for _, sock in ipairs(owned) do
    local fd = sock.sd
    if not is_open(sock) then return fault(i, title .. ": a socket's descriptor was closed under it") end
    if fd >= 0 and numbers[fd] and numbers[fd] ~= sock then return fault(i, title .. ": a descriptor has two owners") end
    if fd >= 0 then numbers[fd] = sock end
  end
end

-- Whether an argument may be the reason of an error about it.
local function is_odd(text) return text == nil or text == "=nil" or text:find "^%?" or text:find "^@" end

local function judge_error(i, step, err)
  local why, position = verdict.raised(step.title, err, PLACE)
  if why then return fault(i, step.title .. ": " .. why) end
  local at = position and position + (step.title:find ":" and 1 or 0)
  if at and not is_odd(step.args[at]) then fault(i, ("%s: refuses a good argument: %s"):format(step.title, err)) end
end

-- What litter.churn wrote over freed memory.
local function has_litter(answer)
  for j = 1, answer.n do
    if type(answer[j]) == "string" and answer[j]:find "##" then return true end
  end
  return false
end

local function judge_answer(i, step, answer)
  if not shapes.judge(family[step.title], answer) then
    if step.title:find "^msgs:" and answer.n == 1 then return end -- a slot without a name
    if step.title:find ":close$" and answer.n == 1 then return end -- the error of a hook has no errno
    fault(i, step.title .. ": has no shape of its family: " .. verdict.stable(step.title, answer))
  end
  if has_litter(answer) then fault(i, step.title .. ": answers bytes that nobody sent") end
end

-- The run -------------------------------------------------------------------------------------------------------

local function perform(i, step, own)
  local args = { n = step.args.n }
  for j = 1, args.n do args[j] = value_of(step.args[j], own) end
  io.write(i, " ", sequence.show(step), " -> ")
  local ok, answer = pcall(call, sequence.functions[step.title].fn, args)
  if not ok then
    io.write("raised ", tostring(answer):match ":%d+: ([^\n]*)" or "", "\n")
    return judge_error(i, step, answer)
  end
  io.write(verdict.stable(step.title, answer), "\n")
  judge_answer(i, step, answer)
  if answer[1] ~= nil then give_away(step) end
  keep(i, step, answer)
end

local function run(steps, chosen, own)
  for _, i in ipairs(chosen) do
    local step = steps[i]
    unblock()
    if step.title == "collect" then litter.churn() else perform(i, step, own) end
    judge_owners(i, step.title)
  end
end

local function read_chosen(path)
  local chosen = {}
  if not path then
    for i = 1, length do chosen[i] = i end
    return chosen
  end
  for line in io.lines(path) do chosen[#chosen + 1] = tonumber(line) end
  return chosen
end

local function close_all()
  for name, object in pairs(pool) do
    if type(object) == "number" then sys.close(object)
    elseif type(object) ~= "cdata" or not name:find "bytes" then pcall(function() object:close() end) end
  end
  for _, sock in ipairs(owned) do sock:close() end
  pool, owned = {}, {}
end

local steps = sequence.draw(seed, length)
local chosen = read_chosen(arg[3])
collectgarbage(); collectgarbage()
local before = verdict.state(300)
sockets_of(); others()
local own, dispose = nasty.owner()
run(steps, chosen, own)
close_all(); dispose()
L.socket.zerocopykept(false)
own, dispose = nil, nil -- luacheck: ignore
litter.churn()
local changed = verdict.changed(before)
if changed then fault(0, changed) end
print("# steps " .. #chosen)
