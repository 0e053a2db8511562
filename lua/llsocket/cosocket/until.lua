-- until.lua -- reads up to a pattern, which may arrive in pieces.
--
-- Bytes that may begin the pattern stay in the stream until it is known what they are, so every other read finds them, too.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local check = require "llsocket.core.check"
local links = require "llsocket.cosocket.link"
local nested = require "llsocket.cosocket.nested"
local receiving = require "llsocket.cosocket.receiving"
local settings = require "llsocket.cosocket.settings"
local count = require("llsocket.stream.inbox").count
local type, max, min, getinfo = type, math.max, math.min, debug.getinfo

local byte_ptr = ffi.typeof "const uint8_t *"

-- back[k]: how many bytes of the pattern are still matched where k were and the next is another (Knuth, Morris, Pratt).
local function table_of(pattern)
  local back, k = { [0] = 0, 0 }, 0
  for i = 2, #pattern do
    while k > 0 and pattern:byte(k + 1) ~= pattern:byte(i) do k = back[k] end
    if pattern:byte(k + 1) == pattern:byte(i) then k = k + 1 end
    back[i] = k
  end
  return back
end

-- A search goes on over several receives:
--   pattern, back, bytes  what is looked for
--   i, k                  bytes looked at, and how many of the last ones match the pattern's begin
--   left                  bytes that may still be known to stand before the pattern; below 1 the piece is full
local function begin(reader, size)
  return { pattern = reader.pattern, back = reader.back, i = 0, k = 0, left = size }
end

-- The longest begin of the pattern that ends with this byte, where k bytes before it match.
local function next_state(search, k, c)
  local pattern, back = search.pattern, search.back
  while k > 0 and pattern:byte(k + 1) ~= c do k = back[k] end
  if pattern:byte(k + 1) == c then return k + 1 end
  return 0
end

-- Skips to the next byte that may begin the pattern.
local function skip(search, start, held)
  local far = held
  if search.left then far = min(held, search.i + search.left) end
  local found = C.llsocket2_memchr(start + search.i, search.pattern:byte(1), far - search.i)
  local i = found == nil and far or ffi.cast(byte_ptr, found) - start
  if search.left then search.left = search.left - (i - search.i) end
  search.i = i
  return found ~= nil
end

-- Takes one byte more; where the match goes on from less than before, the bytes in between stand before the pattern.
local function step(search, c)
  local was = search.k
  local k = next_state(search, was, c)
  if k == 0 then
    if search.left then search.left = search.left - was end
    search.k = 0
    return -- the byte itself is looked at again, with nothing matched
  end
  if search.left then search.left = search.left - max(was + 1 - k, 0) end
  search.i, search.k = search.i + 1, k
end

-- Looks at what is held; answers true where the pattern was found, false where the piece is full, nil where more is needed.
local function look(search, s)
  local held = count(s)
  if held == 0 then return nil end
  local start = ffi.cast(byte_ptr, s.block) + s.first
  while true do
    if search.left and search.left < 1 then return false end
    if search.i == held then return nil end
    if search.k > 0 or skip(search, start, held) then step(search, start[search.i]) end
    if search.k == #search.pattern then return true end
  end
end

local function found(reader, search, s, sized)
  reader.is_over = sized
  local n = search.i - #search.pattern
  if reader.inclusive then return receiving.take(s, search.i, 0) end
  return receiving.take(s, n, #search.pattern)
end

-- Answers a read that failed: what surely stands before the pattern.
local function failed(link, err, search, s)
  local known = search.i - search.k
  local partial = s.last > s.first and receiving.take(s, known, 0) or ""
  return links.failed(link, err, partial)
end

local function read(reader, link, size)
  local search, s = begin(reader, size), link.stream
  if not s then return nil, "closed" end
  while true do
    local is_found = look(search, s)
    if is_found then return found(reader, search, s, size ~= nil) end
    if is_found == false then return receiving.take(s, search.i - search.k, 0) end
    local arrived, err = links.fill(reader.sock, link)
    if not arrived then return failed(link, err, search, s) end
  end
end

-- Answers the size that the iterator was called with: nil for none.
local function size_of(value, extra)
  settings.no_more(extra, "expecting 0 or 1 argument, but seen %d", 2)
  if type(value) == "nil" then return nil end
  local size = settings.integer(value) or settings.check_integer(value, 1, getinfo(2, "n").name or "?")
  return size > 0 and size or nil
end

local function iterate(reader, value, extra)
  local size = size_of(value, extra)
  local link = reader.sock.link
  if not links.is_alive(link) or link.read_closed then return nil, "closed" end
  local busy = links.busy(link, true, false)
  if busy then return nil, busy end
  if reader.is_over then
    reader.is_over = false
    return nil, nil, nil
  end
  return read(reader, link, size)
end

local function is_inclusive(options)
  if type(options) ~= "table" then check.bad(2, "receiveuntil", "table", options) end
  local inclusive = options.inclusive
  if type(inclusive) ~= "nil" and type(inclusive) ~= "boolean" then
    check.raise(('bad "inclusive" option value type: %s'):format(type(inclusive)))
  end
  return inclusive
end

---@class llsocket.cosocket.tcp
local Tcp = {}

--- Makes an iterator that reads up to a pattern.  The iterator answers what stands before it; called with a size it answers
--- pieces of about that size, and nil after the last.
---@param pattern string  plain text
---@param options? table  { inclusive = boolean }: the pattern belongs to what is read
---@param extra? any  raises
---@return function? iterator  (size?) answers data; or nil, err, partial as receive does
---@return string? err  "pattern is empty"
function Tcp:receiveuntil(pattern, options, extra)
  settings.no_more(extra, "expecting 2 or 3 arguments (including the object), but got %d", 4)
  local inclusive = type(options) ~= "nil" and is_inclusive(options)
  settings.self(self, "receiveuntil")
  pattern = settings.check_string(pattern, 1, "receiveuntil")
  if pattern == "" then return nil, "pattern is empty" end
  local reader = { sock = self, pattern = pattern, back = table_of(pattern), inclusive = inclusive, is_over = false }
  return nested.outer(function(size, more) return iterate(reader, size, more) end)
end

return { methods = Tcp }
