-- onclose.lua -- functions that run before a socket is closed.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local failed = require("llsocket.errno").failed
local sockets = require "llsocket.socket.object"
local pcall, setmetatable, type, insert, table_remove = pcall, setmetatable, type, table.insert, table.remove
local create, resume, status = coroutine.create, coroutine.resume, coroutine.status

local is_self, EBADF = sockets.self, const.EBADF

-- By socket, the functions in the order in which they were added.  Not weak: a socket with hooks lives until it is
-- closed or they are taken back, since a finaliser in C could run none.
local hooks = {}

---@class llsocket.hook
local Hook = {}
local meta = { __index = Hook }
local is_hook = check.object(meta, "llsocket.hook")

--- Takes the function back.
---@return boolean removed  false when it has run, or was taken back before
function Hook:remove()
  is_hook(self, "remove")
  local list = hooks[self.sock]
  for i = list and #list or 0, 1, -1 do
    if list[i] == self then
      table_remove(list, i)
      if #list == 0 then hooks[self.sock] = nil end
      self.sock = nil
      return true
    end
  end
  return false
end

-- Takes the last added; nil when there is none left.
local function take(sock)
  local list = hooks[sock]
  local hook = list and table_remove(list)
  if hook and #list == 0 then hooks[sock] = nil end
  return hook
end

local function guarded(fn, sock)
  local ok, err = pcall(fn, sock)
  if not ok then return sockets.text_of(err) end -- here, for the error's __tostring may yield, too
end

-- Answers the error's text, or nil.  A function that yields would leave the close half done, for ever where nobody resumes
-- it.  So it runs in a coroutine of its own, which is left to who resumes it.
local function run(fn, sock)
  local co = create(guarded)
  local ran, err = resume(co, fn, sock)
  if status(co) == "suspended" then return "attempt to yield from a function that runs before a close" end
  return ran and err or not ran and sockets.text_of(err) or nil -- not run: no stack was left
end

-- Runs them one by one, so that each may still take others back or add some; answers the first error.  The pollers
-- come after, for what a hook registers.
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

--- Adds a function that close runs before close(2), while fd() still tells the number: the last added first, each
--- once.  It runs in a coroutine of its own and must not yield: close would go on.  The socket stays alive until it is
--- closed or its functions are taken back.
---@param fn fun(sock: llsocket.socket)  an error in it, or a yield, is what close answers, with no errno; the others still run
---@return llsocket.hook? hook  `hook:remove()` takes it back
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:onclose(fn)
  is_self(self, "onclose")
  if type(fn) ~= "function" then check.bad(1, "onclose", "function", fn) end
  if self.sd < 0 then return failed(EBADF) end
  local hook = setmetatable({ sock = self, fn = fn }, meta)
  hooks[self] = hooks[self] or {}
  insert(hooks[self], hook)
  self.watched = true
  return hook
end

return { methods = Socket, hook_methods = Hook }
