-- ngx.lua -- the table that libraries for nginx know as `ngx`.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local C = require "llsocket.core.libc"
local check = require "llsocket.core.check"
local digest = require "llsocket.cosocket.digest"
local log = require "llsocket.cosocket.log"
local output = require "llsocket.cosocket.output"
local re = require "llsocket.cosocket.re"
local settings = require "llsocket.cosocket.settings"
local text = require "llsocket.cosocket.text"
local timer = require "llsocket.cosocket.timer"
local newproxy, getmetatable, pairs, pcall, require = newproxy, getmetatable, pairs, pcall, require
local setmetatable, tostring, type = setmetatable, tostring, type
local getinfo, globals = debug.getinfo, getfenv(0)

local M = {}

-- nginx's null is a light userdata, which plain Lua cannot make; LuaJIT's serialiser can.
local function make_null()
  local there, buffer = pcall(require, "string.buffer")
  if there then return (buffer.decode "\3") end
  local null = newproxy(true)
  getmetatable(null).__tostring = function() return "userdata: NULL" end
  return null
end

-- nginx takes anything for a text.
local function plain(value)
  if type(value) == "string" then return value end
  return value and tostring(value) or ""
end

local function encode_base64(value, is_bare)
  if is_bare and is_bare ~= true then check.raise("bad no_padding: boolean expected, got " .. type(is_bare)) end
  return text.encode_base64(plain(value), is_bare)
end

local function decode_base64(value)
  if type(value) ~= "string" then check.raise "string argument only" end
  return text.decode_base64(value)
end

local config = {
  subsystem = "http", debug = false, nginx_version = 1026003, ngx_lua_version = 10028,
  prefix = function() return "./" end, nginx_configure = function() return "" end,
}

local worker = {
  pid = function() return C.llsocket2_getpid() end, exiting = timer.exiting,
  id = function() return 0 end, count = function() return 1 end,
}

local function texts(ngx)
  function ngx.md5(value) return digest.md5(plain(value)) end
  function ngx.md5_bin(value) return digest.md5_bin(plain(value)) end
  function ngx.sha1_bin(value) return digest.sha1_bin(plain(value)) end
  function ngx.hmac_sha1(key, value)
    if type(value) == "nil" then check.raise "expecting 2 arguments, but got 1" end
    key, value = settings.check_string(key, 1, "hmac_sha1"), settings.check_string(value, 2, "hmac_sha1")
    return digest.hmac_sha1(key, value)
  end
  function ngx.crc32_short(value) return digest.crc32(plain(value)) end
  function ngx.escape_uri(value, kind) return text.escape_uri(plain(value), kind) end
  function ngx.unescape_uri(value) return text.unescape_uri(plain(value)) end
  ngx.encode_args, ngx.decode_args = text.encode_args, text.decode_args
  ngx.crc32_long, ngx.encode_base64, ngx.decode_base64 = ngx.crc32_short, encode_base64, decode_base64
end

local function outside(socket)
  local ngx = {
    socket = socket, null = make_null(), config = config, worker = worker, re = re, timer = timer.methods,
    now = timer.now, time = timer.time, update_time = timer.update_time, sleep = timer.sleep, log = log.log,
    say = output.say, print = output.print,
    get_phase = function() return "timer" end,
    req = {}, var = {}, header = {}, ctx = {}, -- there is no request: libraries that load look for their fields
    OK = 0, ERROR = -1, AGAIN = -2, DONE = -4, DECLINED = -5, HTTP_OK = 200,
  }
  for name, level in pairs(log.levels) do ngx[name] = level end
  texts(ngx)
  return ngx
end

-- nginx's own table, where this runs in nginx.
local function native()
  local ngx = globals.ngx
  local tcp = type(ngx) == "table" and type(ngx.socket) == "table" and ngx.socket.tcp
  return type(tcp) == "function" and getinfo(tcp, "S").what == "C" and ngx or nil
end

local made

--- Makes the table, once.  In nginx it is nginx's own, with the sockets of this library, and with a sleep for every phase.
---@param socket table  tcp, udp, stream, connect
---@return table ngx
function M.table(socket)
  if made then return made end
  local real = native()
  made = real and setmetatable({ socket = socket, sleep = timer.sleep }, { __index = real }) or outside(socket)
  if real then timer.wait_in_nginx() end
  return made
end

return M
