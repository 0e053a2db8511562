-- doors: a module may require only modules of a lower floor, and only shim and libc load and declare.
local shell = require "shell"

local FLOOR = {
  later = -3, shim = -2, renamed = -1, libc = 0,
  const = 1, layout = 1, check = 1,
  memory = 2, shortage = 2, errno = 2, readiness = 2, gai = 3,
  wait = 3, handle = 3, interface = 3, iovec = 3, sockaddr = 3, sockopt = 3,
  addrinfo = 4, option = 4, fcntl = 4, descriptor = 4,
  ended = 4, zero = 5, anyoption = 5,
  netlink = 4, links = 5, ifaddrs = 5, device = 6, numeric = 5, resolver = 6, inet = 7, unix = 5,
  multicast = 7, owner = 6, endpoint = 6, transfer = 6,
  event = 5, epoll = 5, kqueue = 5, pollset = 5, poll = 6, hook = 4, guest = 4, steer = 4,
  activation = 7, cmsghdr = 7, buffer = 7, control = 8, msghdr = 9, message = 10, zerocopy = 9,
  batch = 9, burst = 10, pipe = 5, splice = 7,
  socket = 11,
  ["wait.coroutine"] = 7, ["wait.luv"] = 7, ["wait.cqueues"] = 7, ["wait.copas"] = 7, ["wait.nginx"] = 7,
}
local dir = os.getenv "LLSOCKET_SOURCE" .. "/lua/llsocket/"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local names = {}
local pipe = assert(io.popen(shell.format("cd %q && find . -name '*.lua'", dir)))
for file in pipe:lines() do names[#names + 1] = file:match "^%./([%w_/]+)%.lua$":gsub("/", ".") end
pipe:close()
table.sort(names)

-- The modules that a text names: in a require, later.require among them, and as a value in a table of names.
local NAMING = { 'require[%s%(]*"llsocket%.([%w_.]+)"', '=%s*"llsocket%.([%w_.]+)"' }

local function above(text, floor)
  local wrong = {}
  for _, pattern in ipairs(NAMING) do
    for dep in text:gmatch(pattern) do
      if not FLOOR[dep] or FLOOR[dep] >= floor then wrong[#wrong + 1] = dep end
    end
  end
  return table.concat(wrong, " ")
end

local T = require("tap").plan(#names * 4 + 3)
for _, name in ipairs(names) do
  local text = read(dir .. name:gsub("%.", "/") .. ".lua")
  T.is(above(text, FLOOR[name] or -9), "", name .. " requires only lower floors")
  local hides = text:gsub("later%.require%(%a", ""):find "require%s*%(%s*[^%s\"]" -- a name that comes from no table of names
  T.ok(name == "later" or not hides, name .. " names what it requires")
  T.ok(name == "shim" or not text:find "ffi%.load", name .. " does not load")
  T.ok(name == "libc" or not text:find "__asm__", name .. " declares no libc function")
end
T.is(above('local later = require("llsocket.socket")', 1), "socket", "a require of a higher floor would be seen")
T.is(above('M.activated = later.require("llsocket.activation").activated', 1), "activation", "and what is made by its first use")
T.is(above('local LATER = { sendmsg = "llsocket.message" }', 1), "message", "and a table of names")
T.done()
