-- cost-instructions: a send and a receive of 64 bytes, the loop included, in user-space instructions.
local net = require "net"
local proc = require "proc"
local leak = require "leak"
local missing = require "missing"
local before = leak.count()

-- The string is looked at after the loop; one that nobody wants the compiler would not make.
local SEND = [[
local L = require "llsocket"
local socks = L.socket.pair(L.SOCK_STREAM)
local a, b, message, got = socks[1], socks[2], ("x"):rep(64), nil
for _ = 1, tonumber(arg[1]) do
  a:send(message)
  got = b:recv(64)
end
assert(got == message)
]]

local SENDMSG = [[
local L = require "llsocket"
local socks = L.socket.pair(L.SOCK_STREAM)
local a, b, message, got = socks[1], socks[2], ("x"):rep(64), nil
local out, into = L.msghdr.new { data = message }, L.msghdr.new { size = 64 }
for _ = 1, tonumber(arg[1]) do
  a:sendmsg(out)
  b:recvmsg(into)
  got = into:data()
end
assert(got == message)
]]

local BUFFER = [[
local L, ffi = require "llsocket", require "ffi"
local socks = L.socket.pair(L.SOCK_STREAM)
local a, b, from, into = socks[1], socks[2], ffi.new("uint8_t[64]", ("x"):byte()), ffi.new "uint8_t[64]"
for _ = 1, tonumber(arg[1]) do
  a:sendfrom(from)
  b:recvinto(into)
end
assert(into[0] == from[0])
]]

local CASES = { { "a send and a recv", SEND, 250 }, { "a sendmsg, a recvmsg and data", SENDMSG, 300 },
  { "a sendfrom and a recvinto", BUFFER, 90 } }
local T = require("tap").plan(#CASES + 1)

-- Instructions of a whole run.
local function instructions(script, rounds)
  local out = net.tmpdir() .. "/callgrind"
  -- The interpreter may be started by a script: the children's count replaces its own.
  local command = "valgrind --tool=callgrind --trace-children=yes --smc-check=all-non-file --callgrind-out-file=%s %s %s %d"
  local text, ended = proc.run(command:format(out, proc.luajit, script, rounds))
  local count = text:match "Collected : (%d+)"
  if not (ended and count) then print("# " .. text:gsub("\n", "\n# ")) end
  return ended and tonumber(count)
end

local function measure(source)
  local dir = net.tmpdir()
  local script = dir .. "/rounds.lua"
  local file = assert(io.open(script, "w"))
  file:write(source)
  file:close()
  local few, many = instructions(script, 20000), instructions(script, 40000)
  return few and many and (many - few) / 20000
end

local function reason_not_to()
  if not jit.status() or os.getenv "LLSOCKET_STRESS" then return "instructions are counted in the default mode only" end
  if os.getenv "LLSOCKET_RUN" then return "the interpreter is of another machine, and its emulator would be counted" end
  if missing.nosignal then return missing.nosignal end
  local _, found = proc.run "command -v valgrind"
  if not found then return "no valgrind on this machine" end
  local said, runs = proc.run "valgrind --tool=none -q true"
  if not runs then return "valgrind does not run here: " .. said:gsub("\n", " ") end
end

local why = reason_not_to()
for _, case in ipairs(CASES) do
  local name, source, most = unpack(case)
  if why then
    T.skip(1, why)
  else
    local cost = measure(source)
    T.ok(cost and cost > 40 and cost <= most, ("%s take at most %d instructions"):format(name, most))
    print("# instructions a round: " .. tostring(cost))
  end
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
