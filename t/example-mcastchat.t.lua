-- mcastchat: typed lines go to the group, messages of the group are shown, and the end of the input ends it.
local L = require "llsocket"
local emulator = require "emulator"
local example = require "example"
local leak = require "leak"
local net = require "net"
local shell = require "shell"
local T = require("tap").plan(10)
local before = leak.count()
if emulator.groups then require("missing").skip_all(T, 10, emulator.groups) end

-- The test is a member, too: it takes a free port, which then is the chat's.
local function member(group)
  local ear = assert(L.socket.new(L.inet.getaddrinfo(group, "0", L.SOCK_DGRAM)[1], true))
  ear:reuseaddr(true)
  assert(not ear:bind())
  assert(not ear:mcastjoin(group, "lo"))
  local mouth = assert(L.socket.new(L.inet.getaddrinfo("0.0.0.0", "0", L.SOCK_DGRAM)[1]))
  assert(mouth:mcastif "lo")
  return ear, mouth, ear:getsockname()
end

local function hear(ear) return ear:recvable(5) and ear:recv() or "nothing" end

-- The chat reads from a pipe and writes to a file.
local function chat(args, path)
  return io.popen(shell.format("%s > %q 2>&1", example.command(example.dir .. "mcastchat.lua", args), path), "w")
end

-- Waits until the file holds a line.
local nobody = net.bound(L.AF_INET, L.SOCK_DGRAM)
local function shows(path, line)
  local text
  for _ = 1, 500 do
    local file = io.open(path)
    text = file and file:read "*a" or ""
    if file then file:close() end
    if ("\n" .. text):find("\n" .. line .. "\n", 1, true) then return true end
    nobody:recvable(0.01)
  end
  print("# " .. text)
  return false
end

local group, dir = "239.255.42.99", net.tmpdir()
local ear, mouth, ai = member(group)
local ann = chat(("%s lo ann %d"):format(group, ai:port()), dir .. "/ann")
local ben = chat(("%s lo ben %d"):format(group, ai:port()), dir .. "/ben")
T.ok(shows(dir .. "/ann", ("ann joined %s:%d on lo"):format(group, ai:port())), "it says what it joined")
T.ok(shows(dir .. "/ben", ("ben joined %s:%d on lo"):format(group, ai:port())), "so does another on the same machine")

mouth:sendto("test: hello all", ai)
T.is(hear(ear), "test: hello all", "the group hears the test")
T.ok(shows(dir .. "/ann", "test: hello all"), "messages of the group are shown")
mouth:sendto("test: \27[2J", ai)
hear(ear)
T.ok(shows(dir .. "/ann", "test: ?[2J"), "but no control character")
ann:write "hello from ann\n"
ann:flush()
T.is(hear(ear), "ann: hello from ann", "typed lines go to the group")
T.ok(shows(dir .. "/ben", "ann: hello from ann"), "and to the other's screen")
ann:close()
ben:close()
local file = io.open(dir .. "/ann")
T.ok(not file:read "*a":find("ann: hello", 1, true),
  "a member does not see its own lines twice; the end of the input ends the chat")
file:close()

local text, ok = example.run("mcastchat", group .. " nosuchif0 ann < /dev/null")
T.ok(not ok and text:find "^mcastchat: .*No such device\n$", "an interface that is not there is refused with the reason")
nobody:close()
ear:close()
mouth:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
