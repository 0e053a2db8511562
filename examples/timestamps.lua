-- timestamps.lua [PORT [HOST]] -- prints for each UDP datagram when the kernel got it, to the nanosecond.
--
-- The time does not depend on when the program reads: if it is busy, or stopped with Ctrl-Z, it prints the same times.
-- PORT is 7779 by default; 0 lets the kernel choose.  HOST is 127.0.0.1 by default; "::" is every address.
local L = require "llsocket"

local function fail(...)
  io.stderr:write("timestamps: ", string.format(...), "\n")
  os.exit(1)
end

local function open(host, port)
  local list, err = L.inet.getaddrinfo(host, port, L.SOCK_DGRAM)
  if not list then fail("%s port %s: %s", host, port, err) end
  local sock = assert(L.socket.new(list[1]))
  if not sock:timestampns(true) then sock:timestamp(true) end -- only microseconds on systems without timestampns
  err = sock:bind()
  if err then fail("%s: %s", tostring(list[1]), err) end
  return sock
end

local last_sec, last_nsec

-- Two numbers, because a double holds today's time only to a quarter of a microsecond.
local function since_last(sec, nsec)
  local gap = last_sec and (sec - last_sec) + (nsec - last_nsec) / 1e9 or 0
  last_sec, last_nsec = sec, nsec
  return gap
end

local function tell(mh, n)
  local sec, nsec = mh:timestamp()
  if not sec then return print "no timestamp came with it" end
  print(("%s.%09d +%.9f s: %d bytes from %s"):format(os.date("%H:%M:%S", sec), nsec, since_last(sec, nsec), n,
    tostring(mh:name())))
end

local sock = open(arg[2] or "127.0.0.1", arg[1] or "7779")
local mh = L.msghdr.new { size = 65535 }
io.stdout:setvbuf "line"
print("listening on " .. tostring(sock:getsockname()))
while true do
  local n, err, again = sock:recvmsg(mh)
  if n then tell(mh, n) elseif not again then print("recvmsg: " .. err) end
end
