-- asking.lua -- what the ways to look up names have in common: arguments, numeric hosts, the files, the answer.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local shim = require "llsocket.shim"
local addrinfo = require "llsocket.addrinfo"
local const = require "llsocket.core.const"
local files = require "llsocket.resolve.files"
local gai = require "llsocket.gai"
local inet = require "llsocket.inet"
local socket = require "llsocket.socket"
local waiting = require "llsocket.wait"
local ipairs, type = ipairs, type

local now, band, bnot = shim.llsocket2_now, bit.band, bit.bnot
local EAI_SYSTEM, EAI_NONAME, EAI_AGAIN, EAI_FAIL = const.EAI_SYSTEM, const.EAI_NONAME, const.EAI_AGAIN, const.EAI_FAIL
local AI_NUMERICHOST, AI_CANONNAME = const.AI_NUMERICHOST, const.AI_CANONNAME
local ADDRCONFIG = const.AI_ADDRCONFIG or 0
local LONGEST_NAME, LONGEST_LABEL = 253, 63

local M = {}

local function is_refused(arr, code) return not arr and code ~= EAI_NONAME end

-- Whether only numbers may be answered: there is no name, or the caller wants none.
local function is_numeric(host, flag) return not host or flag and band(flag, AI_NUMERICHOST) ~= 0 end

-- Answers as getaddrinfo does where nobody has to be asked: for numeric hosts, wrong arguments, services that nobody knows.
-- Otherwise nothing.
local function known(sec, host, port, socktype, protocol, flag)
  local arr, err, code, e = inet.getaddrinfo(host, port, socktype, protocol, flag, AI_NUMERICHOST)
  if not waiting.milliseconds(sec, 1, "resolve") then return gai.failed(EAI_SYSTEM, const.EINVAL) end
  if arr or is_refused(arr, code) or is_numeric(host, flag) then return arr, err, code, e end
  local flags = flag and band(flag, bnot(ADDRCONFIG))
  arr, err, code, e = inet.getaddrinfo("127.0.0.1", port, socktype, protocol, flags, AI_NUMERICHOST)
  if not arr then return nil, err, code, e end
end

--- Makes the list of addresses that resolve answers.
---@param texts table  numeric addresses, with `canonname`
---@param host string
---@param port? string|integer
---@param socktype? integer
---@param protocol? integer
---@param flag? integer
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  where not one address could be taken
---@return integer? errno
function M.answer(texts, host, port, socktype, protocol, flag)
  local flags, out, err, code, e = flag and band(flag, bnot(AI_CANONNAME)), {}, nil, nil, nil
  for _, text in ipairs(texts) do
    local arr
    arr, err, code, e = inet.getaddrinfo(text, port, socktype, protocol, flags, AI_NUMERICHOST)
    if not arr and code == EAI_SYSTEM then return nil, err, code, e end
    for _, ai in ipairs(arr or {}) do out[#out + 1] = ai end
  end
  if not out[1] then return nil, err, code, e end
  if flags ~= flag then addrinfo.canonnames[out[1]] = texts.canonname or host end
  return out
end

-- What libc takes for a name of a host; no way is asked for others.
local function is_name(host)
  if #host > LONGEST_NAME + 1 or not host:find "^[%w_][%w_.-]*$" or host:find("..", 1, true) then return false end
  for label in host:gmatch "[^.]+" do
    if #label > LONGEST_LABEL then return false end
  end
  return #host:gsub("%.$", "") <= LONGEST_NAME
end

-- Asks for a host's names, one after the other.  A server that fails for one of them may know the next.
local function ask_all(ask, host, at)
  local conf, short = files.conf()
  if not conf then return nil, EAI_SYSTEM, short end
  local worst = EAI_NONAME
  for _, name in ipairs(files.names(host, conf)) do
    local texts, code, e = ask(name, at, conf)
    if texts or code == EAI_SYSTEM then return texts, code, e end
    if code ~= EAI_NONAME and worst ~= EAI_AGAIN then worst = code end
  end
  return nil, worst
end

-- Whether the kernel knows a way to an address.  A datagram socket that connects sends nothing.
local function is_reachable(text)
  local arr = inet.getaddrinfo(text, 9, const.SOCK_DGRAM, nil, AI_NUMERICHOST)
  local sock = arr and socket.new(arr[1])
  if not sock then return arr ~= nil end
  local err = sock:connect()
  sock:close()
  return not err
end

-- Puts IPv6 first where there is a way to it.
local function ordered(texts)
  local six, four = {}, {}
  for _, text in ipairs(texts) do
    local same = text:find(":", 1, true) and six or four
    same[#same + 1] = text
  end
  local first, second = six, four
  if six[1] and four[1] and not is_reachable(six[1]) and is_reachable(four[1]) then first, second = four, six end
  for _, text in ipairs(second) do first[#first + 1] = text end
  first.canonname = texts.canonname
  return first
end

local function find(ask, host, at)
  if not is_name(host) then return nil, EAI_NONAME end
  local texts, short = files.hosts(host)
  if short then return nil, EAI_SYSTEM, short end
  local code, e
  if not texts then texts, code, e = ask_all(ask, host, at) end
  if not texts then return nil, code, e end
  return ordered(texts)
end

--- Makes a function that looks in /etc/hosts and then asks, for the names that resolv.conf makes of a host.
---@param ask function  (name, at, conf) answers texts, or nil, code, errno
---@return function find  (host, at) answers likewise
function M.finder(ask)
  return function(host, at) return find(ask, host, at) end
end

local CODE = { [0] = EAI_NONAME, [2] = EAI_AGAIN, [3] = EAI_NONAME, [5] = EAI_AGAIN } -- by the rcode of DNS

local function code_of(reply) return not reply.rcode and EAI_AGAIN or CODE[reply.rcode] or EAI_FAIL end

local function append(out, reply)
  for _, text in ipairs(reply) do out[#out + 1] = text end
end

--- Judges the two replies to a name: addresses in numbers, with `rcode`, which is nil where no server replied, and `canonname`.
---@param six table  for IPv6
---@param four table  for IPv4
---@return table? texts
---@return integer? code  EAI_NONAME, EAI_AGAIN, EAI_FAIL
function M.together(six, four)
  local out = { canonname = six.canonname or four.canonname }
  append(out, six)
  append(out, four)
  if out[1] then return out end
  if six.rcode == 3 or four.rcode == 3 then return nil, EAI_NONAME end
  local first, second = code_of(six), code_of(four)
  if first == EAI_AGAIN or second == EAI_AGAIN then return nil, EAI_AGAIN end
  return nil, first == EAI_NONAME and second or first
end

--- Does what resolve.resolve does, by a function that finds the addresses of a host.
---@param found_by? function|false  (host, at) answers texts, or nil, code, errno; without it getaddrinfo(3) itself is called
---@param sec? number
---@param host? string
---@param port? string|integer
---@param socktype? integer
---@param protocol? integer
---@param flag? integer
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code
---@return integer? errno
function M.look_up(found_by, sec, host, port, socktype, protocol, flag)
  local at = type(sec) == "number" and now() + sec or nil
  local arr, err, code, e = known(sec, host, port, socktype, protocol, flag)
  if arr or code then return arr, err, code, e end
  if not found_by then return inet.getaddrinfo(host, port, socktype, protocol, flag) end
  local texts, why, errno = found_by(host, at)
  if not texts then return gai.failed(why, errno) end
  return M.answer(texts, host, port, socktype, protocol, flag)
end

return M
