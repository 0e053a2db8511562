-- reading.lua -- the method receive of connected streams, and what tells of their buffer.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local argument = require "llsocket.luasocket.argument"
local objects = require "llsocket.luasocket.object"
local words = require "llsocket.luasocket.words"
local inbox = require "llsocket.stream.inbox"
local getmetatable, tonumber, type = getmetatable, tonumber, type
local concat, find, gsub, huge, max, sub = table.concat, string.find, string.gsub, math.huge, math.max, string.sub

local now = shim.llsocket2_now
local begin, wait = objects.begin, objects.wait
local once, cut, held_by, line_feed, shrink = inbox.once, inbox.cut, inbox.count, inbox.line_feed, inbox.shrink
local EINTR = const.EINTR
local CARRIAGE_RETURN = 13
local BLOCK, PIECE = 65536, 131072 -- bytes: what inbox.lua holds without growing, and what becomes a string of its own

local M = {}

-- Receives what is there, waiting where nothing is; answers the word where nothing comes, and whether that is the orderly end:
-- a reset has the same word.
local function fill(object)
  if not object.sock then return "closed", true end
  local n, err, again, e = once(object)
  if n and n > 0 then return nil end
  if not (n or again) then
    if err or e then return words.of(e) end
    return "closed", true
  end
  if e ~= EINTR then
    shrink(object)
    local word = wait(object, "r")
    if word then return word end
  end
  return fill(object)
end

-- Takes `n` bytes and drops `skip` after them.
local function take(object, n, skip)
  object.received = object.received + n + skip
  return cut(object, n, skip)
end

-- Takes all that is held.
local function rest(object)
  local held = held_by(object)
  return held > 0 and take(object, held, 0) or ""
end

-- No line has a carriage return, wherever it stood.
local function without_returns(msg)
  if not find(msg, "\r", 1, true) then return msg end
  return (gsub(msg, "\r", ""))
end

local function joined(prefix, msg) return prefix == "" and msg or prefix .. msg end

-- Takes a line of `n` bytes and its end.
local function take_line(object, n)
  if n > 0 and object.block[object.first + n - 1] == CARRIAGE_RETURN then return without_returns(take(object, n - 1, 2)) end
  return without_returns(take(object, n, 1))
end

-- The first `searched` bytes are known to hold no line feed.
local function line(object, prefix, searched)
  local n = line_feed(object, searched)
  if n then return joined(prefix, take_line(object, n)), nil, nil end
  local held = held_by(object)
  local word = fill(object)
  if word then return nil, word, prefix .. without_returns(rest(object)) end
  return line(object, prefix, held)
end

-- Reads so many bytes, or up to the end, in pieces: a block that grew to hold 200 KB would cost three times the time.  Answers
-- what came, and what fill answers where that is not all.
local function gather(object, wanted)
  local parts, total = {}, 0
  local word, is_end
  repeat
    local held = held_by(object)
    local missing = wanted - total
    if held >= missing then
      parts[#parts + 1] = take(object, missing, 0)
      return parts[2] and concat(parts) or parts[1]
    end
    if held >= PIECE then
      parts[#parts + 1] = take(object, held, 0)
      total = total + held
    end
    word, is_end = fill(object)
  until word
  if total == 0 then return rest(object), word, is_end end
  parts[#parts + 1] = rest(object)
  return concat(parts), word, is_end
end

local function all(object, prefix)
  local msg, word, is_end = gather(object, huge)
  if is_end and msg ~= "" then return joined(prefix, msg), nil, nil end
  return nil, word, joined(prefix, msg)
end

-- Reads at most a block.  For 0 bytes it waits for one, and leaves that.
local function record(object, wanted, prefix)
  if held_by(object) < max(wanted, 1) then
    local word = fill(object)
    if word then return nil, word, prefix .. rest(object) end
    return record(object, wanted, prefix)
  end
  if wanted == 0 then return prefix, nil, nil end
  return joined(prefix, take(object, wanted, 0)), nil, nil
end

-- Reads so many bytes, the prefix among them.
local function count(object, wanted, prefix)
  wanted = wanted - #prefix
  if wanted < 0 or wanted == 0 and prefix ~= "" then return prefix, nil, nil end
  if wanted <= BLOCK then return record(object, wanted, prefix) end
  local msg, word = gather(object, wanted)
  if word then return nil, word, joined(prefix, msg) end
  return joined(prefix, msg), nil, nil
end

-- Reads by a pattern that is no number.
local function by_word(object, pattern, prefix)
  local kind = type(pattern) == "nil" and "*l" or sub(argument.string(pattern, 2), 1, 2)
  if kind == "*l" then return line(object, prefix, 0) end
  if kind == "*a" then return all(object, prefix) end
  argument.raise(2, "invalid receive pattern")
end

local function checked_count(object, pattern, prefix)
  local n = tonumber(pattern)
  if n < 0 or n ~= n then argument.raise(2, "invalid receive pattern") end
  return count(object, argument.whole(n), prefix)
end

local function is_number(pattern)
  return type(pattern) == "number" or type(pattern) == "string" and tonumber(pattern) ~= nil
end

-- Answers a number of bytes; a size_t has none below 0.
local function counted(value, position, default)
  return argument.whole(argument.optional_number(value, position, default)) % 2^64
end

--- Makes the methods that read of a kind of stream.
---@param client string  the full name of its connected class
---@param any string  of the group of all
---@return table<string, function> methods  receive, dirty, getstats, setstats
function M.methods(client, any)
  local is_client, is_any = objects.checks(client), objects.checks(any)
  local methods = {}

  --- Receives a line ("*l", the default), all up to the end ("*a"), or so many bytes.
  function methods.receive(object, pattern, prefix)
    local class = getmetatable(object)
    if not class or not class[client] then is_client(object) end
    prefix = type(prefix) == "nil" and "" or argument.string(prefix, 3)
    begin(object)
    if pattern == "*l" then return line(object, prefix, 0) end
    if is_number(pattern) then return checked_count(object, pattern, prefix) end
    return by_word(object, pattern, prefix)
  end

  --- Tells whether bytes are held that were not read yet.
  function methods.dirty(object)
    is_any(object)
    return object.first < object.last
  end

  --- Tells how many bytes were read and sent, and the seconds since the object was made.
  function methods.getstats(object)
    is_client(object)
    return object.received, object.sent, now() - object.birthday
  end

  --- Sets what getstats tells.
  function methods.setstats(object, received, sent, age)
    is_client(object)
    object.received = counted(received, 2, object.received)
    object.sent = counted(sent, 3, object.sent)
    if is_number(age) then object.birthday = now() - tonumber(age) end
    return 1
  end

  return methods
end

return M
