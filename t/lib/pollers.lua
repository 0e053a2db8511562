-- pollers.lua -- the back-ends that this system has, and what a poller tells as text.
local poll = require "llsocket.poll"

local M = { names = {} }

for _, name in ipairs { "epoll", "kqueue", "poll" } do
  local p = poll.new(name)
  if p then
    M.names[#M.names + 1] = name
    p:close()
  end
end

local LETTERS = { "r", "w", "h", "p", "e", "u" } -- read, write, hang-up, the peer's half-close, error, urgent

local function letters(...)
  local out = ""
  for i, letter in ipairs(LETTERS) do if select(i, ...) then out = out .. letter end end
  return out
end

-- Waits, and answers the events as "value:letters", sorted.
function M.seen(p, sec, max)
  local out = {}
  assert(p:wait(sec or 0, max))
  for _, value, read, write, hangup, half, err, urgent in p:events() do
    out[#out + 1] = tostring(value) .. ":" .. letters(read, write, hangup, half, err, urgent)
  end
  table.sort(out)
  return table.concat(out, " ")
end

-- Waits for text that comes in its own time; at most 5 s.
function M.await(p, want)
  local got
  for _ = 1, 50 do
    got = M.seen(p, 0.1)
    if got == want then break end
  end
  return got
end

-- Sets a hard reset in motion.
function M.reset(sock)
  sock:linger(0)
  sock:close()
end

return M
