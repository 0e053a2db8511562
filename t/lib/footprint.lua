-- footprint.lua -- counts what a function keeps from call to call: the entries of all tables that it, and those it calls, have
-- as upvalues.
local function is_module(t)
  for _, module in pairs(package.loaded) do
    if rawequal(module, t) then return true end
  end
  return false
end

local visit

local function visit_table(t, seen)
  if is_module(t) then return 0 end
  local n = 0
  for key, value in next, t do n = n + 1 + visit(key, seen) + visit(value, seen) end
  return n
end

local function visit_function(fn, seen)
  if not debug.getinfo(fn, "S").source:find "llsocket/wait" then return 0 end
  local n = 0
  for i = 1, math.huge do
    local name, value = debug.getupvalue(fn, i)
    if not name then return n end
    n = n + visit(value, seen)
  end
end

-- Each table and function counts once.
function visit(value, seen)
  local kind = type(value)
  if kind ~= "table" and kind ~= "function" or seen[value] then return 0 end
  seen[value] = true
  return (kind == "table" and visit_table or visit_function)(value, seen)
end

return function(fn)
  for _ = 1, 3 do collectgarbage() end
  return visit(fn, {})
end
