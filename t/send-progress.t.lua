-- send-progress: a send that has begun to connect, with MSG_FASTOPEN and no cookie, returns again, for every kind of send.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local standin = require "standin"
local values = require "values"
local show = values.show
local before = leak.count()
local PROGRESS = values.sent_again(L.EINPROGRESS)

-- With an address, as the kernel has it.
local REAL = {
  { "sendto", function(sock, ai) return sock:sendto("hello", ai, L.MSG_FASTOPEN) end },
  { "sendtofrom", function(sock, ai) return sock:sendtofrom("hello", nil, ai, nil, L.MSG_FASTOPEN) end },
  { "sendmsg", function(sock, ai) return sock:sendmsg(L.msghdr.new { name = ai, data = "hello" }, L.MSG_FASTOPEN) end },
  { "sendbatch", function(sock, ai)
    local batch = assert(L.batch.new { count = 1, name = ai })
    batch:data(1, "hello")
    return sock:sendbatch(batch, 1, 1, L.MSG_FASTOPEN)
  end },
}

-- Where the kernel wants a connected socket, a libc that answers so stands in.
local STANDINS = {
  { "send", function(sock) return sock:send "hello" end },
  { "sendfrom", function(sock) return sock:sendfrom "hello" end },
  { "writev", function(sock) return sock:writev { "hel", "lo" } end },
  { "sendmsg", function(sock, M) return sock:sendmsg(M.msghdr.new { data = "hello" }) end },
  { "sendzerocopy", function(sock) return sock:sendzerocopy(("x"):rep(20000)) end },
  { "sendbatch", function(sock, M)
    local batch = M.batch.new { count = 2 }
    batch:data(1, "hello"); batch:data(2, "world")
    return sock:sendbatch(batch)
  end },
}
local T = require("tap").plan(#REAL * 5 + #STANDINS * 2 + 1)

-- Why Fast Open cannot be asked for here; it does so by answering something else.
local function refusal(ai)
  if not L.MSG_FASTOPEN then return "there is no MSG_FASTOPEN" end
  local sock = assert(L.socket.new(ai, true))
  local _, err, _, e = sock:sendto("x", ai, L.MSG_FASTOPEN)
  sock:close()
  if e == L.EOPNOTSUPP or e == L.EPIPE then return "net.ipv4.tcp_fastopen is off: " .. err end
end

local listener, ai = net.listener()
local why = refusal(ai)
listener:close()
for _, row in ipairs(REAL) do
  if why then T.skip(5, why)
  else
    local name = row[1] .. ": "
    listener, ai = net.listener()
    local sock = assert(L.socket.new(ai, true))
    T.is(show(row[2](sock, ai)), PROGRESS, name .. "a connection that begins is 0, nil, true, EINPROGRESS")
    T.is(sock:events(), "w", name .. "it waits to send")
    sock:sendable(5)
    T.is(sock:error(), 0, name .. "then it is connected")
    T.is(show(sock:send "again"), "5, nil, false", name .. "and the rest is sent")
    local server = assert(listener:accept())
    T.is(server:recv(), "again", name .. "and arrives, once")
    sock:close(); server:close(); listener:close()
  end
end

local function fails() ffi.errno(L.EINPROGRESS) return -1 end
local calls = { llsocket2_send = fails, llsocket2_sendto = fails, llsocket2_sendmsg = fails, llsocket2_sendmmsg = fails }
for _, row in ipairs(STANDINS) do
  if not L.MSG_NOSIGNAL then T.skip(2, "the shim sends here, for want of MSG_NOSIGNAL")
  else
    local client, server = net.tcp(L.AF_INET, true)
    local M = standin.load({}, calls)
    local sock = assert(M.socket.wrap(client:unwrap()))
    local answer = show(row[2](sock, M))
    if answer == values.failed(L.EOPNOTSUPP) then T.skip(2, "there is no MSG_ZEROCOPY")
    else
      T.is(answer, PROGRESS, row[1] .. ": EINPROGRESS is to try again")
      T.is(sock:events(), "w", row[1] .. ": it waits to send")
    end
    sock:close(); server:close()
  end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
