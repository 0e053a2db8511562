-- tls-untold: LuaSec answers nil in place of an error's text where OpenSSL has none; it is an error all the same.
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local show = require("show").show

-- A stand-in for LuaSec: what its connection answers is in `told`.
local told = {}
local Conn = {}
Conn.__index = Conn
function Conn:settimeout() return self end
function Conn:getfd() return self.fd end
function Conn:dohandshake() return told.handshake and self ~= nil end
function Conn:receive() return nil, nil, self and "" end
function Conn:send() return nil, nil, self and 0 end
function Conn:close() self.owner:close() end
package.preload.ssl = function()
  return {
    wrap = function(sock)
      if not told.wrapped then return nil, nil end
      return setmetatable({ owner = sock, fd = sock:fd() }, Conn)
    end,
  }
end
package.loaded.ssl = nil

local stream = require "llsocket.stream"
local luasec = require "llsocket.stream.luasec"
local before = leak.count()
local T = require("tap").plan(5)

local function secured(how)
  told = how
  local a, b = net.pair(L.SOCK_STREAM, true)
  local s = assert(stream.wrap(a))
  s:deadline(5)
  local tls, err, e = luasec.secure(s, {})
  b:close()
  return tls, err, e
end

T.is(show(secured {}), show(nil, "TLS failed", L.EPROTO), "a connection that LuaSec does not take")
T.is(show(secured { wrapped = true }), show(nil, "TLS failed", L.EPROTO), "a handshake that fails")

-- The stand-in shares its socket with the stream, which closes that after the handshake.
local sock = secured({ wrapped = true, handshake = true }).sock
T.is(show(sock:recv(10)), show(nil, "TLS failed", false, L.EPROTO), "a receive that fails")
sock = secured({ wrapped = true, handshake = true }).sock
T.is(show(sock:send "x"), show(nil, "TLS failed", false, L.EPROTO), "a send that fails")
sock:close()

collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
