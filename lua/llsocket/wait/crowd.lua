-- crowd.lua -- who waits for which descriptor in the loop of another library, so that a close can tell them.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local pairs, rawequal, setmetatable, type = pairs, rawequal, setmetatable, type

-- crowd.first[fd]: one that waits for the descriptor; rest[fd]: the others.  Weak, and not a count: a coroutine that is dropped
-- or killed while it waits never takes back what it noted, but its waiter is collected with it.  `set` keeps rest[fd] for as long
-- as one of its waiters lives.  spare: waiters to use again, so that a wait makes no garbage; a few
-- suffice, because who has waited mostly waits next.
local crowd = { __index = {} }
local MOST_SPARE = 64
local WEAK_KEYS, WEAK_VALUES = { __mode = "k" }, { __mode = "v" }

local function take_spare(self)
  local n = self.spares
  local waiter = self.spare[n]
  if not waiter then return self.make() end
  self.spare[n], self.spares = nil, n - 1
  return waiter
end

--- Notes a waiter for a descriptor.
---@param fd integer
---@return table waiter  its `closed` is true once the descriptor is closed; keep a reference to it during the wait
function crowd.__index:enter(fd)
  local waiter = take_spare(self)
  if not self.first[fd] then
    self.first[fd] = waiter
    return waiter
  end
  local set = self.rest[fd] or setmetatable({}, WEAK_KEYS)
  self.rest[fd], set[waiter], waiter.set = set, true, set
  return waiter
end

--- Forgets a waiter whose wait is over, also where its descriptor was closed.
---@param fd integer
---@param waiter table  not to be used after this
function crowd.__index:leave(fd, waiter)
  if rawequal(self.first[fd], waiter) then self.first[fd] = nil end
  local set = waiter.set
  if set then set[waiter], waiter.set = nil, nil end
  waiter.closed = false
  if self.spares == MOST_SPARE then return end
  self.spares = self.spares + 1
  self.spare[self.spares] = waiter
end

--- Sets a field for all waiters of a descriptor.
---@param fd integer
---@param name string
---@return boolean any  whether there may have been a waiter
function crowd.__index:mark(fd, name)
  local first, rest = self.first[fd], self.rest[fd]
  if first then first[name] = true end
  if rest then
    for waiter in pairs(rest) do waiter[name] = true end
  end
  return first ~= nil or rest ~= nil
end

--- Sets `closed` for all waiters of a descriptor, and forgets them.
---@param fd integer?  nil: of an object that has none
---@return boolean any  whether there may have been a waiter
function crowd.__index:close(fd)
  if type(fd) == "nil" or not self:mark(fd, "closed") then return false end
  self.first[fd], self.rest[fd] = nil, nil
  return true
end

local function make_waiter() return {} end

---@class llsocket.wait.crowd
local M = {}

--- Makes a list of waiters by descriptor.
---@param make? fun(): table  makes a waiter; the default makes an empty table
---@return table crowd
function M.new(make)
  return setmetatable({
    make = make or make_waiter,
    first = setmetatable({}, WEAK_VALUES), rest = setmetatable({}, WEAK_VALUES), spare = {}, spares = 0,
  }, crowd)
end

return M
