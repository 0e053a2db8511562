-- standin.lua -- the library loaded anew with other constants: a name that is taken away stands for a system without
-- it, and a wrong number for one whose kernel refuses the call; or with other calls of libc and other structs.  All else
-- is real.
local shim = require "llsocket.shim"
local libc = require "llsocket.core.libc"
local methods = require("llsocket.socket.object").methods

local M = {}

assert(methods.sendfd) -- the ordinary library's modules that are made by their first use: later they would find the other's

-- Loads it; false takes a name away.  `calls` stand in for functions of libc, by their names in libc.lua, `structs` for
-- those of layout.lua.
function M.load(changes, calls, structs)
  for name in pairs(package.loaded) do
    if name:find "^llsocket%f[.%z]" then package.loaded[name] = nil end
  end
  package.loaded["llsocket.shim"] = shim
  if calls then package.loaded["llsocket.core.libc"] = setmetatable(calls, { __index = libc }) end
  local const = require "llsocket.core.const"
  for name, value in pairs(changes) do const[name] = value or nil end
  for name, struct in pairs(structs or {}) do require("llsocket.core.layout")[name] = struct end
  return require "llsocket"
end

-- Makes an object of the library that was loaded last for a socket that another one made, as no birth of its own does.
function M.adopt(sock)
  local copy = require("llsocket.socket.object").new()
  local about = copy.about
  about.domain, about.type, about.proto, copy.sd = sock:family(), sock:socktype(), sock:protocol(), sock:unwrap()
  copy.home, about.kind = about.domain, about.type
  return copy
end

return M
