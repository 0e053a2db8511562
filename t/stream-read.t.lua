-- stream-read: lines, records and all the rest, however the peer cuts what it sends; for a socket, and for an object around one.
local L = require "llsocket"
local stream = require "llsocket.stream"
local around = require "around"
local leak = require "leak"
local net = require "net"
local show = require("show").show

local KINDS = { "a socket", "a wrapped object" }
local T = require("tap").plan(#KINDS * 43 + 15)
local before = leak.count()

local WRAP = { ["a socket"] = function(sock) return sock end, ["a wrapped object"] = around }

local function open(kind)
  local a, b = net.pair(L.SOCK_STREAM, true)
  return assert(stream.wrap(WRAP[kind](a))), b
end

local TIMED_OUT = show(nil, "Connection timed out", L.ETIMEDOUT)
local TOO_LONG = show(nil, "Message too long", L.EMSGSIZE)
local INVALID = show(nil, "Invalid argument", L.EINVAL)

local function lines(kind)
  local s, peer = open(kind)
  peer:send "one\ntwo\r\n\n\r\nth\rree\n"
  T.is(show(s:line()), "one", kind .. ": a line ends at LF")
  T.is(show(s:line()), "two", kind .. ": and at CRLF")
  T.is(show(s:line()), "", kind .. ": an empty line is a line")
  T.is(show(s:line()), "", kind .. ": also with CRLF")
  T.is(show(s:line()), "th\rree", kind .. ": a CR inside a line stays")
  s:deadline(0.01)
  T.is(show(s:line()), TIMED_OUT, kind .. ": a line that does not come is timed out")
  s:deadline()
  peer:send "be"
  s:deadline(0.01)
  T.is(show(s:line()), TIMED_OUT, kind .. ": so is one that does not end")
  s:deadline()
  peer:send "gun\nlast"
  T.is(show(s:line()), "begun", kind .. ": what had come before the time-out is not lost")
  peer:shutdown(L.SHUT_WR)
  T.is(show(s:line()), "last", kind .. ": a last line without an end is a line")
  T.is(show(s:line()), "", kind .. ": then come no values")
  T.is(select("#", s:line()), 0, kind .. ": none at all")
  s:close(); peer:close()
end

local function long_lines(kind)
  local s, peer = open(kind)
  peer:send "12345678\n1234\r\n12345\n"
  T.is(show(s:line(7)), TOO_LONG, kind .. ": a line above max is refused")
  T.is(show(s:line(8)), "12345678", kind .. ": and is still there; one of max is a line")
  T.is(show(s:line(4)), "1234", kind .. ": the line end does not count, CR neither")
  T.is(show(s:line(4)), TOO_LONG, kind .. ": one byte above is too long")
  T.is(show(s:some()), "12345\n", kind .. ": and can be read otherwise")
  peer:send(("x"):rep(65537))
  T.is(show(s:line()), TOO_LONG, kind .. ": without max 65,536 bytes are the limit")
  T.is(#s:exactly(65537), 65537, kind .. ": nothing is lost")
  peer:send(("y"):rep(65536) .. "\n")
  T.is(#s:line(), 65536, kind .. ": a line of 65,536 bytes is a line")
  for _, max in ipairs { 0, -1, 1.5, 2^31, 0 / 0 } do
    T.is(show(s:line(max)), INVALID, kind .. ": max " .. max .. " is EINVAL")
  end
  s:close(); peer:close()
end

local function records(kind)
  local s, peer = open(kind)
  peer:send "abcdefgh"
  T.is(show(s:exactly(3)), "abc", kind .. ": exactly n bytes")
  T.is(show(s:exactly(0)), "", kind .. ": also none")
  T.is(show(s:some(2)), "de", kind .. ": some takes at most max")
  T.is(show(s:some()), "fgh", kind .. ": or all that is there")
  s:deadline(0.01)
  T.is(show(s:some()), TIMED_OUT, kind .. ": some waits where nothing is")
  s:deadline()
  peer:send "xy"
  s:deadline(0.01)
  T.is(show(s:exactly(3)), TIMED_OUT, kind .. ": too few bytes are timed out")
  s:deadline()
  peer:shutdown(L.SHUT_WR)
  T.is(select("#", s:exactly(3)), 0, kind .. ": too few before the end are no values")
  T.is(show(s:some()), "xy", kind .. ": and some has them")
  T.is(select("#", s:some()), 0, kind .. ": then some answers no values")
  T.is(select("#", s:all()), 0, kind .. ": all neither")
  T.is(show(s:exactly(-1)), INVALID, kind .. ": a negative n is EINVAL")
  s:close(); peer:close()
end

local function everything(kind)
  local s, peer = open(kind)
  peer:send "line\n0123456789"
  s:line()
  s:deadline(0.01)
  T.is(show(s:all()), TIMED_OUT, kind .. ": all waits for the end")
  s:deadline()
  peer:shutdown(L.SHUT_WR)
  T.is(show(s:all(9)), TOO_LONG, kind .. ": more than max is EMSGSIZE")
  T.is(show(s:all(10)), "0123456789", kind .. ": and is not lost")
  T.is(show(s:all(0)), INVALID, kind .. ": a max of 0 is EINVAL")
  s:close(); peer:close()
end

local function walk(kind)
  local s, peer = open(kind)
  peer:send "a\nb\nc"
  peer:close()
  local all = {}
  for line in s:lines() do all[#all + 1] = line end
  T.is(table.concat(all, ","), "a,b,c", kind .. ": lines walks to the end")
  T.is(tostring(s):match "^llsocket%.stream", "llsocket.stream", kind .. ": the stream names itself")
  s:close()
  T.is(show(select(3, s:line())) == tostring(L.EBADF) or kind ~= "a socket", true, kind .. ": once closed it is EBADF")
  T.is(show(s:close()), "", kind .. ": a second close does nothing")
end

for _, kind in ipairs(KINDS) do
  lines(kind)
  long_lines(kind)
  records(kind)
  everything(kind)
  walk(kind)
end

-- A stream of many lines is cut at every offset, in pieces of 1 to 7,000 bytes.
local function text_of(n)
  local out = {}
  for i = 1, n do out[i] = ("x"):rep(i % 97) .. i .. (i % 3 == 0 and "\r\n" or "\n") end
  return table.concat(out)
end

local function cut_by(kind, text, size)
  local s, peer = open(kind)
  local at, count, bad = 1, 0, 0
  while true do
    if at <= #text then
      local n = peer:send(text:sub(at, at + size - 1))
      at = at + n
      if at > #text then peer:shutdown(L.SHUT_WR) end
    end
    s:deadline(0)
    local line, _, e = s:line()
    while line do
      count = count + 1
      if line ~= ("x"):rep(count % 97) .. count then bad = bad + 1 end
      line, _, e = s:line()
    end
    if not e then break end
  end
  s:close(); peer:close()
  return count, bad
end

local text = text_of(300)
local wrong = 0
for size = 1, 211 do
  for _, kind in ipairs(KINDS) do
    local count, bad = cut_by(kind, text, size)
    if count ~= 300 or bad ~= 0 then wrong = wrong + 1 end
  end
end
T.is(wrong, 0, "300 lines arrive whole, cut into pieces of 1 to 211 bytes")
text = text_of(20000)
for _, size in ipairs { 1000, 4096, 65536 } do
  local count, bad = cut_by("a socket", text, size)
  T.is(count .. " " .. bad, "20000 0", ("20,000 lines arrive whole in pieces of %d bytes"):format(size))
end

-- Memory: a stream that waits holds what it needs for the bytes that came, or none.
local function size()
  collectgarbage(); collectgarbage()
  return collectgarbage "count"
end

do
  local compiles = jit.status()
  jit.off(); jit.flush() -- new traces would count
  local open_streams, base = {}, size()
  for i = 1, 100 do
    local s, peer = open "a socket"
    peer:send(("z"):rep(30000) .. "\npartial")
    s:line()
    s:deadline(0.001)
    s:line()
    open_streams[i] = { s, peer }
  end
  local held = size() - base
  T.ok(held < 100 * 2.5 + 80, ("a hundred streams with a few bytes each hold %.0f KiB"):format(held))
  for _, each in ipairs(open_streams) do
    each[2]:send "\n"
    each[1]:deadline(0)
    each[1]:line(); each[1]:line()
  end
  local left = size() - base
  T.ok(left < held - 90, ("and without them %.0f"):format(left))
  for _, each in ipairs(open_streams) do each[1]:close(); each[2]:close() end
  if compiles then jit.on() end
end

-- Short connections share one block of memory.
do
  local function visit()
    local s, peer = open "a socket"
    peer:send "GET\n"
    s:line()
    s:close(); peer:close()
  end
  for _ = 1, 100 do visit() end
  local base = size()
  collectgarbage "stop"
  for _ = 1, 100 do visit() end
  local each = (collectgarbage "count" - base) / 100
  collectgarbage "restart"
  T.ok(each < 8, ("a connection that says a line costs %.1f KiB of garbage"):format(each))
end

-- Arguments.
local function error_of(fn, ...) return (select(2, pcall(fn, ...))) end
local s, peer = open "a socket"
T.ok(error_of(s.line, s, "x"):find("bad argument #1 to 'line' (number expected, got string)", 1, true), "line takes a number")
T.ok(error_of(s.exactly, s):find("bad argument #1 to 'exactly' (number expected, got nil)", 1, true), "exactly wants one")
T.ok(error_of(s.line, peer):find("calling 'line' on bad self (llsocket.stream expected, got cdata)", 1, true), "self is a stream")
T.ok(error_of(stream.wrap, {}):find("bad argument #1 to 'wrap' (socket expected, got table)", 1, true),
  "wrap takes what has the methods")
T.is(show(s:deadline(-1)), "Invalid argument, " .. L.EINVAL, "a deadline is not negative")
T.is(show(s:deadline(2^31)), "Invalid argument, " .. L.EINVAL, "and below 2^31")
T.is(s.unknown, nil, "an unknown name is nil")
s:close(); peer:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
