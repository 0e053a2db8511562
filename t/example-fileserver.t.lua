-- fileserver: what curl and plain sockets get from it: whole files, ranges, refusals; many, slow and hostile clients.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(64)
local before = leak.count()
if missing.sendfile then missing.skip_all(T, 64, missing.sendfile) end

local MIB = 1024 * 1024
local root = net.tmpdir()
local dir = root .. "/www"
proc.run(shell.format("mkdir -p %q/sub/.git %q'/odd name'", dir, dir))

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return text
end

-- 64 MiB of which no two lines are equal, so that a piece in the wrong place shows.
local function make_big(path)
  local file, lines, rest = assert(io.open(path, "wb")), {}, (" and the quick brown fox"):rep(3):sub(1, 56)
  for i = 0, 63 do
    for j = 1, 16384 do lines[j] = ("%07d%s\n"):format(i * 16384 + j, rest) end
    file:write(table.concat(lines))
  end
  file:close()
end

write(root .. "/secret.txt", "top secret")
write(dir .. "/index.html", "<p>front</p>")
write(dir .. "/sub/index.html", "<p>sub</p>")
write(dir .. "/sub/.git/config", "hidden")
local digits = write(dir .. "/digits.txt", "0123456789")
write(dir .. "/odd name/50%.css", "p {}")
write(dir .. "/empty.bin", "")
make_big(dir .. "/big.bin")

-- Starts a server; answers its process and its port.
local function serve(seconds)
  local child, line = example.start("fileserver", ("'%s' 0 %s"):format(dir, seconds))
  return child, line:match "^listening on 127%.0%.0%.1:(%d+)$"
end

local child, port = serve "60"
T.ok(port, "it says where it listens: " .. tostring(port))
local url = ("http://127.0.0.1:%s"):format(port)

---------------------------------------------------------------- plain sockets

local function dial(to)
  local sock = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_STREAM, to or port)))
  assert(not sock:connect())
  sock:rcvtimeo(30)
  return sock
end

-- All that comes until the server closes; "timeout" where it does not.
local function drain(sock)
  local parts = {}
  while true do
    local msg, err, again = sock:recv(65536)
    if not msg then return table.concat(parts) .. (again and "timeout" or err or "") end
    parts[#parts + 1] = msg
  end
end

-- Sends bytes as they are, and answers all that comes until the server closes.
local function raw(bytes)
  local sock = dial()
  sock:send(bytes)
  local text = drain(sock)
  sock:close()
  return text
end

local function get(target, ...)
  local fields = table.concat({ "Host: x", "Connection: close", ... }, "\r\n")
  return raw(("GET %s HTTP/1.1\r\n%s\r\n\r\n"):format(target, fields))
end

local function starts(text, status, name)
  T.is(text:match "^HTTP/1%.1 (%d+) %u", tostring(status), name)
end

local function body(text) return text:match "\r\n\r\n(.*)$" end

starts(get "/", 200, "a folder has its index.html")
T.is(body(get "/"), "<p>front</p>", "and that is what comes")
T.ok(get "/":find "\r\nContent%-Type: text/html; charset=utf%-8\r\nContent%-Length: 12\r\n", "with type and length")
T.ok(get "/":find "\r\nDate: %a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT\r\n", "and the date")
T.is(body(get "/odd%20name/50%25.css?v=1"), "p {}", "an encoded name is decoded once, a query does not count")
T.ok(get "/odd%20name/50%25.css":find "text/css", "the ending makes the type")
T.ok(get "/empty.bin":find "^HTTP/1.1 200 .*application/octet%-stream.*Content%-Length: 0\r\n\r\n$", "an empty file comes")
T.ok(get "/sub":find "^HTTP/1.1 301 .*\r\nLocation: /sub/\r\n", "a folder without its slash is sent there")
T.ok(get "//sub":find "\r\nLocation: /sub/\r\n", "and never to another host")
T.is(body(get "http://x/digits.txt"), digits, "a target may be a whole URL")
starts(get "/nothing", 404, "a missing file is 404")
T.is(body(get "/nothing"), "404 Not Found\n", "and says so in its body")
starts(get "/digits.txt/", 404, "a file is no folder")
for _, target in ipairs { "/../secret.txt", "/sub/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt",
  "/.%2E%2Fsecret.txt", "/%252e%252e/secret.txt", "/sub/.git/config", "//..//secret.txt", "/sub/%2e./%2e./secret.txt" } do
  starts(get(target), 404, target .. " leads nowhere")
end
starts(get "/digits.txt%00.html", 400, "a NUL in a name is refused")
starts(get "/%zz", 400, "a wrong encoding is refused")
starts(get "digits.txt", 400, "a target without a slash is refused")
starts(raw "GET / HTTP/1.1\r\n\r\n", 400, "HTTP/1.1 without Host is refused")
starts(raw "GET / HTTP/1.1\r\nHost: x\r\nno field\r\n\r\n", 400, "a line that is no field is refused")
starts(raw "GET /\r\n\r\n", 400, "a line that is no request is refused")
starts(raw "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, "another version is refused")
starts(raw "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405, "POST is not allowed")
T.ok(raw "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":find "\r\nAllow: GET, HEAD\r\n", "it says what is")
starts(raw "BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 501, "an unknown method is 501")
starts(raw("GET / HTTP/1.1\r\nHost: x\r\nX: " .. ("x"):rep(9000) .. "\r\n\r\n"), 431, "a head of more than 8 KiB is 431")
T.is(body(raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" .. ("x"):rep(300000))),
  "405 Method Not Allowed\n", "an answer reaches a client that is still sending, and no reset")
T.is(select(2, raw("GET /sub HTTP/1.1\r\nHost: x\r\n\r\n" .. "HEAD /digits.txt HTTP/1.1\r\nHost: x\r\n\r\n" ..
  "GET /digits.txt HTTP/1.0\r\n\r\n"):gsub("HTTP/1.1 %d", "")), 3, "requests that come at once are answered in their order")

----------------------------------------------------------------------- ranges

local function range(text, status, want, name, ...)
  local answer = get("/digits.txt", "Range: " .. text, ...)
  T.is(answer:match "^HTTP/1.1 (%d+)" .. " " .. (answer:match "\r\nContent%-Range: ([^\r]*)" or "-") .. " " .. body(answer),
    status .. " " .. want, name or text)
end

range("bytes=2-4", 206, "bytes 2-4/10 234")
range("bytes=7-", 206, "bytes 7-9/10 789")
range("bytes=-3", 206, "bytes 7-9/10 789")
range("bytes=-99", 206, "bytes 0-9/10 0123456789")
range("bytes=8-99999999999999999999", 206, "bytes 8-9/10 89")
range("bytes=10-", 416, "bytes */10 416 Range Not Satisfiable\n")
range("bytes=-0", 416, "bytes */10 416 Range Not Satisfiable\n")
range("bytes=0-1,3-4", 200, "- 0123456789", "several ranges are the whole file")
range("bytes=4-2", 200, "- 0123456789", "a range that ends before it begins is ignored")
range("lines=1-2", 200, "- 0123456789", "a range with an unknown unit is ignored")
range("bytes=0-1", 200, "- 0123456789", "If-Range: a value that cannot be compared counts as changed", "If-Range: \"x\"")

------------------------------------------------- slow and rude clients, and curl

-- One that says nothing, one that stops in the middle of a request, one that reads no answer.
local function dawdlers(to)
  local silent, slow, lazy = dial(to), dial(to), dial(to)
  slow:send "GET / HTTP/1.1\r\nHos"
  lazy:send "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n"
  return silent, slow, lazy
end

-- One that resets its connection in the middle of an answer.
local function be_rude()
  local sock = dial()
  sock:send "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n"
  sock:recv(1000)
  sock:linger(0)
  sock:close()
end

local silent, slow, lazy = dawdlers(port)
for _ = 1, 10 do be_rude() end

if example.has "curl" and example.has "sha256sum" then
  local function curl(args) return (proc.run(("curl -sS -m 60 %s"):format(args:gsub("URL", url)))) end
  local want = proc.run(shell.format("sha256sum < %q/big.bin", dir))
  T.is(curl "URL/big.bin | sha256sum", want, "a file of 64 MiB comes whole")
  local step, parts, fetch = math.ceil(64 * MIB / 10), {}, {}
  for i = 0, 9 do
    parts[#parts + 1] = ("'%s/part%d'"):format(root, i)
    fetch[#fetch + 1] = ("curl -sS -m 60 -r %d-%d %s/big.bin -o %s &"):format(i * step, (i + 1) * step - 1, url, parts[#parts])
  end
  local cat = " wait; cat " .. table.concat(parts, " ") .. " | sha256sum"
  T.is(proc.run(table.concat(fetch, " ") .. cat), want, "so do ten ranges at a time, put together")
  local whole = ("{ curl -sS -m 60 %s/big.bin | sha256sum; } & "):format(url):rep(10)
  T.is(proc.run(whole .. "wait"), want:rep(10), "so does the whole file ten times at a time")
  T.is(curl "-w '%{num_connects} ' URL/digits.txt -o /dev/null URL/digits.txt -o /dev/null", "1 0 ", "curl keeps its connection")
  T.is(curl "-I URL/big.bin":match "Content%-Length: (%d+)", tostring(64 * MIB), "HEAD tells the length and sends nothing")
  T.is(curl "-w '%{http_code}' --path-as-is URL/../secret.txt -o /dev/null", "404", "curl --path-as-is gets no further")
  T.is(curl "-0 URL/digits.txt", digits, "HTTP/1.0 is understood")
else T.skip(7, "this machine has no curl") end

slow:send "t: x\r\nConnection: close\r\n\r\n"
T.is(body(drain(slow)), "<p>front</p>", "a slow client is waited for")
silent:close(); slow:close(); lazy:close()

-- Processor time that a server has used, in 1/100 s.
local function ticks(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  local user, system = (file and file:read "*a" or ""):match("%) %u" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
  if file then file:close() end
  return user and user + system
end

local impatient, its_port = serve "1"
silent, slow, lazy = dawdlers(its_port)
starts(drain(slow), 408, "half a request is answered with 408 after its time")
T.is(drain(silent), "", "a silent connection is closed")
local next_one = dial(its_port)
drain(next_one) -- by then the lazy one's time is over, too
local got = drain(lazy)
T.ok(got:find "^HTTP/1.1 200 " and #got < 64 * MIB, "a client that reads nothing is dropped: " .. #got .. " bytes waited for it")
silent:close(); slow:close(); lazy:close(); next_one:close()
local used = ticks(impatient.pid)
if used then T.ok(used < 30, ("waiting costs little processor time: %d/100 s"):format(used))
else T.skip(1, "this machine has no /proc") end
T.is(example.stop(impatient), "", "none of them is worth a word")

write(dir .. "/index.html", "<p>later</p>")
T.is(body(get "/"), "<p>later</p>", "the server still serves")
T.is(example.stop(child), "", "it printed nothing else")
local _, ok = example.run("fileserver", dir .. "/none 0 2>&1")
T.ok(not ok, "it needs a folder that exists")
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
