-- statsd.lua -- counters, timers and gauges for statsd, from any phase; a datagram holds many, see batch.lua.
local batch = require "batch"

local Statsd = {}
Statsd.__index = Statsd

-- `prefix` is put before every name, for example "www.".
local function new(host, port, prefix)
  return setmetatable({ batch = batch.new("statsd", host, port), prefix = prefix or "" }, Statsd)
end

-- Replace characters that would end the name.
function Statsd:add(name, value, kind)
  self.batch:add(self.prefix .. name:gsub("[^%w_./-]", "_") .. ":" .. value .. "|" .. kind)
end

function Statsd:count(name, n) self:add(name, n or 1, "c") end
function Statsd:timing(name, milliseconds) self:add(name, milliseconds, "ms") end
function Statsd:gauge(name, value) self:add(name, value, "g") end
function Statsd:flush() self.batch:flush() end

return { new = new }
