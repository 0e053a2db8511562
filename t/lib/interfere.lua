-- interfere.lua -- what a hook or a finaliser does in the middle of an operation.
--
-- A way: its name; prepare(op, case), which answers the act and what undoes it.  raises: the act raises an error; spoils: it may
-- change the answer beyond its shape, as the pages say of hooks; harmless: the answer must be as ever.  cost: seconds that all
-- operations take, every instruction of each.
local ffi = require "ffi"
local L = require "llsocket"
local nasty = require "nasty"
local net = require "net"
local operations = require "operations"
local shapes = require "shapes"
local sockets = require "llsocket.socket.object"

local M = {}

local function nothing() end

-- The socket that a value is, or that an object of the faces has.
local function socket_of(value)
  if ffi.istype(sockets.type, value) then return value end
  if type(value) ~= "table" then return nil end
  local link = rawget(value, "link")
  return socket_of(link and link.stream and link.stream.sock or rawget(value, "sock"))
end

local ABORT = { on = true, timeout = 0 }

local function reset_one(value)
  local sock = socket_of(value)
  if sock then sock:linger(0) end
  if type(value) == "userdata" then value:setoption("linger", ABORT) end -- LuaSocket's own
end

local function reset(values)
  for i = 1, values and (values.n or #values) or 0 do pcall(reset_one, values[i]) end
end

--- Disposes of a case; resets TCP connections: tens of thousands that close in order would leave no port.
function M.dispose(case)
  reset(case.args); reset(case.answer); reset(case.undo)
  operations.dispose(case)
end

local function each_object(case, fn)
  for i = 1, case.args.n do
    local object = case.args[i]
    if type(object) == "cdata" or type(object) == "table" and getmetatable(object) then pcall(fn, object) end
  end
end

local function close(case)
  each_object(case, function(object) object:close() end)
end

-- Changes all that a method of some object changes.
local function modify(case)
  each_object(case, function(object) object:rcvbuf(8192) end)
  each_object(case, function(object) object:shutdown(L.SHUT_WR) end)
  each_object(case, function(object) object:onclose(nothing) end)
  each_object(case, function(object) object:data("changed") end)
  each_object(case, function(object) object:data(1, "changed") end)
  each_object(case, function(object) object:control {} end)
  each_object(case, function(object) object:count(1) end)
  each_object(case, function(object) object:modify(case.args[2], "rw", "changed") end)
  each_object(case, function(object) object:shutdown "send" end) -- of the faces
  each_object(case, function(object) object:setkeepalive(1) end)
end

-- Takes out what is registered, and registers another.
local function remove(case)
  each_object(case, function(object) object:remove(case.args[2]) end)
  each_object(case, function(object)
    local a = net.pair()
    object:add(a, "r")
    a:close()
  end)
  each_object(case, function(object) object:wake() end)
end

-- Uses what calls share: buffers, cells, spare objects; with values that no operation has.
local noise
local function make_noise()
  if not noise then
    local a, b = net.pair(L.SOCK_DGRAM, true)
    local group = net.bound(L.AF_INET, L.SOCK_DGRAM)
    local ai = L.inet.getaddrinfo("192.168.77.77", "2222")[1]
    noise = { a = a, b = b, group = group, ai = ai, mh = L.msghdr.new { size = 64, controlsize = 64 } }
    a:linger(9); group:mcastttl(9); a:rcvtimeo(9.5)
  end
  local a, b = noise.a, noise.b
  a:send "########"; b:recv(64); b:recv(64)
  a:send "########"; b:recvfrom(64)
  a:send(("#"):rep(5000)); b:recv(5000)
  a:send "########"; b:recvmsg(noise.mh)
  a:writev { "##", "##" }; b:readv { 1, 8 }
  a:linger(); noise.group:mcastttl(); a:rcvtimeo(); a:rcvbuf(); a:getsockopt(L.SOL_SOCKET, L.SO_RCVBUF, "bytes")
  noise.ai:addr(); tostring(noise.ai); noise.ai:nameinfo(L.NI_NUMERICHOST, L.NI_NUMERICSERV); a:getsockname()
  L.inet.getaddrinfo("192.168.77.78", "2223"); L.wait.poll(a:fd(), "w", 0); L.device.index "lo"; L.cmsghdr.ttl(9):integer()
end

make_noise() -- its objects are made before anything is judged

local function prepare_noise() return make_noise, nothing end

-- Writes over what the collector freed.
local function litter()
  local kept = {}
  for i = 1, 64 do kept[i] = ("#"):rep(i * 17) .. i end
  return #kept
end

-- Collects garbage with a finaliser that does something.
local function collected(fn)
  return function(_, case)
    return function()
      getmetatable(newproxy(true)).__gc = function() fn(case) end
      collectgarbage()
      litter()
    end, nothing
  end
end

-- The act alone.
local function plain(fn)
  return function(_, case) return function() fn(case) end, nothing end
end

-- The same operation on other objects; `undo` tells where that did not answer as ever.
local function call_the_same(op)
  local other = operations.ready(op)
  local said
  local function act()
    local ok, answer = pcall(operations.run, other)
    local as_wanted = ok and select(3, operations.judge(op, answer))
    if not as_wanted then said = "in the finaliser it answers " .. (ok and shapes.line(answer) or tostring(answer)) end
  end
  return act, function()
    M.dispose(other)
    return said
  end
end

--- What takes over a number: it is not called again, garbage that has the same number must be gone before, and an object that
--- was lost after.
M.takes_over = { ["socket.wrap"] = true, ["socket.activated"] = true }

--- Whether the way cannot be gone: an object that is lost owns descriptor 3, which socket.activated borrows; signals are the
--- process's.
function M.is_vain(op, way)
  -- A loop inside the loop is refused, and these operations run one.
  if (op.name:find "^loop%." or op.name == "stream.serve") and way.name == "calls the same" then return true end
  if op.title == "sock:close, zero-copy" and way.raises then return true end -- close answers the hook's error, as it should
  -- The finaliser's closure holds the message, and that the descriptor that it received.
  if op.title == "sock:recvmsg, descriptors" and way.name == "calls the same" then return true end
  if op.name == "socket.activated" then return not way.harmless or way.twice end
  return op.title == "event:read, signals" and way.name == "calls the same"
end

-- Whether a value is the error that is raised here; a loop adds the coroutine's stack.
local function is_hostile(err) return type(err) == "string" and err:sub(1, #nasty.HOSTILE) == nasty.HOSTILE end

M.is_hostile = is_hostile

--- Whether an answer tells of that error, as it should: close of a hook's, join of what ended the one that is joined.
function M.is_told(op, way, answer)
  if not way.raises then return false end
  return op.title:find ":close" and answer[1] == nasty.HOSTILE or op.name == "loop.join" and is_hostile(answer[2])
end

local function raise() return function() error(nasty.HOSTILE, 0) end, nothing end

M.ways = {
  { name = "raises", prepare = raise, raises = true, cost = 60 },
  { name = "calls the same", prepare = call_the_same, spoils = true, cost = 90 },
  { name = "collects", prepare = collected(nothing), harmless = true, cost = 180 },
  { name = "closes", prepare = collected(close), spoils = true, cost = 180 },
  { name = "modifies", prepare = collected(modify), spoils = true, cost = 180 },
  { name = "removes", prepare = collected(remove), spoils = true, cost = 180 },
}

M.finalisers = {
  { name = "uses the library", prepare = prepare_noise, harmless = true },
  { name = "calls the same", prepare = call_the_same, harmless = true, twice = true },
  { name = "closes", prepare = plain(close) }, { name = "modifies", prepare = plain(modify) },
  { name = "removes", prepare = plain(remove) }, { name = "raises", prepare = raise, raises = true },
}

return M
