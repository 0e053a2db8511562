-- failure.lua -- what a call answers that failed: the text and the number of the error.
--
-- It stands below the sockets: addresses, options, pollers and ways of waiting fail, too.  What sends and receives answer
-- is in socket/answer.lua.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local pairs = pairs

-- Which name to show where two names share a number.  Without a row here the order of pairs() would choose.
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

-- Built on first use, because it scans every constant.  Built in a separate table so that running out of memory cannot
-- leave it half full.
local lookup = {}
lookup.__index = function(_, e)
  lookup.__index = all_names()
  return lookup.__index[e]
end

---@type table<integer, string>
local names = setmetatable({}, lookup)

local buf_t = ffi.typeof "char[256]"

-- Each text is made once and kept, so that a failing call allocates nothing.  The text of a number that is no errno is not
-- kept: there are too many of them.  Each call makes its own buffer: strerror's pointer is boxed, which may run a
-- finaliser, and that may ask for another text.
---@type table<integer, string>
local texts = setmetatable({}, { __index = function(self, e)
  local buf = buf_t()
  local text = ffi.string(shim.llsocket2_strerror(e, buf, 256))
  if names[e] then self[e] = text end
  return text
end })

--- Answers for a failed call that returns a value when it succeeds.
---@param e integer  errno
---@return nil
---@return string err
---@return integer errno
local function failed(e) return nil, texts[e], e end

--- Answers for a failed call that returns nothing when it succeeds.
---@param e integer  errno
---@return string err
---@return integer errno
local function refused(e) return texts[e], e end

return { names = names, texts = texts, failed = failed, refused = refused }
