-- clients.lua MODE NAME=VALUE... -- what real libraries answer, in a process of its own: under LuaSocket ("real"), under its
-- face ("face"), and a hundred of each at once in one loop ("many"); a hundred in Copas' loop under either ("copas real").
local mode, given = arg[1], {}
for i = 2, #arg do
  local name, value = arg[i]:match "^(%w+)=(.*)$"
  given[name] = value
end
if not mode:find "real" then require("llsocket.luasocket").install() end

local function url(name, path) return ("%s://127.0.0.1:%s%s"):format(name, given[name], path) end

-- What each library does: answers a text.  `name` names the thing that is asked for.
local TASKS = {}

function TASKS.http(name)
  local body, code, headers = require("socket.http").request(url("http", "/" .. name))
  return ("%s %s %s %d"):format(tostring(code), headers["x-kind"], body:sub(1, 20), #body)
end

function TASKS.post(name)
  local ltn12, parts = require "ltn12", {}
  local one, code = require("socket.http").request {
    url = url("http", "/post" .. name), method = "POST", headers = { ["content-length"] = 6 },
    source = ltn12.source.string "posted", sink = ltn12.sink.table(parts),
  }
  return ("%s %s %d"):format(tostring(one), tostring(code), #table.concat(parts))
end

function TASKS.nginx(name)
  local body, code = require("socket.http").request(("http://127.0.0.1:%s/%s"):format(given.nginx, name))
  return ("%s %d %s"):format(tostring(code), #body, body:sub(-20))
end

function TASKS.https(name)
  local body, code = require("ssl.https").request {
    url = url("https", "/" .. name), verify = "peer", cafile = given.cert, protocol = "any",
    sink = require("ltn12").sink.null(),
  }
  return ("%s %s"):format(tostring(body), tostring(code))
end

function TASKS.https_body()
  local body, code = require("ssl.https").request(url("https", "/body"))
  return ("%s %d"):format(tostring(code), #body)
end

function TASKS.smtp(name)
  local smtp = require "socket.smtp"
  return tostring(smtp.send {
    from = "<a@localhost>", rcpt = { "<b@localhost>", "<c@localhost>" }, server = "127.0.0.1", port = given.smtp,
    source = smtp.message { headers = { subject = name, to = "b" }, body = ("a line\r\n..\r\n"):rep(20) },
  })
end

function TASKS.ftp(name)
  local text = assert(require("socket.ftp").get(("ftp://u:p@127.0.0.1:%s/%s;type=i"):format(given.ftp, name)))
  return ("%d %s"):format(#text, text:sub(1, 30))
end

function TASKS.ftp_put()
  local ftp, place = require "socket.ftp", ("ftp://u:p@127.0.0.1:%s/put;type=i"):format(given.ftp)
  local n = assert(ftp.put(place, "what was put"))
  return n .. " " .. assert(ftp.get(place))
end

function TASKS.xmlrpc(name)
  local done, answer = require("xmlrpc.http").call(url("http", "/rpc" .. name), "ask", name)
  return ("%s %s"):format(tostring(done), tostring(answer))
end

function TASKS.soap(name)
  local space, method, list = require("soap.client").call {
    url = url("http", "/soap" .. name), soapaction = "urn:test#ask", namespace = "urn:test", method = "ask",
    entries = { { tag = "word", name } },
  }
  return ("%s %s %s"):format(space, method, list[1][1])
end

function TASKS.redis()
  local client = require("redis").connect("127.0.0.1", given.redis)
  client:set("key", "value")
  local list = client:pipeline(function(p)
    p:get "key"
    p:rpush("list", "a", "b")
    p:lrange("list", 0, -1)
    p:del "list"
  end)
  local said = ("%s %s %s %s"):format(tostring(client:ping()), list[1], list[3][1], list[4])
  client:quit()
  return said
end

function TASKS.redis_unix()
  local client = require("redis").connect("unix://" .. given.redispath)
  client:set("other", 5)
  local said = client:incr "other"
  client:quit()
  return tostring(said)
end

-- Needs what only waits where others go on: an element of a list that comes after a hundred wait.
local blocked = 0
function TASKS.redis_wait()
  local client = require("redis").connect("127.0.0.1", given.redis)
  blocked = blocked + 1
  if blocked == 100 then
    local pusher = require("redis").connect("127.0.0.1", given.redis)
    for i = 1, 100 do pusher:rpush("queue", "element" .. i) end
    pusher:quit()
  end
  local element = client:blpop("queue", 20)
  client:quit()
  return element[1]
end

local NEEDS = {
  nginx = "nginx", https = "cert", https_body = "cert", redis = "redis", redis_unix = "redis", redis_wait = "redis",
  xmlrpc = "xmlrpc", soap = "xmlrpc",
}

local function names(list)
  local out = {}
  for name in list:gmatch "%S+" do
    if not NEEDS[name] or given[NEEDS[name]] then out[#out + 1] = name end
  end
  return out
end

local function answered(name, what)
  local done, said = pcall(TASKS[name], what)
  return done and tostring(said) or "error: " .. tostring(said)
end

local function one_of_each()
  for _, name in ipairs(names "http post nginx https https_body smtp ftp ftp_put xmlrpc soap redis redis_unix") do
    print(name .. ": " .. answered(name, "one"):gsub("%c", " "))
  end
end

-- A hundred at once; how often each answer came.
local function many(name, loop)
  local said = {}
  for _ = 1, 100 do
    loop.spawn(function()
      local text = answered(name, "hundred"):gsub("%c", " ")
      said[text] = (said[text] or 0) + 1
    end)
  end
  loop.run()
  local out = {}
  for text, count in pairs(said) do out[#out + 1] = count .. " times " .. text end
  table.sort(out)
  print(name .. ": " .. table.concat(out, "; "))
end

-- A hundred clients of a server that waits for them all, and of a server of Copas itself.
local function in_copas()
  local copas, socket = require "copas", require "socket"
  local here = assert(socket.bind("127.0.0.1", 0, 200))
  local _, port = here:getsockname()
  local whole, echoed = 0, 0
  copas.addserver(here, function(peer)
    peer = copas.wrap(peer)
    peer:send((peer:receive "*l"):upper() .. "\n")
    peer:close()
  end)
  local function ask(to, text, pattern)
    local peer = assert(socket.tcp())
    assert(copas.connect(peer, "127.0.0.1", to))
    assert(copas.send(peer, text))
    local answer, _, part = copas.receive(peer, pattern)
    peer:close()
    return answer or part
  end
  local function client()
    if #ask(given.http, "GET /hundred HTTP/1.0\r\n\r\n", "*a") > 30000 then whole = whole + 1 end
    if ask(port, "hello\n", "*l") == "HELLO" then echoed = echoed + 1 end
  end
  for _ = 1, 100 do copas.addthread(client) end
  local deadline = os.time() + 20
  while echoed < 100 and os.time() < deadline do copas.step(1) end
  print(("copas: %d %d"):format(whole, echoed))
end

if mode:find "copas" then
  in_copas()
elseif mode ~= "many" then
  one_of_each()
else
  local leak = require "leak"
  local loop = require "llsocket.wait.coroutine"
  one_of_each() -- so that what they keep is there
  local before = leak.count()
  for _, name in ipairs(names "http post nginx https smtp ftp xmlrpc soap redis_wait") do many(name, loop) end
  print("descriptors: " .. leak.count() - before)
end
