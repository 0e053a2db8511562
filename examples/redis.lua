-- redis.lua -- 10,000 SET and 10,000 GET, pipelined: luajit redis.lua HOST PORT, or luajit redis.lua PATH
local stream = require "llsocket.stream"
local s = assert(stream.connect(arg[1] or "127.0.0.1", arg[2] or not arg[1] and 6379 or nil, 5))
s:deadline(30)

local function command(...)
  local words = { ... }
  for i, word in ipairs(words) do words[i] = ("$%d\r\n%s\r\n"):format(#word, word) end
  return ("*%d\r\n%s"):format(#words, table.concat(words))
end

local function reply()
  local kind, rest = assert(s:line()):match "^(.)(.*)$"
  if kind == "$" then return assert(s:exactly(rest + 2)):sub(1, -3) end
  return assert(kind ~= "-" and rest, rest)
end

local commands = {}
for i = 1, 10000 do commands[i] = command("SET", "key:" .. i, "value " .. i) end
for i = 1, 10000 do commands[10000 + i] = command("GET", "key:" .. i) end
assert(s:write(table.concat(commands)))
for _ = 1, 10000 do assert(reply() == "OK") end
for i = 1, 10000 do assert(reply() == "value " .. i) end
print "20000 replies"
