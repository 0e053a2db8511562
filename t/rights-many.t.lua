-- rights-many: after 100,000 passed descriptors, a tenth of them cut short, no descriptor has leaked.
local bit = require "bit"
local L = require "llsocket"
local net = require "net"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local before = leak.count()
local T = require("tap").plan(7)

local PASSINGS = 100000

local pipe_r, pipe_w = rights.pipe()
local a, b = net.pair(L.SOCK_DGRAM)
local one, two = rights.message(pipe_r, 1), rights.message(pipe_w, 2)
local mh = assert(L.msghdr.new { controlsize = rights.cmsg_len(4) })
local base = rights.settled()

local band, CTRUNC = bit.band, L.MSG_CTRUNC
local asked, handed, cut, odd = 0, 0, 0, 0

-- Every third is closed, one in five hundred left to the collector, the others nobody asks for.
local function pass(i)
  local truncated = i % 10 == 0
  if a:sendmsg(truncated and two or one) ~= 1 or b:recvmsg(mh) ~= 1 then odd = odd + 1 end
  if (band(mh:flags(), CTRUNC) ~= 0) ~= truncated then odd = odd + 1 end
  if truncated then cut = cut + 1 end
  if i % 3 ~= 0 and i % 500 ~= 1 then return end
  local objects = mh:control()[1]:rights()
  asked, handed = asked + 1, handed + #objects
  if i % 3 == 0 then objects[1]:close() end
end

for i = 1, PASSINGS do
  pass(i)
  if i % 10000 == 0 then collectgarbage() end
end
T.is(cut, PASSINGS / 10, "a tenth of " .. PASSINGS .. " messages has two descriptors and room for one")
T.is(odd, 0, "MSG_CTRUNC tells of these and no other")
T.is(handed, asked, "a third is handed over and closed, and some dropped")
b:nonblock(true)
b:recvmsg(mh)
T.is(rights.settled(), base, "and the same numbers are open as before")

-- The common case, by sendfd and recvfd.
local FEWER = PASSINGS / 10
odd = 0
for _ = 1, FEWER do
  a:sendfd(pipe_r)
  local object = b:recvfd()
  if not object then odd = odd + 1 else object:close() end
end
T.is(odd, 0, FEWER .. " descriptors go by sendfd and recvfd")
T.is(rights.settled(), base, "and the same numbers are open as before")

one, two, mh = nil, nil, nil -- luacheck: ignore
a:close(); b:close()
sys.close(pipe_r); sys.close(pipe_w)
T.is(leak.count(), before, "no descriptor is left")
T.done()
