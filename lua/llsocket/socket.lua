-- socket.lua -- the class of sockets: it gathers the methods of the modules in socket/.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local sockets = require "llsocket.socket.object"
local lazy = require "llsocket.core.lazy"
local lifecycle = require "llsocket.socket.lifecycle"
local getmetatable, pairs, rawget, rawset = getmetatable, pairs, rawget, rawset

local MODULES = {
  lifecycle,
  require "llsocket.socket.flags",
  require "llsocket.socket.connect",
  require "llsocket.socket.transfer",
}

for _, module in ipairs(MODULES) do
  for name, method in pairs(module.methods) do sockets.methods[name] = method end
end

-- Methods whose module is required on first use.  The list gives their names for each module; LATER[name] is the module.
local LATER = {}
for module, methods in pairs {
  ["llsocket.socket.message"] = "sendmsg recvmsg writev readv sendfd recvfd",
  ["llsocket.socket.buffer"] = "recvinto sendfrom recvfrominto sendtofrom",
  ["llsocket.socket.zerocopy"] = "sendzerocopy completed",
  ["llsocket.socket.filter"] = "filter", ["llsocket.socket.steer"] = "steer",
  ["llsocket.socket.originaldst"] = "originaldst",
  ["llsocket.socket.anyoption"] = "getsockopt setsockopt peerpidfd",
  ["llsocket.socket.multicast"] = "mcastloop mcastttl mcastif mcastjoin mcastleave mcastjoinsrc mcastleavesrc mcastblocksrc "
    .. "mcastunblocksrc mcastfilter",
  ["llsocket.socket.batch"] = "recvbatch sendbatch",
  ["llsocket.socket.splice"] = "splice",
  ["llsocket.socket.onclose"] = "onclose",
  ["llsocket.socket.wrap"] = "unwrap setfd",
  ["llsocket.socket.foreign"] = "getfd dirty pollfd events timeout",
  ["llsocket.socket.supports"] = "supports",
  ["llsocket.socket.tcpmd5sig"] = "tcpmd5sig",
} do
  for name in methods:gmatch "%w+" do LATER[name] = module end
end

getmetatable(sockets.methods).__index = function(methods, name)
  local module = LATER[name]
  if not module then
    local method = lazy.require("llsocket.socket.option").make(name)
    if method then rawset(methods, name, method) end
    return method
  end
  for other, method in pairs(lazy.require(module).methods) do rawset(methods, other, method) end
  return rawget(methods, name)
end

lazy.hold()

---@class llsocket.socket.module
local M = { new = lifecycle.new, pair = lifecycle.pair }

-- Functions whose module is required on first use.
local BEYOND = {
  activated = "llsocket.socket.activated", supports = "llsocket.socket.supports", wrap = "llsocket.socket.wrap",
  zerocopykept = "llsocket.socket.zerocopy", congestions = "llsocket.socket.tcpinfo",
}

return lazy.keep("llsocket.socket", setmetatable(M, { __index = function(_, name)
  if not BEYOND[name] then return nil end
  M[name] = lazy.require(BEYOND[name])[name]
  return M[name]
end }))
