-- README.md: its first server serves, its quick start has two lines, its links lead somewhere, no function is left out.
local L = require "llsocket"
local example = require "example"
local sockets = require "llsocket.socket.object"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local source = os.getenv "LLSOCKET_SOURCE"
local before = leak.count()

local function read(path)
  local file = io.open(source .. "/" .. path)
  if not file then return nil end
  local text = file:read "*a" or "a folder"
  file:close()
  return text
end

local readme = read "README.md"

local function block(heading, language)
  local section = select(2, readme:find("\n## " .. heading .. "\n", 1, true))
  return readme:sub(section):match("\n```" .. language .. "\n(.-)```\n")
end

local function lines(text) return select(2, text:gsub("\n", "")) end

-- What README must name: `inet.getaddrinfo`, `sock:send`.
local names = {}
local function add(prefix, functions)
  for name in pairs(functions) do names[#names + 1] = prefix .. name end
end
add("inet.", L.inet)
add("unix.", L.unix)
add("socket.", L.socket)
add("device.", { getifaddrs = true, macaddrs = true })
add("ai:", L.addrinfo.methods)
add("sock:", sockets.methods)
table.sort(names)

local links = {}
for link in readme:gmatch "%]%(([^)]+)%)" do links[#links + 1] = link end

local T = require("tap").plan(#names + #links + 12)

local quick = block("Quick start", "sh")
T.is(lines(quick), 2, "the quick start has two lines")
T.ok(quick:find "^%./setup [^\n]*examples/demo%.lua\n", "the first runs the demo")
T.ok(quick:find "\n%./setup [^\n]*meson test[^\n]*\n$", "the second runs the tests")

-- A path of the reader's may have a blank.
local pages = readme
for name in proc.run(shell.format("ls %q/doc", source)):gmatch "[^\n]+" do pages = pages .. read("doc/" .. name) end
T.is(pages:match '[^\n]*[^"]%$PWD[^\n]*', nil, "no page has the reader's own folder without quotes")

-- A reader copies it, and learns "assertion failed!" where the kernel has said why.
local programs = pages
for name in proc.run(shell.format("ls %q/examples", source)):gmatch "[^\n]+%.lua" do
  programs = programs .. read("examples/" .. name)
end
T.is(programs:match "[^\n]*assert%(not [%w_%[%]]+:%w+%([^\n]*", nil, "no page and no example throws away why a call failed")
T.is(programs:match "[^\n]*assert%(not err%)[^\n]*", nil, "nor the text that it has")

local server = block("A first server in twenty lines", "lua")
T.ok(lines(server) <= 20, "the first server has twenty lines")
local path = net.tmpdir() .. "/echo.lua"
local file = assert(io.open(path, "w"))
file:write(server)
file:close()
local child, line = example.start_file(path, "0")
local port = tonumber(line:match "^listening on 127%.0%.0%.1:(%d+)$")
T.ok(port, "it says where it listens: " .. line)
for _, msg in ipairs { "hello", ("long"):rep(1000) } do
  local client = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_STREAM, port)))
  local err = client:connect()
  assert(not err, err)
  client:send(msg)
  client:shutdown(L.SHUT_WR)
  local parts = {}
  for part in function() return client:recv() end do parts[#parts + 1] = part end
  T.is(table.concat(parts), msg, "a client gets back what it sent, one after the other")
  client:close()
end
T.ok(example.stop(child):find "^hello 127%.0%.0%.1:%d+\ngoodbye\nhello ", "it greets each")

for _, name in ipairs(names) do T.ok(readme:find("`[^`]*" .. name .. "%f[^%w_]"), "README has " .. name) end
for _, link in ipairs(links) do T.ok(read(link), "the link " .. link .. " leads somewhere") end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
