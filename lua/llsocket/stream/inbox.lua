-- inbox.lua -- the bytes of a stream that arrived and were not read yet.
--
-- A stream holds memory only while it holds bytes: once all are read it gives its block back, and the next stream that receives
-- takes it.  So idle connections cost nothing, and busy ones share a block that is in the cache.  Before it waits with a few
-- bytes left in a large block it moves them into a small one.  Blocks only grow by doubling, so each byte is copied a few times
-- at most, however the peer cuts what it sends.
--
-- A debug hook may raise an error between any two stores here.  So block, size, first and last change one at a time, in an order
-- in which the stream is as it was, as it will be, or empty: first >= last is empty; size is never more than the block's.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local failure = require "llsocket.core.failure"
local streams = require "llsocket.stream.object"
local max, pcall = math.max, pcall

local copy, failed, texts = ffi.copy, failure.failed, failure.texts
local wait, is_late = streams.wait, streams.is_late
local ENOMEM, EMSGSIZE, ETIMEDOUT, EINTR = const.ENOMEM, const.EMSGSIZE, const.ETIMEDOUT, const.EINTR
local EIO = const.EIO -- for an error of a foreign object that has no number
local USUAL, SMALL, LARGEST = 65536, 1024, 2^30 -- sizes of blocks

local LINE_FEED, byte_ptr = 10, ffi.typeof "const uint8_t *"

-- types[size]: the ctype of a block.  Do not use uint8_t[?]: LuaJIT's allocation sinking loses the size.
local types = {}

local function new_block(size)
  types[size] = types[size] or ffi.typeof(("uint8_t[%d]"):format(size))
  local done, block = pcall(types[size]) -- raises where the VM has no memory left
  return done and block or nil
end

--- Answers how many bytes a stream holds.
---@param s table  a stream
---@return integer held
local function count(s) return max(s.last - s.first, 0) end

-- One block of each of some sizes, for the next stream that receives or grows: a new one is filled with zeroes.
local spares = { [USUAL] = false, [2 * USUAL] = false, [4 * USUAL] = false }

local function take_block(size)
  local block = spares[size]
  if not block then return new_block(size) end
  spares[size] = false
  return block
end

local function give_block(block, size)
  if spares[size] == false then spares[size] = block end
end

local function empty(s)
  s.last = 0
  s.first = 0
end

local function adopt(s, block, size)
  local held = count(s)
  if held > 0 then copy(block, s.block + s.first, held) end
  empty(s)
  s.size = 0
  s.block = block
  s.size = size
  s.last = held
end

-- Gives the stream its first block.
local function begin(s)
  local block = take_block(USUAL)
  if not block then return false end
  empty(s)
  s.block = block
  s.size = USUAL
  return true
end

local function release(s)
  local block, size = s.block, s.size
  empty(s)
  s.size = 0
  s.block = nil
  give_block(block, size) -- last: an error of a debug hook must not leave two streams one block
end

-- Makes a block that is at least `size` bytes large, and moves the bytes there.
local function move(s, least)
  local size = SMALL
  while size < least do size = size * 2 end
  if size > LARGEST then return false end
  local block = take_block(size)
  if not block then return false end
  local old, old_size = s.block, s.size
  adopt(s, block, size)
  give_block(old, old_size)
  return true
end

-- Makes capacity behind the bytes.  They are moved to the front where they do not overlap the place they go to, which costs no
-- more than reading the bytes before them did.
local function reserve(s)
  local held = count(s)
  if held == 0 then
    if s.size == 0 then return begin(s) end
    empty(s)
    return true
  end
  if s.last < s.size then return true end
  if held > s.first then return move(s, s.size * 2) end
  copy(s.block, s.block + s.first, held)
  empty(s)
  s.last = held
  return true
end

--- Gives back, before a wait, memory that is not needed meanwhile.
---@param s llsocket.stream
local function shrink(s)
  local held = count(s)
  if held == 0 then
    if s.block then release(s) end
  elseif s.size >= USUAL and held <= s.size / 4 then
    move(s, held * 2)
  end
end

-- Takes what an object answered that is no socket of ours.  While its recv waited, the stream may have been closed or read by
-- another coroutine, and it may answer more than it was asked for: never copy into the capacity that was there before.
local function keep(s, msg)
  if not (s.size > 0 or begin(s)) then return nil, nil, false, ENOMEM end
  local held = count(s)
  if s.size - s.last < #msg and not move(s, held + #msg) then return nil, nil, false, ENOMEM end
  copy(s.block + s.last, msg, #msg)
  return #msg, nil, false
end

-- Receives once; answers what recvinto answers.
local function take(s)
  local sock, capacity = s.sock, s.size - s.last
  if not sock then return nil, nil, false end -- an object of LuaSocket's face that a finaliser has closed meanwhile
  if s.direct then return sock:recvinto(s.block, capacity, s.last) end
  local msg, err, again, e = sock:recv(capacity)
  if not msg then return nil, err, again, e end
  return keep(s, msg)
end

--- Receives once, without waiting.
---@param s llsocket.stream  its sock is open
---@return integer? n  bytes, and what else recvinto answers
---@return string? err
---@return boolean? again
---@return integer? errno  ENOMEM, EMSGSIZE: more than 1 GiB is held
local function once(s)
  if not reserve(s) then return nil, nil, false, s.size >= LARGEST and EMSGSIZE or ENOMEM end
  local n, err, again, e = take(s)
  if n and n > 0 then s.last = s.last + n end
  return n, err, again, e
end

local M = { once = once, shrink = shrink, count = count }

--- Finds a line feed.
---@param s llsocket.stream
---@param skip integer  so many of the first bytes are known to hold none
---@return integer? distance  from the first byte
function M.line_feed(s, skip)
  local held = count(s)
  if held <= skip then return nil end
  local start = ffi.cast(byte_ptr, s.block) + s.first
  local found = C.llsocket2_memchr(start + skip, LINE_FEED, held - skip)
  if found == nil then return nil end
  return ffi.cast(byte_ptr, found) - start
end

--- Receives what is there, waiting where nothing is, at most until the deadline.
---@param s llsocket.stream
---@param more boolean  the caller has received before: then the deadline ends it also where the peer never stops sending
---@return boolean? arrived  no values at all at the end
---@return string? err
---@return integer? errno  ETIMEDOUT, ECONNRESET, ENOMEM, EMSGSIZE; EBADF once closed
function M.receive(s, more)
  if more and is_late(s) then return failed(ETIMEDOUT) end
  while true do
    local n, err, again, e = once(s)
    if n and n > 0 then return true end
    if not (n or again) then
      if err or e then return nil, err or texts[e], e or EIO end
      return
    end
    if n and is_late(s) then return failed(ETIMEDOUT) end -- an empty message is nothing; a peer may send them without end
    shrink(s)
    local ready, why, no = true, nil, nil
    if e ~= EINTR then ready, why, no = wait(s, "recvable") end
    if not ready then return nil, why, no end
  end
end

--- Takes the first `n` bytes as a string.
---@param s llsocket.stream
---@param n integer  at most as many as are held
---@param skip? integer  bytes behind them that are dropped; the default is 0
---@return string
function M.cut(s, n, skip)
  local msg = ffi.string(s.block + s.first, n)
  s.first = s.first + n + (skip or 0)
  if s.first >= s.last then release(s) end
  return msg
end

return M
