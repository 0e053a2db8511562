-- luasocket.lua URL... -- fetches pages all at once, with LuaSocket's own http, which knows nothing of loops.
require("llsocket.luasocket").install() -- before anything else requires LuaSocket
local http = require "socket.http"
local loop = require "llsocket.wait.coroutine"

-- Names are looked up without blocking where libunbound's module is installed.
local has_unbound, unbound = pcall(require, "llsocket.resolve.unbound")
if has_unbound then require("llsocket.resolve").set(unbound.resolve) end

http.TIMEOUT = 10

local function fetch(url)
  local body, code = http.request(url)
  print(body and ("%s: %s, %d bytes"):format(url, code, #body) or ("%s: %s"):format(url, code))
end

for _, url in ipairs(arg) do loop.spawn(fetch, url) end
loop.run()
