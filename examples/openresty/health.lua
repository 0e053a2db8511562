-- health.lua -- which peers of an upstream can be connected to, tried once a second without blocking anybody; and a
-- balancer that takes the next of those.
local L = require "llsocket"
local errno = require "llsocket.errno"
local balancer = require "ngx.balancer"

local EVERY, TIMEOUT = 1, 0.5 -- seconds
local down = assert(ngx.shared.health, "nginx.conf lacks: lua_shared_dict health 64k;")

L.wait.set(require("llsocket.wait.nginx").wait) -- what waits for a socket lets nginx serve others meanwhile

local peers, turn = {}, 0

-- The answer of a connect that has begun: nil when there is a connection.
local function outcome(sock)
  if not sock:sendable(TIMEOUT) then return "no answer" end
  local e = sock:error()
  return e ~= 0 and errno.text(e) or nil
end

local function try(ai)
  local sock, why = L.socket.new(ai, true)
  if not sock then return why end
  local err, again = sock:connect()
  if again then err = outcome(sock) end
  sock:close()
  return err
end

local function check(peer)
  local err = try(peer.ai)
  if err ~= down:get(peer.name) then ngx.log(ngx.WARN, peer.name, " is ", err and "down: " .. err or "up") end
  if err then down:set(peer.name, err) else down:delete(peer.name) end
end

local function check_all()
  for _, peer in ipairs(peers) do ngx.thread.spawn(check, peer) end
end

local M = {}

-- In init_worker_by_lua*: `list` is of { "127.0.0.1", 8081 }.  One worker checks, all know.
function M.start(list)
  for i, at in ipairs(list) do
    local ai = assert(L.inet.getaddrinfo(at[1], tostring(at[2])))[1]
    peers[i] = { host = at[1], port = at[2], name = tostring(ai), ai = ai }
  end
  if ngx.worker.id() ~= 0 then return end
  ngx.timer.at(0, check_all)
  ngx.timer.every(EVERY, check_all)
end

-- In balancer_by_lua*: the next peer that is up; where none is, the next.
function M.balance()
  for i = 1, #peers do
    local peer = peers[(turn + i) % #peers + 1]
    if i == #peers or not down:get(peer.name) then
      turn = turn + i
      return assert(balancer.set_current_peer(peer.host, peer.port))
    end
  end
end

function M.status()
  local lines = {}
  for i, peer in ipairs(peers) do lines[i] = peer.name .. " " .. (down:get(peer.name) or "up") end
  return table.concat(lines, "\n")
end

return M
