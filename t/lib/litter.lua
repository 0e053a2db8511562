-- litter.lua -- memory that is written over, and strings that exist nowhere else.
local M = {}

-- Frees what nobody holds, and writes over it.
function M.churn()
  for _ = 1, 2 do collectgarbage() end
  local kept = {}
  for i = 1, 3000 do kept[i % 300 + 1] = ("#"):rep(i % 97 + 1) .. i end
  for _ = 1, 2 do collectgarbage() end
  return #kept
end

-- A string that is built anew from a number, so that no constant of the code holds it.
function M.fresh(i, length) return (("%d."):format(i)):rep(length) end

return M
