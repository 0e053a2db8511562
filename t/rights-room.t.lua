-- rights-room: receiving descriptors with every capacity: all that the kernel gave are handed over or closed.
local bit = require "bit"
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local rights = require "rights"
local before = leak.count()

local HEADER = rights.cmsg_len(0)
local MOST = rights.most()
local SENT = { 1, 2, 3, 4, 5, 100, MOST - 1, MOST }

-- Each length, and what it is.
local ROOMS = {
  { 0, "no room" }, { 1, "one byte" }, { HEADER - 1, "a header less one byte" }, { HEADER, "a header" },
  { HEADER + 1, "a header and a byte" }, { HEADER + 3, "an int less one byte" }, { HEADER + 4, "one int" },
  { HEADER + 5, "one int and a byte" }, { HEADER + 7, "two ints less one byte" }, { HEADER + 8, "two ints" },
  { HEADER + 9, "two ints and a byte" }, { HEADER + 12, "three ints" }, { HEADER + 15, "four ints less one byte" },
  { HEADER + 20, "five ints" }, { HEADER + 399, "100 ints less one byte" }, { HEADER + 400, "100 ints" },
  { HEADER + MOST * 4 - 4, "one int less than the most" }, { HEADER + MOST * 4 - 1, "one byte less than the most" },
  { HEADER + MOST * 4, "the most ints" }, { HEADER + MOST * 4 + 64, "more than the most" },
}

local T = require("tap").plan(#ROOMS * 2 + 12)

local pipe_r, pipe_w = rights.pipe()
local a, b = net.pair(L.SOCK_DGRAM)
local messages = {}
for _, n in ipairs(SENT) do messages[n] = rights.message(pipe_r, n) end
local base, base_count = rights.settled()

local faults
local function fault(n, what, got, want)
  if got ~= want then faults[#faults + 1] = ("%d sent: %s is %s, not %s"):format(n, what, tostring(got), tostring(want)) end
end

-- How many the kernel can place.
local function fitting(n, size) return math.min(n, math.max(0, math.floor((size - HEADER) / 4))) end

-- Sends n, receives them into the room; answers the message and what the kernel installed.
local function arrive(n, mh)
  assert(a:sendmsg(messages[n]) == 1)
  fault(n, "the length", b:recvmsg(mh), 1)
  local _, count = rights.open()
  return count - base_count
end

local function cut(mh) return bit.band(mh:flags(), L.MSG_CTRUNC) ~= 0 end

-- What every arrival has to show; ends with all objects closed.
local function taken(n, size, mh)
  local installed = arrive(n, mh)
  fault(n, "the number installed", installed, fitting(n, size))
  fault(n, "MSG_CTRUNC", cut(mh), installed < n)
  local objects = rights.objects(mh)
  fault(n, "the number handed over", #objects, installed)
  fault(n, "the number of valid ones", rights.valid(objects), installed)
  fault(n, "the count once handed over", select(2, rights.open()), base_count + installed)
  for _, object in ipairs(objects) do object:close() end
  fault(n, "what is open after close()", rights.open(), base)
end

-- Every other way to get rid of what came.
local function untaken(n, size, mh)
  arrive(n, mh)
  local least = arrive(n, mh)
  fault(n, "what the next receive leaves", least, fitting(n, size))
  local kept = rights.objects(mh)[1]
  arrive(n, mh)
  if kept then fault(n, "a taken one after the next receive", rights.valid { kept }, 1) end
  kept = nil -- luacheck: ignore
  collectgarbage(); collectgarbage()
end

for _, row in ipairs(ROOMS) do
  local size, name = row[1], ("%d bytes, %s"):format(row[1], row[2])
  faults = {}
  local mh = assert(L.msghdr.new { controlsize = size })
  for _, n in ipairs(SENT) do taken(n, size, mh) end
  T.is(table.concat(faults, "\n"), "", name .. ": all that arrive are handed over and closed, MSG_CTRUNC tells of others")
  faults = {}
  for _, n in ipairs(SENT) do untaken(n, size, mh) end
  mh = nil -- luacheck: ignore
  fault(0, "what the collector leaves", rights.settled(), base)
  T.is(table.concat(faults, "\n"), "", name ..
    ": descriptors that are not taken are closed by the next receive and by the collector")
end

-- By name, what the table has in passing.
faults = {}
local one = assert(L.msghdr.new { controlsize = rights.cmsg_len(4) })
arrive(2, one)
local got = rights.objects(one)
T.is(#got, 1, "with capacity for one of two descriptors, one is handed over")
T.ok(cut(one), "with MSG_CTRUNC")
got[1]:close()
T.is(rights.open(), base, "and no other is left")

local all = assert(L.msghdr.new { controlsize = rights.cmsg_len(MOST * 4) })
T.is(arrive(MOST, all), MOST, ("%d descriptors arrive"):format(MOST))
T.ok(not cut(all), "without MSG_CTRUNC")
do
  local taken_one = all:control()[1]:rights()[100]:unwrap()
  arrive(MOST, all)
  T.is(select(2, rights.settled()), base_count + MOST + 1, "one is taken: the next receive and the collector close the others")
  T.ok(rights.is_open(taken_one), "the one taken is not closed")
  require("sys").close(taken_one)
end
T.is(select(2, rights.open()), base_count + MOST, "the others are there until")
one, all = nil, nil -- luacheck: ignore
T.is(rights.settled(), base, "the message is collected")

arrive(5, assert(L.msghdr.new()))
T.is(rights.settled(), base, "a message that is dropped closes all five")
T.is(table.concat(faults, "\n"), "", "and each of these messages has its byte")

messages = nil -- luacheck: ignore
a:close(); b:close()
require("sys").close(pipe_r)
require("sys").close(pipe_w)
T.is(leak.count(), before, "no descriptor is left")
T.done()
