-- errno.lua -- error numbers as names and texts, and the shapes in which calls report them.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local pairs = pairs

local AGAIN = { [const.EAGAIN] = true, [const.EWOULDBLOCK] = true, [const.EINTR] = true }
local EPIPE, ECONNRESET, ECONNABORTED, EINPROGRESS =
  const.EPIPE, const.ECONNRESET, const.ECONNABORTED, const.EINPROGRESS

-- Where two names share a number, the one that people know; without a row the order of pairs() would choose.
local ALIAS = {
  EWOULDBLOCK = "EAGAIN", EDEADLOCK = "EDEADLK", ENOTSUP = "EOPNOTSUPP", EFSBADCRC = "EBADMSG", EFSCORRUPTED = "EUCLEAN",
}

local function all_names()
  local all = {}
  for name, value in pairs(const) do
    local known = ALIAS[name]
    if name:find "^E%w+$" and not name:find "^EPOLL" and not (known and const[known] == value) then all[value] = name end
  end
  return all
end

-- Made when first asked for, since it looks at every constant; apart, for memory may run out half-way.
local lookup = {}
lookup.__index = function(_, e)
  lookup.__index = all_names()
  return lookup.__index[e]
end
local names = setmetatable({}, lookup)

local buf_t = ffi.typeof "char[256]"

-- Filled once per number, so that a failing call allocates nothing; what is no errno is not kept.  The buffer is the
-- call's own: its pointer is boxed, and a finaliser that runs then may ask for another text.
local texts = setmetatable({}, { __index = function(self, e)
  local buf = buf_t()
  local text = ffi.string(shim.llsocket2_strerror(e, buf, 256))
  if names[e] then self[e] = text end
  return text
end })

---@class llsocket.errno.module
local M = {}

--- Tells the text of an error number; see strerror(3).
---@param e integer  errno
---@return string? text  "Unknown error 12345" for a number that this system does not use; nil for what is no integer
function M.text(e)
  return check.int(e, 1, "text") and texts[e] or nil
end

--- Tells the name of an error number, as errno(3) spells it.
---@param e integer  errno
---@return string? name  `"ECONNREFUSED"`; nil for a number that this system does not use
function M.name(e)
  check.number(e, 1, "name")
  return names[e]
end

--- What a call answers that had nothing to give.
---@param e integer  errno
---@return nil
---@return string err
---@return integer errno
function M.failed(e) return nil, texts[e], e end

--- What a call answers that gives nothing when it succeeds.
---@param e integer  errno
---@return string err
---@return integer errno
function M.refused(e) return texts[e], e end

--- What a receiving call answers: `nil, nil, true, errno` to try again, `nil, err, false, errno` otherwise.
---@param e integer  errno
---@return nil
---@return string? err
---@return boolean again
---@return integer errno
function M.not_received(e)
  if AGAIN[e] then return nil, nil, true, e end
  return nil, texts[e], false, e
end

--- What a sending call answers: `0, nil, true, errno` to try again, also where MSG_FASTOPEN has begun to connect
--- (EINPROGRESS); no values once the peer has closed; `nil, err, false, errno` otherwise.
---@param e integer  errno
---@return integer? len
---@return string? err
---@return boolean? again
---@return integer? errno
function M.not_sent(e)
  if AGAIN[e] or e == EINPROGRESS then return 0, nil, true, e end
  if e == EPIPE or e == ECONNRESET then return end
  return nil, texts[e], false, e
end

--- What accept answers: a connection that died in the queue is one more reason to try again.
---@param e integer  errno
---@return nil
---@return string? err
---@return boolean again
---@return integer errno
function M.not_accepted(e)
  if AGAIN[e] or e == ECONNABORTED then return nil, nil, true, e end
  return nil, texts[e], false, e
end

return M
