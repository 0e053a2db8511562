-- queue.lua -- the coroutines that the loop is to run in its next round.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")

-- Each is followed by the answer of its wait.  A new one is followed by a table: its function and arguments.
local queue, first, last = {}, 1, 0

local M = {}

--- Puts a coroutine at the end.
---@param co thread
---@param answer any
local function enqueue(co, answer)
  queue[last + 1], queue[last + 2] = co, answer
  last = last + 2
end

M.enqueue = enqueue

--- Makes the places for two coroutines.  Where memory runs out it must do so before an event, a time or a wait is taken, or a
--- coroutine is lost: it would neither wait nor be in the queue.
function M.make_room()
  queue[last + 1], queue[last + 2], queue[last + 3], queue[last + 4] = false, false, false, false
end

--- The same where an event follows; mostly there is room.
function M.need_room()
  if queue[last + 4] == nil then M.make_room() end
end

--- Tells whether nobody is in the queue.
---@return boolean
function M.is_empty() return first > last end

--- Tells what a coroutine in the queue is to be told.
---@param co thread
---@return boolean is_queued
---@return any answer
function M.find(co)
  for i = first, last, 2 do
    if queue[i] == co then return true, queue[i + 1] end
  end
  return false
end

--- Runs all that are in the queue now.  Those that they add wait for the next round, so that none can starve the others.
---@param go_on fun(co: thread, told: any)
function M.run(go_on)
  local stop = last
  while first <= stop do
    local at = first
    local co, told = queue[at], queue[at + 1]
    first = at + 2
    queue[at], queue[at + 1] = nil, nil
    if co then go_on(co, told) end
  end
  if first > last then
    first = 1 -- in this order: where an error comes in between, places in the queue are empty, and nobody is lost
    last = 0
  end
end

return M
