-- load-shortage: what is loaded by its first use, when there is no descriptor left to read a file with.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local sys = require "sys"
local show = require("values").show
local before = leak.count()

local METHODS = {
  sendmsg = "message", recvinto = "buffer", sendzerocopy = "zerocopy", steer = "steer", recvbatch = "burst",
  splice = "splice", onclose = "hook", getfd = "guest",
}
local MODULES = { "msghdr", "batch", "pipe" }
local names = {}
for name in pairs(METHODS) do names[#names + 1] = name end
table.sort(names)

local T = require("tap").plan(2 * #names + 2 * #MODULES + 12)
local a, b = net.pair()

-- Runs fn without a descriptor; answers what it answers.
local function without(fn, ...)
  local old = sys.limit_descriptors(3)
  local ok, first, second, third = pcall(fn, ...)
  sys.limit_descriptors(old)
  return ok, first, second, third
end

local function get(object, name) return object[name] end
local function raises(module) return ("llsocket.%s cannot be loaded: no descriptor is left"):format(module) end

for _, name in ipairs(MODULES) do
  local ok, err = without(get, L, name)
  T.is(not ok and err, raises(name), name .. ": without a descriptor it says why it is not loaded")
  T.is(type(L[name]), "table", name .. ": with one it is")
end
for _, name in ipairs(names) do
  local ok, err = without(get, a, name)
  T.is(not ok and err, raises(METHODS[name]), name .. ": without a descriptor its module says why it is not loaded")
  T.is(type(a[name]), "function", name .. ": with one it is")
end

-- A poller tells by its values.
local ok, err = without(get, L, "poll")
T.is(not ok and err, raises "poll", "poll, too, says why it is not loaded")
local poll = L.poll
local EMFILE = show(true, nil, require("llsocket.errno").text(L.EMFILE), L.EMFILE)
for _, word in ipairs { "epoll", "kqueue", "poll" } do
  T.is(show(without(poll.new, word)), EMFILE, ("poll.new(%q) without a descriptor is EMFILE"):format(word))
  local p, _, e = poll.new(word)
  T.ok(p or e == L.ENOSYS, word .. " is there with one, or not on this system")
  if p then p:close() end
end
T.is(show(without(poll.new)), EMFILE, "and so is poll.new without a word")

-- Loading that fails half-way.
package.preload["llsocket.activation"] = function()
  package.loaded["llsocket.readiness"] = nil
  package.preload["llsocket.readiness"] = function() error("half-way", 0) end
  require "llsocket.readiness"
end
local readiness = require "llsocket.readiness"
ok, err = pcall(get, L.socket, "activated")
T.ok(not ok and err:find("half-way", 1, true), "an error of a module itself comes out as it is")
ok, err = pcall(get, L.socket, "activated")
T.ok(not ok and err:find("half-way", 1, true), "and again by the next use, which is no loop")
package.preload["llsocket.activation"], package.preload["llsocket.readiness"] = nil, nil
package.loaded["llsocket.readiness"] = readiness
T.is(type(L.socket.activated), "function", "once it can be loaded it is")
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
