-- owners.lua -- every public function under the name that the pages give it: sock:send, inet.getaddrinfo.
local L = require "llsocket"
local stream = require "llsocket.stream"
require "methods" -- all methods

local METHODS = {
  sock = require("llsocket.socket.object").methods, ai = L.addrinfo.methods, mh = L.msghdr.methods, cmsg = L.cmsghdr.methods,
  msgs = L.batch.methods, tube = L.pipe.methods, desc = L.descriptor.methods, poller = L.poll.methods,
  s = stream.methods, event = require("llsocket.poll.event").methods, hook = require("llsocket.socket.onclose").hook_methods,
}
local MODULES = {
  socket = L.socket, inet = L.inet, unix = L.unix, device = L.device, addrinfo = L.addrinfo, wait = L.wait,
  loop = require "llsocket.wait.coroutine", batch = L.batch, bpf = L.bpf, pipe = L.pipe, poll = L.poll, msghdr = L.msghdr,
  stream = stream, resolve = require "llsocket.resolve", cmsghdr = L.cmsghdr, errno = require "llsocket.errno",
  gai = require "llsocket.gai",
}

local has_luasec, luasec = pcall(require, "llsocket.stream.luasec")
MODULES.luasec = has_luasec and luasec or { secure = function(s, context, name) return s, context, name end } -- for the pages

local M = { METHODS = METHODS, MODULES = MODULES }

local function add(out, owners, mark)
  for owner, fields in pairs(owners) do
    for name, fn in pairs(fields) do
      if type(fn) == "function" then out[owner .. mark .. name] = fn end
    end
  end
end

function M.functions()
  local out = {}
  add(out, METHODS, ":")
  add(out, MODULES, ".")
  return out
end

return M
