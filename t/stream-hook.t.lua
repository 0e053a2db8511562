-- stream-hook: a debug hook raises an error (a time limit, Ctrl-C) at each instruction of each read of a stream at which its
-- memory changes: the stream can be read on, and nothing is read twice, out of order or from elsewhere.
local L = require "llsocket"
local net = require "net"
local stream = require "llsocket.stream"
local leak = require "leak"
local before = leak.count()

jit.off() -- compiled code asks no hook

-- Numbers of 8 bytes; a lost one is no fault, for the error may come between the system call and the count of its bytes.
local function numbers(from, to)
  local out = {}
  for i = from, to do out[#out + 1] = ("%07d "):format(i) end
  return table.concat(out)
end

-- The second makes the block grow, the third moves what is left in it to the front.
local FEW, MANY, LATER = numbers(1, 10) .. "\n", numbers(1, 10000) .. "\n", numbers(20001, 20010)
local READS = {
  { "a line", FEW, function(s) return s:line() end },
  { "a line for which the block grows", MANY, function(s) return s:line(200000) end },
  { "some bytes, and a line", MANY, function(s) return s:some(60000), s:line(200000) end },
  { "a number of bytes", FEW, function(s) return s:exactly(16), s:exactly(16) end },
  { "a number of bytes beyond the block", MANY, function(s) return s:exactly(72000), s:exactly(8000) end },
  { "bytes that come in vain", FEW, function(s) return s:exactly(800) end, true }, -- it waits
  { "all", MANY, function(s) return s:all() end },
}
local T = require("tap").plan(#READS * 2)

-- An object that is no socket of ours, which hands over more than it is asked for.
local function foreign(sock)
  local object = {}
  function object.recv() return sock:recv(65536) end
  function object.send(_, msg) return sock:send(msg) end
  function object.recvable(_, sec) return sock:recvable(sec) end
  function object.sendable(_, sec) return sock:sendable(sec) end
  function object.close() return sock:close() end
  return object
end

-- A stream at which a message waits, and its peer.
local function with(message, wrap)
  local a, b = net.pair(L.SOCK_STREAM, true)
  a:rcvbuf(400000); b:sndbuf(400000)
  b:send(message)
  local s = assert(stream.wrap(wrap(a)))
  s:deadline(0.001)
  return s, b
end

-- Answers at which instructions of a read its memory is changed, and at some more, as the calls of `interrupted` around the
-- read count, too.  The first time a call may do more.
local function moments(wrap, message, read)
  local n, near, out
  for _ = 1, 2 do
    local s, b = with(message, wrap)
    n, near, out = 0, 0, {}
    debug.sethook(function()
      n = n + 1
      if debug.getinfo(2, "S").source:find "stream/inbox" then near = n + 10 end
      if n <= near then out[#out + 1] = n end
    end, "", 1)
    read(s)
    debug.sethook()
    s:close(); b:close()
  end
  return out
end

-- Answers what was read, by a second read, behind the error of the first.
local interrupted
function interrupted(s, b, read, n)
  debug.sethook(function()
    debug.sethook()
    if debug.getinfo(2, "f").func ~= interrupted then error "the time is up" end
  end, "", n)
  local done = pcall(read, s)
  debug.sethook()
  b:send(LATER)
  b:close()
  s:deadline(5)
  local read_on, rest = pcall(s.all, s)
  s:close()
  return read_on, rest or "", done
end

-- Answers what is wrong with that.
local function judge(read_on, rest, done)
  if done then return nil end -- a call may take fewer instructions than the one before
  if not read_on then return tostring(rest) end
  local last = 0
  for number in rest:gmatch "%d+" do
    if tonumber(number) <= last then return ("%d after %d"):format(number, last) end
    last = tonumber(number)
  end
  return rest:sub(-#LATER) ~= LATER and "what came later is lost" or nil
end

local function walk(name, wrap, message, read)
  local at, fault = moments(wrap, message, read), nil
  for _, n in ipairs(at) do
    local s, b = with(message, wrap)
    local wrong = judge(interrupted(s, b, read, n))
    fault = fault or wrong and ("instruction %d: %s"):format(n, wrong)
  end
  T.is(fault, nil, ("after an error in the midst of %s the stream is read on"):format(name))
end

for _, row in ipairs(READS) do
  walk(row[1], function(sock) return sock end, row[2], row[3])
  if not row[4] then walk(row[1] .. ", from a foreign object,", foreign, row[2], row[3]) end
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
