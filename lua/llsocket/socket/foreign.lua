-- foreign.lua -- what other people's event loops ask a socket.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local sockets = require "llsocket.socket.object"

local is_self = sockets.self

---@class llsocket.socket
local Socket = {}

--- Tells the descriptor's number, as luasocket's select asks; see select(2).
---@return integer fd  -1 once closed
function Socket:getfd()
  is_self(self, "getfd")
  return self.sd
end

--- Tells luasocket's select that no data waits in the object: nothing is buffered.
---@return boolean dirty  false
function Socket:dirty()
  is_self(self, "dirty")
  return false
end

--- Tells the descriptor's number, as cqueues asks of what it polls.
---@return integer fd  -1 once closed
function Socket:pollfd()
  is_self(self, "pollfd")
  return self.sd
end

--- Tells what the last call that would have blocked would have waited for, as cqueues asks.
---@return "r"|"w" events  "r" where there was none
function Socket:events()
  is_self(self, "events")
  return self.waits == sockets.WRITE and "w" or "r"
end

--- Tells cqueues that the object has no time-out of its own.
---@return nil
function Socket:timeout()
  is_self(self, "timeout")
  return nil
end

return { methods = Socket }
