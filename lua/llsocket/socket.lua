-- socket.lua -- the class: gathers the methods of the rooms below.
local handle = require "llsocket.handle"
local later = require "llsocket.later"
local owner = require "llsocket.owner"

local ROOMS = {
  owner,
  require "llsocket.fcntl",
  require "llsocket.endpoint",
  require "llsocket.transfer",
  require "llsocket.option",
}

for _, room in ipairs(ROOMS) do
  for name, method in pairs(room.methods) do handle.methods[name] = method end
end

-- Rooms beyond the first: loaded by the first use of one of their methods.
local LATER = {
  sendmsg = "llsocket.message", recvmsg = "llsocket.message", writev = "llsocket.message",
  readv = "llsocket.message", sendfd = "llsocket.message", recvfd = "llsocket.message",
  recvinto = "llsocket.buffer", sendfrom = "llsocket.buffer", recvfrominto = "llsocket.buffer",
  sendtofrom = "llsocket.buffer",
  sendzerocopy = "llsocket.zerocopy", completed = "llsocket.zerocopy",
  steer = "llsocket.steer",
  recvbatch = "llsocket.burst", sendbatch = "llsocket.burst",
  splice = "llsocket.splice",
  mcastloop = "llsocket.multicast", mcastttl = "llsocket.multicast", mcastif = "llsocket.multicast",
  mcastjoin = "llsocket.multicast", mcastleave = "llsocket.multicast", mcastjoinsrc = "llsocket.multicast",
  mcastleavesrc = "llsocket.multicast", mcastblocksrc = "llsocket.multicast", mcastunblocksrc = "llsocket.multicast",
  onclose = "llsocket.hook",
  getfd = "llsocket.guest", dirty = "llsocket.guest", pollfd = "llsocket.guest", events = "llsocket.guest",
  timeout = "llsocket.guest",
}

setmetatable(handle.methods, { __index = function(methods, name)
  local room = LATER[name]
  if not room then return nil end
  for other, method in pairs(later.load(room).methods) do rawset(methods, other, method) end
  return rawget(methods, name)
end })

later.keep()

local M = { new = owner.new, pair = owner.pair, wrap = owner.wrap }

return setmetatable(M, { __index = function(_, name)
  if name ~= "activated" then return nil end
  M.activated = later.load("llsocket.activation").activated
  return M.activated
end })
