-- methods.lua -- makes what is made by its first use, for the tests that walk all methods of a socket.
local L = require "llsocket"
local option = require "llsocket.socket.option"
local methods = require("llsocket.socket.object").methods

local M = { options = {} }

-- The rows of the socket options, as tables: method, level, option, kind, access, what it does.
for name, level, opt, kind, access, what in option.rows(1) do
  M.options[#M.options + 1] = { name, level, opt, kind, access, what }
  assert(methods[name], name)
end

-- One method of each module that is made by its first use.
local FIRST = {
  "sendmsg", "recvinto", "recvbatch", "splice", "completed", "steer", "onclose", "getfd", "getsockopt", "unwrap", "mcastjoin",
  "supports", "tcpmd5sig", "filter", "originaldst",
}
for _, name in ipairs(FIRST) do assert(methods[name], name) end
assert(L.inet.pton and L.inet.ntop and L.inet.service)
for _, name in ipairs { "inet", "inet6", "unix", "vsock", "netlink", "packet" } do assert(L.addrinfo[name], name) end
assert(L.socket.activated and L.socket.supports and L.socket.wrap and L.socket.zerocopykept and L.socket.congestions)

return M
