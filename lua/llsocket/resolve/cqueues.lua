-- cqueues.lua -- the resolver of cqueues, in the coroutines of its controller.
--
-- Each lookup has two resolvers of its own, for A and AAAA.  Do not use the pool of cqueues.dns: where more than 32 ask at
-- once, it waits for a free one in a loop that lets nobody else run.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local cqueues = require "cqueues"
local config = require "cqueues.dns.config"
local hosts = require "cqueues.dns.hosts"
local record_types = require "cqueues.dns.record"
local resolver = require "cqueues.dns.resolver"
local asking = require "llsocket.resolve.asking"
local const = require "llsocket.core.const"
local shim = require "llsocket.shim"
local waiting = require "llsocket.wait"
local pcall, min = pcall, math.min

local now, poll, running = shim.llsocket2_now, cqueues.poll, cqueues.running
local EAI_SYSTEM, EAI_FAIL, EAGAIN, ETIMEDOUT = const.EAI_SYSTEM, const.EAI_FAIL, const.EAGAIN, const.ETIMEDOUT
local A, CNAME, AAAA, IN = record_types.A, record_types.CNAME, record_types.AAAA, record_types.IN
local ANSWER = record_types.ANSWER
local SHORT = { [const.EMFILE] = true, [const.ENFILE] = true, [const.ENOMEM] = true }

local CHECK = 1 -- seconds until it looks whether a query must be sent again

-- Raises for a name server that cqueues cannot read.
local function new_resolver(conf)
  return resolver.new(config.new {
    nameserver = conf.servers, lookup = { "bind" }, search = {}, timeout = conf.timeout, attempts = conf.attempts,
  }, hosts.new())
end

-- Answers a query that is under way, or nil and maybe an errno.
local function start(name, kind, conf)
  local made, res, why = pcall(new_resolver, conf)
  if not (made and res) then return nil, SHORT[why] and why end
  local ok, e = res:submit(name .. ".", kind, IN) -- with a dot: resolv.conf's search has been done
  return { res = res, kind = kind, done = not ok, errno = not ok and SHORT[e] and e or nil, reply = {} }
end

local function reply_of(packet, kind)
  local out = { rcode = packet:flags().rcode }
  for record in packet:grep { section = ANSWER } do
    if record:type() == kind then out[#out + 1] = record:addr()
    elseif record:type() == CNAME then out.canonname = (record:host():gsub("%.$", "")) end
  end
  return out
end

-- Takes a reply that has come.  cqueues raises for one that makes no sense; that counts as none.
local function look(query)
  if query.done then return end
  local packet, e = query.res:fetch()
  if not packet and e == EAGAIN then return end
  local fine, reply = pcall(reply_of, packet, query.kind)
  query.done, query.reply, query.errno = true, fine and reply or {}, not packet and SHORT[e] and e or nil
end

-- Waits for one or both until they are done; answers an errno where something else comes first.
local function wait_for(six, four, at)
  while true do
    look(six)
    look(four)
    if six.done and four.done then return six.errno or four.errno end
    if at and now() >= at then return ETIMEDOUT end
    local sec = min(waiting.left(at) or CHECK, CHECK)
    if six.done or four.done then poll(six.done and four.res or six.res, sec) else poll(six.res, four.res, sec) end
  end
end

local function failed(e) return nil, e and EAI_SYSTEM or EAI_FAIL, e end

local function ask(name, at, conf)
  local six, short = start(name, AAAA, conf)
  if not six then return failed(short) end
  local four, e = start(name, A, conf)
  local is_started = four ~= nil
  if is_started then e = wait_for(six, four, at) end
  six.res:close()
  if is_started then four.res:close() end
  if e or not is_started then return failed(e) end
  return asking.together(six.reply, four.reply)
end

local M, find = {}, asking.finder(ask)

--- Looks up a name with cqueues' resolver, while the controller lets others run; outside its coroutines with getaddrinfo(3).
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
  local _, is_ours = running()
  return asking.look_up(is_ours and find, sec, host, port, socktype, protocol, flag)
end

return M
