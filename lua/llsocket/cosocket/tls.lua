-- tls.lua -- a cosocket's TLS, which LuaSec does.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local links = require "llsocket.cosocket.link"
local log = require "llsocket.cosocket.log"
local settings = require "llsocket.cosocket.settings"
local ipairs, next, pcall, require, tostring, type = ipairs, next, pcall, require, tostring, type

local now, values = shim.llsocket2_now, settings.values

-- Answers the module that does TLS; nil, a word.
local function load_luasec()
  local done, luasec = pcall(require, "llsocket.stream.luasec")
  if done then return luasec end
  return nil, "sslhandshake needs LuaSec, which is not there: " .. tostring(luasec):match "^[^\n]*"
end

local function parameters(sock, verifies)
  return {
    mode = "client", protocol = values.protocol, options = { "all", "no_sslv2", "no_sslv3" },
    verify = verifies and "peer" or "none", verifyext = verifies and "lsec_continue" or nil, depth = values.verify_depth,
    cafile = values.trusted_certificate, capath = values.trusted_path,
    certificate = sock.certificate, key = sock.private_key,
  }
end

-- The certificate's name may have an asterisk for the first label.
local function covers(pattern, name)
  if pattern:lower() == name then return true end
  local rest = pattern:lower():match "^%*(%.[^%*]+%.[^%*]+)$"
  return rest ~= nil and name:match "^[^%.]+(%..+)$" == rest
end

local function covers_any(list, name)
  for _, each in ipairs(list) do
    if covers(each, name) then return true end
  end
  return false
end

-- The names of a certificate: those of the extension, or else those of the subject.
local function names_of(certificate)
  local alternative = (certificate:extensions() or {})["2.5.29.17"]
  if alternative and alternative.dNSName then return alternative.dNSName end
  local list = {}
  for _, entry in ipairs(certificate:subject()) do
    if entry.name == "commonName" then list[#list + 1] = entry.value end
  end
  return list
end

-- What OpenSSL calls the errors that are met most; LuaSec tells the texts alone.
local NUMBERS = {
  ["certificate is not yet valid"] = 9, ["certificate has expired"] = 10, ["self-signed certificate"] = 18,
  ["self-signed certificate in certificate chain"] = 19, ["unable to get local issuer certificate"] = 20,
  ["unable to verify the first certificate"] = 21,
}

-- Answers nginx's word for a certificate that does not verify.
local function flaw(conn, name)
  local fine, errors = conn:getpeerverification()
  if not fine then
    local list = type(errors) == "table" and (errors[1] or errors[next(errors)]) or { errors }
    local text = tostring(list[#list])
    return NUMBERS[text] and ("%d: %s"):format(NUMBERS[text], text) or text
  end
  if name and not covers_any(names_of(conn:getpeercertificate()), name:lower()) then return "certificate host mismatch" end
end

local function failed(link, err)
  links.finish(link)
  return nil, err
end

-- Answers LuaSec's context; nil, its word where a file or a setting is wrong.
local function context_of(sock, verifies)
  local called, context, err = pcall(require("ssl").newcontext, parameters(sock, verifies))
  if not called then return nil, tostring(context) end
  return context, err
end

-- nginx's word for a handshake that failed; what OpenSSL says of it goes to the log, as there.
local function unsecured(err, e)
  if e == const.ETIMEDOUT then return "timeout" end
  if e ~= const.EPROTO then return err end
  if values.log_errors then log.error("SSL handshake failed: " .. err) end
  return "handshake failed"
end

-- Answers the stream over TLS; nil, a word.
local function secure(sock, s, luasec, name, verifies)
  s.at = now() + links.limit(sock, "connect_timeout") / 1000
  local context, why = context_of(sock, verifies)
  if not context then return nil, why end
  local secured, err, e = luasec.secure(s, context, name)
  if not secured then return nil, unsecured(err, e) end
  why = verifies and flaw(secured.sock.conn, name)
  if why then
    secured:close()
    return nil, why
  end
  return secured
end

-- Answers the link that can do a handshake; nil, a word.
local function ready(sock)
  local link = sock.link
  if not link then check.raise "socket is never created nor connected" end
  if not links.is_alive(link) or link.read_closed or link.write_closed then return nil, "closed" end
  local busy = links.busy(link, true, true)
  if busy then return nil, busy end
  local s = link.stream
  if not s then return nil, "closed" end
  return link, s
end

---@class llsocket.cosocket.tcp
local Tcp = {}

--- Does the TLS handshake; where it fails the cosocket is closed.
---@param reused any  not used: LuaSec resumes no sessions; once there is TLS already, a session is answered as it is
---@param name? string  the server's, for SNI, and for its certificate
---@param verifies? boolean  whether the certificate must be trusted, and be of that name
---@param _? boolean  send_status_req, not used: LuaSec asks for no OCSP status
---@param extra? any  raises
---@return any session  true
---@return string? err  "timeout", "handshake failed", "certificate host mismatch", "18: self-signed certificate"
function Tcp:sslhandshake(reused, name, verifies, _, extra)
  settings.no_more(extra, "ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen %d", 6)
  settings.self(self, "sslhandshake")
  name = name and settings.check_string(name, 2, "sslhandshake") or nil
  local link, s = ready(self)
  if not link then return nil, s end
  if not s.direct then return type(reused) == "cdata" and reused or true end
  local luasec, why = load_luasec()
  if not luasec then return nil, why end
  link.connecting = links.me() -- neither half may be used: what is sent now would not be encrypted
  local secured, word = nil, "closed" -- by a finaliser, just now
  if link.stream == s then secured, word = secure(self, s, luasec, name, verifies) end
  link.connecting = false
  if not secured then return failed(link, word) end
  link.stream = secured
  return true
end

--- Sets the client's certificate for handshakes to come.
---@param certificate? string  a file in PEM format with the chain; nil clears both
---@param private_key? string  a file in PEM format
---@return boolean? done  true
---@return string? err
function Tcp:setclientcert(certificate, private_key)
  settings.self(self, "setclientcert")
  if not certificate and not private_key then
    self.certificate, self.private_key = nil, nil
    return true
  end
  if not certificate or not private_key then
    return nil, "client certificate must be supplied with corresponding private key"
  end
  if type(certificate) ~= "string" then return nil, "bad cert arg: name of a file expected, got " .. type(certificate) end
  if type(private_key) ~= "string" then return nil, "bad pkey arg: name of a file expected, got " .. type(private_key) end
  self.certificate, self.private_key = certificate, private_key
  return true
end

return { methods = Tcp }
