-- timers.lua -- what is to happen at a time: a heap of ids, sorted by time.
--
-- An id is a number or a table.  An id whose time is no longer wanted stays in the heap: most waits end early, and the next
-- wait under the same id has a later time and then needs no change of the heap.  All stands in arrays and not in a table for
-- each id, which would take 250 bytes.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local floor = math.floor

-- at[id]: when it is due; false: it is not wanted.  index[id]: its place in the heap.  By place: heap has the id, keys the
-- time by which the heap sorts it.
local at, index, heap, keys, size = {}, {}, {}, {}, 0

local function place(id, key, i)
  heap[i], keys[i], index[id] = id, key, i
end

local function sift_up(id, key, i)
  while i > 1 do
    local parent = floor(i / 2)
    if keys[parent] <= key then break end
    place(heap[parent], keys[parent], i)
    i = parent
  end
  place(id, key, i)
end

local function sift_down(id, key, i)
  while 2 * i <= size do
    local child = 2 * i
    if child < size and keys[child + 1] < keys[child] then child = child + 1 end
    if key <= keys[child] then break end
    place(heap[child], keys[child], i)
    i = child
  end
  place(id, key, i)
end

local M = { at = at }

--- Makes an id due at a time.  Where memory runs out nothing has changed.
---@param id integer|table
---@param t number  in the seconds of llsocket2_now
function M.set(id, t)
  local i = index[id]
  if i then
    at[id] = t
    if keys[i] <= t then return end -- due() looks at the id again when its key has come
  else
    -- These four may allocate, and nothing behind them: what stands beyond `size` does not count.
    at[id], index[id] = at[id] or false, false
    heap[size + 1] = id
    keys[size + 1] = t
    at[id], size = t, size + 1
    i = size
  end
  sift_up(id, t, i)
end

-- Takes an id out of the heap; the last one comes into its place.
local function remove(id, i)
  local last, key = heap[size], keys[size]
  heap[size], keys[size], index[id] = nil, nil, false
  size = size - 1
  if i > size then return end
  if i > 1 and key < keys[floor(i / 2)] then sift_up(last, key, i) else sift_down(last, key, i) end
end

--- Forgets a table that is not used again.
---@param id table
function M.drop(id)
  if index[id] then remove(id, index[id]) end
  at[id], index[id] = nil, nil
end

--- Tells until when a wait may last because of the first id.
---@return number? t  nil: there is none
function M.first() return size > 0 and keys[1] or nil end

--- Takes an id that is due.
---@param t number  the time
---@return integer|table? id
function M.due(t)
  while size > 0 and keys[1] <= t do
    local id = heap[1]
    local wanted = at[id]
    remove(id, 1)
    if wanted and wanted <= t then
      at[id] = false
      return id
    end
    if wanted then M.set(id, wanted) end
  end
end

--- Forgets all ids.
function M.clear()
  for i = 1, size do
    local id = heap[i]
    heap[i], keys[i], index[id], at[id] = nil, nil, nil, nil
  end
  size = 0
end

return M
