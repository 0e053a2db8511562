-- socket.lua -- the class: gathers the methods of the rooms below.
package.loaded[...] = nil -- see later.lua
setfenv(1, require "llsocket.later")
local handle = require "llsocket.handle"
local later = require "llsocket.later"
local option = require "llsocket.option"
local owner = require "llsocket.owner"
local pairs, rawget, rawset = pairs, rawget, rawset

local ROOMS = {
  owner,
  require "llsocket.fcntl",
  require "llsocket.endpoint",
  require "llsocket.transfer",
  option,
  require "llsocket.multicast",
}

for _, room in ipairs(ROOMS) do
  for name, method in pairs(room.methods) do handle.methods[name] = method end
end

-- Modules beyond those: made by the first use of one of their methods.
local LATER = {
  sendmsg = "llsocket.message", recvmsg = "llsocket.message", writev = "llsocket.message",
  readv = "llsocket.message", sendfd = "llsocket.message", recvfd = "llsocket.message",
  recvinto = "llsocket.buffer", sendfrom = "llsocket.buffer", recvfrominto = "llsocket.buffer",
  sendtofrom = "llsocket.buffer",
  sendzerocopy = "llsocket.zerocopy", completed = "llsocket.zerocopy",
  steer = "llsocket.steer",
  getsockopt = "llsocket.anyoption", setsockopt = "llsocket.anyoption",
  recvbatch = "llsocket.burst", sendbatch = "llsocket.burst",
  splice = "llsocket.splice",
  onclose = "llsocket.hook",
  getfd = "llsocket.guest", dirty = "llsocket.guest", pollfd = "llsocket.guest", events = "llsocket.guest",
  timeout = "llsocket.guest",
}

setmetatable(handle.methods, { __index = function(methods, name)
  local room = LATER[name]
  if not room then
    local method = option.make(name)
    if method then rawset(methods, name, method) end
    return method
  end
  for other, method in pairs(later.require(room).methods) do rawset(methods, other, method) end
  return rawget(methods, name)
end })

later.hold()

local M = { new = owner.new, pair = owner.pair, wrap = owner.wrap }

-- Functions beyond the first, likewise.
local BEYOND = { activated = "llsocket.activation", zerocopykept = "llsocket.zerocopy" }

return later.keep("llsocket.socket", setmetatable(M, { __index = function(_, name)
  if not BEYOND[name] then return nil end
  M[name] = later.require(BEYOND[name])[name]
  return M[name]
end }))
