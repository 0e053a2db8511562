-- llsocket.lua -- the public table: it holds every constant and the modules.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local collectgarbage, error, pcall, require, setmetatable, type = collectgarbage, error, pcall, require, setmetatable, type

-- Modules that are made on first use.
local LATER = {
  msghdr = "llsocket.msghdr", batch = "llsocket.batch", bpf = "llsocket.bpf", cmsghdr = "llsocket.cmsghdr",
  descriptor = "llsocket.descriptor", device = "llsocket.device",
  pipe = "llsocket.pipe", poll = "llsocket.poll", wait = "llsocket.wait",
}

-- The table of constants is used itself, because a copy would take 0.3 million instructions and 40 KiB.  The modules stand
-- in its metatable, so that a program that walks the table meets numbers only; so do the constants of csrc/protocols.def,
-- which are found by their names.
---@return llsocket
local function load()
  local lazy = require "llsocket.core.lazy"
  local modules = {
    _VERSION = "0.2.0-dev",
    inet = require "llsocket.inet",
    unix = require "llsocket.unix",
    addrinfo = require "llsocket.addrinfo",
    socket = require "llsocket.socket",
  }
  setmetatable(modules, { __index = function(_, name)
    local found
    if LATER[name] then found = lazy.require(LATER[name])
    elseif type(name) == "string" then found = lazy.require("llsocket.core.named").named(name) end
    if type(found) == "nil" then return nil end
    modules[name] = found
    return found
  end })
  return setmetatable(require "llsocket.core.const", { __index = modules })
end

-- The collector is stopped while the library loads: it would cost 0.9 of 16 million instructions and free almost nothing.
local was_running = collectgarbage "isrunning"
collectgarbage "stop"
local is_loaded, result = pcall(load)
if was_running then collectgarbage "restart" end
if not is_loaded then error(result, 0) end
---@cast result llsocket
return result
