-- serving.lua -- listens, and serves each connection in a coroutine of its own.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local refused = require("llsocket.core.failure").refused
local addrinfo = require "llsocket.addrinfo"
local inet = require "llsocket.inet"
local socket = require "llsocket.socket"
local sockets = require "llsocket.socket.object"
local streams = require "llsocket.stream.object"
local unix = require "llsocket.unix"
local waiting = require "llsocket.wait"
local pause = require "llsocket.wait.pause"
local waker = require "llsocket.poll.waker"
local ipairs, pairs, pcall, require, setmetatable, tostring = ipairs, pairs, pcall, require, setmetatable, tostring
local collectgarbage, type, xpcall, huge = collectgarbage, type, xpcall, math.huge
local stderr, traceback = io.stderr, debug.traceback

local EBADF, EBUSY, EINVAL = const.EBADF, const.EBUSY, const.EINVAL
local STEP = 1000 -- kilobytes of garbage to look at, less than 1 ms
local PAUSE = 0.1 -- seconds until the next accept, where the system has no descriptor or memory

local M = {}

-- Binds and listens; answers the socket, or nil, text, errno.
local function listening(ai, backlog)
  local sock, err, e = socket.new(ai, true)
  if not sock then return nil, err, e end
  local _
  if ai:family() ~= const.AF_UNIX then _, err, e = sock:reuseaddr(true) end
  if not e then err, e = sock:bind() end
  if not e then err, e = sock:listen(backlog) end
  if not e then return sock end
  sock:close()
  return nil, err, e
end

--- Makes a listening socket: non-blocking, SO_REUSEADDR set.  Tries the addresses of the host in their order.
---@param host? string  a name or numeric address; nil is the wildcard address.  Without a port: the path of a unix socket
---@param port? string|integer  0 lets the kernel choose; nil after a path
---@param backlog? integer  connections that may wait; the default is SOMAXCONN
---@return llsocket.socket? sock
---@return string? err
---@return integer? errno  EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOENT; EAI_* where the host is no address; EINVAL
function M.listen(host, port, backlog)
  if type(port) == "nil" then check.string(host, 1, "listen") else streams.check_name(host, port, "listen") end
  if type(backlog) ~= "nil" then check.number(backlog, 3, "listen") end
  local list, err, e, no
  if type(port) == "nil" then
    list, err, e = unix.getaddrinfo(host)
  else
    list, err, e, no = inet.getaddrinfo(host, port, const.SOCK_STREAM, nil, const.AI_PASSIVE)
  end
  if not list then return streams.unnamed(err, e, no) end
  for _, ai in ipairs(list) do
    local sock
    sock, err, e = listening(ai, backlog)
    if sock then return sock end
  end
  return nil, err, e
end

-- A server is a table:
--   listener, handler, onerror, spawn, most   what serve was given
--   clients    the clients that are served now, a weak set: a coroutine that is dropped takes its client with it
--   count      how many, or more where a coroutine was dropped since the last count
--   waker      wakes the accept loop when a client has gone
--   is_asleep  whether the accept loop waits for that

local function complain(err) stderr:write("llsocket.stream.serve: ", tostring(err), "\n") end

local function with_traceback(err) return traceback(tostring(err), 2) end

-- Forgets a client that has gone.
local function leave(server, client)
  if not server.clients[client] then return end -- where spawn raised after it had made the coroutine
  server.clients[client], server.count = nil, server.count - 1
  if server.is_asleep then waker.wake(server.waker) end
end

-- Closes what a handler left open: the stream, and the one over TLS that took its socket over.
local function close(client, s)
  client.sock:close()
  if not s then return end
  s.is_closed = true
  if s.secured then s.secured:close() end
end

-- Serves one client, and closes what the handler left open.
local function attend(server, client)
  local s, err = streams.wrap(client.sock)
  local done = s ~= nil
  if s then done, err = xpcall(server.handler, with_traceback, s, client.ai) end
  close(client, s)
  if not done then pcall(server.onerror, err, client.ai) end
  leave(server, client)
end

-- Starts serving a client.  A client for which there is no coroutine is closed.
local function start(server, sock, ai)
  local client = { sock = sock, ai = ai }
  server.clients[client], server.count = true, server.count + 1
  local done, err = pcall(server.spawn, attend, server, client)
  if done then return end
  sock:close()
  pcall(server.onerror, err, ai)
  leave(server, client)
end

local function recount(server)
  local n = 0
  for _ in pairs(server.clients) do n = n + 1 end
  server.count = n
end

-- Waits until a client has gone; answers whether to go on.  Looks once a second for those whose coroutine was dropped.
local function sleep(server)
  server.is_asleep = true
  local ready, _, e = waiting.wait(server.waker.sd, "r", 1)
  if ready == false then collectgarbage("step", STEP) end -- a program that only waits collects nothing
  server.is_asleep = false
  waker.drain(server.waker)
  recount(server)
  return e ~= const.ECANCELED
end

-- Accepts a connection, with the peer's address.
local function accept(server)
  local ai = server.blank or addrinfo.blank(0, 0, 0)
  local sock, err, again, e = server.listener:accept(true, ai)
  server.blank = not sock and ai or nil
  return sock, sock and ai or err, again, e
end

-- Pauses where the loop has no descriptor to wait with.  llsocket's own loop lets the others run meanwhile, or they could not
-- give theirs back.
local function rest(listener)
  if pause.runs and pause.runs() and not waiting.is_foreign() then return pause.sleep(PAUSE) end
  waiting.poll(listener.sd, "w", PAUSE)
end

-- Waits for a connection, or after an accept that failed for a while; answers whether another accept makes sense, or false, text
-- and number of a reason to end.  A listening socket is never writable, so waiting for that is a pause that needs no descriptor.
local function wait(server, again)
  local listener = server.listener
  local ready, err, e = listener[again and "recvable" or "sendable"](listener, not again and PAUSE or nil)
  if e == EBADF or e == const.ECANCELED then return false end
  if e == EBUSY then return false, err, e end -- another coroutine waits for it: asking again would keep that from running
  if ready == nil and e ~= const.EINTR then rest(listener) end
  return true
end

-- The errno values of an accept that no later accept can do better.
local HOPELESS = { [EBADF] = true, [EINVAL] = true, [const.ENOTSOCK] = true, [const.EOPNOTSUPP] = true }

-- Accepts until the listener is closed; answers the text and number of another reason to end.  It waits before the first accept:
-- the loop then has its own descriptor before clients take all that are free.  What does not listen is never ready: accept tells.
local function accept_all(server)
  local goes_on, err, e = true, nil, nil
  if server.listener:acceptconn() then goes_on, err, e = wait(server, true) end
  while goes_on do
    while server.count >= server.most do
      if not sleep(server) then return end
    end
    local sock, ai, again, no = accept(server)
    if sock then
      start(server, sock, ai)
    elseif HOPELESS[no] then
      if no == EBADF then return end
      return ai, no
    else
      goes_on, err, e = wait(server, again)
    end
  end
  return err, e
end

local function run(server)
  local err, e = accept_all(server)
  while server.count > 0 do sleep(server) end
  waker.close(server.waker)
  if e then return err, e end
end

local SPAWN = "spawn = function of the loop that llsocket.wait was set to"

local function check_function(value, name, default)
  if type(value) == "nil" then return default end
  if type(value) ~= "function" then check.bad(3, "serve", name .. " = function", value) end
  return value
end

-- Answers the most clients at once, or nil for an impossible number.
local function most_of(max)
  if type(max) == "nil" then return huge end
  if type(max) ~= "number" then check.bad(3, "serve", "max = number", max) end
  return check.int(max, 3, "serve") and max >= 1 and max or nil
end

-- Runs the server in llsocket's own loop.
local function run_loop(loop, server)
  local has_ended, err, e = false, nil, nil
  loop.spawn(function()
    err, e = run(server)
    has_ended = true
  end)
  loop.run()
  if not has_ended then check.bad(3, "serve", SPAWN, nil) end -- the program waits in a way of its own, which needs another loop
  if e then return err, e end
end

--- Serves each connection that a listening socket gets, in a coroutine of its own, until the listener is closed and the last
--- handler has returned.  Without `spawn`, and where the loop llsocket.wait.coroutine does not run, it runs that loop itself.
---@param listener llsocket.socket  it becomes non-blocking
---@param handler fun(s: llsocket.stream, ai: llsocket.addrinfo)  what it leaves open is closed when it returns or raises
---@param options? { max: integer?, onerror: (fun(err: string, ai: llsocket.addrinfo))?, spawn: fun(fn: function, ...: any)? }
---max: most clients at once, the default is no limit; onerror: is told of a handler's error with its traceback, the default
---writes a line to stderr; spawn: runs a function in a new coroutine of your loop, and must be there where llsocket.wait was
---set to the loop of another library
---@return string? err  no values when the listener was closed
---@return integer? errno  EMFILE before the first accept; EOPNOTSUPP, ENOTSOCK, EINVAL: no listening socket, or an impossible
---max; EBUSY: another coroutine waits for the listener; ECANCELED ends it like a close
function M.serve(listener, handler, options)
  sockets.arg(listener, 1, "serve")
  if type(handler) ~= "function" then check.bad(2, "serve", "function", handler) end
  if type(options) ~= "nil" and type(options) ~= "table" then check.bad(3, "serve", "table", options) end
  options = options or {}
  local spawn, onerror = options.spawn, check_function(options.onerror, "onerror", complain)
  if type(spawn) == "nil" and waiting.is_foreign() then check.bad(3, "serve", SPAWN, spawn) end
  local loop = type(spawn) == "nil" and require "llsocket.wait.coroutine" or nil
  spawn = check_function(spawn, "spawn", loop and loop.spawn)
  local most = most_of(options.max)
  if not most then return refused(EINVAL) end
  local _, err, no = listener:nonblock(true) -- a blocking accept would stop all handlers
  if no and no ~= EBADF then return err, no end
  local wake, e = waker.new()
  if not wake then return refused(e) end
  local server = {
    listener = listener, handler = handler, onerror = onerror, spawn = spawn, most = most, waker = wake, count = 0,
    clients = setmetatable({}, { __mode = "k" }),
  }
  if loop and not pause.runs() then return run_loop(loop, server) end
  return run(server)
end

return M
