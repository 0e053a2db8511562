-- args: every method answers EBADF on a closed socket, in its own shape; unknown names are nil.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local signature = require "signature"
local pack, line = signature.pack, signature.line

local before = leak.count()
local methods = {}
for _, f in ipairs(signature.all()) do
  if f.class == "llsocket.socket" then methods[#methods + 1] = f end
end

-- How the object came to have no descriptor.
local WAYS = {
  { "closed", function(sock) sock:close() end },
  { "closed with a flag", function(sock) sock:close(L.SHUT_RDWR) end },
  { "unwrapped", function(sock) assert(L.socket.wrap(sock:unwrap())):close() end },
}

local T = require("tap").plan(#methods * #WAYS + 18)

local OTHER = {
  fd = line { n = 1, -1 }, getfd = line { n = 1, -1 }, pollfd = line { n = 1, -1 }, close = line { n = 0 },
  dirty = line { n = 1, false }, events = line { n = 1, "r" }, timeout = line { n = 1 },
}

local function answers(f, sock, n)
  local args = { sock }
  for i = 1, n do args[i + 1] = f.params[i].sample end
  local ok, got = pcall(function() return line(pack(f.fn(unpack(args, 1, n + 1)))) end)
  return ok and got or "raised: " .. tostring(got)
end

local function required(f)
  local n = 0
  for i, param in ipairs(f.params) do if not param.optional then n = i end end
  return n
end

-- With as few and with as many arguments as it takes.
local function wrong(f, sock)
  local want, out = OTHER[f.name] or signature.failure(f.shape, L.EBADF), {}
  for n = required(f), #f.params do
    local got = answers(f, sock, n)
    if got ~= want then out[#out + 1] = ("%d arguments: %s"):format(n, got) end
  end
  return table.concat(out, "; ")
end

for _, way in ipairs(WAYS) do
  for _, f in ipairs(methods) do
    local sock = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))
    way[2](sock)
    local answer = OTHER[f.name] and "as ever" or "EBADF"
    T.is(wrong(f, sock), "", ("%s of a socket that is %s answers %s"):format(f.name, way[1], answer))
  end
end

-- Neither the address of the constructor nor its absence changes that.
local one, two = net.pair()
one:close(); two:close()
T.is(line(pack(one:bind())), signature.failure("plain", L.EBADF), "bind of a closed socket without any address is EBADF")
T.is(line(pack(one:connect())), signature.failure("connect", L.EBADF), "connect of a closed socket without any address is EBADF")
T.is(line(pack(one:sendto("x", net.addr()))), signature.failure("transfer", L.EBADF), "sendto of a closed stream socket is EBADF")
local answers_of = {}
for _, file in pairs { io.popen "exit", io.tmpfile(), (io.open "/") } do
  answers_of[line(pack(one:sendfile(file, 1)))] = true
  file:close()
end
T.is(next(answers_of), signature.failure("transfer", L.EBADF), "sendfile of a closed socket is EBADF")
T.is(next(answers_of, next(answers_of)), nil, "whatever the file is")
T.is(tostring(one), "llsocket.socket: fd -1", "a closed socket has a text")

local sock, ai = net.bound()
for _, object in ipairs { sock, ai } do
  local class = object == sock and "socket" or "addrinfo"
  T.is(object.nosuchmethod, nil, "an unknown method of a " .. class .. " is nil")
  T.is(object[1], nil, "a number as a key of a " .. class .. " is nil")
  T.is(object[true], nil, "a boolean as a key of a " .. class .. " is nil")
  T.is(object.__index, nil, "a metamethod's name is no method of a " .. class)
end
local lost, list = 0, { "recvmmsg", "settimeout", "receive", "gc" }
for i = 1, 200 do if sock[list[i % 4 + 1]] ~= nil then lost = lost + 1 end end
T.is(lost, 0, "an unknown name is nil in compiled code as well")
T.is(type(ffi.typeof(sock)), "cdata", "a socket is a cdata")
sock:close()

T.is(signature.difference(), "", "every public function has a row here, and every row a function")
T.is(leak.count(), before, "no descriptor is left")
T.done()
