-- llsocket.lua -- the public table: every constant, and the modules.
---@class llsocket
---@field [string] integer  a C constant; nil where the platform has none
local llsocket = {
  _VERSION = "0.1.0",
  inet = require "llsocket.inet",
  unix = require "llsocket.unix",
  addrinfo = require "llsocket.addrinfo",
  socket = require "llsocket.socket",
  device = require "llsocket.device",
}

for name, value in pairs(require "llsocket.const") do llsocket[name] = value end

return llsocket
