-- stream.lua -- lines, records and whole answers over a socket; connecting by name; serving.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local failed = require("llsocket.core.failure").failed
local addrinfo = require "llsocket.addrinfo"
local inet = require "llsocket.inet"
local resolve = require "llsocket.resolve"
local unix = require "llsocket.unix"
local dial = require("llsocket.stream.dial").dial
local serving = require "llsocket.stream.serving"
local streams = require "llsocket.stream.object"
local waiting = require "llsocket.wait"
require "llsocket.stream.reading"
require "llsocket.stream.writing"
local ipairs, type = ipairs, type

local now = shim.llsocket2_now
local is_address = check.is(addrinfo.type)

---@class llsocket.stream.module
local M = { methods = streams.methods, wrap = streams.wrap, listen = serving.listen, serve = serving.serve }

-- Answers the addresses of a host; a numeric one does not go to the resolver that the program has set.
local function look_up(host, port, at)
  local list, err, code, e = inet.getaddrinfo(host, port, const.SOCK_STREAM, nil, const.AI_NUMERICHOST)
  if list or code ~= const.EAI_NONAME then return list, err, code, e end
  return resolve.resolve(waiting.left(at), host, port, const.SOCK_STREAM)
end

-- Answers a list of addresses of the caller's as one of our own.
local function copied(list)
  local out = {}
  for i, ai in ipairs(list) do
    addrinfo.kept(ai, 1, "connect")
    out[i] = ai
  end
  return out
end

-- Answers the addresses that connect's arguments name, or nil, text, errno.
local function addresses(host, port, at)
  if is_address(host) then return { host } end
  if type(host) == "table" then return copied(host) end
  check.string(host, 1, "connect")
  if type(port) == "nil" then return unix.getaddrinfo(host) end
  streams.check_name(host, port, "connect")
  return look_up(host, port, at)
end

local function connect(host, port, sec)
  local at = sec and now() + sec
  local list, err, code, e = addresses(host, port, at)
  if not list then return streams.unnamed(err, code, e) end
  if #list == 0 then return failed(const.EINVAL) end
  local sock, why, no = dial(list, at)
  if not sock then return nil, why, no end
  return streams.wrap(sock)
end

--- Connects and makes a stream.  Of a name's addresses it takes the first that answers: IPv6 first, the families in turn, the
--- next attempt after 250 ms or at once after a failure (RFC 8305).  Forms: connect(host, port [, sec]),
--- connect(path, nil [, sec]), connect(ai or list [, sec]).
---@param host string|llsocket.addrinfo|llsocket.addrinfo[]  a name, a numeric address, or the path of a unix socket
---@param port? string|integer  nil after a path; after an address or a list: the seconds
---@param sec? number  the time limit in seconds, below 2^31, for the name and the connection together; the default is none
---@return llsocket.stream? s
---@return string? err
---@return integer? errno  ETIMEDOUT, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, ENOENT, EMFILE, ECANCELED, EINVAL; EAI_* where the
---name has no address
---@return integer? more  after EAI_SYSTEM the errno
function M.connect(host, port, sec)
  if type(host) == "cdata" or type(host) == "table" then
    port, sec = nil, port
  end
  if not waiting.milliseconds(sec, type(host) == "string" and 3 or 2, "connect") then return failed(const.EINVAL) end
  return connect(host, port, sec)
end

return M
