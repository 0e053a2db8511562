-- smtp.lua -- sends a mail: luajit smtp.lua HOST PORT FROM TO < MESSAGE
local stream = require "llsocket.stream"
local host, port, from, to = unpack(arg)
local s = assert(stream.connect(host, port, 10))
s:deadline(60)

-- Reads a reply, which may have several lines, and insists on its code.
local function expect(code)
  repeat
    local line = assert(s:line(512), "the server has closed")
    assert(line:sub(1, 3) == code, line)
  until line:sub(4, 4) ~= "-"
end

local function ask(line, code)
  assert(s:write(line, "\r\n"))
  expect(code)
end

expect "220"
ask("EHLO localhost", "250")
ask("MAIL FROM:<" .. from .. ">", "250")
ask("RCPT TO:<" .. to .. ">", "250")
ask("DATA", "354")
for line in io.lines() do s:write((line:gsub("^%.", "..")), "\r\n") end -- a line of one dot would end the mail
ask(".", "250")
ask("QUIT", "221")
s:close()
print "sent"
