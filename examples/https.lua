-- https.lua -- HTTPS with LuaSec: a client, and a server of static files, in llsocket's loop.
--
--   luajit https.lua get HOST PORT PATH [CAFILE]        prints the body; CAFILE defaults to the system's
--   luajit https.lua serve HOST PORT CERT KEY DIRECTORY
--
-- Needs LuaSec (Debian: lua-sec).
local ffi = require "ffi"
local ssl = require "ssl"
local L = require "llsocket"
local stream = require "llsocket.stream"
local luasec = require "llsocket.stream.luasec"
local loop = require "llsocket.wait.coroutine"

-- LuaSec writes with write(2): a peer that closes during the handshake would kill this process by SIGPIPE.
local SIGPIPE, SIG_IGN = 13, ffi.cast("void *", 1)
ffi.cdef "void *signal(int number, void *handler);"
ffi.C.signal(SIGPIPE, SIG_IGN)

-- The client -----------------------------------------------------------------------------------------------

-- Answers what was read; raises where the answer ended before, because it is no answer then.
local function whole(bytes, err)
  if not bytes then error(err or "the server has closed in the middle of its answer", 0) end
  return bytes
end

-- Whether a certificate names a host.  LuaSec checks who signed it, but not for whom.
local function is_for(certificate, host)
  local names = certificate:extensions()["2.5.29.17"] or {} -- subjectAltName
  for _, kind in ipairs { "dNSName", "iPAddress" } do
    for _, name in ipairs(names[kind] or {}) do
      if name:lower() == host:lower() or name:sub(1, 2) == "*." and host:match "^[^.]+(%..+)$" == name:sub(2) then return true end
    end
  end
  return false
end

local function get(host, port, path, cafile)
  local context = assert(ssl.newcontext {
    mode = "client", protocol = "any", options = { "all", "no_sslv2", "no_sslv3", "no_tlsv1", "no_tlsv1_1" },
    verify = "peer", cafile = cafile or "/etc/ssl/certs/ca-certificates.crt",
  })
  local s = assert(stream.connect(host, port, 10))
  s:deadline(30)
  s = assert(luasec.secure(s, context, host))
  assert(is_for(s.sock.conn:getpeercertificate(), host), "the certificate is for another host")
  assert(s:write("GET ", path, " HTTP/1.0\r\nHost: ", host, "\r\n\r\n")) -- 1.0: no chunks
  local status, length = whole(s:line()), nil
  repeat
    local line = whole(s:line())
    length = length or tonumber(line:lower():match "^content%-length: *(%d+)$")
  until line == ""
  local body
  if length then body = whole(s:exactly(length)) else body = s:all() or "" end
  s:close()
  return status, body
end

-- The server -----------------------------------------------------------------------------------------------

-- Answers a file's bytes.  Only names of one part, without a leading dot, are files here.
local function read(directory, path)
  local name = path:match "^/([%w_-][%w_.-]*)$"
  local file = name and io.open(directory .. "/" .. name, "rb")
  local body = file and file:read "*a"
  if file then file:close() end
  return body
end

local function respond(s, status, body)
  return s:write("HTTP/1.1 ", status, "\r\nContent-Length: ", tostring(#body), "\r\n\r\n", body)
end

-- Serves the requests of one connection.
local function converse(s, directory)
  while true do
    s:deadline(30)
    local method, path = (s:line(8192) or ""):match "^(%u+) (%S+) HTTP/1%.[01]$"
    if not method then return end
    local close = false
    for line in s:lines() do
      if line == "" then break end
      close = close or line:lower() == "connection: close"
    end
    local body = method == "GET" and read(directory, path)
    if not respond(s, body and "200 OK" or "404 Not Found", body or "not found\n") or close then return end
  end
end

local function serve(host, port, cert, key, directory)
  local context = assert(ssl.newcontext {
    mode = "server", protocol = "any", options = { "all", "no_sslv2", "no_sslv3", "no_tlsv1", "no_tlsv1_1" },
    certificate = cert, key = key,
  })
  local listener = assert(stream.listen(host, port))
  print("https://" .. tostring(listener:getsockname()))
  io.stdout:flush()
  stream.serve(listener, function(plain)
    plain:deadline(10)
    local s = luasec.secure(plain, context)
    if not s then return end
    converse(s, directory)
    s:close()
  end, { max = 500 })
end

local command = table.remove(arg, 1)
if command == "get" and arg[3] then
  loop.spawn(function(...)
    local status, body = get(...)
    io.stderr:write(status, "\n")
    io.write(body)
  end, unpack(arg))
  L.wait.set(loop.wait)
  loop.run()
elseif command == "serve" and arg[5] then
  L.wait.set(loop.wait)
  serve(unpack(arg))
else
  io.stderr:write "usage: https.lua get HOST PORT PATH [CAFILE] | serve HOST PORT CERT KEY DIRECTORY\n"
  os.exit(1)
end
