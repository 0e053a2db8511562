-- splice-urgent: splice passes an urgent mark as recv does: it reports no end, loses nothing and does not block.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local leak = require "leak"
local missing = require "missing"
local values = require "values"
local show = values.show
local before = leak.count()
local COUNT = 24
local T = require("tap").plan(COUNT)
if missing.splice then missing.skip_all(T, COUNT, missing.splice) end

local pipe = assert(L.pipe.new())

-- What comes out of `sock` when it is spliced until it would block or ends, and how that was told.
local function spliced(sock)
  local near, far = net.pair(L.SOCK_STREAM, true)
  local out, steps = {}, 0
  local n, err, again, e
  repeat
    n, err, again, e = sock:splice(near, pipe)
    if n and n > 0 then out[#out + 1] = far:recv(65536) end
    if n == 0 and again and sock:recvable(0) then steps = steps + 1 end -- told to wait though something is there
  until not n or n == 0 and (not again or not sock:recvable(0.05)) or steps > 100
  near:close(); far:close()
  return table.concat(out), steps > 100 and "spins" or show(n, err, again, e)
end

local AGAIN, OVER = values.sent_again(L.EAGAIN), show(0, nil, false, nil)
local function connection(nonblock)
  local a, b = net.tcp(L.AF_INET, nonblock)
  a:tcpnodelay(true)
  return a, b
end

for _, nonblock in ipairs { true, false } do
  local name = nonblock and "non-blocking: " or "blocking: "
  local a, b = connection(nonblock)
  b:rcvtimeo(0.05)
  a:send "abc"; a:send("!", L.MSG_OOB); a:send "def"
  b:recvable(5)
  local bytes, told = spliced(b)
  T.is(bytes, "abcdef", name .. "the bytes after the mark arrive")
  T.is(told, AGAIN, name .. "then it waits")
  a:send("!", L.MSG_OOB); a:send "ghi"
  b:recvable(5)
  bytes, told = spliced(b)
  T.is(bytes, "ghi", name .. "so where the mark is first")
  T.is(told, AGAIN, name .. "and it waits again")
  a:send("!", L.MSG_OOB)
  net.await(function() return b:atmark() end)
  bytes, told = spliced(b)
  T.is(bytes .. told, AGAIN, name .. "a mark with nothing after it is not the end")
  a:send "jkl"; a:shutdown(L.SHUT_WR)
  b:recvable(5)
  bytes, told = spliced(b)
  T.is(bytes, "jkl", name .. "later bytes arrive")
  T.is(told, OVER, name .. "and then the end")
  T.is(pipe:held(), 0, name .. "nothing is left in the pipe")
  a:close(); b:close()
end

-- A reset at a mark is an error, as ever.
local a, b = connection(true)
a:send("!", L.MSG_OOB)
net.await(function() return b:atmark() end)
a:linger(0); a:close()
b:recvable(5)
local c, d = net.pair(L.SOCK_STREAM, true)
T.is(show(b:splice(c, pipe)), values.failed(L.ECONNRESET), "a reset at a mark is ECONNRESET")
b:close()

-- A pipe that is full: `to` takes no more, and nothing is received meanwhile.
a, b = connection(true)
c:sndbuf(4608)
while c:send(("x"):rep(4096)) ~= 0 do end
a:send "first"; b:recvable(5)
T.is(show(b:splice(c, pipe)), AGAIN, "bytes that the sink did not take stay in the pipe")
a:send("!", L.MSG_OOB); a:send "second"
T.is(show(b:splice(c, pipe)) .. " " .. pipe:held(), AGAIN .. " 5", "and nothing more is received while it is there")
while d:recv(65536) do end
T.is(show(b:splice(c, pipe)), "5, nil, false", "it continues when there is capacity")
T.is(d:recv(), "first", "with the bytes of the pipe")
b:recvable(5)
T.is((spliced(b)), "second", "and then with the bytes after the mark")
for _, sock in ipairs { a, b, c, d } do sock:close() end

-- Urgent bytes at random, from a process of its own: what arrives is what was sent.  One that a newer one overtakes stays
-- among the others, as with recv, so they are taken out.
local function rounds(count)
  local wrong, want = 0, ("0123456789"):rep(20)
  for round = 1, count do
    local from, to = connection(round % 2 == 0)
    local pid = proc.fork(function()
      to:close()
      math.randomseed(round)
      local at = 1
      while at <= #want do
        local n = math.random(1, 20)
        from:send(want:sub(at, at + n - 1))
        if math.random() < 0.5 then from:send("!", L.MSG_OOB) end
        at = at + n
      end
      from:shutdown(L.SHUT_WR)
    end)
    from:close()
    local near, far = net.pair(L.SOCK_STREAM, true)
    local out, stuck = {}, false
    repeat
      local n, _, again = to:splice(near, pipe)
      if n and n > 0 then out[#out + 1] = far:recv(65536) end
      if again and n == 0 and not to:recvable(5) then stuck = true end
    until not n or stuck or n == 0 and not again
    if table.concat(out):gsub("!", "") ~= want or stuck then wrong = wrong + 1 end
    proc.wait(pid)
    near:close(); far:close(); to:close()
  end
  return wrong
end
T.is(rounds(100), 0, "100 streams with urgent bytes at random arrive whole")
pipe:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
