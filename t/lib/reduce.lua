-- reduce.lua -- cuts a list that fails to the shortest that still fails: delta debugging.
local M = {}

local function part(list, first, last)
  local out = {}
  for i = first, last do out[#out + 1] = list[i] end
  return out
end

local function without(list, first, last)
  local out = {}
  for i, item in ipairs(list) do
    if i < first or i > last then out[#out + 1] = item end
  end
  return out
end

-- Leaves out one piece of `size` after the other; answers the shorter list, and whether it is shorter.
local function pass(list, size, fails)
  local first, shorter = 1, false
  while first <= #list do
    local rest = without(list, first, first + size - 1)
    if #rest < #list and fails(rest) then
      list, shorter = rest, true
    else
      first = first + size
    end
  end
  return list, shorter
end

--- Cuts a list.
---@param list table
---@param fails fun(list: table): boolean  whether a shorter list still fails
---@param last? integer  the number of the item behind which nothing matters, as far as is known
---@return table list  no single item can be left out
function M.shortest(list, fails, last)
  local head = last and part(list, 1, last)
  if head and fails(head) then list = head end
  local size = math.max(1, math.floor(#list / 2))
  while true do
    local shorter
    list, shorter = pass(list, size, fails)
    if size == 1 and not shorter then return list end
    if not shorter or size > #list then size = math.max(1, math.floor(size / 2)) end
  end
end

return M
