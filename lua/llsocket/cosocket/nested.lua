-- nested.lua -- coroutines of libraries inside the coroutines of the loop.
--
-- A library that makes coroutines of its own, such as a reader of pieces, reads from cosockets inside them.  nginx has replaced
-- Lua's coroutine functions, so that a cosocket that waits there yields to nginx, past the library.  These functions do the
-- same: a call that may wait yields what is to be done to the resume that runs the coroutine, and that does it in the coroutine
-- outside, which the loop knows.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local error, ipairs, jit, pcall, rawequal, select, setmetatable = error, ipairs, jit, pcall, rawequal, select,
  setmetatable
local create, resume, running, status, yield = coroutine.create, coroutine.resume, coroutine.running, coroutine.status,
  coroutine.yield

local ASK = {} -- what a nested coroutine yields before a function and its arguments
local nested = setmetatable({}, { __mode = "k" })

local function is_nested()
  local co = running()
  return co ~= nil and nested[co] == true
end

-- Takes the results of a call that was made outside: raises its error here.
local function finish(done, ...)
  if done then return ... end
  error((...), 0)
end

-- Makes a call outside; answers as pcall does.
local function perform(...)
  if is_nested() then return yield(ASK, ...) end
  return pcall(...)
end

-- Goes on with a coroutine until it yields something of the library's, or ends.
local function pass(co, done, ...)
  if not (done and rawequal((...), ASK)) then return done, ... end
  return pass(co, resume(co, perform(select(2, ...))))
end

local M = { coroutine = { running = running, status = status, yield = yield } }

--- Makes a function that may wait safe in nested coroutines.
---@param op function  at most six arguments
---@return function
function M.outer(op)
  return function(a, b, c, d, e, f)
    if not is_nested() then return op(a, b, c, d, e, f) end
    return finish(yield(ASK, op, a, b, c, d, e, f))
  end
end

--- Makes a coroutine; see coroutine.create of Lua.
---@param fn function
---@return thread co
function M.coroutine.create(fn)
  local co = create(fn)
  nested[co] = true
  return co
end

--- Resumes a coroutine; see coroutine.resume of Lua.
---@param co thread
---@param ... any
---@return boolean done
---@return any ...
function M.coroutine.resume(co, ...) return pass(co, resume(co, ...)) end

--- Makes a coroutine that is called as a function; see coroutine.wrap of Lua.
---@param fn function
---@return function
function M.coroutine.wrap(fn)
  local co = M.coroutine.create(fn)
  local function call(...) return finish(pass(co, resume(co, ...))) end
  jit.off(call)
  return call
end

for _, fn in ipairs { finish, perform, pass, M.coroutine.resume } do jit.off(fn) end -- see no_more in settings.lua

return M
