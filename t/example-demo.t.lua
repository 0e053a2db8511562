-- demo: it ends by itself with a transcript of all its parts, fails on a machine without loopback, leaves no file.
local L = require "llsocket"
local errno = require "llsocket.errno"
local example = require "example"
local leak = require "leak"
local missing = require "missing"
local proc = require "proc"
local T = require("tap").plan(21)
local before = leak.count()
if missing.sendfile then missing.skip_all(T, 21, missing.sendfile) end

local function has(text, pattern, name)
  if not T.ok(text:find(pattern), name) then print("# " .. text:gsub("\n", "\n# ")) end
end

local text, ok = example.run "demo"
T.ok(ok, "the demo ends with 0")
has(text, "^llsocket %d+%.%d+%.%d+[%w-]* on %w+ %w+, LuaJIT", "it begins with the versions")
has(text, "server 127%.0%.0%.1:%d+, client 127%.0%.0%.1:%d+", "a TCP connection has two addresses")
has(text, "sent +4718592 bytes of /%S+ in %d+ calls", "sendfile sends the whole file")
has(text, "received +4718592 bytes, digest (%x+); the file's is %1", "the digests are equal")
has(text, "saw the end", "the client sees the end")
has(text, "IPv4 +%d+ bytes +127%.0%.0%.1:%d+ %-> 127%.0%.0%.1:%d+ +\"", "an IPv4 datagram comes")
if text:find("this machine has no ::1", 1, true) then T.skip(1, "this machine has no ::1")
else has(text, "IPv6 +%d+ bytes +%[::1%]:%d+ %-> %[::1%]:%d+ +\"", "an IPv6 datagram comes") end
has(text, "unix +%d+ bytes +unix:%S+ %-> unix:%S+ +\"", "a unix datagram comes")
has(text, "joined 239%.255%.%d+%.%d+; 22 bytes sent to 239%.255%.%d+%.%d+:%d+ came from %d+%.%d+%.%d+%.%d+:%d+ +\"to whom",
  "a multicast datagram comes")
has(text, "left it; what is sent there now does not come", "a group that was left sends nothing")
for _, name in ipairs { "EAGAIN", "EADDRINUSE", "ECONNREFUSED", "EBADF" } do
  has(text, " " .. name .. " ", name .. " is shown by name")
end
has(text, "Everything came as it was sent%.\n$", "it closes with a plain sentence")

local files = table.concat({ text:match "of (/%S+) in.*unix:(/%S+) %-> unix:(/%S+)" }, " ")
T.ok(#files > 30, "it names the three files that it made")

-- In a network of its own even the loopback is down.
local isolated = proc.run "unshare -n true" == ""
if isolated then
  text, ok = proc.run("unshare -n " .. example.command(example.dir .. "demo.lua"))
  T.ok(not ok, "without a network the demo does not end with 0")
  has(text, "\ndemo: connect: " .. errno.text(L.ENETUNREACH) .. "\n$", "and says why")
else T.skip(2, "this machine lets nobody make network namespaces") end

T.is(proc.run("ls " .. (files .. " " .. files:gsub("%.%l", "")) .. " 2>/dev/null"), "", "no file is left")
T.is(leak.count(), before, "no descriptor is left")
T.done()
