-- args: a wrong type, at any position of any function, raises at the caller's line and names what it wanted.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local signature = require "signature"
local pack = signature.pack

local before = leak.count()
local functions = signature.all()
local VALUES = signature.values()
local methods = 0
for _, f in ipairs(functions) do methods = methods + (f.class and 1 or 0) end
local T = require("tap").plan(#functions * 2 + methods + 13)

local HERE = debug.getinfo(1, "S").short_src
local LINE = debug.getinfo(1, "l").currentline + 2
local function call(fn, args)
  local got = pack(fn(unpack(args, 1, args.n)))
  return got
end

-- Answers what is wrong with the error that a call should raise, or nil.
local function wrong(fn, args, message)
  local ok, got = pcall(call, fn, args)
  local want = ("%s:%d: %s"):format(HERE, LINE, message)
  if ok then return "no error: " .. signature.line(got) .. " (want " .. want .. ")" end
  if got ~= want then return ("got %s (want %s)"):format(tostring(got), want) end
end

local OBJECT = {
  ["llsocket.socket"] = function() return (assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))) end,
  ["llsocket.addrinfo"] = function() return net.addr(L.AF_INET, L.SOCK_DGRAM) end,
  ["llsocket.msghdr"] = function() return (assert(L.msghdr.new())) end,
  ["llsocket.batch"] = function() return (assert(L.batch.new { count = 2, size = 64 })) end,
  ["llsocket.pipe"] = function() return (assert(L.pipe.new())) end,
  ["llsocket.cmsghdr"] = function() return (assert(L.cmsghdr.ttl(1))) end,
  ["llsocket.descriptor"] = L.descriptor.new,
  ["llsocket.poller"] = function() return (assert(L.poll.new())) end,
  ["llsocket.event"] = function() return (assert(L.poll.timer(60))) end,
  ["llsocket.hook"] = function()
    local sock = assert(L.socket.new(net.addr()))
    local hook = assert(sock:onclose(function() end))
    sock:close()
    return hook
  end,
}

-- Good values for all positions, self included, and how many there are.
local function samples(f, self)
  local args = { n = #f.params }
  for i, param in ipairs(f.params) do args[i] = param.sample end
  if self then
    table.insert(args, 1, self)
    args.n = args.n + 1
  end
  return args
end

local function with(args, position, value, n)
  local copy = { n = n or args.n }
  for i = 1, args.n do copy[i] = args[i] end
  copy[position] = value
  return copy
end

local function is_ai(value) return tostring(value):find "^%d+%.%d+%.%d+%.%d+:" ~= nil end

local FILES = { sendfile = true, from = true, to = true }

local function accepts(param, value, name)
  if param.expected == "llsocket.socket" then return value == VALUES[#VALUES] end
  if param.expected == "llsocket.addrinfo" then return is_ai(value) end
  if param.expected:find "array.*pointer" and tostring(value):find "^cdata<int %[1%]>" then return true end
  if param.expected:find "^number, socket" then
    return value == 1 or value == VALUES[#VALUES] or value == io.stdout and param.expected:find "file"
  end
  if FILES[name] and value == io.stdout and param.expected == "number or file" then return true end
  return param.accepts[type(value)]
end

local function message(f, position, value)
  return ("bad argument #%d to '%s' (%s expected, got %s)"):format(position, f.name, f.params[position].expected, type(value))
end

-- Every wrong value at every position, the others good.
local function wrong_types(f, self)
  local out, good, shift = {}, samples(f, self), self and 1 or 0
  for i, param in ipairs(f.params) do
    for _, value in ipairs(VALUES) do
      if not accepts(param, value, f.name) then
        out[#out + 1] = wrong(f.fn, with(good, i + shift, value), message(f, i, value))
      end
    end
  end
  return table.concat(out, "; ")
end

-- Each required argument nil, and left out together with all that follow.
local function missing(f, self)
  local out, good, shift = {}, samples(f, self), self and 1 or 0
  for i, param in ipairs(f.params) do
    if not param.optional then
      out[#out + 1] = wrong(f.fn, with(good, i + shift, nil), message(f, i, nil))
      out[#out + 1] = wrong(f.fn, with(good, i + shift, nil, i + shift - 1), message(f, i, nil))
    end
  end
  return table.concat(out, "; ")
end

local IS = {
  ["llsocket.socket"] = function(value) return tostring(value):find "^llsocket.socket" ~= nil end,
  ["llsocket.addrinfo"] = is_ai,
}
local function never() return false end

-- A self that is nil (a dot for a colon), every other type, and the other class.
local function bad_self(f)
  local out, good = {}, samples(f, false)
  table.insert(good, 1, false)
  good.n = good.n + 1
  for i = 0, #VALUES do
    local value = VALUES[i]
    if not (IS[f.class] or never)(value) then
      out[#out + 1] = wrong(f.fn, with(good, 1, value),
        ("calling '%s' on bad self (%s expected, got %s)"):format(f.name, f.class, type(value)))
    end
  end
  out[#out + 1] = wrong(f.fn, { n = 0 }, ("calling '%s' on bad self (%s expected, got nil)"):format(f.name, f.class))
  return table.concat(out, "; ")
end

T.is(signature.difference(), "", "every public function has a row here, and every row a function")

for _, f in ipairs(functions) do
  local self = f.class and OBJECT[f.class]()
  T.is(wrong_types(f, self), "", f.title .. " raises on every wrong type at every position")
  T.is(missing(f, self), "", f.title .. " raises on each argument that is left out")
  if f.class then T.is(bad_self(f), "", f.title .. " raises on a wrong self") end
  if f.class == "llsocket.socket" then self:close() end
end

local sock, wrap = OBJECT["llsocket.socket"](), L.socket.wrap
T.is(wrong(sock.linger, { n = 2, sock, true }, "bad argument #1 to 'linger' (number expected, got boolean)"), nil,
  "linger(true) raises: only false is a boolean with a meaning")
T.is(wrong(wrap, { n = 2, sock:fd(), { own = 1 } }, "bad argument #2 to 'wrap' (boolean expected, got number)"), nil,
  "wrap raises on an option of a wrong type")
T.is(wrong(wrap, { n = 2, sock:fd(), { nonblock = "yes" } }, "bad argument #2 to 'wrap' (boolean expected, got string)"),
  nil, "wrap raises on nonblock of a wrong type")
T.is(wrong(sock.send, { n = 4, sock, "x", nil, "1" }, "bad argument #3 to 'send' (number expected, got string)"), nil,
  "a flag after a nil flag is checked")

-- What waits, by a descriptor's number.
local WRONG = {
  { 2, "string", "nil", { n = 1, 0 } }, { 2, "string", "number", { n = 2, 0, 5 } },
  { 1, "number", "string", { n = 2, "x", "r" } }, { 3, "number", "string", { n = 3, 0, "r", "x" } },
}
for _, name in ipairs { "poll", "wait" } do
  local faults = ""
  for _, row in ipairs(WRONG) do
    local want = ("bad argument #%d to '%s' (%s expected, got %s)"):format(row[1], name, row[2], row[3])
    faults = faults .. (wrong(L.wait[name], row[4], want) or "")
  end
  T.is(faults, "", "wait." .. name .. " raises in its own name on wrong types")
end

-- Memory to receive a message into is a field of the argument.
local pointer, new = ffi.new "char *", L.msghdr.new
T.is(wrong(new, { n = 1, { into = pointer } }, "bad argument #1 to 'new' (size of what the pointer points to expected, got nil)"),
  nil, "msghdr.new raises on a pointer without a size")
T.is(wrong(new, { n = 1, { into = ffi.cast("const char *", pointer), size = 1 } },
  "bad argument #1 to 'new' (writable array or pointer expected, got cdata)"), nil, "msghdr.new raises on const memory")

-- Linked into a program, the library is bytecode without lines, named by its modules.
local LINKED = [[
table.insert(package.loaders, 2, function(name)
  local path = name:find "^llsocket" and package.searchpath(name, package.path)
  return path and loadstring(string.dump(assert(loadfile(path)), true), name) or nil
end)
local L = require "llsocket"
local sock = L.socket.pair(L.SOCK_STREAM)[1]
print(pcall(function()
  sock:send(5)
end))
print(pcall(function()
  sock.send(5)
end))
]]
local told = proc.lua(LINKED)
T.ok(told:find ":8: bad argument #1 to 'send'.*:11: calling 'send' on bad self",
  "a library of bytecode raises at the caller's line")

-- Errors found by compiled code carry the same line.
local function many()
  for i = 1, 200 do sock:recv(i < 200 and -1 or "x") end
end
local ok, why = pcall(many)
T.is(not ok and why:match "bad.*", "bad argument #1 to 'recv' (number expected, got string)",
  "a compiled call raises as well")
T.is(not ok and tonumber(why:match ":(%d+):"), debug.getinfo(many, "S").linedefined + 1,
  "a compiled call raises at the caller's line")
sock:close()

VALUES[#VALUES]:close()
VALUES = {}
T.is(leak.count(), before, "no descriptor is left")
T.done()
