-- servers.lua -- small servers of HTTP, HTTPS, XML-RPC, SOAP, SMTP and FTP for LuaSocket's clients, in one process and one loop.
--
-- What a client asks with "hundred" in its name is answered only when a hundred have asked: who waits for one answer before
-- it asks the next never gets one.
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"

local M = { names = { "http", "https", "smtp", "ftp" } }
local CROWD, waiting = 100, {}

local function arrive(what, name)
  if not name:find "hundred" then return end
  local n = (waiting[what] or 0) + 1
  waiting[what] = n
  while waiting[what] < math.ceil(n / CROWD) * CROWD do loop.sleep(0.01) end
end

-- HTTP -----------------------------------------------------------------------------------------------------------

local XML = [[<?xml version="1.0"?><methodResponse><params><param><value><string>%s</string></value></param></params>]]
  .. "</methodResponse>"

-- Answers the path and the body of a request.
local function read_request(s)
  local path = (s:line() or ""):match "^%u+ (%S+)"
  local length = 0
  for line in s:lines() do
    if line == "" then break end
    length = tonumber(line:lower():match "^content%-length:%s*(%d+)") or length
  end
  return path, length > 0 and s:exactly(length) or ""
end

local SOAP = [[<?xml version="1.0"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>]]
  .. [[<askResponse xmlns="urn:test"><said>%s</said></askResponse></e:Body></e:Envelope>]]

local function answer_of(path, body)
  local asked = body:match "Envelope.-<word>(.-)</word>"
  if asked then return SOAP:format(asked) end
  local method, argument = body:match "<methodName>(.-)</methodName>.-<string>(.-)</string>"
  if method then return XML:format(method .. " " .. argument) end
  return ("%s %s %s"):format(path, body, ("0123456789"):rep(3000))
end

local function http(what)
  return function(s)
    local path, body = read_request(s)
    if not path then return end
    arrive(what .. path, path)
    local text = answer_of(path, body)
    s:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\nX-Kind: test\r\n\r\n"):format(#text), text)
  end
end

-- SMTP -----------------------------------------------------------------------------------------------------------

local function read_mail(s)
  local lines = {}
  for line in s:lines() do
    if line == "." then return table.concat(lines, "\n") end
    lines[#lines + 1] = line
  end
end

local SMTP = {
  EHLO = "250 hello", HELO = "250 hello", MAIL = "250 from", RCPT = "250 to", DATA = "354 go on", QUIT = "221 bye",
  RSET = "250 reset",
}

local function smtp(s)
  s:write "220 ready\r\n"
  for line in s:lines() do
    local word = line:match "^%u+"
    s:write(SMTP[word] or "500 what", "\r\n")
    if word == "DATA" then
      local mail = assert(read_mail(s))
      arrive("smtp", mail:match "[Ss]ubject: ([^\n]*)" or "")
      s:write(("250 taken, %d bytes\r\n"):format(#mail))
    end
    if word == "QUIT" then return end
  end
end

-- FTP ------------------------------------------------------------------------------------------------------------

local FTP = { USER = "331 and the password", PASS = "230 welcome", TYPE = "200 type", CWD = "250 there", QUIT = "221 bye" }

local function open_data(session)
  session.listener = assert(stream.listen("127.0.0.1", 0))
  local port = session.listener:getsockname():port()
  return port
end

local function take_data(session)
  assert(session.listener:recvable(10))
  local data = assert(stream.wrap(assert(session.listener:accept(true))))
  session.listener:close()
  return data
end

local PASSIVE = {
  PASV = function(port) return ("227 passive (127,0,0,1,%d,%d)"):format(math.floor(port / 256), port % 256) end,
  EPSV = function(port) return ("229 passive (|||%d|)"):format(port) end,
}

local stored = {} -- files that were put here, by name

local TRANSFER = {
  RETR = function(data, name)
    arrive("ftp", name)
    data:write(stored[name] or ("content of " .. name .. "\n"):rep(500))
  end,
  STOR = function(data, name) stored[name] = data:all() or "" end,
}

local function ftp(s)
  local session = {}
  s:write "220 ready\r\n"
  for line in s:lines() do
    local word, rest = line:match "^(%a+) ?(.*)$"
    word = word:upper()
    if PASSIVE[word] then
      s:write(PASSIVE[word](open_data(session)), "\r\n")
    elseif TRANSFER[word] then
      s:write "150 here it is\r\n"
      local data = take_data(session)
      TRANSFER[word](data, rest)
      data:close()
      s:write "226 done\r\n"
    else
      s:write(FTP[word] or "502 what", "\r\n")
      if word == "QUIT" then return end
    end
  end
end

-- Makes the listeners by name; the ports are known before the servers run.
function M.listen()
  local listeners, ports = {}, {}
  for _, name in ipairs(M.names) do
    listeners[name] = assert(stream.listen("127.0.0.1", 0))
    ports[name] = listeners[name]:getsockname():port()
  end
  return listeners, ports
end

-- Runs the servers for ever.  `context` is LuaSec's table of parameters, or nil.
function M.run(listeners, context)
  local handlers = { http = http "http", smtp = smtp, ftp = ftp }
  local secured = http "https"
  if context then
    local luasec = require "llsocket.stream.luasec"
    function handlers.https(s)
      s = assert(luasec.secure(s, context))
      secured(s)
      s:close()
    end
  end
  for name, handler in pairs(handlers) do
    loop.spawn(stream.serve, listeners[name], function(s)
      s:deadline(60)
      handler(s)
    end)
  end
  loop.run(function(err) io.stderr:write("# server: ", tostring(err), "\n") end)
end

return M
