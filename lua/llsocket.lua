-- llsocket.lua -- the public table: every constant, and the modules.
---@class llsocket
---@field [string] integer  a C constant; nil where the platform has none
local llsocket = {
  _VERSION = "0.2.0-dev",
  inet = require "llsocket.inet",
  unix = require "llsocket.unix",
  addrinfo = require "llsocket.addrinfo",
  socket = require "llsocket.socket",
  device = require "llsocket.device",
}

for name, value in pairs(require "llsocket.const") do llsocket[name] = value end

-- Modules that are loaded by their first use.
local LATER = {
  msghdr = "llsocket.msghdr", batch = "llsocket.batch", cmsghdr = "llsocket.cmsghdr", descriptor = "llsocket.descriptor",
  pipe = "llsocket.pipe", poll = "llsocket.poll", wait = "llsocket.wait",
}

local later = require "llsocket.later"
later.keep()

return setmetatable(llsocket, { __index = function(_, name)
  local module = LATER[name]
  if not module then return nil end
  llsocket[name] = later.load(module)
  return llsocket[name]
end })
