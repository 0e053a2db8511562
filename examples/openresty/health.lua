-- health.lua -- tries once a second, without blocking, which peers of an upstream accept connections; and a balancer
-- that takes the next of those peers.
local L = require "llsocket"
local errno = require "llsocket.errno"
local balancer = require "ngx.balancer"

local EVERY, TIMEOUT = 1, 0.5 -- seconds
local down = assert(ngx.shared.health, "nginx.conf lacks: lua_shared_dict health 64k;")

L.wait.set(require("llsocket.wait.nginx").wait) -- nginx serves others while a socket waits

local peers, turn = {}, 0

-- The result of a connect in progress: nil if it succeeded, otherwise the error.
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

-- Call it in init_worker_by_lua*.  `list` has entries such as { "127.0.0.1", 8081 }.  One worker checks for all.
function M.start(list)
  for i, at in ipairs(list) do
    local ai = assert(L.inet.getaddrinfo(at[1], tostring(at[2])))[1]
    peers[i] = { host = at[1], port = at[2], name = tostring(ai), ai = ai }
  end
  if ngx.worker.id() ~= 0 then return end
  ngx.timer.at(0, check_all)
  ngx.timer.every(EVERY, check_all)
end

-- Call it in balancer_by_lua*.  Takes the next peer that is up; if none is up, the next peer.
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
