-- foreign.lua -- the methods that event loops of other libraries call on a socket.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local answer = require "llsocket.socket.answer"
local sockets = require "llsocket.socket.object"

local is_self = sockets.self

---@class llsocket.socket
local Socket = {}

--- Tells the descriptor's number to luasocket's select; see select(2).
---@return integer fd  -1 once closed
function Socket:getfd()
  is_self(self, "getfd")
  return self.sd
end

--- Tells luasocket's select that no data waits in the object, because nothing is buffered.
---@return boolean dirty  false
function Socket:dirty()
  is_self(self, "dirty")
  return false
end

--- Tells cqueues the number of the descriptor to poll.
---@return integer fd  -1 once closed
function Socket:pollfd()
  is_self(self, "pollfd")
  return self.sd
end

--- Tells cqueues the direction to wait for: that of the last call that would have blocked.
---@return "r"|"w" events  "r" where there was no such call
function Socket:events()
  is_self(self, "events")
  return self.waits == answer.WRITE and "w" or "r"
end

--- Tells cqueues that the object has no time-out of its own.
---@return nil
function Socket:timeout()
  is_self(self, "timeout")
  return nil
end

return { methods = Socket }
