-- files.lua -- what hosts(5) and resolv.conf(5) say.  Both are read for each name, as getaddrinfo(3) does: they may change.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local shortage = require "llsocket.core.shortage"
local ipairs, open, tonumber, min = ipairs, io.open, tonumber, math.min

local MOST = 3 -- name servers that libc asks
local SHORT = { [const.EMFILE] = true, [const.ENFILE] = true }

local M = { RESOLV_CONF = "/etc/resolv.conf", HOSTS = "/etc/hosts" }

-- Answers the text of a file, "" where it cannot be read; or nil and the errno, where descriptors have run out.
local function read(path)
  local file, _, e = open(path)
  if not file and shortage.collected(e) then file, _, e = open(path) end
  if not file then return not SHORT[e] and "" or nil, e end
  local text = file:read "*a" or "" -- nil for a folder
  file:close()
  return text
end

local function same(words, wanted)
  for name in words:gmatch "%S+" do
    if name == wanted then return true end
  end
end

--- Looks a name up in the file of hosts.
---@param host string
---@return table? texts  its addresses, with `canonname`; false where it is not there; nil where the file cannot be read
---@return integer? errno  EMFILE, ENFILE
function M.hosts(host)
  local text, e = read(M.HOSTS)
  if not text then return nil, e end
  local wanted = host:lower():gsub("%.$", "")
  if not text:lower():find(wanted, 1, true) then return false end -- most names: no line is taken apart
  local out = {}
  for line in text:gmatch "[^\n]+" do
    local address, names = line:gsub("#.*", ""):match "^%s*(%S+)%s+(.*)$"
    if address and same(names:lower(), wanted) then
      out[#out + 1] = address
      out.canonname = out.canonname or names:match "%S+"
    end
  end
  return out[1] and out or false
end

local READ = {}

READ.nameserver = function(conf, words)
  local server = words:match "^[%x.:]+%S*"
  if server and #conf.servers < MOST then conf.servers[#conf.servers + 1] = server end
end

-- The last line of both counts.
READ.search = function(conf, words)
  conf.search = {}
  for domain in words:gmatch "%S+" do
    if domain ~= "." then conf.search[#conf.search + 1] = (domain:gsub("%.$", "")) end
  end
end

READ.domain = function(conf, words) READ.search(conf, words:match "%S*") end

local LIMITS = { ndots = 15, timeout = 30, attempts = 5 } -- libc's

READ.options = function(conf, words)
  for name, value in words:gmatch "(%l+):(%d+)" do
    if LIMITS[name] then conf[name] = min(tonumber(value), LIMITS[name]) end
  end
end

--- Reads the configuration of the resolver.
---@return table? conf  `text`, `servers`, `search`, `ndots`, `timeout` in seconds, `attempts`
---@return integer? errno  EMFILE, ENFILE
function M.conf()
  local text, e = read(M.RESOLV_CONF)
  if not text then return nil, e end
  local conf = { text = text, servers = {}, search = {}, ndots = 1, timeout = 5, attempts = 2 }
  for line in text:gmatch "[^\n]+" do
    local word, rest = line:gsub("%s[#;].*", ""):match "^(%l+)%s+(.*)$"
    if READ[word] then READ[word](conf, rest) end
  end
  if not conf.servers[1] then conf.servers[1] = "127.0.0.1" end
  return conf
end

--- Lists the names to ask for, one after the other, until one has an address.
---@param host string
---@param conf table
---@return string[] names  without a dot at the end
function M.names(host, conf)
  if host:sub(-1) == "." then return { host:sub(1, -2) } end
  local names, _, dots = {}, host:gsub("%.", "")
  if dots >= conf.ndots then names[1] = host end
  for _, domain in ipairs(conf.search) do names[#names + 1] = host .. "." .. domain end
  if dots < conf.ndots then names[#names + 1] = host end
  return names
end

return M
