-- doors: a module may require only modules of a lower floor, and only shim and libc load and declare.
local shell = require "shell"

local FLOOR = {
  shim = -2, renamed = -1, libc = 0,
  const = 1, layout = 1, check = 1,
  later = 2, memory = 2, shortage = 2, errno = 2, readiness = 2, gai = 3,
  wait = 3, handle = 3, interface = 3, iovec = 3, sockaddr = 3, sockopt = 3,
  addrinfo = 4, option = 4, fcntl = 4, descriptor = 4,
  zero = 5, device = 5, inet = 5, unix = 5, anyoption = 5,
  multicast = 6, owner = 6, endpoint = 6, transfer = 6,
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

local T = require("tap").plan(#names * 3)
for _, name in ipairs(names) do
  local text, wrong, floor = read(dir .. name:gsub("%.", "/") .. ".lua"), {}, FLOOR[name] or -1
  for dep in text:gmatch 'require[%s%(]*"llsocket%.([%w_.]+)"' do
    if not FLOOR[dep] or FLOOR[dep] >= floor then wrong[#wrong + 1] = dep end
  end
  T.is(table.concat(wrong, " "), "", name .. " requires only lower floors")
  T.ok(name == "shim" or not text:find "ffi%.load", name .. " does not load")
  T.ok(name == "libc" or not text:find "__asm__", name .. " declares no libc function")
end
T.done()
