-- option-linger: if SO_LINGER counts ticks and SO_LINGER_SEC seconds (macOS), linger uses the second.  The stand-in has
-- another option under SO_LINGER's name, and Linux's own under SO_LINGER_SEC's.
local plain = require "llsocket"
local net = require "net"
local standin = require "standin"
local leak = require "leak"
local show = require("values").show
local text = require("llsocket.errno").text
local T = require("tap").plan(7)
local before = leak.count()

local SO_LINGER = plain.SO_LINGER
local sock = net.bound(plain.AF_INET, plain.SOCK_STREAM)
standin.load { SO_LINGER = plain.SO_RCVTIMEO, SO_LINGER_SEC = SO_LINGER }
local other = standin.adopt(assert(sock:dup()))

-- What the kernel has: l_onoff and l_linger.
local function kernel()
  local bytes = assert(sock:getsockopt(plain.SOL_SOCKET, SO_LINGER, "bytes"))
  return bytes == "\1\0\0\0\5\0\0\0" or bytes == "\0\0\0\1\0\0\0\5"
end

T.is(show(other:linger(5)), "5", "linger sets SO_LINGER_SEC")
T.is(kernel(), true, "and the kernel has so many seconds")
T.is(show(other:linger()), "5", "which linger tells")
T.is(show(sock:rcvtimeo()), "0", "SO_LINGER is left alone")
T.is(show(other:linger(false), other:linger()), "false, false", "false turns it off")
T.is(show(other:linger(-1)), show(nil, text(plain.EINVAL), plain.EINVAL), "a number below 0 is EINVAL")
sock:close(); other:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
