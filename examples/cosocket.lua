-- cosocket.lua HOST PORT [LIBRARY] -- a library that was written for nginx's Lua, unchanged, outside nginx: a hundred coroutines
-- count visits in a Redis server, over ten connections.
--
-- LIBRARY is lua-resty-redis: "resty.redis", or "nginx.redis" as Debian's package lua-nginx-redis has it.
local cosocket = require "llsocket.cosocket"
local loop = require "llsocket.wait.coroutine"

local host, port, library = ...
ngx = cosocket.ngx() -- luacheck: ignore 111
local redis = require(library or "resty.redis")

local function visit(page)
  local red = redis:new()
  red:set_timeouts(1000, 1000, 1000)
  assert(red:connect(host, port, { pool_size = 10, backlog = 100 })) -- ten at a time, the others wait for their turn
  local count = assert(red:hincrby("visits", page, 1))
  assert(red:set_keepalive(1000))
  return count
end

local highest = 0
for _ = 1, 100 do
  loop.spawn(function()
    local count = visit "home" -- others count meanwhile: read `highest` only after it
    highest = math.max(highest, count)
  end)
end
loop.run()
print(highest .. " visits, over " .. cosocket.sweep() .. " connections")
