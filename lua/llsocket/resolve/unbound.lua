-- unbound.lua -- asks libunbound, over the descriptor of its context, in whatever way of waiting the program has set.
--
-- All lookups share a context, so an answer may be taken by another coroutine than the one that waits for it.  One of them,
-- the reader, waits for the context; it rings the bells of the others.  A reader may be dropped and never run again, so each
-- of the others looks itself now and then.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ub = require "lunbound"
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local asking = require "llsocket.resolve.asking"
local files = require "llsocket.resolve.files"
local poll = require "llsocket.poll"
local waiting = require "llsocket.wait"
local wakers = require "llsocket.poll.waker"
local error, ipairs, next, pcall, setmetatable = error, ipairs, next, pcall, setmetatable

-- Before 1.0 it calls back on the stack of the coroutine that asked, which may sleep or be gone by then.
if not (ub._VERSION or ""):find "^[1-9]" then error("llsocket.resolve.unbound needs lua-unbound 1.0 or later", 0) end

local now, min, running = shim.llsocket2_now, math.min, coroutine.running
local format, byte, clear = string.format, string.byte, debug.setmetatable
local EAI_SYSTEM, EAI_FAIL = const.EAI_SYSTEM, const.EAI_FAIL
local EINTR, EBUSY, ETIMEDOUT = const.EINTR, const.EBUSY, const.ETIMEDOUT
local A, AAAA, IN = 1, 28, 1
local OPTIONS = { ["local-zone:"] = "home.arpa. transparent" } -- homes use it; it would answer that there is no such name
local PAUSE = 0.25 -- seconds until one that waits for its bell looks itself
local NEEDED = 10 -- descriptors that libunbound opens for a context, with some to spare
local LONGEST_START = 10 -- seconds until its thread must run

-- The context in use:
--   ctx, fd, pid, text  libunbound's, its descriptor, the process it was made in, and the resolv.conf it was made from
--   poller, bell        what the reader waits for: the context's descriptor and a bell
--   lookups             those under way, of this context; turn.reader is one of them
--   ended               lookups that have ended and were not told yet
local context
local WEAK_KEYS, WEAK_VALUES = { __mode = "k" }, { __mode = "v" }

-- Answers an errno unless there are enough descriptors.  If they run out while libunbound makes its context, it crashes, and
-- libevent, over which it runs, ends the process.
local function shortage()
  local held, e = {}, nil
  while not e and #held < NEEDED do
    held[#held + 1], e = wakers.new()
  end
  for _, each in ipairs(held) do wakers.close(each) end
  return e
end

-- Asks for a name that libunbound answers itself.  Its thread begins with that; once it has answered it has all it needs.
local function warm(ctx)
  local done, at = false, now() + LONGEST_START
  ctx:resolve_async(function() done = true end, "localhost", A, IN)
  repeat
    waiting.poll(ctx:getfd(), "r", waiting.left(at))
    ctx:process()
  until done or now() >= at
end

-- Its thread must take no signal: not one that the program has blocked to read it from a descriptor, and no SIGPIPE.
local function begin(text)
  local old = ffi.new "uint64_t[16]"
  shim.llsocket2_signals_block(old)
  local path = text ~= "" and files.RESOLV_CONF or "/dev/null"
  local made, ctx = pcall(ub.new, { async = true, resolvconf = path, options = OPTIONS })
  local ran, why = pcall(warm, made and ctx)
  shim.llsocket2_signals_restore(old)
  if made and not ran then error(why, 0) end
  return made and ctx or nil
end

-- Makes a context; answers nil where libunbound refuses what resolv.conf says, nil and the errno where descriptors run out.
local function new_context(text)
  local e = shortage()
  if e then return nil, e end
  local poller, _, no = poll.new()
  local bell, short = wakers.new()
  if not (poller and bell) then return nil, no or short end
  local ctx = begin(text)
  if not ctx then return nil end
  local new = {
    ctx = ctx, fd = ctx:getfd(), pid = C.llsocket2_getpid(), text = text, poller = poller, bell = bell,
    lookups = setmetatable({}, WEAK_KEYS), turn = setmetatable({}, WEAK_VALUES), ended = {},
  }
  poller:add(new.fd, "r")
  poller:add(bell, "r")
  if poller:fd() < 0 then new.is_deaf = true end -- the system's poller has no descriptor: the reader waits without a bell
  return new
end

local function is_mine(old) return old.pid == C.llsocket2_getpid() end

-- Answers the context, a new one after a fork and where resolv.conf has changed.
local function current(text)
  if context and not is_mine(context) then
    clear(context.ctx, nil) -- without its finaliser, which would wait for a thread that only the parent has
    context = nil
  end
  if context and context.text == text then return context end
  local new, e = new_context(text)
  if not new then return nil, e end
  context = new
  return new
end

-- Tells the waiting coroutine of a lookup that it has ended, or that it is the reader now.
local function ring(ctx, lookup)
  wakers.wake(ctx.turn.reader == lookup and ctx.bell or lookup.bell)
end

-- Takes the answers that have come.
local function take(ctx, me)
  ctx.ctx:process()
  local ended = ctx.ended
  for i = #ended, 1, -1 do
    local lookup = ended[i]
    ended[i] = nil
    if lookup ~= me and ctx.lookups[lookup] then ring(ctx, lookup) end
  end
end

local function is_done(lookup) return lookup.six.done and lookup.four.done end

local TEXT = { [4] = "%d.%d.%d.%d", [16] = "%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x" }

-- Answers what asking.together takes.
local function reply_of(result, size)
  local out = {}
  if not result then return out end
  out.rcode, out.canonname = result.rcode, result.canonname and result.canonname:gsub("%.$", "")
  for _, bytes in ipairs(result) do
    if #bytes == size then out[#out + 1] = format(TEXT[size], byte(bytes, 1, -1)) end
  end
  return out
end

local function submit(ctx, lookup, name, kind, size)
  local query = {}
  local function finish(result)
    query.done, query.reply = true, reply_of(result, size)
    if is_done(lookup) then ctx.ended[#ctx.ended + 1] = lookup end
  end
  query.id = ctx.ctx:resolve_async(finish, name, kind, IN)
  if not query.id then query.done, query.reply = true, {} end
  return query
end

local function new_lookup(ctx, name)
  local bell, e = wakers.new()
  if not bell then return nil, e end
  local lookup = { bell = bell, four = {} } -- finish looks at four while there is none
  lookup.six = submit(ctx, lookup, name, AAAA, 16)
  lookup.four = submit(ctx, lookup, name, A, 4)
  ctx.lookups[lookup] = true
  return lookup
end

-- Ends a lookup: cancels what is under way, and makes another one the reader.
local function leave(ctx, lookup)
  ctx.lookups[lookup] = nil
  if is_mine(ctx) then
    for _, query in ipairs { lookup.six, lookup.four } do
      if not query.done then ctx.ctx:cancel(query.id) end
    end
  end
  if ctx.turn.reader == lookup then
    local other = next(ctx.lookups)
    if other then wakers.wake(other.bell) end
    ctx.turn.reader = other
  end
  wakers.close(lookup.bell)
end

-- Whether a lookup waits for the context: the reader does, and whoever blocks the process; the others wait for their bells.
local function reads(ctx, lookup)
  local co, is_main = running()
  if not co or is_main then return true end
  if not (ctx.turn.reader or lookup.is_refused) then ctx.turn.reader = lookup end
  return ctx.turn.reader == lookup
end

local function wait_for(ctx, lookup, is_reader, left)
  local fd = not is_reader and lookup.bell:fd() or ctx.is_deaf and ctx.fd or ctx.poller:fd()
  if not is_reader or ctx.is_deaf then left = min(left or PAUSE, PAUSE) end
  return waiting.wait(fd, "r", left)
end

-- Waits once, and takes what has come; answers an errno where that must end the lookup.
local function wait_once(ctx, lookup, at)
  local is_reader = reads(ctx, lookup)
  local ready, _, e = wait_for(ctx, lookup, is_reader, waiting.left(at))
  if not is_mine(ctx) then return nil end
  if e == EBUSY and is_reader then -- a coroutine of a loop that does not run waits for it
    lookup.is_refused, ctx.turn.reader = true, nil
    return nil
  end
  if e and e ~= EINTR then return e end
  wakers.drain(is_reader and ctx.bell or lookup.bell)
  take(ctx, lookup)
  if ready == false and not is_done(lookup) and at and now() >= at then return ETIMEDOUT end
end

local function ask(name, at, conf)
  local ctx, short = current(conf.text)
  if not ctx then return nil, short and EAI_SYSTEM or EAI_FAIL, short end
  local lookup, e = new_lookup(ctx, name)
  if not lookup then return nil, EAI_SYSTEM, e end
  while not (e or is_done(lookup)) and is_mine(ctx) do e = wait_once(ctx, lookup, at) end
  leave(ctx, lookup)
  if not is_mine(ctx) then return ask(name, at, conf) end -- the process was forked during the wait
  if e then return nil, EAI_SYSTEM, e end
  return asking.together(lookup.six.reply, lookup.four.reply)
end

local M, find = {}, asking.finder(ask)

--- Looks up a name with libunbound, waiting as llsocket.wait was set to.
---@param sec? number  seconds, below 2^31; nil is no limit
---@param host? string
---@param port? string|integer
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only: ETIMEDOUT, ECANCELED; EMFILE, EINVAL
function M.resolve(sec, host, port, socktype, protocol, flag)
  return asking.look_up(find, sec, host, port, socktype, protocol, flag)
end

return M
