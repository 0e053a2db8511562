-- socket.lua -- the class: gathers the methods of the rooms below.
local handle = require "llsocket.handle"
local owner = require "llsocket.owner"

local ROOMS = {
  owner,
  require "llsocket.fcntl",
  require "llsocket.endpoint",
  require "llsocket.transfer",
  require "llsocket.option",
  require "llsocket.multicast",
}

for _, room in ipairs(ROOMS) do
  for name, method in pairs(room.methods) do handle.methods[name] = method end
end

return { new = owner.new, pair = owner.pair, wrap = owner.wrap }
