-- stream-nginx: a short HTTP client over a stream against nginx: several requests on a connection, large bodies, chunks, many at
-- once, and a server that takes too long.
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local T = require("tap").plan(9)
local before = leak.count()

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 300; }
http {
  ]] .. nginx.HTTP .. [[
  server {
    listen unix:DIR/socket;
    location / { root DIR/www; }
    location /chunks { content_by_lua_block { for i = 1, 100 do ngx.print(i, " ") ngx.flush(true) end } }
    location /slow { content_by_lua_block { ngx.sleep(5) ngx.print "late" } }
  }
}
]]

-- The client --------------------------------------------------------------------------------------------------

local function whole(bytes, err) return bytes or error(err or "cut off", 0) end

local function body_of(s, headers)
  if headers["content-length"] then return whole(s:exactly(tonumber(headers["content-length"]))) end
  local parts = {}
  repeat
    local size = tonumber(whole(s:line()), 16)
    parts[#parts + 1] = whole(s:exactly(size))
    whole(s:line())
  until size == 0
  return table.concat(parts)
end

local function get(s, path)
  assert(s:write("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n\r\n"))
  local status, headers = whole(s:line()):match "^HTTP/1.1 (%d+)", {}
  for line in function() return whole(s:line()) end do
    if line == "" then break end
    headers[line:match "^[^:]+":lower()] = line:match ":%s*(.*)$"
  end
  return status, body_of(s, headers)
end

---------------------------------------------------------------------------------------------------------------

local why = nginx.missing()
if why then
  T.skip(8, why)
else
  nginx.guard(function()
    local dir = net.tmpdir()
    local big = ("0123456789abcdef"):rep(2^16)
    os.execute("mkdir " .. dir .. "/www && chmod 755 " .. dir .. " " .. dir .. "/www")
    nginx.write(dir .. "/www/index.html", "hello\n")
    nginx.write(dir .. "/www/big", big)
    local server = nginx.start(CONF, dir)
    local path = dir .. "/socket"

    local s = assert(stream.connect(path, nil, 5))
    s:deadline(20)
    local status, body = get(s, "/")
    T.is(status .. " " .. body, "200 hello\n", "a page comes")
    status, body = get(s, "/big")
    T.ok(status == "200" and body == big, "so does 1 MiB, on the same connection")
    status, body = get(s, "/chunks")
    local numbers = {}
    for i = 1, 100 do numbers[i] = i .. " " end
    T.is(status .. " " .. body, "200 " .. table.concat(numbers), "so do chunks")
    T.is((get(s, "/none")), "404", "and what is not there is 404")
    s:deadline(0.1)
    local ok, err = pcall(get, s, "/slow")
    T.ok(not ok and err == "Connection timed out", "an answer that takes too long is timed out")
    s:close()

    local right = 0
    for i = 1, 100 do
      loop.spawn(function()
        local each = assert(stream.connect(path, nil, 10))
        each:deadline(20)
        local _, got = get(each, i % 2 == 0 and "/big" or "/")
        if got == (i % 2 == 0 and big or "hello\n") then right = right + 1 end
        each:close()
      end)
    end
    loop.run()
    T.is(right, 100, "a hundred at once get what they asked for")
    nginx.stop(server)
    s = stream.connect(path, nil, 1)
    T.is(s, nil, "then nobody listens")
    T.ok(not nginx.errors(server):find "crit", "and nginx has nothing to tell")
  end)
  net.cleanup()
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
