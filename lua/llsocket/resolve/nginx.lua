-- nginx.lua -- lua-resty-dns in the Lua of nginx.  Each lookup has two resolvers of its own, for A and AAAA.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ngx = require "ngx"
local asking = require "llsocket.resolve.asking"
local const = require "llsocket.core.const"
local shim = require "llsocket.shim"
local waiting = require "llsocket.wait"
local error, ipairs, pcall, require = error, ipairs, pcall, require

local now, ceil, max, min = shim.llsocket2_now, math.ceil, math.max, math.min
local EAI_SYSTEM, ETIMEDOUT = const.EAI_SYSTEM, const.ETIMEDOUT

-- Debian's lua-nginx-dns has it as nginx.dns.resolver, everybody else as resty.dns.resolver.
local function load_resolver()
  local is_there, resolver = pcall(require, "resty.dns.resolver")
  if is_there then return resolver end
  local is_debian, other = pcall(require, "nginx.dns.resolver")
  return is_debian and other or error(resolver, 0)
end

local resolver = load_resolver()

-- The phases in which nginx's sockets may wait; "timer" is ngx.timer.
local YIELDS = {
  rewrite = true, server_rewrite = true, access = true, content = true, timer = true, preread = true,
  ssl_cert = true, ssl_client_hello = true, ssl_session_fetch = true,
}

local function reply_of(answers, kind)
  local out = { rcode = answers.errcode or 0 }
  for _, answer in ipairs(answers) do
    if answer.type == kind then out[#out + 1] = answer.address
    elseif answer.type == resolver.TYPE_CNAME then out.canonname = answer.cname end
  end
  return out
end

-- Asks one server once; answers its reply, or nil.  Answers that make no sense make the resolver raise or fail.
local function try(server, name, kind, sec)
  if server:find(":", 1, true) then server = "[" .. server .. "]" end
  local client = resolver:new { nameservers = { server }, timeout = max(ceil(sec * 1000), 1), retrans = 1 }
  if not client then return nil end
  local fine, answers = pcall(client.query, client, name, { qtype = kind })
  for _, sock in ipairs(client.socks) do sock:close() end
  return fine and answers and reply_of(answers, kind) or nil
end

local FAILED = { [2] = true, [5] = true } -- another server may know more

-- Asks the servers in turn, as often as resolv.conf says.
local function query(name, kind, at, conf)
  local worst = {}
  for i = 0, #conf.servers * conf.attempts - 1 do
    local sec = min(waiting.left(at) or conf.timeout, conf.timeout)
    if sec <= 0 then break end
    local reply = try(conf.servers[i % #conf.servers + 1], name, kind, sec)
    if reply and not FAILED[reply.rcode] then return reply end
    worst = reply or worst
    if reply and i >= #conf.servers - 1 then break end -- each has been asked
  end
  return worst
end

local function ask(name, at, conf)
  local thread = ngx.thread.spawn(query, name, resolver.TYPE_AAAA, at, conf)
  local four = query(name, resolver.TYPE_A, at, conf)
  local ended, six = ngx.thread.wait(thread)
  if not ended then error(six, 0) end
  if not (six.rcode or four.rcode) and at and now() >= at then return nil, EAI_SYSTEM, ETIMEDOUT end
  return asking.together(six, four)
end

local M, find = {}, asking.finder(ask)

--- Looks up a name with lua-resty-dns, while nginx serves others, in a phase that can yield; elsewhere with getaddrinfo(3),
--- which blocks the worker.
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
  return asking.look_up(YIELDS[ngx.get_phase()] and find, sec, host, port, socktype, protocol, flag)
end

return M
