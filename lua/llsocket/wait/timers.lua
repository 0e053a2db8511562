-- timers.lua -- what is to happen at a time: a heap of ids, sorted by time.
--
-- An id is a number or a table.  An id whose time is no longer wanted stays in the heap: most waits end early, and the next
-- wait under the same id has a later time and then needs no change of the heap.  All stands in arrays and not in a table for
-- each id, which would take 250 bytes.
--
-- An error of a debug hook in the midst of a change may lose another id from the heap.  So at[id] says what is due, from set()
-- until the wait is over, and the heap can be made again from it.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local pairs, floor = pairs, math.floor

-- at[id]: when it is due; false: it is not wanted.  index[id]: its place in the heap.  By place: heap has the id, keys the
-- time by which the heap sorts it.  is_torn: the heap is being changed, or an error came in the midst of that.
local at, index, heap, keys, size = {}, {}, {}, {}, 0
local is_torn = false

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

local function settle(id, key, i)
  if i > 1 and key < keys[floor(i / 2)] then sift_up(id, key, i) else sift_down(id, key, i) end
end

local M = { at = at }

-- Makes the heap again.
local function rebuild()
  is_torn = true
  heap, keys, index, size = {}, {}, {}, 0
  for id, t in pairs(at) do
    if t then
      heap[size + 1], keys[size + 1] = id, t
      size = size + 1
      sift_up(id, t, size)
    end
  end
  is_torn = false
end

--- Makes the heap again, after an error that may have come in the midst of a change.
function M.rebuild() rebuild() end

--- Makes the heap again where an error came in the midst of a change.
function M.mend() if is_torn then rebuild() end end

--- Makes an id due at a time.  Where memory runs out nothing has changed.
---@param id integer|table
---@param t number  in the seconds of llsocket2_now
function M.set(id, t)
  local i = index[id]
  if i then
    at[id] = t
    if keys[i] <= t then return end -- due() looks at the id again when its key has come
    if is_torn then
      rebuild()
      return
    end
  else
    if is_torn then rebuild() end
    -- These four may allocate, and nothing behind them: what stands beyond `size` does not count.
    at[id], index[id] = at[id] or false, false
    heap[size + 1] = id
    keys[size + 1] = t
    at[id], size = t, size + 1
    i = size
  end
  is_torn = true
  sift_up(id, t, i)
  is_torn = false
end

-- Takes an id out of the heap; the last one comes into its place.
local function remove(id, i)
  local last, key = heap[size], keys[size]
  is_torn = true
  heap[size], keys[size], index[id] = nil, nil, false
  size = size - 1
  if i <= size then settle(last, key, i) end
  is_torn = false
end

--- Forgets a table that is not used again.
---@param id table
function M.drop(id)
  at[id] = nil
  if is_torn then rebuild() end
  if index[id] then remove(id, index[id]) end
  index[id] = nil
end

--- Tells until when a wait may last because of the first id.
---@return number? t  nil: there is none
function M.first()
  if is_torn then rebuild() end
  return size > 0 and keys[1] or nil
end

--- Takes an id that is due.  It stays in `at` until its wait is over.
---@param t number  the time
---@return integer|table? id
function M.due(t)
  if is_torn then rebuild() end
  while size > 0 and keys[1] <= t do
    local id = heap[1]
    local wanted = at[id]
    remove(id, 1)
    if wanted and wanted <= t then return id end
    if wanted then M.set(id, wanted) end
  end
end

--- Forgets all ids.
function M.clear()
  if is_torn then rebuild() end
  is_torn = true
  for i = 1, size do
    local id = heap[i]
    heap[i], keys[i], index[id], at[id] = nil, nil, nil, nil
  end
  size, is_torn = 0, false
end

return M
