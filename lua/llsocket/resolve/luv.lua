-- luv.lua -- libuv's getaddrinfo: getaddrinfo(3) in a thread of libuv's pool.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local uv = require "luv"
local const = require "llsocket.core.const"
local waiting = require "llsocket.wait"
local asking = require "llsocket.resolve.asking"
local error, ipairs, tostring, traceback = error, ipairs, tostring, debug.traceback

local ceil, resume, running, yield = math.ceil, coroutine.resume, coroutine.running, coroutine.yield
local EAI_SYSTEM, EAI_FAIL = const.EAI_SYSTEM, const.EAI_FAIL

-- Timers that are not in use.  They are stopped, not closed: luv crashes when the program ends before its loop has run once
-- more.
local spare = {}

local function start_timer(sec, fn)
  local timer = spare[#spare] or uv.new_timer()
  spare[#spare] = nil
  uv.update_time()
  timer:start(ceil(sec * 1000) + 1, 0, fn) -- libuv counts whole milliseconds, starting with the one that has already begun
  return timer
end

local function stop_timer(timer)
  timer:stop()
  spare[#spare + 1] = timer
end

-- Raises an error of the coroutine, like an error in a callback of libuv.
local function wake(co, err, list)
  local ok, why = resume(co, err, list)
  if not ok then error(traceback(co, tostring(why)), 0) end
end

-- Asks in coroutine `co`; answers the name of an error, or nil and libuv's list.  When the time runs out before a thread has
-- begun, uv.cancel takes the request back; otherwise the thread goes on, and nobody looks at what it finds.
local function query(co, name, at)
  local timer, waits = nil, true
  local function finish(err, list)
    if not waits then return end
    waits = false
    if timer then stop_timer(timer) end
    wake(co, err, list)
  end
  local request, _, why = uv.getaddrinfo(name, nil, { socktype = "stream", canonname = true }, finish)
  if not request then return why end
  if at then
    timer = start_timer(waiting.left(at), function()
      uv.cancel(request)
      finish "ETIMEDOUT"
    end)
  end
  return yield()
end

local function texts_of(list)
  local out = {}
  for _, entry in ipairs(list) do
    out[#out + 1] = entry.addr
    out.canonname = out.canonname or entry.canonname
  end
  return out
end

-- What libuv says where there is no such name, or where it can be no name.
local NONE = { EAI_NODATA = true, EAI_ADDRFAMILY = true, EINVAL = true, ENAMETOOLONG = true, E2BIG = true }

local function find(host, at)
  local err, list = query(running(), host, at)
  if not err then return texts_of(list) end
  if NONE[err] then return nil, const.EAI_NONAME end
  if err:find "^EAI_" then return nil, const[err] or EAI_FAIL end
  return nil, EAI_SYSTEM, const[err] or const.EINVAL
end

local M = {}

--- Looks up a name in a thread of libuv's pool, while uv.run lets others run; outside a coroutine with getaddrinfo(3).
---@param sec? number  seconds, below 2^31; nil is no limit
---@param host? string
---@param port? string|integer
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only: ETIMEDOUT; EMFILE, EINVAL
function M.resolve(sec, host, port, socktype, protocol, flag)
  local co, is_main = running()
  return asking.look_up(co and not is_main and find, sec, host, port, socktype, protocol, flag)
end

return M
