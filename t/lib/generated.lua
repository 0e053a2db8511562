-- generated.lua -- makes the texts that t/generate writes, out of the rows that the library itself is made from.
--
-- It reads the sources as text and needs no shim, so that it runs before anything is built.
local inner = require "inner"
local M = {}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- What each kind of option is on the page, in an annotation, and as an argument's name; what reading it takes.
local KIND = {
  boolean = { "boolean", "boolean", "enable" },
  byteflag = { "boolean", "boolean", "enable" },
  int = { "integer, 32 bits", "integer", "n" },
  word = { "integer, 32 bits, read unsigned", "integer", "n" },
  unsigned = { "integer, 0 to 2^32-1", "integer", "n" },
  count = { "integer, 0 to 2^31-1", "integer", "n" },
  hops = { "integer, 0 to 255", "integer", "n" },
  byte = { "integer, 0 to 255", "integer", "n" },
  queue = { "integer, bytes", "integer", "n" },
  seconds = { "number, seconds, 0 to below 2^31", "number", "sec" },
  linger = { "integer, whole seconds, 0 to 2^31-1; false", "integer|false", "sec" },
  string = { "string", "string", "name" },
  ifname = { "string, at most 15 bytes", "string", "ifname" },
  uint64 = { "uint64_t", "ffi.cdata*", "n" },
  bytes = { "string, bytes", "string", "bytes" },
  force = { "integer, 0 to 2^31-1", "integer", "sz" },
  nocheck = { "boolean", "boolean", "enable" },
  netif = { "string, at most 15 bytes", "string", "ifname" },
  alert4 = { "boolean", "boolean", "value" },
  alert6 = { "integer, 0 to 65535; false", "integer", "value" },
  meminfo = { "table of integers", "table<string, integer>", "info" },
  portrange = { "table: low, high, 0 to 65535", "integer[]", "range" },
  groups = { "array of integers", "integer[]", "groups" },
  ucred = { "table: pid, uid, gid", "{ pid: integer, uid: integer, gid: integer }", "ucred" },
  tcpinfo = { "table of integers", "table<string, integer>", "info", "into?: table<string, integer>" },
  ccinfo = { "table of integers, and a name", "table<string, string|integer>", "info" },
}

local function kind_of(kind) return KIND[kind] or error(("add the kind %q to KIND in t/lib/generated.lua"):format(kind), 0) end

-- Appends what is not there yet.
local function add_once(list, value)
  for _, other in ipairs(list) do if other == value then return end end
  list[#list + 1] = value
end

-- A kind's words, joined with those of another kind that the method has for IPv6.
local function joined(one, other)
  if one[2] == other[2] then return one end
  return { one[1] .. "; with IPv6 " .. other[1], one[2] .. "|" .. other[2], one[3] }
end

-- The methods that rows make, in their order: rows of one method are merged.
local function merged(rows)
  local out, by_name = {}, {}
  for _, row in ipairs(rows) do
    local name, level, opt, kind, access, what = unpack(row, 1, 6)
    local m = by_name[name]
    if not m then
      m = { name = name, kind = kind_of(kind), read_only = access == "ro", opts = {}, what = {} }
      by_name[name], out[#out + 1] = m, m
    end
    m.kind = joined(m.kind, kind_of(kind))
    m.opts[#m.opts + 1] = (level ~= m.level and "`" .. level .. "` " or "") .. "`" .. opt .. "`"
    m.level = level
    add_once(m.what, what)
  end
  return out
end

-- The rows of socket/option.lua.
local function option_rows(source)
  local rows = {}
  local text = read(source .. "/lua/llsocket/socket/option.lua"):match "local OPTIONS = %[%[\n(.-)%]%]"
  for name, level, opt, kind, access, what in text:gmatch "\n(%w+) +(%S+) +(%S+) +(%S+) +(%S+) +([^\n]+)" do
    rows[#rows + 1] = { name, level, opt, kind, access, what }
  end
  return rows
end

-- A table of rows in a module; names in it that are no strings stand for themselves.
local function table_rows(source, path, name)
  local text = read(source .. "/lua/llsocket/" .. path):match("local " .. name .. " = (%b{})")
  local chunk = assert(loadstring("return " .. text, name))
  return setfenv(chunk, setmetatable({}, { __index = function(_, word) return word end }))()
end

-- lua/llsocket/meta.lua -------------------------------------------------------------------------------------

local FAILS = ", string?, integer?"

local function optional(kind) return kind:find "|" and kind .. "|nil" or kind .. "?" end

local function option_field(m)
  local arg = m.read_only and (m.kind[4] and ", " .. m.kind[4] or "") or (", %s?: %s"):format(m.kind[3], m.kind[2])
  return ("---@field %s fun(self: llsocket.socket%s): %s%s  %s"):format(m.name, arg, optional(m.kind[2]), FAILS,
    table.concat(m.what, "  "))
end

local MEMBERSHIP = { membership = "mcaddr: string, ifname?: string|integer",
  source_membership = "mcaddr: string, srcaddr: string, ifname?: string|integer" }

local function membership_field(row)
  return ("---@field %s fun(self: llsocket.socket, %s): string?, integer?  %s"):format(row[1], MEMBERSHIP[row[3]], row[4])
end

local function number_field(row)
  return ("---@field %s fun(n: integer): llsocket.cmsghdr?, string?, integer?  %s"):format(row[1], row[5])
end

local function add_all(out, rows, line)
  for _, row in ipairs(rows) do out[#out + 1] = line(row) end
end

local function add_socket(out, source)
  out[#out + 1] = "\n-- Methods of rows: the value, or nil, err and errno; memberships nothing, or err and errno."
  out[#out + 1] = "---@class llsocket.socket"
  add_all(out, merged(option_rows(source)), option_field)
  local groups = table_rows(source, "socket/multicast.lua", "OPTIONS")
  for _, row in ipairs(groups) do
    out[#out + 1] = option_field { name = row[1], kind = kind_of(row[5]), what = { row[6] } }
  end
  add_all(out, table_rows(source, "socket/multicast.lua", "MEMBERSHIPS"), membership_field)
end

-- What is called from other modules of the library only: an editor does not offer it.
local function add_inner(out, module, titles)
  for _, title in ipairs(titles) do
    local name = title:match("^" .. module .. "%.(.+)$")
    if name then out[#out + 1] = ("---@field package %s function"):format(name) end
  end
end

-- The annotation above a function of a module, as the type of a field.  Two blanks end a type.
local function signature(text, name)
  local args, returns, lines = {}, {}, {}
  for line in text:match("^(.-\n)local function " .. name .. "%("):gmatch "(.-)\n" do
    if line:find "^%-%-%-" then lines[#lines + 1] = line else lines = {} end
  end
  for _, line in ipairs(lines) do
    local arg, kind = (line .. "  "):match "^%-%-%-@param (%S+) (.-)  "
    local value = (line .. "  "):match "^%-%-%-@return (.-) %S+  "
    args[#args + 1] = arg and arg .. ": " .. kind
    returns[#returns + 1] = value
  end
  return ("fun(%s): %s"):format(table.concat(args, ", "), table.concat(returns, ", "))
end

-- Functions that a module's table gets by their first use.
local LATE = {
  addrinfo = { "inet", "inet6", "netlink", "packet", "unix", "vsock" }, inet = { "ntop", "pton", "service" },
  socket = { "activated", "congestions", "supports", "wrap", "zerocopykept" },
}

local WHERE = { service = "llsocket.address.resolver" } -- of those that complete inet and addrinfo

local function add_late(out, source, module)
  local late = module == "socket" and table_rows(source, "socket.lua", "BEYOND") or WHERE
  for _, name in ipairs(LATE[module]) do
    local path = (late[name] or "llsocket.address.values"):gsub("%.", "/")
    out[#out + 1] = ("---@field %s %s"):format(name, signature(read(source .. "/lua/" .. path .. ".lua"), name))
  end
end

local MODULES = {
  "inet", "unix", "addrinfo", "socket", "device", "msghdr", "batch", "cmsghdr", "descriptor", "pipe", "poll", "wait",
  "errno", "gai",
}
local APART = { errno = true, gai = true } -- had by require alone

local function add_modules(out, source)
  for _, module in ipairs(MODULES) do
    out[#out + 1] = ("\n---@class llsocket.%s.module"):format(module)
    if module == "cmsghdr" then add_all(out, table_rows(source, "cmsghdr.lua", "NUMBERS"), number_field) end
    if LATE[module] then add_late(out, source, module) end
    add_inner(out, module, inner.list)
  end
end

local function add_constants(out, source)
  out[#out + 1] = "\n-- The public table.  A constant is nil where the platform has none."
  out[#out + 1] = "---@class llsocket"
  for _, module in ipairs(MODULES) do
    if not APART[module] then out[#out + 1] = ("---@field %s llsocket.%s.module"):format(module, module) end
  end
  out[#out + 1] = "---@field _VERSION string"
  local rows = read(source .. "/csrc/consts.def") .. read(source .. "/csrc/protocols.def")
  for name in rows:gmatch "\nK%(([%w_]+)%)" do
    out[#out + 1] = ("---@field %s integer"):format(name)
  end
end

local function meta(source)
  local out = {
    "---@meta _",
    "-- meta.lua -- what an editor knows of the library beyond its sources.  Nothing loads it.",
    "-- Written by `luajit t/generate`: change the rows that it is made from, not this file.",
  }
  add_socket(out, source)
  add_modules(out, source)
  add_constants(out, source)
  out[#out + 1] = "\nreturn {}\n"
  return table.concat(out, "\n")
end

-- doc/ ------------------------------------------------------------------------------------------------------

local function page_row(m)
  local what = table.concat(m.what, " "):gsub("_%*", "_\\*")
  return ("| `sock:%s` | %s | %s | %s | %s |"):format(m.name, m.kind[1], m.read_only and "ro" or "rw",
    table.concat(m.opts, ", "), what)
end

local function page_table(source)
  local out = { "| method | value | access | level and option | what it does |", "| --- | --- | --- | --- | --- |" }
  add_all(out, merged(option_rows(source)), page_row)
  return table.concat(out, "\n")
end

-- What the short table of doc/api.md says of an option's level.
local SUBJECTS = {
  { "SOL_SOCKET", "of every socket" }, { "IPPROTO_IP", "of IPv4, most of IPv6 too" }, { "IPPROTO_IPV6", "of IPv6" },
  { "IPPROTO_TCP", "of TCP" }, { "IPPROTO_UDP", "of UDP" }, { "read", "only read" },
}

local MOST = 12 -- methods in a row: lintian complains of lines above 512 bytes

local function add_short_rows(out, methods, what)
  for from = 1, #methods, MOST do
    out[#out + 1] = ("| %s | %s |"):format(table.concat(methods, ", ", from, math.min(from + MOST - 1, #methods)), what)
  end
end

-- The methods of each level; those that are only read stand together.
local function short_table(source)
  local methods, known = {}, {}
  for _, row in ipairs(option_rows(source)) do
    local at = row[5] == "ro" and "read" or row[2]
    methods[at] = methods[at] or {}
    if not known[row[1]] then table.insert(methods[at], "`sock:" .. row[1] .. "`") end
    known[row[1]] = true
  end
  local out = { "| [option](option.md#options-by-name) | |", "| --- | --- |" }
  for _, subject in ipairs(SUBJECTS) do add_short_rows(out, methods[subject[1]], subject[2]) end
  return table.concat(out, "\n")
end

local OPENS, CLOSES = "<!-- options -->\n", "\n<!-- /options -->"

-- A page with a text between its two marks.
local function between(source, path, text)
  local page = read(source .. "/" .. path)
  local _, from = page:find(OPENS, 1, true)
  local to = from and page:find(CLOSES, from, true)
  assert(to, "the marks <!-- options --> and <!-- /options --> are gone from " .. path)
  return page:sub(1, from) .. text .. page:sub(to)
end

--- Makes all generated files.
---@param source string  the folder of the sources
---@return table<string, string> texts  by path
function M.files(source)
  return {
    ["lua/llsocket/meta.lua"] = meta(source),
    ["doc/option.md"] = between(source, "doc/option.md", page_table(source)),
    ["doc/api.md"] = between(source, "doc/api.md", short_table(source)),
  }
end

M.read, M.KIND = read, KIND

return M
