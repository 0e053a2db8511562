-- fileserver.lua DIR [PORT [SECONDS]] -- serves the files of a folder over HTTP/1.1, to many clients, without threads.
--
-- PORT is 8080 by default; 0 lets the kernel choose.  A client may keep the server waiting for SECONDS, 10 by default.
-- Each connection is a coroutine that runs until its socket would block.  Symbolic links are followed.  Names that begin
-- with a dot are not served.
local L = require "llsocket"

local HOST = "127.0.0.1" -- only this machine; use "0.0.0.0" for every IPv4 interface
local DIR, PORT, PATIENCE = arg[1], arg[2] or "8080", tonumber(arg[3] or 10)

local CLIENTS_MAX = 400 -- each takes two descriptors, and a process usually has 1024
local HEAD_MAX = 8192 -- bytes of a request line with its fields
local SMALL = 16 * 1024 -- bytes; a smaller file is read, and goes out with its head in one send
local PIECE = 256 * 1024 -- bytes of a larger file to send before another client's turn
local FAREWELL = 2 -- seconds for a client to read the last answer

--------------------------------------------------------------------- scheduler
-- One poller watches all connections; each ready connection gets one turn.

local poller = assert(L.poll.new())
local tasks, count, listener, is_open = {}, 0

-- Yields until the connection is ready to read, "r", or to write, "w"; false if it is not ready by the deadline.
local function wait(direction, deadline) return coroutine.yield(direction, deadline) end
local function soon() return os.time() + PATIENCE end

-- Watches the listener, or stops watching it so that new clients wait in its queue.
local function listen(yes)
  if yes and not is_open then is_open = poller:add(listener, "r") end
  if is_open and not yes then is_open = not poller:remove(listener) end
end

local function advance(task, ...)
  local ok, direction, deadline = coroutine.resume(task.co, ...)
  if not ok then io.stderr:write(debug.traceback(task.co, direction), "\n") end
  if coroutine.status(task.co) == "dead" then
    tasks[task], count = nil, count - 1
    task.sock:close() -- this also removes it from the poller
    return listen(true)
  end
  if direction ~= task.direction then poller:modify(task.sock, direction) end
  task.direction, task.deadline = direction, deadline
end

-- Accepts the connections that wait.  If accept fails or CLIENTS_MAX is reached, it accepts none before the next second.
local function admit(fn)
  while count < CLIENTS_MAX do
    local sock, _, again = listener:accept(true)
    if not sock then return listen(again) end
    local task = { sock = sock, co = coroutine.create(fn), direction = "r" }
    tasks[task], count = true, count + 1
    poller:add(sock, "r", task) -- if this fails, the connection ends at its deadline
    advance(task, sock)
  end
  listen(false)
end

local function serve_all(fn)
  local looked = os.time()
  listen(true)
  while true do
    for i = 1, poller:wait(1) or 0 do -- nil after a signal
      local task = poller:event(i)
      if task == listener then admit(fn) elseif task then advance(task, true) end
    end
    local now = os.time()
    for task in pairs(now > looked and tasks or {}) do if now > task.deadline then advance(task, false) end end
    if now > looked then listen(count < CLIENTS_MAX) end -- the cause of a failed accept may be over
    looked = now
  end
end

---------------------------------------------------------------------- requests

-- Returns a request up to its empty line; nil and a status; or only nil if the client has gone.
local function receive_head(conn)
  local deadline = soon()
  while true do
    local _, last = conn.buffer:find("\r\n\r\n", 1, true)
    if (last or #conn.buffer) > HEAD_MAX then return nil, 431 end
    if last then
      local head = conn.buffer:sub(1, last)
      conn.buffer = conn.buffer:sub(last + 1)
      return head
    end
    if not wait("r", deadline) then return nil, conn.buffer ~= "" and 408 or nil end
    local bytes, _, again = conn.sock:recv(HEAD_MAX)
    if not (bytes or again) then return nil end
    conn.buffer = conn.buffer .. (bytes or "")
  end
end

-- Returns the fields from a place on, or nil.  Patterns are not compiled, so few of them are tried, each on a whole line.
local function parse_fields(head, first)
  local fields = {}
  while head:sub(first, first + 1) ~= "\r\n" do
    local name, value, rest = head:match("^([%w!#$%%&'*+.^_`|~-]+):([^%z\r\n]*)\r\n()", first)
    if not name then return nil end
    name, value, first = name:lower(), value:match "^[ \t]*(.*[^ \t])" or "", rest
    fields[name] = fields[name] and fields[name] .. ", " .. value or value
  end
  return fields
end

-- A request with a body gets an answer, and then the connection is closed: a file server does not read bodies.
local function is_kept(version, fields)
  local connection = (fields.connection or ""):lower()
  if fields["transfer-encoding"] or (fields["content-length"] or "0") ~= "0" then return false end
  if version == "1.0" then return connection:find("keep-alive", 1, true) ~= nil end
  return not connection:find("close", 1, true)
end

-- Returns the request, or nil and a status.  RFC 9112 2.2: refuse NUL, and CR or LF that do not end a line, because a
-- proxy before this server may interpret the bytes after them differently.
local function parse(head)
  local method, target, version, rest = head:match("^(%u+) ([!-~]+) HTTP/(%d%.%d)\r\n()", head:find "^\r\n" and 3 or 1)
  if not method then return nil, 400 end
  if not version:find "^1%." then return nil, 505 end
  local fields = parse_fields(head, rest)
  local host = fields and fields.host
  if not fields or version ~= "1.0" and not host or host and host:find "," then return nil, 400 end
  return { method = method, target = target, fields = fields, keep = is_kept(version, fields) }
end

-- Returns the name under DIR that a target refers to, or nil and a status.
local function resolve(target)
  local path = target:match "^[^?#]*":gsub("^%a[%w+.-]*://[^/]*", "")
  if path == "" then path = "/" end
  local is_coded = path:find("%", 1, true)
  if path:sub(1, 1) ~= "/" or is_coded and path:gsub("%%%x%x", ""):find "%%" then return nil, 400 end
  if is_coded then path = path:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end) end
  if path:find("//", 1, true) then path = path:gsub("/+", "/") end
  if path:find("\0", 1, true) then return nil, 400 end -- fopen would cut the name there
  if path:find("/.", 1, true) then return nil, 404 end -- "..", "." and hidden files, in every spelling
  return path
end

------------------------------------------------------------------------- files

local STATUS = { [L.EACCES] = 403, [L.EMFILE] = 503, [L.ENFILE] = 503 }

-- Returns { size =, text = } of a small file, which is closed by then; { size =, file = } of another; or nil and a status.
-- DIR must not contain a fifo: opening it would block all clients.
local function open(path)
  local is_folder = path:sub(-1) == "/"
  local file, _, e = io.open(DIR .. path .. (is_folder and "index.html" or ""), "rb")
  if not file then return nil, STATUS[e] or 404 end
  file:setvbuf "no" -- a buffer would cost one more system call
  local text, _, why = file:read(SMALL) -- a folder can be opened, but not read
  local size = text and #text or 0
  if size == SMALL then size, _, why = file:seek "end" end
  if why or size < SMALL then file:close() end
  if not why then return { size = size, file = file, text = size < SMALL and (text or "") or nil } end
  return nil, why == L.EISDIR and not is_folder and 301 or 404
end

-- Returns status, first and last byte.  If the field is not a single range of bytes, the answer is the whole file.
local function select_range(request, size)
  local text = request.method == "GET" and not request.fields["if-range"] and request.fields.range or ""
  local first, last = text:match "^bytes=(%d*)%-(%d*)$"
  first, last = tonumber(first), tonumber(last)
  if not (first or last) or first and last and first > last then return 200, 0, size - 1 end
  if not first then first, last = math.max(size - last, 0), last > 0 and size - 1 or -1 end
  last = math.min(last or size - 1, size - 1)
  if first > last then return 416 end
  return 206, first, last
end

local TYPES = {
  css = "text/css; charset=utf-8", csv = "text/csv; charset=utf-8", gif = "image/gif", gz = "application/gzip",
  html = "text/html; charset=utf-8", ico = "image/x-icon", jpeg = "image/jpeg", jpg = "image/jpeg",
  js = "text/javascript; charset=utf-8", json = "application/json", lua = "text/plain; charset=utf-8",
  md = "text/markdown; charset=utf-8", mp3 = "audio/mpeg", mp4 = "video/mp4", pdf = "application/pdf",
  png = "image/png", svg = "image/svg+xml", tar = "application/x-tar", txt = "text/plain; charset=utf-8",
  wasm = "application/wasm", webp = "image/webp", woff2 = "font/woff2", xml = "application/xml", zip = "application/zip",
}

local function type_of(path)
  return path:sub(-1) == "/" and TYPES.html or TYPES[(path:match "%.(%w+)$" or ""):lower()] or "application/octet-stream"
end

----------------------------------------------------------------------- answers

local REASON = {
  [200] = "OK", [206] = "Partial Content", [301] = "Moved Permanently", [400] = "Bad Request", [403] = "Forbidden",
  [404] = "Not Found", [405] = "Method Not Allowed", [408] = "Request Timeout", [416] = "Range Not Satisfiable",
  [431] = "Request Header Fields Too Large", [501] = "Not Implemented", [503] = "Service Unavailable",
  [505] = "HTTP Version Not Supported",
}

local function send_all(conn, text, flag)
  repeat
    local n = conn.sock:send(text, flag)
    if not n then return false end -- closed by the peer, or broken
    text = text:sub(n + 1)
  until text == "" or not wait("w", soon())
  return text == ""
end

-- Sends piece by piece and yields between them, so that no client waits for another's long file.
local function send_file(conn, file, first, last)
  repeat
    local n, _, again = conn.sock:sendfile(file, math.min(PIECE, last - first + 1), first)
    if not n or n == 0 and not again then return false end -- closed by the peer, or the file has become shorter
    first = first + n
  until first > last or not wait("w", soon())
  return first > last
end

local date, dated
local function head_of(status, keep, fields)
  if os.time() ~= dated then date, dated = os.date "!%a, %d %b %Y %H:%M:%S GMT", os.time() end
  local head = "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: %s\r\n%s\r\n\r\n"
  return head:format(status, REASON[status], date, keep and "keep-alive" or "close", table.concat(fields, "\r\n"))
end

-- Sends an answer without a file.  After a malformed request the connection is closed.
local function refuse(conn, status, request, field)
  local body = ("%d %s\n"):format(status, REASON[status])
  local keep = request and request.keep
  local head = head_of(status, keep, { "Content-Type: text/plain; charset=utf-8", "Content-Length: " .. #body, field })
  return send_all(conn, head .. (request and request.method == "HEAD" and "" or body)) and keep
end

local function send_range(conn, request, content, path)
  local status, first, last = select_range(request, content.size)
  if status == 416 then return refuse(conn, 416, request, "Content-Range: bytes */" .. content.size) end
  local fields = { "Accept-Ranges: bytes", "Content-Type: " .. type_of(path), "Content-Length: " .. last - first + 1 }
  if status == 206 then fields[4] = ("Content-Range: bytes %d-%d/%d"):format(first, last, content.size) end
  local head = head_of(status, request.keep, fields)
  if request.method == "HEAD" or first > last then return send_all(conn, head) and request.keep end
  if content.text then return send_all(conn, head .. content.text:sub(first + 1, last + 1)) and request.keep end
  return send_all(conn, head, L.MSG_MORE) and send_file(conn, content.file, first, last) and request.keep
end

local KNOWN = { CONNECT = true, DELETE = true, OPTIONS = true, PATCH = true, POST = true, PUT = true, TRACE = true }

local function answer(conn, request)
  if KNOWN[request.method] then return refuse(conn, 405, request, "Allow: GET, HEAD") end
  if request.method ~= "GET" and request.method ~= "HEAD" then return refuse(conn, 501, request) end
  local path, status = resolve(request.target)
  if not path then return refuse(conn, status, request) end
  local content, why = open(path)
  if not content then
    local place = request.target:match "^[^?#]*":gsub("^/+", "/") -- "//host/" would redirect to another host
    return refuse(conn, why, request, why == 301 and "Location: " .. place .. "/" or nil)
  end
  local keep = send_range(conn, request, content, path)
  if not content.text then content.file:close() end
  return keep
end

-- Read first: closing with unread bytes resets the connection, and the client would lose the last answer.
local function farewell(sock)
  local deadline = os.time() + FAREWELL
  if sock:shutdown(L.SHUT_WR) then return end
  repeat
    local bytes, _, again = sock:recv(65536)
    if not (bytes or again) then return end
  until not wait("r", deadline) or os.time() > deadline
end

-- Serves one request.  Returns whether another may follow; nil if the client has gone.
local function exchange(conn)
  local head, status = receive_head(conn)
  if not (head or status) then return nil end
  local request
  if head then request, status = parse(head) end
  if request then return answer(conn, request) or false end
  return refuse(conn, status) or false
end

local function serve(sock)
  local conn, keep = { sock = sock, buffer = "" }
  sock:tcpnodelay(true)
  repeat keep = exchange(conn) until not keep or conn.buffer ~= "" and not wait("w", soon()) -- one request a turn
  if keep == false then farewell(sock) end
end

-------------------------------------------------------------------------- main

local function fail(status, ...)
  io.stderr:write("fileserver: ", string.format(...), "\n")
  os.exit(status)
end

if (DIR or "") == "" or not PATIENCE then fail(2, "usage: fileserver.lua DIR [PORT [SECONDS]]") end
local folder, why = io.open(DIR .. "/.")
if not folder then fail(1, "%s is no folder: %s", DIR, why) end
folder:close()
local list, err = L.inet.getaddrinfo(HOST, PORT)
if not list then fail(2, "port %s: %s", PORT, err) end
listener = assert(L.socket.new(list[1], true))
listener:reuseaddr(true)
err = listener:bind() or listener:listen()
if err then fail(1, "%s: %s", tostring(list[1]), err) end
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
serve_all(serve)
