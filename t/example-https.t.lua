-- https: curl, openssl and the example's own client against its server; many connections at once.
local stream = require "llsocket.stream"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(13)
local before = leak.count()

local function missing()
  if not pcall(require, "ssl") then return "LuaSec is missing" end
  if not example.has "openssl" then return "openssl is missing" end
  if not example.has "curl" then return "curl is missing" end
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local why = missing()
if why then
  T.skip(12, why)
else
  local dir = net.tmpdir()
  local _, made = proc.run(shell.format("cd %q && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem "
    .. "-days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1", dir))
  T.ok(made, "openssl makes a certificate")
  os.execute(shell.format("mkdir %q/www", dir))
  local big = ("0123456789abcdef"):rep(20000)
  write(dir .. "/www/big.txt", big)
  write(dir .. "/www/a.txt", "hello\n")
  local arguments = shell.format("serve 127.0.0.1 0 %q/cert.pem %q/key.pem %q/www 2>&1", dir, dir, dir)
  local child, line = example.start("https", arguments)
  local port = tonumber(line:match "^https://127%.0%.0%.1:(%d+)$")
  T.ok(port, "the server says where it listens: " .. line)

  local function curl(path, flags)
    return proc.run(shell.format("curl -sS %s --cacert %q/cert.pem https://127.0.0.1:%d%s", flags or "", dir, port, path))
  end
  T.is(curl "/a.txt", "hello\n", "curl gets a file")
  T.ok(curl "/big.txt" == big, "also one of 320,000 bytes")
  T.is(curl("/none", "-o /dev/null -w '%{http_code}'"), "404", "what is not there is 404")
  T.is(curl("/../key.pem", "--path-as-is -o /dev/null -w '%{http_code}'"), "404", "what lies outside neither")
  T.is(curl(("/a.txt https://127.0.0.1:%d/a.txt"):format(port), "-w '%{num_connects} '"), "hello\n1 hello\n0 ",
    "a connection serves several requests")
  local said = proc.run(shell.format("printf 'GET /a.txt HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n' | "
    .. "openssl s_client -quiet -verify_quiet -ign_eof -CAfile %q/cert.pem -connect 127.0.0.1:%d 2>/dev/null", dir, port))
  T.ok(said:find("200 OK", 1, true) and said:find "hello\n$", "openssl s_client is answered")
  local got = proc.run(example.command(example.dir .. "https.lua",
    shell.format("get 127.0.0.1 %d /big.txt %q/cert.pem 2>/dev/null", port, dir)))
  T.ok(got == big, "the example's client gets the same bytes")

  -- Connections that say nothing do not keep the others waiting.
  local silent = {}
  for i = 1, 200 do silent[i] = assert(stream.connect("127.0.0.1", port, 5)) end
  T.is(curl("/a.txt", "--max-time 10"), "hello\n", "200 connections that say nothing stop nobody")
  for _, s in ipairs(silent) do s:close() end

  -- Peers that go in the middle of the handshake: LuaSec then writes to a closed connection.
  proc.run(shell.format("seq 40 | xargs -P 20 -I '{}' curl -s --cacert /dev/null/{} https://127.0.0.1:%d/a.txt", port))
  T.is(curl "/a.txt", "hello\n", "peers that end in the handshake kill nobody")
  local many = proc.run(shell.format("seq 200 | xargs -P 50 -I '{}' curl -sS -H 'X-Number: {}' --cacert %q/cert.pem "
    .. "https://127.0.0.1:%d/a.txt 2>&1 | sort | uniq -c | head -3", dir, port))
  T.ok(many:find "^%s*200 hello", "200 requests are answered, fifty at a time: " .. many:gsub("%s+", " "))
  example.stop(child)
  net.cleanup()
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
