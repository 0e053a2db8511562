-- inet: pton and ntop turn addresses into bytes and back, service a name into a port and back.
local L = require "llsocket"
local leak = require "leak"
local proc = require "proc"
local shell = require "shell"
local show = require("show").show
local sys = require "sys"
local before = leak.count()
local inet = L.inet
local T = require("tap").plan(25)

local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

local PAIRS = {
  { "127.0.0.1", "7f000001", "127.0.0.1" }, { "255.255.255.255", "ffffffff", "255.255.255.255" },
  { "0.0.0.0", "00000000", "0.0.0.0" }, { "::", ("00"):rep(16), "::" }, { "::1", ("00"):rep(15) .. "01", "::1" },
  { "2001:DB8:0:0:0:0:0:A", "20010db8" .. ("00"):rep(11) .. "0a", "2001:db8::a" },
  { "::ffff:1.2.3.4", ("00"):rep(10) .. "ffff01020304", "::ffff:1.2.3.4" },
}
for _, row in ipairs(PAIRS) do
  local bytes = assert(inet.pton(row[1]))
  T.is(hex(bytes) .. " " .. inet.ntop(bytes), row[2] .. " " .. row[3], row[1] .. " as bytes and back")
end

local function fails(list, fn)
  local taken = {}
  for _, bad in ipairs(list) do
    if show(fn(bad)) ~= show(nil, "Invalid argument", L.EINVAL) then taken[#taken + 1] = ("%q"):format(bad) end
  end
  return table.concat(taken, " ")
end
local NONE = { "", "127.1", "1.2.3.4.5", "256.1.1.1", "localhost", "fe80::1%lo", "::1\0", "1.2.3.4\0", ":", "1:2", " ::1" }
T.is(fails(NONE, inet.pton), "", "what is no address is EINVAL")
T.is(fails({ "", "abc", "abcde", ("x"):rep(15), ("x"):rep(17) }, inet.ntop), "", "4 and 16 bytes alone are an address")

-- The same as another program has it.
local PROGRAM = [[
import socket, sys
for text in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    packed = socket.inet_pton(family, text)
    print(packed.hex(), socket.inet_ntop(family, packed))
]]
local texts, want = {}, {}
for i, row in ipairs(PAIRS) do
  texts[i] = row[1]
  want[i] = hex(inet.pton(row[1])) .. " " .. inet.ntop(inet.pton(row[1])) .. "\n"
end
local said, ran = proc.run(shell.format("python3 -c %q " .. table.concat(texts, " "), PROGRAM))
if ran and not os.getenv "LLSOCKET_RUN" then
  T.is(said, table.concat(want), "Python's inet_pton and inet_ntop answer the same")
else
  T.skip(1, "there is no python3")
end

-- Services.
local file = io.open "/etc/services"
local text = file and file:read "*a" or ""
if file then file:close() end
if not ("\n" .. text):find "\nhttp%s+80/tcp" or not ("\n" .. text):find "\ndomain%s+53/udp" then
  T.skip(5, "/etc/services is not as usual")
else
  T.is(show(inet.service "http", inet.service("http", "tcp"), inet.service(80)), "80, 80, http", "http is 80 of TCP")
  T.is(show(inet.service("domain", "udp"), inet.service(53, "udp")), "53, domain", "domain is 53 of UDP")
  T.is(inet.service(80.0, "tcp"), "http", "a port is a number")
  local only_udp = ("\n" .. text):match "\n(tftp)%s+69/udp" and not ("\n" .. text):find "\ntftp%s+69/tcp"
  if only_udp then
    T.is(show((inet.service("tftp", "udp")), (select(3, inet.service "tftp"))), show(69, L.EAI_SERVICE), "tftp is of UDP alone")
  else T.skip(1, "/etc/services has another tftp") end
  local python = proc.run "python3 -c 'import socket; print(socket.getservbyname(\"ssh\"), socket.getservbyport(443))'"
  if python:find "^22 https" then
    T.is(show(inet.service "ssh", inet.service(443)), "22, https", "Python's getservbyname and getservbyport answer the same")
  else T.skip(1, "there is no python3") end
end

local function code(...) return select("#", ...), (select(3, ...)) end
T.is(show(code(inet.service "no-such-service")), show(3, L.EAI_SERVICE), "a name that no service has is EAI_SERVICE")
T.is(show(code(inet.service "3com-no-such-service")), show(3, L.EAI_SERVICE), "also one that begins with a digit, as some do")
T.is(show(code(inet.service(65531))), show(3, L.EAI_SERVICE), "so is a port that has no name")
T.is(show(code(inet.service(65531, "udp"))), show(3, L.EAI_SERVICE), "of UDP, too")
local taken = {}
for _, bad in ipairs { "", "*", "80", " 80", "+80", "-1", "http\0", -1, 65536, 1.5, 0 / 0, math.huge } do
  if show(inet.service(bad)) ~= show(nil, "Invalid argument", L.EAI_SYSTEM, L.EINVAL) then taken[#taken + 1] = tostring(bad) end
end
T.is(table.concat(taken, " "), "", "what is neither name nor port is EINVAL")
T.is(show(inet.service("http", "TCP")), show(nil, "Invalid argument", L.EAI_SYSTEM, L.EINVAL), "nor what is no protocol")
local function raised(fn) return (select(2, pcall(fn)):gsub("^.-(inet%-text%.t%.lua):%d+: ", "%1: ")) end
T.is(raised(function() inet.service() end), "inet-text.t.lua: bad argument #1 to 'service' (string or number expected, got nil)",
  "nothing raises at the caller's line")
T.is(raised(function() inet.pton(1) end), "inet-text.t.lua: bad argument #1 to 'pton' (string expected, got number)",
  "and so does a wrong type")

-- Without a free descriptor glibc says that it knows no such service.
local SHORT = [[
local L, sys = require "llsocket", require "sys"
local text = require("show").show
sys.limit_descriptors(3)
io.write(text(L.inet.service "http"), "\n", text(L.inet.service(80)))
]]
local LIMIT = shell.format("%q -e %q", proc.luajit, SHORT)
local EMFILE = show(nil, require("llsocket.errno").text(L.EMFILE), L.EAI_SYSTEM, L.EMFILE)
if not (sys.linux and sys.glibc) or os.getenv "LLSOCKET_RUN" then
  T.skip(1, "what libc does without a descriptor is known of glibc on Linux")
else
  local answer = proc.run(LIMIT)
  T.is(answer, EMFILE .. "\n" .. EMFILE, "without a free descriptor both ways are EMFILE")
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
