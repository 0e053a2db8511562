-- doors: a module may require only modules of a lower floor, and only shim and libc load and declare.
local shell = require "shell"

local FLOOR = {
  ["core.lazy"] = -3, ["core.renamed"] = -1, ["core.const"] = 0, ["core.libc"] = 0, ["core.check"] = 1, ["core.failure"] = 1,
  ["core.forks"] = 1, ["core.named"] = 1, ["core.layout"] = 1, ["core.shortage"] = 1,
  ["address.interface"] = 3, ["address.families"] = 3.2, ["address.sockaddr"] = 3.4, ["address.values"] = 3.6,
  ["address.netlink"] = 4, ["address.ifaddrs"] = 5,
  ["address.links"] = 5, ["address.numeric"] = 5, ["address.resolver"] = 6,
  ["socket.program"] = 3, ["socket.filter"] = 6,
  ["socket.answer"] = 3, ["socket.object"] = 3, ["socket.optionkind"] = 3, ["socket.ended"] = 4, ["socket.flags"] = 4,
  ["socket.foreign"] = 4, ["socket.onclose"] = 4, ["socket.option"] = 5, ["socket.rarekind"] = 4, ["socket.steer"] = 4,
  ["socket.anyoption"] = 5, ["socket.tcpinfo"] = 2, ["socket.tcpmd5sig"] = 5, ["socket.originaldst"] = 5,
  ["socket.zero"] = 5, ["socket.connect"] = 6, ["socket.lifecycle"] = 6, ["socket.transfer"] = 6, ["socket.wrap"] = 7,
  ["socket.activated"] = 8, ["socket.supports"] = 8, ["socket.buffer"] = 7, ["socket.multicast"] = 7, ["socket.splice"] = 7,
  ["socket.zerocopy"] = 11, ["socket.batch"] = 12, ["socket.message"] = 12,
  ["message.region"] = 2, ["message.iovec"] = 3, ["message.control"] = 10, ["message.carrier"] = 11,
  ["message.rights"] = 8, ["message.decode"] = 8, ["message.ancillary"] = 9, ["message.block"] = 10,
  ["poll.bits"] = 2, ["poll.epoll"] = 5, ["poll.event"] = 5, ["poll.kqueue"] = 5, ["poll.poll"] = 5,
  ["poll.waker"] = 6,
  ["wait.timers"] = 6, ["wait.results"] = 6, ["wait.mending"] = 6, ["wait.queue"] = 6, ["wait.kernel"] = 6,
  ["wait.crowd"] = 3, ["wait.yielding"] = 3, ["wait.pause"] = 7, ["wait.waiters"] = 7,
  ["wait.copas"] = 8, ["wait.coroutine"] = 8, ["wait.cqueues"] = 8, ["wait.luv"] = 8, ["wait.nginx"] = 8,
  meta = -3, shim = -2, errno = 2, gai = 3, wait = 3, addrinfo = 4, descriptor = 4, pipe = 5, unix = 5, device = 6, poll = 7,
  bpf = 4, resolve = 8, ["resolve.asking"] = 14, ["resolve.cqueues"] = 15, ["resolve.files"] = 3, ["resolve.luv"] = 15,
  ["resolve.nginx"] = 15, ["resolve.unbound"] = 15,
  stream = 17, ["stream.dial"] = 15, ["stream.luasec"] = 15, ["stream.inbox"] = 15, ["stream.object"] = 14,
  ["stream.reading"] = 16, ["stream.serving"] = 15, ["stream.writing"] = 15,
  luasocket = 20, ["luasocket.argument"] = 3, ["luasocket.dns"] = 16, ["luasocket.except"] = 3, ["luasocket.luasec"] = 16,
  ["luasocket.names"] = 15, ["luasocket.object"] = 14, ["luasocket.option"] = 15, ["luasocket.packet"] = 15,
  ["luasocket.reading"] = 16, ["luasocket.select"] = 10, ["luasocket.serving"] = 16, ["luasocket.sleeping"] = 8,
  ["luasocket.tcp"] = 17, ["luasocket.udp"] = 17, ["luasocket.unix"] = 17, ["luasocket.words"] = 4,
  ["luasocket.writing"] = 15,
  cosocket = 20, ["cosocket.address"] = 9, ["cosocket.data"] = 4, ["cosocket.dialing"] = 16, ["cosocket.digest"] = 0,
  ["cosocket.link"] = 16, ["cosocket.log"] = 4, ["cosocket.nested"] = 0, ["cosocket.ngx"] = 10, ["cosocket.options"] = 14,
  ["cosocket.output"] = 5, ["cosocket.pcre2"] = 2, ["cosocket.pool"] = 14, ["cosocket.re"] = 4, ["cosocket.receiving"] = 17,
  ["cosocket.sending"] = 17, ["cosocket.settings"] = 3, ["cosocket.tcp"] = 19, ["cosocket.text"] = 4,
  ["cosocket.timer"] = 9, ["cosocket.tls"] = 17, ["cosocket.udp"] = 17, ["cosocket.until"] = 18,
  cmsghdr = 10, inet = 7, batch = 11, msghdr = 11, socket = 13,
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

-- The modules that a text names: in a require, lazy.require among them, and as a value in a table of names.
local NAMING = { 'require[%s%(]*"llsocket%.([%w_.]+)"', '=%s*"llsocket%.([%w_.]+)"',
  'completed%("[%w_.]+", %a+, "llsocket%.([%w_.]+)"' }

local function above(text, floor)
  local wrong = {}
  for _, pattern in ipairs(NAMING) do
    for dep in text:gmatch(pattern) do
      if not FLOOR[dep] or FLOOR[dep] >= floor then wrong[#wrong + 1] = dep end
    end
  end
  return table.concat(wrong, " ")
end

local T = require("tap").plan(#names * 5 + 4)
for _, name in ipairs(names) do
  local text = read(dir .. name:gsub("%.", "/") .. ".lua")
  T.is(above(text, FLOOR[name] or -9), "", name .. " requires only lower floors")
  local hides = text:gsub("lazy%.require%(%a", ""):find "require%s*%(%s*[^%s\"]" -- a name that comes from no table of names
  T.ok(name == "core.lazy" or not hides, name .. " names what it requires")
  T.ok(name == "shim" or not text:find "ffi%.load", name .. " does not load")
  T.ok(name == "core.libc" or not text:find "__asm__", name .. " declares no libc function")
  T.ok(name == "shim" or name == "core.libc" or not text:find "ffi%.cdef", name .. " declares no function")
end
T.is(above('local lazy = require("llsocket.socket")', 1), "socket", "a require of a higher floor would be seen")
T.is(above('M.activated = lazy.require("llsocket.socket.activated").activated', 1), "socket.activated",
  "and what is made by its first use")
T.is(above('local LATER = { sendmsg = "llsocket.socket.message" }', 1), "socket.message", "and a table of names")
T.is(above('lazy.completed("llsocket.x", M, "llsocket.socket")', 1), "socket", "and what completes a module")
T.done()
