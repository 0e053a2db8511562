-- signature.lua -- what every public function takes and how it fails, for the tests that walk them all.
--
-- One row a function: the shape of its failures, then its parameters.  `?` marks an optional one; `flag?` and
-- `more?` are the first and the second of `[flag, ...]`.
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local sockets = require "llsocket.socket.object"
local inner = require "inner"
local options = require("methods").options -- makes all methods
local multicast = require "llsocket.socket.multicast"

local M = { huge = math.huge, nan = 0 / 0 }

local socket = {
  dup = { "object", "ai?" }, unwrap = { "object" }, setfd = { "plain", "gone" }, fd = { "never" },
  family = { "object" }, socktype = { "object" }, protocol = { "object" },
  bind = { "plain", "ai?" }, connect = { "connect", "ai?" }, listen = { "plain", "backlog?" },
  shutdown = { "plain", "how?" }, close = { "plain", "how?" },
  accept = { "transfer", "boolean?", "ai?" },
  send = { "transfer", "string", "flag?", "more?" },
  sendto = { "transfer", "string", "ai", "flag?", "more?" },
  sendfile = { "transfer", "file", "bytes", "offset?" },
  recv = { "transfer", "size?", "flag?", "more?" },
  recvfrom = { "recvfrom", "size?", "flag?", "more?" },
  recvable = { "object", "seconds?" }, sendable = { "object", "seconds?" },
  atmark = { "object" }, getsockname = { "object" }, getpeername = { "object" },
  cloexec = { "object", "boolean?" }, nonblock = { "object", "boolean?" },
  getsockopt = { "object", "level", "option", "kind", "input?" },
  setsockopt = { "object", "level", "option", "kind", "word" },
  mcastif = { "object", "ifname?" },
  mcastjoin = { "plain", "group", "netif?" }, mcastleave = { "plain", "group", "netif?" },
  mcastfilter = { "object", "group", "netif?" },
  mcastjoinsrc = { "plain", "group", "source", "netif?" }, mcastleavesrc = { "plain", "group", "source", "netif?" },
  mcastblocksrc = { "plain", "group", "source", "netif?" }, mcastunblocksrc = { "plain", "group", "source", "netif?" },
  sendmsg = { "transfer", "msghdr", "flag?", "more?" }, recvmsg = { "transfer", "msghdr", "flag?", "more?" },
  writev = { "transfer", "parts", "flag?", "more?" }, readv = { "transfer", "sizes", "flag?", "more?" },
  sendfd = { "transfer", "owner", "ai?", "flag?", "more?" }, recvfd = { "transfer", "flag?", "more?" },
  recvinto = { "transfer", "target", "extent?", "offset?", "flag?", "more?" },
  sendfrom = { "transfer", "memory", "extent?", "offset?", "flag?", "more?" },
  recvfrominto = { "recvfrom", "target", "extent?", "ai?", "offset?", "flag?", "more?" },
  sendtofrom = { "transfer", "memory", "extent?", "ai", "offset?", "flag?", "more?" },
  recvbatch = { "transfer", "batch", "flag?", "more?" },
  sendbatch = { "transfer", "batch", "slot?", "slot?", "flag?", "more?" },
  splice = { "transfer", "peer", "pipe", "most?" },
  onclose = { "object", "function" },
  getfd = { "never" }, dirty = { "never" }, pollfd = { "never" }, events = { "never" }, timeout = { "never" },
  sendzerocopy = { "transfer", "permanent", "extent?", "offset?", "flag?", "more?" }, completed = { "completed" },
  steer = { "plain", "steering", "sockets" }, peerpidfd = { "object" }, originaldst = { "object" },
  supports = { "object", "string" }, tcpmd5sig = { "plain", "ai", "signing", "prefix?" }, filter = { "object", "filter?" },
}

-- What an option takes, by its row's kind.
local TAKES = {
  boolean = "boolean?", count = "count?", hops = "byte?", int = "word?", word = "word?", unsigned = "uid?",
  seconds = "seconds?", linger = "linger?", ifname = "ifname?", string = "string?", force = "count?", nocheck = "boolean?",
  netif = "ifname?", alert4 = "alert?", portrange = "range?",
}
local READS = { tcpinfo = "into?" } -- what reading takes
for _, row in ipairs(options) do -- of two kinds the first is IPv4's
  socket[row[1]] = socket[row[1]] or { "object", row[5] == "rw" and assert(TAKES[row[4]], row[4]) or READS[row[4]] }
end
for _, row in ipairs(multicast.OPTIONS) do socket[row[1]] = { "object", TAKES[row[5]] } end

local addrinfo = {
  family = { "never" }, socktype = { "never" }, protocol = { "never" }, canonname = { "never" },
  addr = { "never" }, port = { "never" }, nameinfo = { "gai", "flag?", "more?" }, bytes = { "never" },
  fields = { "never" }, unmapped = { "never" },
}

local msghdr = { name = { "never", "ai?" }, data = { "object", "data?" }, control = { "object", "cmsgs?" }, flags = { "never" },
  segment = { "never" }, timestamp = { "never" } }

local batch = {
  count = { "object", "slot?" }, data = { "object", "slot", "string?" }, pointer = { "object", "slot" },
  length = { "object", "slot", "extent?" }, name = { "object", "slot", "ai?" }, to = { "never", "ai?" },
  flags = { "object", "slot" }, segment = { "object", "slot", "cut?" }, control = { "object", "slot" },
  timestamp = { "object", "slot" }, timestamping = { "object", "slot", "count?" },
}

local pipe = {
  held = { "never" }, close = { "plain" }, tee = { "transfer", "pipe", "most?" },
  fill = { "transfer", "lent", "extent?", "offset?" },
  from = { "transfer", "file", "bytes", "offset?" }, to = { "transfer", "file", "bytes", "offset?" },
}

local cmsghdr = {
  level = { "never" }, type = { "never" }, data = { "never" }, rights = { "never" }, credentials = { "never" },
  pktinfo = { "never" }, timestamp = { "never" }, integer = { "never" }, exterr = { "never" },
  pidfd = { "never" }, security = { "never" },
  origdst = { "never" }, rfc4884 = { "never" }, pathmtu = { "never" }, optstats = { "never" },
  optpktinfo = { "never" }, auxdata = { "never" },
}

local descriptor = { fd = { "never" }, unwrap = { "object" }, close = { "plain" } }

local poller = {
  add = { "object", "watched", "events", "any?" }, modify = { "object", "watched", "events", "any?" },
  remove = { "object", "watched" }, wait = { "object", "seconds?", "max?" },
  event = { "never", "index" }, events = { "never" }, wake = { "object" }, wakefd = { "never" }, fd = { "never" },
  close = { "plain" },
}

local event = { read = { "transfer" }, fd = { "never" }, close = { "plain" } }

local hook = { remove = { "never" } }

local resolver = { "gai", "string?", "port?", "int?", "int?", "flag?", "more?" }
local MODULES = {
  inet = { getaddrinfo = resolver, getaddrinfo4 = resolver, getaddrinfo6 = resolver, pton = { "object", "numeric" },
    ntop = { "object", "address" }, service = { "gai", "port", "protocol?" } },
  unix = { getaddrinfo = { "object", "string", "int?", "int?", "flag?", "more?" } },
  socket = { new = { "object", "ai", "boolean?" }, pair = { "object", "int", "boolean?", "int?" },
    supports = { "object", "family", "type?", "int?" },
    wrap = { "object", "fd", "wrapping?" }, activated = { "never" }, zerocopykept = { "object", "limit?" },
    congestions = { "never" } },
  device = { macaddrs = { "never" }, getifaddrs = { "never" }, list = { "never" },
    index = { "object", "ifname" }, name = { "object", "netindex" } },
  addrinfo = { new = { "object", "string", "int?", "int?" }, inet = { "object", "numeric", "tcpport", "int?", "int?" },
    inet6 = { "object", "numeric6", "tcpport", "int?", "int?" }, unix = { "object", "string", "int?", "int?" },
    vsock = { "object", "uid", "uid", "int?", "int?" }, netlink = { "object", "word", "uid?", "int?", "int?" },
    packet = { "object", "ifname?", "tcpport", "mac?", "int?", "int?" } },
  msghdr = { new = { "object", "fields?" } },
  batch = { new = { "object", "fields?" } },
  pipe = { new = { "object", "room?" } },
  bpf = { assemble = { "object", "program" } },
  cmsghdr = {
    new = { "object", "int", "int", "string" }, rights = { "object", "owner", "owner?" },
    credentials = { "object", "pid?", "uid?", "uid?" }, pktinfo = { "object", "string", "ifname?" },
    segment = { "object", "short" },
  },
  descriptor = {},
  poll = { new = { "object", "backend?" }, timer = { "object", "seconds", "seconds?" },
    signal = { "object", "signal", "more?" }, child = { "object", "process" } },
}

local MOST = { [255] = "byte", [2^31 - 1] = "count", [2^32 - 1] = "uid" }
for _, row in ipairs(L.cmsghdr.NUMBERS) do MODULES.cmsghdr[row[1]] = { "object", MOST[row[4]] } end

local big = { M.nan, M.huge, -M.huge, 1.5, 2^32 + 1, 2^53, 2^63, -2^63 }
local function over(...)
  local out = { unpack(big) }
  for i = 1, select("#", ...) do out[#out + 1] = select(i, ...) end
  return out
end

local function closed(object)
  object:close()
  return object
end

-- What each parameter takes: the Lua types, their name in messages, a good value, and numbers that are none.
local function kinds(ai)
  return {
    ai = { {}, "llsocket.addrinfo", ai },
    string = { { string = 1 }, "string", "127.0.0.1" },
    port = { { string = 1, number = 1 }, "string or number", "0", over(65536, -1) },
    group = { { string = 1 }, "string", "239.1.2.3" },
    source = { { string = 1 }, "string", "127.0.0.1" },
    ifname = { { string = 1 }, "string", "lo" },
    netif = { { string = 1, number = 1 }, "string or number", "lo", over(2^31, -1) },
    kind = { { string = 1 }, "string", "int" },
    boolean = { { boolean = 1 }, "boolean", false },
    input = { { string = 1, number = 1 }, "string or number", 4, { M.nan, M.huge, -M.huge, 1.5, 2^32 + 1, -1, 65537 } },
    limit = { { number = 1 }, "number", 2^53, { M.nan, M.huge, -M.huge, 1.5, 2^53 + 2, -1 } },
    gone = { { number = 1 }, "number", -1, over(2^31, 0, 1, -2) }, -- -1 alone gives a descriptor up
    wrapping = { { boolean = 1, table = 1 }, "boolean", false },
    file = { { number = 1 }, "number or file", 0, over(2^31, -1, -2^31 - 1), L.EBADF },
    int = { { number = 1 }, "number", 1, over(2^31, -2^31 - 1) },
    level = { { number = 1 }, "number", L.SOL_SOCKET, over(2^31, -2^31 - 1) },
    option = { { number = 1 }, "number", L.SO_KEEPALIVE, over(2^31, -2^31 - 1) },
    word = { { number = 1 }, "number", 0, over(2^32, -2^31 - 1) },
    flag = { { number = 1 }, "number", 0, over(2^32, -2^31 - 1) },
    more = { { number = 1 }, "number", 0, over(2^32, -2^31 - 1) },
    numeric = { { string = 1 }, "string", "127.0.0.1" }, numeric6 = { { string = 1 }, "string", "::1" },
    address = { { string = 1 }, "string", "\127\0\0\1" }, protocol = { { string = 1 }, "string", "tcp" },
    mac = { { string = 1 }, "string", "02:00:5e:00:53:01" },
    tcpport = { { number = 1 }, "number", 80, over(65536, -1) },
    count = { { number = 1 }, "number", 1, over(2^31, -1) },
    backlog = { { number = 1 }, "number", 1, over(2^31, -1) },
    size = { { number = 1 }, "number", 64, over(2^31, -1, 0) },
    bytes = { { number = 1 }, "number", 1, { M.nan, M.huge, -M.huge, 1.5, 2^53 + 2, 2^63, -2^63, -1, 0 } },
    offset = { { number = 1 }, "number", 0, { M.nan, M.huge, -M.huge, 1.5, 2^53 + 2, 2^63, -2^63, -1 } },
    seconds = { { number = 1 }, "number", 0, { M.nan, M.huge, -M.huge, -1, -1e-9, 2^63, -2^63 } },
    linger = { { number = 1 }, "number", 1, over(2^31, -1) },
    alert = { { boolean = 1, number = 1 }, "boolean or number", false, over(65536, -1) },
    signing = { { string = 1, boolean = 1 }, "string or false", "key" }, prefix = { { number = 1 }, "number", 24, over(129, -1) },
    family = { { number = 1 }, "number", L.AF_INET, over(2^31, -2^31 - 1) },
    type = { { number = 1 }, "number", L.SOCK_STREAM, over(2^31, -2^31 - 1) },
    program = { { string = 1, table = 1 }, "string or table", "ret #-1" },
    filter = { { string = 1, table = 1, number = 1 }, "string, table, false, number or descriptor", "ret #-1",
      over(2^31, -1, -2^31), L.EBADF },
    steering = { { string = 1 }, "string", "cpu" }, sockets = { { number = 1 }, "number", 1, over(2^31, -1, 0, 65536) },
    byte = { { number = 1 }, "number", 1, over(2^31, -1, 256) },
    short = { { number = 1 }, "number", 1, over(2^31, -1, 0, 65536) },
    pid = { { number = 1 }, "number", 1, over(2^31, -1) },
    process = { { number = 1 }, "number or descriptor", 1, over(2^31, -1) },
    range = { { table = 1 }, "array of two numbers", { 0, 0 } },
    uid = { { number = 1 }, "number", 0, over(2^32, -1) },
    owner = { { number = 1 }, "number, socket, descriptor or file", 0, over(2^31, -1, -2^31), L.EBADF },
    fd = { { number = 1 }, "number", 1, over(2^31, -1, -2^31 - 1), L.EBADF },
    msghdr = { {}, "llsocket.msghdr", assert(L.msghdr.new { data = "x" }) },
    batch = { {}, "llsocket.batch", assert(L.batch.new { count = 2, size = 64 }) },
    slot = { { number = 1 }, "number", 1, over(3, 0, -1) },
    cut = { { number = 1 }, "number", 1, over(65536, -1) },
    peer = { {}, "llsocket.socket", closed(assert(L.socket.pair(L.SOCK_STREAM))[1]) },
    pipe = { {}, "llsocket.pipe", closed(assert(L.pipe.new())) },
    most = { { number = 1 }, "number", 1, { M.nan, M.huge, -M.huge, 1.5, 2^53 + 2, 2^63, -2^63, -1, 0 } },
    room = { { number = 1 }, "number", 1, over(2^31, -1, 0) },
    fields = { { table = 1 }, "table", {} }, into = { { table = 1 }, "table", {} },
    parts = { { table = 1 }, "array of strings", { "x" } },
    target = { {}, "writable array, pointer or string.buffer", ffi.new "uint8_t[64]" },
    memory = { { string = 1 }, "string, array, pointer or string.buffer", ffi.new "uint8_t[64]" },
    permanent = { { string = 1 }, "string, array or pointer", ffi.new "uint8_t[64]" },
    lent = { {}, "array that is no part of another object, or pointer", ffi.new "uint8_t[64]" },
    extent = { { number = 1 }, "number", 64, over(65, -1) },
    sizes = { { table = 1 }, "array of numbers", { 64 } },
    data = { { string = 1, table = 1 }, "string or array of strings", "x" },
    cmsgs = { { table = 1 }, "array of llsocket.cmsghdr", {} },
    watched = { { number = 1 }, "number, socket, descriptor, event or poller", 0, over(2^31, -1, -2^31 - 1), L.EBADF },
    events = { { string = 1 }, "string", "r" },
    backend = { { string = 1 }, "string", "poll" },
    any = { setmetatable({}, { __index = function() return true end }), "any", "x" },
    max = { { number = 1 }, "number", 1, over(2^31, -1, 0) },
    index = { { number = 1 }, "number", 1 }, netindex = { { number = 1 }, "number", 1, over(2^31, -1) },
    signal = { { number = 1 }, "number", 28, over(2^31) }, -- a window has changed its size: nobody minds
    ["function"] = { { ["function"] = 1 }, "function", function() end },
    how = { { number = 1 }, "number", 0, over(2^31, -1, 3) },
  }
end

local function params(row, known)
  local out = {}
  for i = 2, #row do
    local kind = known[row[i]:match "%a+"]
    out[i - 1] = {
      kind = row[i]:match "%a+", accepts = kind[1], expected = kind[2], sample = kind[3], impossible = kind[4] or {},
      below_zero = kind[5], -- the errno that an integer below 0 is
      optional = row[i]:find "?" ~= nil, vararg = row[i] == "more?",
    }
  end
  return out
end

-- Calls fn(functions, name, row) for each table of functions and its rows.
local function each_table(fn)
  fn(sockets.methods, "llsocket.socket", socket, true)
  fn(L.addrinfo.methods, "llsocket.addrinfo", addrinfo, true)
  fn(L.msghdr.methods, "llsocket.msghdr", msghdr, true)
  fn(L.batch.methods, "llsocket.batch", batch, true)
  fn(L.pipe.methods, "llsocket.pipe", pipe, true)
  fn(L.cmsghdr.methods, "llsocket.cmsghdr", cmsghdr, true)
  fn(L.descriptor.methods, "llsocket.descriptor", descriptor, true)
  fn(L.poll.methods, "llsocket.poller", poller, true)
  fn(require("llsocket.poll.event").methods, "llsocket.event", event, true)
  fn(require("llsocket.socket.onclose").hook_methods, "llsocket.hook", hook, true)
  for name, rows in pairs(MODULES) do fn(L[name], name, rows) end
end

local function is_inner(module, name) return inner.set[module .. "." .. name] end

-- What differs between the rows here and the functions that there are: "" when nothing does.
function M.difference()
  local out = {}
  each_table(function(functions, module, rows)
    for name, fn in pairs(functions) do
      if type(fn) == "function" and not rows[name] and not is_inner(module, name) then out[#out + 1] = "no row: " .. name end
    end
    for name in pairs(rows) do
      if type(functions[name]) ~= "function" then out[#out + 1] = "no function: " .. module .. "." .. name end
    end
  end)
  table.sort(out)
  return table.concat(out, ", ")
end

-- All functions, sorted: { title, name, fn, class (of methods), shape, params }.
function M.all()
  local out, known = {}, kinds(net.addr(L.AF_INET, L.SOCK_DGRAM))
  each_table(function(functions, module, rows, is_class)
    for name, row in pairs(rows) do
      out[#out + 1] = {
        title = module .. (is_class and ":" or ".") .. name, name = name, fn = functions[name],
        class = is_class and module, shape = row[1], params = params(row, known),
      }
    end
  end)
  table.sort(out, function(a, b) return a.title < b.title end)
  return out
end

-- What a function answers when it fails with an errno, as one line; `nil` and `""` are told apart.
local SHAPE = {
  object = function(text, e) return { n = 3, nil, text, e } end,
  plain = function(text, e) return { n = 2, text, e } end,
  connect = function(text, e) return { n = 3, text, false, e } end,
  transfer = function(text, e) return { n = 4, nil, text, false, e } end,
  completed = function(text, e) return { n = 5, nil, text, false, nil, e } end,
  recvfrom = function(text, e) return { n = 5, nil, nil, text, false, e } end,
  gai = function(text, e) return { n = 4, nil, text, L.EAI_SYSTEM, e } end,
}

function M.line(values)
  local out = {}
  for i = 1, values.n do out[i] = type(values[i]) == "string" and ("%q"):format(values[i]) or tostring(values[i]) end
  return table.concat(out, ", ")
end

function M.failure(shape, e) return M.line(SHAPE[shape](require("llsocket.errno").text(e), e)) end

function M.pack(...) return { n = select("#", ...), ... } end

-- One of each Lua type, and cdata of two kinds.
function M.values()
  return {
    true, 1, "1", {}, print, io.stdout, newproxy(), coroutine.create(print), 1LL, ffi.new "int[1]",
    net.addr(), L.socket.pair(L.SOCK_STREAM)[1],
  }
end

return M
