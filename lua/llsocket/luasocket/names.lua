-- names.lua -- addresses: names to addresses, and what bind, connect, getsockname and getpeername have in common.
--
-- Names go through llsocket.resolve.  libc reads a host or a service "*" as none, and a service "" as 0.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local const = require "llsocket.core.const"
local gai = require "llsocket.gai"
local inet = require "llsocket.inet"
local resolve = require "llsocket.resolve"
local socket = require "llsocket.socket"
local waiting = require "llsocket.wait"
local argument = require "llsocket.luasocket.argument"
local objects = require "llsocket.luasocket.object"
local words = require "llsocket.luasocket.words"
local ipairs = ipairs

local bor = bit.bor
local AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX = const.AF_UNSPEC, const.AF_INET, const.AF_INET6, const.AF_UNIX
local AI_NUMERICHOST = const.AI_NUMERICHOST
local EAI_NONAME, EAI_SERVICE, EAI_SYSTEM = const.EAI_NONAME, const.EAI_SERVICE, const.EAI_SYSTEM
local EBADF, EAGAIN, EINPROGRESS, EINVAL = const.EBADF, const.EAGAIN, const.EINPROGRESS, const.EINVAL
local FAMILY = { [AF_UNSPEC] = "unspec", [AF_INET] = "inet", [AF_INET6] = "inet6" }
local WILDCARD = { [AF_INET] = "0.0.0.0", [AF_INET6] = "::" }
local LISTS = { [AF_UNSPEC] = inet.getaddrinfo, [AF_INET] = inet.getaddrinfo4, [AF_INET6] = inet.getaddrinfo6 }

local M = { FAMILY = FAMILY }

-- Answers those addresses that are of a family, or nil, text, code.
local function of_family(list, family)
  if family == AF_UNSPEC then return list end
  local out = {}
  for _, ai in ipairs(list) do
    if ai:family() == family then out[#out + 1] = ai end
  end
  if out[1] then return out end
  return nil, nil, EAI_NONAME
end

local function plain(host, port)
  if host == "*" then host = nil end
  if port == "*" then port = nil elseif port == "" then port = "0" end
  return host, port
end

--- Answers the addresses that are written in numbers.  A port that llsocket refuses, such as "-1", is a service that is unknown:
--- hosts have no NUL here, which would be EINVAL too.
---@param host? string
---@param port? string
---@param socktype integer
---@param family integer
---@param flags integer  AI_*
---@return llsocket.addrinfo[]? list
---@return string? err
---@return integer? code
---@return integer? errno
function M.numeric(host, port, socktype, family, flags)
  host, port = plain(host, port)
  local list, err, code, e = LISTS[family](host, port, socktype, nil, bor(flags, AI_NUMERICHOST))
  if code == EAI_SYSTEM and e == EINVAL then return nil, gai.text(EAI_SERVICE), EAI_SERVICE end
  return list, err, code, e
end

--- Answers the addresses of a host.
---@param host? string  nil: the loopback, or with AI_PASSIVE the wildcard
---@param port? string
---@param socktype integer
---@param family integer
---@param flags integer  AI_*
---@param sec? number  the time limit
---@return llsocket.addrinfo[]? list
---@return string? err
---@return integer? code
---@return integer? errno
function M.addresses(host, port, socktype, family, flags, sec)
  local list, err, code, e = M.numeric(host, port, socktype, family, flags)
  host, port = plain(host, port)
  if list or not host or code ~= EAI_NONAME then return list, err, code, e end
  list, err, code, e = resolve.resolve(sec, host, port, socktype, nil, flags)
  if not list then return nil, err, code, e end
  return of_family(list, family)
end

-- Gives the object a socket for an address, unless it has one of that family; answers the word where it cannot.
local function renew(object, ai, family)
  if object.sock and family == ai:family() then return nil end
  objects.close(object)
  local sock, _, e = socket.new(ai, true)
  if not sock then return words.of(e) end
  if ai:family() == AF_INET6 then sock:v6only(true) end
  object.sock = sock
end

--- Gives the object a socket of a family.
---@param object table
---@param family integer  AF_INET or AF_INET6
---@param socktype integer
---@return string? word
function M.create(object, family, socktype)
  local list = LISTS[family](WILDCARD[family], 0, socktype)
  if not list then return words.of(const.EAFNOSUPPORT) end
  return renew(object, list[1], family)
end

-- Waits for the end of an attempt to connect; answers the word.  On one machine it has ended already: to look costs a loop less
-- than to wait.
local function finish(object)
  local is_over = waiting.is_set() and object.patience ~= 0 and object.sock:sendable(0)
  local word = not is_over and objects.wait(object, "w")
  if word then return word end
  local sock = object.sock
  local e = sock and sock:error() or EBADF
  if e ~= 0 then return words.of(e) end
end

--- Connects the object's socket to an address.
---@param object table
---@param ai llsocket.addrinfo
---@return string? word  nil when it is connected
---@return boolean? full  a unix socket's backlog was full
function M.connect_to(object, ai)
  if not object.sock then return "closed" end
  local _, _, e = object.sock:connect(ai)
  if not e then return nil end
  if e == EAGAIN and ai:family() == AF_UNIX then return "timeout", true end
  if e ~= EINPROGRESS and e ~= EAGAIN then return words.of(e) end
  return finish(object)
end

-- Does `try` for the addresses from the i-th on until one is good, or is_last says that it was the last.
local function first_good(object, list, try, is_last, i, family)
  local ai = list[i]
  objects.begin(object)
  local word = renew(object, ai, family)
  if not word then
    family = ai:family()
    word = try(object, ai)
    if not word or is_last(object) then
      object.family = family
      return word
    end
  end
  if not list[i + 1] then return word end
  return first_good(object, list, try, is_last, i + 1, family)
end

local function does_not_wait(object) return object.patience == 0 end

local function never() return false end

local function bind_to(object, ai)
  local _, e = object.sock:bind(ai)
  return e and words.of(e) or nil
end

-- LuaSocket's own lookups have no limit; a limit of 0 is meant for the connection alone.
local function lookup_limit(object)
  local left = objects.left(object)
  return left and left > 0 and left or nil
end

--- Connects the object by name.
---@param object table
---@param host string
---@param port string
---@param socktype integer
---@return string? word
function M.connect(object, host, port, socktype)
  objects.begin(object)
  local list, _, code, e = M.addresses(host, port, socktype, object.family, 0, lookup_limit(object))
  if not list then return words.resolver(code, e) end
  return first_good(object, list, M.connect_to, does_not_wait, 1, object.family)
end

--- Binds the object by name; a host "*" is the wildcard.
---@param object table
---@param host string
---@param port string
---@param socktype integer
---@param family integer
---@return string? word
function M.bind(object, host, port, socktype, family)
  local list, _, code, e = M.addresses(host, port, socktype, family, const.AI_PASSIVE)
  if not list then return words.resolver(code, e) end
  return first_good(object, list, bind_to, never, 1, object.family)
end

--- Answers 1, or nil and a word.
---@param word? string
---@return integer? one
---@return string? err
function M.done(word)
  if word then return nil, word end
  return 1
end

--- Answers what getsockname or getpeername of the object's socket answers.
---@param object table
---@param call "getsockname"|"getpeername"
---@return llsocket.addrinfo? ai
---@return string? word
local function name_of(object, call)
  local sock = object.sock
  if not sock then return nil, words.of(EBADF) end
  local ai, _, e = sock[call](sock)
  if not ai then return nil, words.of(e) end
  return ai
end

M.name_of = name_of

--- Makes the methods that tell the addresses of a kind of internet sockets.
---@param is_local function  the check of self for getsockname
---@param is_remote function  the check of self for getpeername
---@return table<string, function> methods  getsockname, getpeername, getfamily
function M.methods(is_local, is_remote)
  local methods = {}

  --- Tells the address that the object is bound to; the port is a string.
  function methods.getsockname(object)
    is_local(object)
    local ai, word = name_of(object, "getsockname")
    if not ai then return nil, word end
    return ai:addr(), ("%d"):format(ai:port()), FAMILY[object.family]
  end

  --- Tells the address that the object is connected to; the port is a number.
  function methods.getpeername(object)
    is_remote(object)
    local ai, word = name_of(object, "getpeername")
    if not ai then return nil, word end
    return ai:addr(), ai:port(), FAMILY[object.family]
  end

  --- Tells the family.
  function methods.getfamily(object)
    is_local(object)
    return object.family == AF_INET6 and "inet6" or "inet4"
  end

  return methods
end

--- Answers a host and a port as strings that C reads.
---@param host any
---@param port any
---@param first integer  the position of the host
---@return string host
---@return string port
function M.arguments(host, port, first)
  local text = argument.text(host, first)
  return text, argument.text(port, first + 1)
end

return M
