-- llsocket.lua -- the public table: every constant, and the modules.
local collectgarbage, error, pairs, pcall, require, setmetatable = collectgarbage, error, pairs, pcall, require, setmetatable

-- Modules that are loaded by their first use.
local LATER = {
  msghdr = "llsocket.msghdr", batch = "llsocket.batch", cmsghdr = "llsocket.cmsghdr", descriptor = "llsocket.descriptor",
  pipe = "llsocket.pipe", poll = "llsocket.poll", wait = "llsocket.wait",
}

local function load()
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
  local later = require "llsocket.later"
  later.keep()
  return setmetatable(llsocket, { __index = function(_, name)
    local module = LATER[name]
    if not module then return nil end
    llsocket[name] = later.load(module)
    return llsocket[name]
  end })
end

-- The collector rests meanwhile: it would find next to nothing to free, for 0.9 of 16 million instructions.
local was_running = collectgarbage "isrunning"
collectgarbage "stop"
local is_loaded, result = pcall(load)
if was_running then collectgarbage "restart" end
return is_loaded and result or error(result, 0)
