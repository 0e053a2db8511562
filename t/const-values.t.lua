-- const: every constant of the first documentation, and the families that came with them, as the compiler has them.
local L = require "llsocket"
local const = require "llsocket.core.const"
local facts = require "facts"
local proc = require "proc"
local leak = require "leak"
local show = require("show").show
local SEED = 141

local spots = {}
for name in pairs(facts.spot) do spots[#spots + 1] = name end
table.sort(spots)

local FAMILIES = {
  "AF_", "PF_", "SOL_", "SO_", "TCP_", "UDP_", "IP_", "IPV6_", "MCAST_", "SCM_", "SOCK_", "AI_", "EAI_", "NI_",
  "IPPROTO_", "MSG_", "SHUT_",
}

local T = require("tap").plan(1 + #facts.names + #spots + #FAMILIES + 12)
local before = leak.count()

T.is(#facts.names, SEED, "the C program knows every constant of the first documentation")
for _, name in ipairs(facts.names) do
  T.is(L[name], facts.const[name], ("%s is %s, as in C"):format(name, tostring(facts.const[name])))
end
for _, name in ipairs(spots) do T.is(L[name], facts.spot[name], name .. " is as in C") end

local function members(prefix)
  local n = 0
  for name in pairs(L) do if name:sub(1, #prefix) == prefix then n = n + 1 end end
  return n
end
for _, prefix in ipairs(FAMILIES) do T.ok(members(prefix) > 1, "there are constants named " .. prefix .. "*") end

local wrong = {}
for name, value in pairs(const) do
  if type(name) ~= "string" or type(value) ~= "number" or value % 1 ~= 0 or L[name] ~= value then wrong[#wrong + 1] = name end
end
T.is(table.concat(wrong, " "), "", "every constant is an integer, and flat in the public table")

local absent = {}
for _, name in ipairs(facts.names) do
  if facts.const[name] == nil and rawget(L, name) ~= nil then absent[#absent + 1] = name end
end
T.is(table.concat(absent, " "), "", "a name that the platform lacks is nil, never 0")
T.is(L.AF_NO_SUCH_FAMILY, nil, "a name that no platform has is nil")
T.is(L.INADDR_ANY, nil, "a name of no family that llsocket promises is nil")
T.is(show(L.Msghdr, L.msghd, L.message, L.methods, L.check, L[1], L[true]), "nil, nil, nil, nil, nil, nil, nil",
  "modules that load by their first use invent no other value")

-- The constants of csrc/protocols.def.
T.is(show(L.ICMP6_FILTER, rawget(L, "ICMP6_FILTER")), show(1, nil),
  "a constant that no module needs is found by its name, not by pairs()")
T.is(show(L[0 / 0], L[nil], L[""], L["ICMP6_FILTER\0"], L["ICMP6_FILTE"]), "nil, nil, nil, nil, nil",
  "what is no name of one is nil")
local loops = 0
for _ = 1, 200 do loops = loops + L.ICMP6_FILTER end
T.is(loops, 200, "it is the same in compiled code")

-- The names that the preprocessor knows after a header, of those that match.
local function defined(header, pattern)
  local out, ok = proc.run(("echo '#include <%s>' | cc -D_GNU_SOURCE -dM -E -"):format(header))
  if not ok then return end
  local names = {}
  for name, value in out:gmatch "#define (%w+[%w_]*) +([^\n]*)" do
    if name:find(pattern) and value ~= "" then names[#names + 1] = name end
  end
  return names
end

local function missing(names)
  local out = {}
  for _, name in ipairs(names) do if not const[name] then out[#out + 1] = name end end
  table.sort(out)
  return table.concat(out, " ")
end

local HEADERS = { { "errno.h", "^E%w+$" }, { "netdb.h", "^EAI_" }, { "sys/socket.h", "^SO_" } }
for _, row in ipairs(HEADERS) do
  local names = defined(row[1], row[2])
  if not names then
    T.skip(1, "no C compiler: the names of " .. row[1] .. " are unknown")
  else
    T.is(#names > 5 and missing(names), "", ("nothing of <%s> that matches %s is missing"):format(row[1], row[2]))
  end
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
