-- args: a NULL pointer equals nil, but it is neither an absent argument nor an object; nor is any other pointer.
local ffi = require "ffi"
local L = require "llsocket"
local sockets = require "llsocket.socket.object"
local leak = require "leak"
local net = require "net"
local signature = require "signature"
local pack = signature.pack

local before = leak.count()
local functions = signature.all()
local methods = 0
for _, f in ipairs(functions) do methods = methods + (f.class and 1 or 0) end

local CLASS = {
  { "llsocket.socket", sockets.type, function() return (assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))) end },
  { "llsocket.addrinfo", L.addrinfo.type, function() return net.addr(L.AF_INET, L.SOCK_DGRAM) end },
  { "llsocket.descriptor", L.descriptor.type, L.descriptor.new },
}
local OBJECT = {
  ["llsocket.msghdr"] = function() return (assert(L.msghdr.new())) end,
  ["llsocket.batch"] = function() return (assert(L.batch.new { count = 2, size = 64 })) end,
  ["llsocket.pipe"] = function() return (assert(L.pipe.new())) end,
  ["llsocket.cmsghdr"] = function() return (assert(L.cmsghdr.ttl(1))) end,
  ["llsocket.poller"] = function() return (assert(L.poll.new())) end,
  ["llsocket.event"] = function() return (assert(L.poll.timer(60))) end,
  ["llsocket.hook"] = function()
    local sock = assert(L.socket.new(net.addr()))
    local hook = assert(sock:onclose(function() end))
    sock:close()
    return hook
  end,
}

-- NULL of no type, of each class, and pointers to objects that there are.
local NULL = ffi.cast("void *", nil)
local POINTERS, targets = { NULL, ffi.cast("char *", nil), ffi.cast("int (*)(void)", nil) }, {}
for i, class in ipairs(CLASS) do
  local name, ctype, make = unpack(class)
  OBJECT[name] = make
  targets[i] = make() -- a pointer alone does not keep it
  local pointer = ffi.typeof("$ *", ctype)
  POINTERS[#POINTERS + 1] = ffi.cast(pointer, nil)
  POINTERS[#POINTERS + 1] = ffi.cast(pointer, targets[i])
end

-- Arguments inside a table: a function, the table, and what the message says of it.
local FIELDS = {
  { "wrap", "own", function(p) L.socket.wrap(-1, { own = p }) end, "#2 to 'wrap' (boolean" },
  { "wrap", "nonblock", function(p) L.socket.wrap(-1, { nonblock = p }) end, "#2 to 'wrap' (boolean" },
  { "msghdr.new", "name", function(p) L.msghdr.new { name = p } end, "#1 to 'new' (llsocket.addrinfo" },
  { "msghdr.new", "data", function(p) L.msghdr.new { data = p } end, "#1 to 'new' (string or array of strings" },
  { "msghdr.new", "a part of data", function(p) L.msghdr.new { data = { p } } end, "#1 to 'new' (array of strings" },
  { "msghdr.new", "size", function(p) L.msghdr.new { size = p } end, "#1 to 'new' (number" },
  { "msghdr.new", "one of sizes", function(p) L.msghdr.new { size = { p } } end, "#1 to 'new' (number" },
  { "msghdr.new", "control", function(p) L.msghdr.new { control = p } end, "#1 to 'new' (array of llsocket.cmsghdr" },
  { "msghdr.new", "one of control", function(p) L.msghdr.new { control = { p } } end, "#1 to 'new' (llsocket.cmsghdr" },
  { "msghdr.new", "controlsize", function(p) L.msghdr.new { controlsize = p } end, "#1 to 'new' (number" },
  { "batch.new", "count", function(p) L.batch.new { count = p } end, "#1 to 'new' (number" },
  { "batch.new", "size", function(p) L.batch.new { size = p } end, "#1 to 'new' (number" },
  { "batch.new", "controlsize", function(p) L.batch.new { controlsize = p } end, "#1 to 'new' (number" },
  { "batch.new", "name", function(p) L.batch.new { name = p } end, "#1 to 'new' (llsocket.addrinfo" },
  { "msghdr:data", "a part", function(p) OBJECT["llsocket.msghdr"]():data { p } end, "#1 to 'data' (array of strings" },
}

local KINDS = { int = "number", boolean = "boolean", seconds = "number", string = "string", bytes = "string" }

local T = require("tap").plan(#functions + methods + #FIELDS + 6)

-- The error that a call raises, without its place; or what it answered.
local function raised(fn, args)
  local got
  local ok, why = pcall(function() got = pack(fn(unpack(args, 1, args.n))) end)
  if ok then return "no error: " .. signature.line(got) end
  return tostring(why):match "^.-:%d+: (.*)" or tostring(why)
end

-- Adds to `out` what is wrong with the error of each pointer.
local function each_pointer(out, call, want)
  for _, pointer in ipairs(POINTERS) do
    local got = call(pointer)
    if got ~= want then out[#out + 1] = ("%s: %s"):format(tostring(ffi.typeof(pointer)), got) end
  end
  return out
end

-- Good values for all positions, self included.
local function samples(f, self)
  local args = { n = #f.params + (f.class and 1 or 0) }
  for i, param in ipairs(f.params) do args[i] = param.sample end
  if f.class then table.insert(args, 1, self) end
  return args
end

local function put(f, args, i)
  return function(pointer)
    local was = args[i]
    args[i] = pointer
    local got = raised(f.fn, args)
    args[i] = was
    return got
  end
end

local function wrong_arguments(f, self)
  local out, args, shift = {}, samples(f, self), f.class and 1 or 0
  for i, param in ipairs(f.params) do
    if param.expected ~= "any" and not param.expected:find "pointer" then -- those are welcome there
      local want = ("bad argument #%d to '%s' (%s expected, got cdata)"):format(i, f.name, param.expected)
      each_pointer(out, put(f, args, i + shift), want)
    end
  end
  return table.concat(out, "; ")
end

local function wrong_self(f)
  local want = ("calling '%s' on bad self (%s expected, got cdata)"):format(f.name, f.class)
  return table.concat(each_pointer({}, put(f, samples(f, false), 1), want), "; ")
end

for _, f in ipairs(functions) do
  local self = f.class and OBJECT[f.class]()
  T.is(wrong_arguments(f, self), "", f.title .. " takes a pointer for no argument")
  if f.class then T.is(wrong_self(f), "", f.title .. " takes a pointer for no self") end
  if f.class == "llsocket.socket" then self:close() end
end

for _, row in ipairs(FIELDS) do
  local want = ("bad argument %s expected, got cdata)"):format(row[4])
  local out = each_pointer({}, function(pointer) return raised(row[3], { n = 1, pointer }) end, want)
  T.is(table.concat(out, "; "), "", ("%s takes a pointer for no %s"):format(row[1], row[2]))
end

-- The metatable of a ctype serves its pointers, too.
local texts = {}
for _, ctype in ipairs { sockets.type, L.addrinfo.type, L.descriptor.type, require("llsocket.poll.event").type } do
  texts[#texts + 1] = tostring(ffi.cast(ffi.typeof("$ *", ctype), nil)):match "^llsocket%.(%a+): [%a ]+$"
end
T.is(table.concat(texts, " "), "socket addrinfo descriptor event", "tostring of a NULL pointer to an object does not crash")

local sock, out = OBJECT["llsocket.socket"](), {}
for kind, expected in pairs(KINDS) do
  local want = ("bad argument #4 to 'setsockopt' (%s expected, got cdata)"):format(expected)
  each_pointer(out, function(pointer)
    return raised(sock.setsockopt, { n = 5, sock, L.SOL_SOCKET, L.SO_KEEPALIVE, kind, pointer })
  end, want)
end
T.is(table.concat(out, "; "), "", "setsockopt takes a pointer for no value of any kind")

-- As many as a trace needs, over the checks that the compiler knows best.
local function many(pointer)
  local n = 0
  for _ = 1, 200 do
    if pcall(sock.rcvbuf, pointer) then n = n + 1 end
    if pcall(sock.rcvbuf, sock, pointer) then n = n + 1 end
    if pcall(sock.sendto, sock, "x", pointer) then n = n + 1 end
  end
  return n
end
local n = 0
for _, pointer in ipairs(POINTERS) do n = n + many(pointer) end
T.is(n, 0, "nor does compiled code")

local ai = net.addr()
local same = 0
for _, pointer in ipairs(POINTERS) do if ai == pointer then same = same + 1 end end
T.is(same, 0, "an address equals no pointer")
T.is(signature.difference(), "", "every public function has a row here, and every row a function")

sock:close()
for _, object in ipairs(targets) do if object.close then object:close() end end
T.is(leak.count(), before, "no descriptor is left")
T.done()
