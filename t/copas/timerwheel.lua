-- timerwheel.lua -- what the Copas of Debian's sid requires and its package does not bring: the timers of copas.timeout.
local Wheel = {}
Wheel.__index = Wheel

function Wheel:set(seconds, callback, arg)
  self.last = self.last + 1
  self.timers[self.last] = { at = self.now() + seconds, callback = callback, arg = arg }
  return self.last
end

function Wheel:cancel(id)
  local found = self.timers[id] ~= nil
  self.timers[id] = nil
  return found
end

function Wheel:count()
  local n = 0
  for _ in pairs(self.timers) do n = n + 1 end
  return n
end

function Wheel:step()
  local due, time = {}, self.now()
  for id, timer in pairs(self.timers) do
    if timer.at <= time then due[#due + 1] = id end
  end
  table.sort(due)
  for _, id in ipairs(due) do
    local timer = self.timers[id]
    self.timers[id] = nil
    if timer then timer.callback(timer.arg) end
  end
end

return { new = function(options) return setmetatable({ now = options.now, timers = {}, last = 0 }, Wheel) end }
