-- verdict.lua -- judges a call that was tortured: what it raised, what it left behind, and its answer as text for comparing runs.
local nasty = require "nasty"
local shapes = require "shapes"
local signals = require "signals"
local sys = require "sys"

local M = {}

-- Answers that differ from run to run by nature: numbers the kernel chooses, times, counters.
local LOOSE = {}
for name in ([[fd getfd pollfd wakefd unwrap port bytes peercred tcpinfo tcpccinfo timestamp macaddrs getifaddrs credentials
  zerocopykept completed incomingcpu read now fields cookie netnscookie meminfo napiid peerpidfd
  ipprotocol]]):gmatch "%S+" do
  LOOSE[name] = true
end

--- An answer as a line that is the same in every run.
---@param title string  the function's, as the pages give it
---@param values table  { n =, ... }
---@return string line
function M.stable(title, values)
  local ok, line = pcall(shapes.line, values)
  if not ok then return "a hostile value" end
  if title == "ai:bytes" then return "bytes" end
  if LOOSE[title:match "%w+$"] then line = line:gsub("%d+", "N"):gsub('"[^"]*"', "S") end
  line = line:gsub("(%d+%.%d+%.%d+%.%d+):%d+", "%1:P"):gsub("%]:%d+", "]:P"):gsub("coroutine: 0x", "thread: 0x")
  return (line:gsub("[\1-\31\127-\255]", "."))
end

-- The position that a message names, or 0 for self; nil where it is no message of the library about this function.
local function position_of(message, name)
  local position, whose = message:match "^bad argument #(%d+) to '([%w_]+)' %(.+%)$"
  if not position then
    whose = message:match "^calling '([%w_]+)' on bad self %(.+ expected, got .+%)$"
    position = whose and 0
  end
  return whose == name and tonumber(position) or nil
end

--- Judges what a call raised.
---@param title string  the function's, as the pages give it
---@param err any  the error
---@param place string  "FILE:LINE" of the caller
---@return string? fault  nil where the message names the function, an argument and the caller's line
---@return integer? position  of the argument, 0 for self
function M.raised(title, err, place)
  if err == nasty.HOSTILE then return nil end
  if type(err) ~= "string" then return "raised a " .. type(err) end
  local where, message = err:match "^(.-:%d+): ([^\n]*)" -- a loop adds the coroutine's stack
  if where ~= place then return "raised at another place than the caller's line: " .. err end
  local position = position_of(message, title:match "[%w_]+$")
  if not position then return "raised no message about its arguments: " .. message end
  return nil, position
end

-- What nginx's cosockets and LuaSocket raise beside messages with an argument's number.
local WORDS = { "^expecting .+ arguments?.*, but .+ %d$", "^expecting .+ seen %d$", "^ngx%.socket.*: expecting .+ seen %d$",
  "^attempt to pass 0 arguments, but accepted 1$", "^bad timeout value$", '^bad "inclusive" option value type: %a+$',
  "^socket is never created nor connected$", "^invalid sleep duration", "^select failed$", "^host and serv cannot be both nil$",
  "^attempt to index a %a+ value$", "^attempt to call a %a+ value$", "has no member named 'getfd'$" }

local function is_face_message(message)
  if message:find "^bad argument #%d+ to '[%w_?]+' %(.+%)$" or message:find "^calling '[%w_?]+' on bad self %(.+%)$" then
    return true
  end
  for _, pattern in ipairs(WORDS) do if message:find(pattern) then return true end end
  return false
end

--- Judges what a call of a face raised.
---@param err any
---@param place string  "FILE:LINE" of the caller
---@return string? fault  nil where the message is the original's kind and names the caller's line
function M.raised_by_face(_, err, place)
  if err == nasty.HOSTILE then return nil end
  if type(err) ~= "string" then return "raised a " .. type(err) end
  local where, message = err:match "^(.-:%d+): ([^\n]*)"
  if where ~= place then return "raised at another place than the caller's line: " .. err end
  if not is_face_message(message) then return "raised no message about its arguments: " .. message end
end

--- What must be the same before and after: the signal mask and the open descriptors below a number.
---@param top integer
---@return table state
function M.state(top)
  local state = { mask = signals.mask(), top = top, open = {} }
  for fd = 0, top do state.open[fd] = sys.is_open(fd) end
  return state
end

local function differs(state)
  for fd = 0, state.top do
    local was = state.open[fd]
    if sys.is_open(fd) ~= was then return ("descriptor %d %s"):format(fd, was and "was closed" or "is left") end
  end
end

--- Tells what is not as it was; collects garbage only where something seems left.
---@param state table
---@return string? fault
function M.changed(state)
  if signals.mask() ~= state.mask then return "the signal mask was changed to: " .. signals.mask() end
  if not differs(state) then return nil end
  pcall(jit.flush) -- a trace may hold a closure, and that a socket: see leak.lua
  for _ = 1, 2 do pcall(collectgarbage) end
  return differs(state)
end

--- Puts right what `changed` told, so that the next call is judged by itself; what was closed stays so, and is no news.
---@param state table
function M.restore(state)
  for sig = 1, signals.NSIG do signals.unblock(sig) end
  for fd = 0, state.top do
    local is_open = sys.is_open(fd)
    if is_open and not state.open[fd] then sys.close(fd) end
    state.open[fd] = is_open and state.open[fd]
  end
end

return M
