-- statsd.lua -- counters, timers and gauges for statsd, from any phase: many to a datagram, see batch.lua.
local batch = require "batch"

local Statsd = {}
Statsd.__index = Statsd

-- `prefix` precedes every name: "www." for instance.
local function new(host, port, prefix)
  return setmetatable({ batch = batch.new("statsd", host, port), prefix = prefix or "" }, Statsd)
end

-- A name must not look like the end of one.
function Statsd:add(name, value, kind)
  self.batch:add(self.prefix .. name:gsub("[^%w_./-]", "_") .. ":" .. value .. "|" .. kind)
end

function Statsd:count(name, n) self:add(name, n or 1, "c") end
function Statsd:timing(name, milliseconds) self:add(name, milliseconds, "ms") end
function Statsd:gauge(name, value) self:add(name, value, "g") end
function Statsd:flush() self.batch:flush() end

return { new = new }
