-- cosocket-ngx: digests and codings against vectors of their standards, what is written to the log, timers that end, and what
-- happens where libpcre2 or string.buffer is missing.
local cosocket = require "llsocket.cosocket"
local loop = require "llsocket.wait.coroutine"
local leak = require "leak"
local proc = require "proc"
local before = leak.count()
local T = require("tap").plan(48)
local ngx = cosocket.ngx()

local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

T.ok(rawget(_G, "ngx") == nil, "no global is set")
T.ok(cosocket.ngx() == ngx, "the table is always the same")

-- RFC 1321, A.5; RFC 3174, 7.3; RFC 2202, 3; RFC 4648, 10; the check value of CRC-32/ISO-HDLC.
T.is(ngx.md5 "", "d41d8cd98f00b204e9800998ecf8427e", "MD5 of nothing")
T.is(ngx.md5 "message digest", "f96b697d7cb7938d525a2f31aaf161d0", "of a few bytes")
T.is(ngx.md5(("1234567890"):rep(8)), "57edf4a22be3c955ac49da2e2107b67a", "of more than a block")
T.is(hex(ngx.md5_bin "abc"), "900150983cd24fb0d6963f7d28e17f72", "in bytes")
T.is(hex(ngx.sha1_bin "abc"), "a9993e364706816aba3e25717850c26c9cd0d89d", "SHA-1 of a few bytes")
T.is(hex(ngx.sha1_bin "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
  "84983e441c3bd26ebaae4aa1f95129e5e54670f1", "of 56 bytes")
T.is(hex(ngx.sha1_bin(("a"):rep(1000000))), "34aa973cd4c4daa4f61eeb2bdbad27316534016f", "of a million bytes")
T.is(hex(ngx.hmac_sha1("Jefe", "what do ya want for nothing?")), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
  "HMAC with a short key")
T.is(hex(ngx.hmac_sha1(("\170"):rep(80), "Test Using Larger Than Block-Size Key - Hash Key First")),
  "aa4ae5e15272d00e95705637ce8a3b55ed402112", "and with a long one")
T.is(ngx.crc32_short "123456789", 0xcbf43926, "CRC-32")
T.is(ngx.crc32_long "", 0, "of nothing")
local CODES = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=", foobar = "Zm9vYmFy" }
for text, code in pairs(CODES) do
  T.is(ngx.encode_base64(text) .. " " .. ngx.decode_base64(code), code .. " " .. text, ("Base64 of '%s'"):format(text))
end

-- The digests of 0 to 300 bytes, all at once, against those of Python.
local PYTHON = [[
import hashlib, zlib, sys
m, s, c = hashlib.md5(), hashlib.sha1(), 0
for n in range(301):
    text = bytes((i * 7 + n) % 256 for i in range(n))
    m.update(hashlib.md5(text).digest()); s.update(hashlib.sha1(text).digest()); c = (c * 31 + zlib.crc32(text)) % 2**32
print(m.hexdigest(), s.hexdigest(), c)]]
local said, has_python = proc.run("python3 -c '" .. PYTHON .. "' 2>/dev/null")
if has_python then
  local m, s, c = {}, {}, 0
  for n = 0, 300 do
    local bytes = {}
    for i = 1, n do bytes[i] = string.char(((i - 1) * 7 + n) % 256) end
    local text = table.concat(bytes)
    m[#m + 1], s[#s + 1], c = ngx.md5_bin(text), ngx.sha1_bin(text), (c * 31 % 2^32 + ngx.crc32_short(text)) % 2^32
  end
  local mine = ("%s %s %.0f\n"):format(ngx.md5(table.concat(m)), hex(ngx.sha1_bin(table.concat(s))), c)
  T.is(mine, said, "301 lengths, as Python has them")
else
  T.skip(1, "python3 is missing")
end

-- The log --------------------------------------------------------------------------------------------------

local lines = {}
cosocket.configure { log = function(level, text) lines[#lines + 1] = level .. " " .. text end }
ngx.log(ngx.ERR, "a ", 1, nil, " ", true)
ngx.log(ngx.INFO, "not shown")
cosocket.configure { log_level = ngx.INFO }
ngx.log(ngx.INFO, "shown")
ngx.log(ngx.NOTICE, "x", 2)
T.ok(lines[1]:find "^4 .*cosocket%-ngx%.t%.lua:%d+: a 1nil true$", "a line of the log has its level and its place")
T.is(#lines, 3, "levels above log_level are left out")
T.ok(lines[2]:find "^7 " and lines[3]:find "^6 .*x2$", "a level has its number")
T.ok(not pcall(ngx.log, ngx.ERR, {}), "tables without a text are refused")
local sock = cosocket.tcp()
sock:send "x"
T.is(#lines, 3, "errors of sockets are not logged")
cosocket.configure { log_errors = true }
sock:send "x"
T.ok(lines[4]:find "attempt to send data on a closed socket", "unless log_errors says so")
local LINE = "^%d+/%d+/%d+ %d+:%d+:%d+ %[error%] %d+#0: %[lua%] [^\n]*hello\n$"
T.ok(proc.lua [[require("llsocket.cosocket").ngx().log(4, "hello")]]:find(LINE),
  "without a function it is a line on standard error, as nginx has it")

-- Output ----------------------------------------------------------------------------------------------------

local PRINTS = [[
local ngx = require("llsocket.cosocket").ngx()
local function said(...) io.stdout:write("|", tostring(ngx.say(...)), tostring(ngx.print(...)), "\n") end
said()
said("a", 1, 0.5, nil, true, ngx.null)
said { "b", { 2, { false, ngx.null } } }]]
T.is(proc.lua(PRINTS), "\n|11\na10.5niltruenull\na10.5niltruenull|11\nb2falsenull\nb2falsenull|11\n",
  "say and print write to standard output")
T.ok(select(2, pcall(ngx.say, print)):find("bad argument #1 to 'say' (string, number, boolean, nil, ", 1, true),
  "what has no text is refused")
T.ok(select(2, pcall(ngx.print, { print })):find("to 'print' (bad data type function found)", 1, true), "also in a list")

-- Timers ----------------------------------------------------------------------------------------------------

local calls, err = {}, nil
loop.spawn(function()
  ngx.timer.at(0, function(premature, a, b)
    calls[#calls + 1] = ("at %s %s %s"):format(tostring(premature), a, tostring(b))
  end, 1, nil)
  ngx.timer.at(0.001, function() error "in a timer" end)
  ngx.timer.at(3600, function(premature) calls[#calls + 1] = "late " .. tostring(premature) end)
  ngx.timer.every(0.01, function(premature) calls[#calls + 1] = "every " .. tostring(premature) end)
  ngx.sleep(0.05)
  T.is(ngx.worker.exiting(), false, "nobody exits yet")
  cosocket.exit()
  err = select(2, ngx.timer.at(0, print))
end)
local from = loop.now()
loop.run()
T.ok(loop.now() - from < 10, "exit ends the timers")
T.is(calls[1], "at false 1 nil", "a timer gets its arguments")
T.is(calls[2], "every false", "one is called again and again")
T.ok(table.concat(calls, ","):find "late true", "at the end each is told that it is premature")
T.ok(lines[#lines]:find "in a timer" or lines[5]:find "in a timer", "an error of a timer is logged")
T.is(err, "process exiting", "then there are no new ones")
T.is(ngx.worker.exiting(), true, "and the worker says so")
local started = {}
cosocket.configure { spawn = function(fn) started[#started + 1] = fn end }
T.is(ngx.worker.pid() .. "", proc.getpid() .. "", "the worker is this process")

-- Coroutines ---------------------------------------------------------------------------------------------------

local co = cosocket.coroutine
local fails = co.wrap(function()
  co.yield "once"
  sock:settimeout(-1)
end)
T.is(fails(), "once", "a nested coroutine yields to who has called it")
T.is(select(2, pcall(fails)):match "bad timeout.*", "bad timeout value", "and so does its error")
local dead = co.create(function() error("oh", 0) end)
T.is(select(2, co.resume(dead)), "oh", "resume answers an error")
T.is(select(2, co.resume(dead)), "cannot resume dead coroutine", "and that it is dead")
T.ok(cosocket.coroutine ~= coroutine and coroutine.create ~= co.create, "Lua's own are not replaced")

-- What is missing -------------------------------------------------------------------------------------------

T.is(proc.lua [[
package.loaded["string.buffer"], package.preload["string.buffer"] = nil, function() error "none" end
local null = require("llsocket.cosocket").ngx().null
io.write(type(null), " ", tostring(null), " ", tostring(null == nil))]], "userdata userdata: NULL false",
  "where LuaJIT has no string.buffer, null is a userdata, too")
T.is(proc.lua [[
local libc = require("llsocket.core.libc")
package.loaded["llsocket.core.libc"] = setmetatable({ llsocket2_dlopen = function() return nil end }, { __index = libc })
local re = require("llsocket.cosocket.re")
print(re.match("a", "b")) print(re.find("a", "b")) print(re.gsub("a", "b", "c"))]],
  ("nil\tngx.re needs libpcre2-8, which is not there\n" .. ("nil\tnil\tngx.re needs libpcre2-8, which is not there\n"):rep(2)),
  "without libpcre2 ngx.re says so")
T.is(leak.count(), before, "no descriptor is left")
T.done()
