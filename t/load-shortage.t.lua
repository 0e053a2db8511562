-- load-shortage: modules that are made on first use need no free descriptor; if that fails half-way, it can be repeated.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local sys = require "sys"
local show = require("values").show
local before = leak.count()

local METHODS = { "completed", "events", "onclose", "readv", "recvbatch", "recvinto", "splice", "steer" }
local MODULES = { "msghdr", "batch", "pipe", "cmsghdr", "descriptor", "poll", "wait" }
local HALF_WAY = { "sendmsg", "recvinto", "sendzerocopy" }

local T = require("tap").plan(#METHODS + #MODULES + 13)
local a, b = net.pair()

-- Runs fn without a descriptor; answers what it answers.
local function without(fn, ...)
  local old = sys.limit_descriptors(3)
  local ok, first, second, third = pcall(fn, ...)
  sys.limit_descriptors(old)
  return ok, first, second, third
end

local function get(object, name) return object[name] end

-- Fails after so many instructions of the interpreter; answers whether it was done before that.
local function interrupted(count, fn, ...)
  local function hooked(...)
    debug.sethook(function() debug.sethook() error("half-way", 0) end, "", count)
    fn(...)
    debug.sethook()
  end
  jit.off()
  local ok = pcall(hooked, ...)
  jit.on()
  return ok
end

-- In another load, whose first use it is.
local function first_use(object_of, name, count)
  local there = {}
  for key, module in pairs(package.loaded) do if key:find "^llsocket" then there[key] = module end end
  for key in pairs(there) do package.loaded[key] = nil end
  local object = object_of(require "llsocket")
  local failed = not interrupted(count, get, object, name)
  local ok, value = pcall(get, object, name)
  local why = not ok and value or type(value)
  for key in pairs(package.loaded) do if key:find "^llsocket" then package.loaded[key] = nil end end
  for key, module in pairs(there) do package.loaded[key] = module end
  return failed, why
end

-- Fails at many places, and answers how often it did, and what came of the next use when that was wrong.
local function first_uses(object_of, name, want)
  local failures, count = 0, 1
  repeat
    local failed, why = first_use(object_of, name, count)
    if why ~= want then return failures, why end
    if failed then failures = failures + 1 end
    count = count + 1 + math.floor(count / 4)
  until not failed
  return failures, ""
end

for _, name in ipairs(METHODS) do
  local ok, method = without(get, a, name)
  T.is(ok and type(method) or method, "function", name .. ": its first use needs no descriptor")
end
for _, name in ipairs(MODULES) do
  local ok, module = without(get, L, name)
  T.is(ok and type(module) or module, "table", "nor does llsocket." .. name)
end
T.is(type(select(2, without(get, L.socket, "activated"))), "function", "nor socket.activated")

-- A poller needs some of its own, and tells by its values.
local poll = L.poll
local EMFILE = show(true, nil, require("llsocket.errno").text(L.EMFILE), L.EMFILE)
for _, word in ipairs { "epoll", "kqueue", "poll" } do
  local p, _, e = poll.new(word)
  local want = p and EMFILE or show(true, nil, require("llsocket.errno").text(L.ENOSYS), L.ENOSYS)
  T.is(show(without(poll.new, word)), want, ("poll.new(%q) without a descriptor is EMFILE, or ENOSYS as ever"):format(word))
  T.ok(p or e == L.ENOSYS, word .. " is there with one, or not on this system")
  if p then p:close() end
end
T.is(show(without(poll.new)), EMFILE, "and so is poll.new without a word")

-- A first use that fails half-way.
for _, name in ipairs(HALF_WAY) do
  local failures, why = first_uses(function(M) return M.socket.pair(M.SOCK_STREAM)[1] end, name, "function")
  T.ok(failures > 20 and why == "", ("%s: where its first use fails half-way, in %d places, the next works %s"):format(
    name, failures, why))
end
local failures, why = first_uses(function(M) return M end, "poll", "table")
T.ok(failures > 20 and why == "", ("so does llsocket.poll, after %d failures %s"):format(failures, why))

a:close(); b:close()
for _ = 1, 3 do collectgarbage() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
