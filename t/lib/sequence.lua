-- sequence.lua -- draws a random sequence of operations over shared objects: data that is the same for a seed everywhere.
--
-- A step: { title =, args = { n =, ... } }, self first.  An argument is text: "=nil", "=NAME" of GOOD, "?NAME" of nasty.lua,
-- "@NAME" of a shared object, "@12" of what step 12 answered, which keeps its name when other steps are left out.
local L = require "llsocket"
local nasty = require "nasty"
local owners = require "owners"
local random = require "random"
local signature = require "signature"

local M = {}

-- The shared objects by class: sequences.lua makes them.
M.SHARED = {
  sock = { "unix1", "unix2", "dgram1", "dgram2", "seq1", "seq2", "tcp1", "tcp2", "udp1", "udp2", "listener", "fresh", "closed" },
  ai = { "ai_listener", "ai_udp", "ai_dgram", "ai_any", "ai_6" },
  mh = { "mh1", "mh2" }, msgs = { "msgs1", "msgs2" }, tube = { "tube1" }, cmsg = { "cmsg1" }, desc = { "desc1" },
  poller = { "poller1", "poller2" }, event = { "timer1" }, hook = { "hook1" }, bytes = { "bytes1" }, file = { "file1" },
}

-- What functions answer, by title.
local ANSWERS = {
  ["socket.new"] = "sock", ["socket.pair"] = "sock", ["socket.wrap"] = "sock", ["sock:dup"] = "sock", ["sock:accept"] = "sock",
  ["sock:recvfd"] = "sock", ["inet.getaddrinfo"] = "ai", ["inet.getaddrinfo4"] = "ai", ["unix.getaddrinfo"] = "ai",
  ["sock:getsockname"] = "ai", ["sock:getpeername"] = "ai", ["sock:recvfrom"] = "ai", ["msghdr.new"] = "mh",
  ["batch.new"] = "msgs",
  ["pipe.new"] = "tube", ["cmsghdr.rights"] = "cmsg", ["cmsghdr.ttl"] = "cmsg", ["poll.new"] = "poller", ["poll.timer"] = "event",
  ["sock:onclose"] = "hook", ["sock:unwrap"] = "number", ["desc:unwrap"] = "number", ["mh:control"] = "cmsg",
}

-- What parameters take, by their kind: classes of objects (in capitals), or names of GOOD below; of other kinds the sample of
-- signature.lua.
local KINDS = {
  ai = { "AI" }, msghdr = { "MH" }, batch = { "MSGS" }, peer = { "SOCK" }, pipe = { "TUBE" }, owner = { "SOCK", "DESC" },
  watched = { "SOCK", "SOCK", "SOCK", "EVENT", "DESC", "POLLER" }, file = { "FILE" }, target = { "BYTES" },
  memory = { "BYTES", "abc" }, permanent = { "BYTES", "abc" }, fd = { "NUMBER" }, cmsgs = { "no_cmsgs", "cmsgs" },
  string = { "abc", "long", "empty" }, flag = { "none", "dontwait", "peek" }, more = { "none", "dontwait" },
  seconds = { "0" }, events = { "r", "w", "rw", "ro", "re", "p" }, size = { "1", "64", "70000" }, bytes = { "1", "64" },
  slot = { "1", "2" }, extent = { "1", "64" }, max = { "1", "64" }, index = { "1", "2" }, fields = { "memory" },
  sizes = { "two_sizes" }, parts = { "two_parts" }, data = { "abc", "two_parts" },
  ["function"] = { "closes", "raises", "yields", "adds" },
  how = { "0", "1", "2" }, wrapping = { "true" },
  backlog = { "1" }, int = { "1", "2" }, boolean = { "true" }, group = { "group" }, source = { "loopback" },
  ifname = { "lo" }, level = { "sol_socket" }, option = { "so_type", "so_rcvbuf" }, kind = { "int" },
  gone = { "1" }, process = { "1" }, limit = { "1" }, input = { "1" }, range = { "range" }, into = { "into" },
  any = { "abc" }, backend = { "epoll", "poll" }, room = { "4096" }, most = { "1", "64" }, port = { "0" }, linger = { "0", "1" },
}

-- What would block, end or change the process for good, or ask the network.
local LEFT_OUT = {}
for title in ([[socket.activated poll.signal poll.child device.macaddrs inet.getaddrinfo6 ai:nameinfo sock:steer sock:nonblock
  sock:busypoll cmsghdr.credentials sock:completed sock:sendzerocopy sock:timestamp sock:timestampns sock:mark]]):gmatch "%S+" do
  LEFT_OUT[title] = true
end

-- Every function with a signature, under the name that the pages give it: options apart, since they are the most.
local function functions()
  local titles, calls, options = {}, {}, {}
  for title, fn in pairs(owners.functions()) do
    titles[fn] = titles[fn] or {}
    table.insert(titles[fn], title)
  end
  local is_option = {}
  for _, row in ipairs(require("methods").options) do is_option["sock:" .. row[1]] = true end
  for _, f in ipairs(signature.all()) do
    for _, title in ipairs(titles[f.fn] or {}) do
      local list = is_option[title] and options or calls
      local row = { title = title, fn = f.fn, params = f.params, is_method = f.class ~= nil }
      if not LEFT_OUT[title] then list[#list + 1] = row end
    end
  end
  table.sort(calls, function(a, b) return a.title < b.title end)
  table.sort(options, function(a, b) return a.title < b.title end)
  return calls, options
end

local calls, options = functions()
M.functions = {}
for _, list in ipairs { calls, options } do
  for _, f in ipairs(list) do M.functions[f.title] = f end
end

-- Calls that bring data, objects and events into being are drawn more often.
local OFTEN = {}
for title in ([[sock:send sock:recv sock:sendto sock:recvfrom sock:sendmsg sock:recvmsg sock:sendbatch sock:recvbatch sock:sendfd
  sock:recvfd sock:accept sock:connect sock:dup sock:close socket.pair socket.new poller:add poller:wait poller:modify
  poller:remove sock:onclose sock:readv sock:writev sock:recvinto sock:sendfrom sock:splice mh:data msgs:data]]):gmatch "%S+" do
  for _ = 1, 4 do OFTEN[#OFTEN + 1] = title end
end

local function pick(draw, list) return list[draw(#list)] end

-- Of each class the names to choose from: the shared objects and what earlier steps answered.
local function known()
  local out = { number = {} }
  for class, names in pairs(M.SHARED) do
    out[class] = {}
    for i, name in ipairs(names) do out[class][i] = "@" .. name end
  end
  return out
end

local function unsafe_time(name)
  local text = name:match "^number (.*)$"
  return name == "nil" or text
    and not (text:find "nan" or text:find "inf" or text:find "^%-" or text == "0" or text:find "2^[56]")
end

local function nasty_value(draw, kind)
  local value
  repeat value = pick(draw, nasty.list).name until not (kind == "seconds" and unsafe_time(value))
    and not (kind == "fd" and value:find "^number") and not (kind == "function" and value:find "function")
    and not value:find "socket$" and not (kind == "boolean" and value == "false") and value ~= "pointer to a socket"
  return "?" .. value
end

-- A kind that is not named above takes its sample.
local function good_value(draw, pool, kind)
  if not KINDS[kind] then return "=sample " .. kind end
  local choice = pick(draw, KINDS[kind])
  if choice ~= choice:upper() or choice:find "^%d" then return "=" .. choice end
  return pick(draw, pool[choice:lower()]) or "=nil"
end

local function argument(draw, pool, param)
  local dice = draw(100)
  if dice <= 8 then return nasty_value(draw, param.kind) end
  local may_miss = param.optional and dice <= 40
  if may_miss and param.kind ~= "seconds" and param.kind ~= "boolean" then return "=nil" end
  return good_value(draw, pool, param.kind)
end

local function draw_step(draw, pool)
  local dice = draw(100)
  if dice <= 3 then return { title = "collect", args = { n = 0 } } end
  local f = dice <= 12 and pick(draw, options) or dice <= 60 and M.functions[pick(draw, OFTEN)] or pick(draw, calls)
  local step = { title = f.title, args = {} }
  if f.is_method then step.args[1] = pick(draw, pool[f.title:match "^%w+"]) or "?nil" end
  for _, param in ipairs(f.params) do table.insert(step.args, argument(draw, pool, param)) end
  step.args.n = #step.args
  return step
end

--- Draws a sequence.
---@param seed integer
---@param length integer
---@return table steps
function M.draw(seed, length)
  local draw, pool, steps = random.new(seed), known(), {}
  for i = 1, length do
    steps[i] = draw_step(draw, pool)
    local class = ANSWERS[steps[i].title]
    if class then table.insert(pool[class], "@" .. i) end
  end
  return steps
end

--- A step as a line: sock:send(@unix1, =abc).
function M.show(step) return ("%s(%s)"):format(step.title, table.concat(step.args, ", ", 1, step.args.n)) end

-- Good values by name.  Bytes are small letters: the collector's litter is not, so that it shows.
M.GOOD = {
  ["true"] = true, abc = "abc", long = ("abcdefgh"):rep(9000), empty = "", none = 0, dontwait = L.MSG_DONTWAIT, peek = L.MSG_PEEK,
  r = "r", w = "w", rw = "rw", ro = "ro", re = "re", p = "p", group = "239.1.2.3", loopback = "127.0.0.1", lo = "lo",
  sol_socket = L.SOL_SOCKET, so_type = L.SO_TYPE, so_rcvbuf = L.SO_RCVBUF, int = "int", bytes = "bytes", boolean = "boolean",
  epoll = "epoll", poll = "poll", two_sizes = { 2, 64 }, two_parts = { "ab", "cd" }, no_cmsgs = {},
  range = { 20000, 60000 }, into = {},
  memory = { size = 64, count = 3, controlsize = 16 },
}
for _, n in ipairs { 0, 1, 2, 64, 4096, 70000 } do M.GOOD[tostring(n)] = n end
for _, f in ipairs(signature.all()) do
  for _, param in ipairs(f.params) do M.GOOD["sample " .. param.kind] = param.sample end
end

return M
