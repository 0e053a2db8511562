-- smtp: a mail is sent as the protocol wants it; a refusal ends the program with the server's line.
local stream = require "llsocket.stream"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(6)
local before = leak.count()

local dir = net.tmpdir()
local listener = assert(stream.listen("127.0.0.1", 0))
local port = listener:getsockname():port()

-- A server that notes what it is told.
local function converse(s, _)
  local file = assert(io.open(dir .. "/told", "a"))
  file:setvbuf "no" -- it is read before this process has closed it
  s:write("220-test server\r\n220 ready\r\n")
  for line in s:lines() do
    file:write(line, "\n")
    if line:find "^EHLO" then s:write "250-localhost\r\n250 8BITMIME\r\n"
    elseif line:find "nobody" then s:write "550 no such user\r\n"
    elseif line == "DATA" then
      s:write "354 go on\r\n"
      for text in s:lines() do
        file:write("| ", text, "\n")
        if text == "." then break end
      end
      s:write "250 taken\r\n"
    elseif line == "QUIT" then s:write "221 bye\r\n" break
    else s:write "250 ok\r\n" end
  end
  file:close()
end

local pid = proc.fork(function() stream.serve(listener, converse) end)
local function send(to, message)
  local path = dir .. "/message"
  local file = assert(io.open(path, "w"))
  file:write(message)
  file:close()
  return example.run("smtp", shell.format("127.0.0.1 %d me@example.com %q < %q", port, to, path))
end

local out, ok = send("you@example.com", "Subject: hello\n\nfirst\n.\n..two\nlast\n")
T.is(out, "sent\n", "a mail is sent")
T.ok(ok, "and the program ends well")
local file = assert(io.open(dir .. "/told"))
local told = file:read "*a":gsub(" \n", "\n")
T.is(told, [[
EHLO localhost
MAIL FROM:<me@example.com>
RCPT TO:<you@example.com>
DATA
| Subject: hello
|
| first
| ..
| ...two
| last
| .
QUIT
]], "in the words of the protocol; dots at the beginning of a line are doubled")
file:close()
out, ok = send("nobody@example.com", "x\n")
T.ok(out:find("550 no such user", 1, true), "a refusal is told")
T.ok(not ok, "and is an error")
proc.kill(pid)
proc.wait(pid)
listener:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
