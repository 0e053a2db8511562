-- onclose.lua -- hooks: functions that run before a socket is closed.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local failed = require("llsocket.core.failure").failed
local sockets = require "llsocket.socket.object"
local pcall, setmetatable, type, insert, table_remove = pcall, setmetatable, type, table.insert, table.remove
local create, resume, status = coroutine.create, coroutine.resume, coroutine.status

local is_self, EBADF = sockets.self, const.EBADF

-- hooks[socket]: its hooks, in the order in which they were added.  Do not make the table weak: the finaliser is in C and could
-- not run a hook, so a socket with hooks must live until it is closed or the hooks are removed.
local hooks = {}

---@class llsocket.hook
local Hook = {}
local meta = { __index = Hook }
local is_hook = check.object(meta, "llsocket.hook")

--- Removes the hook: its function will not run.
---@return boolean removed  false when it has run, or was removed before
function Hook:remove()
  is_hook(self, "remove")
  local list = hooks[self.sock]
  for i = list and #list or 0, 1, -1 do
    if list[i] == self then
      table_remove(list, i)
      if list[1] == nil then hooks[self.sock] = nil end -- not #list: see wait/pause.lua
      self.sock = nil
      return true
    end
  end
  return false
end

-- Removes and answers the hook that was added last; nil when there is none left.
local function take(sock)
  local list = hooks[sock]
  local hook = list and table_remove(list)
  if hook and list[1] == nil then hooks[sock] = nil end
  return hook
end

local function guarded(fn, sock)
  local ok, err = pcall(fn, sock)
  if not ok then return sockets.text_of(err) end -- inside the coroutine, because the error's __tostring may yield, too
end

-- Runs a hook; answers the error's text, or nil.  If a hook yielded in the caller's coroutine, the close would stay half done,
-- for ever if nothing resumed it.  So each hook runs in a new coroutine; one that yields is left suspended.
local function run(fn, sock)
  local co = create(guarded)
  local ran, err = resume(co, fn, sock)
  if status(co) == "suspended" then return "attempt to yield from a function that runs before a close" end
  return ran and err or not ran and sockets.text_of(err) or nil -- not ran: there was no memory for the stack
end

-- Runs the hooks one by one, so that each may remove or add others; answers the first error.  The pollers must run after the
-- hooks, because a hook may register the socket.
sockets.before_close(function(sock, given_up)
  local first
  if given_up then hooks[sock] = nil end
  for hook in take, sock do
    hook.sock = nil
    local err = run(hook.fn, sock)
    first = first or err
  end
  return first
end, 1)

---@class llsocket.socket
local Socket = {}

--- Adds a function that close runs before close(2), while fd() still tells the number.  The function must not yield: it runs
--- in its own coroutine, and close goes on without it.  Close runs the function that was added last first, each once.  The
--- socket stays alive until it is closed or its functions are removed.
---@param fn fun(sock: llsocket.socket)  if it raises or yields, close answers that as its error, without an errno; the other
---functions still run
---@return llsocket.hook? hook  `hook:remove()` removes the function
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:onclose(fn)
  is_self(self, "onclose")
  if type(fn) ~= "function" then check.bad(1, "onclose", "function", fn) end
  if self.sd < 0 then return failed(EBADF) end
  local hook = setmetatable({ sock = self, fn = fn }, meta)
  hooks[self] = hooks[self] or {}
  insert(hooks[self], hook)
  self.about.watched = true
  return hook
end

return { methods = Socket, hook_methods = Hook }
