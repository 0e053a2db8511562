-- README.md and the first pages: the servers that they show serve, the quick start has two lines, every link leads somewhere,
-- and doc/api.md leaves no function out.
local L = require "llsocket"
local example = require "example"
require "methods" -- all methods
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

local readme, api = read "README.md", read "doc/api.md"

local function block(page, heading, language)
  local section = select(2, page:find("\n## " .. heading .. "\n", 1, true))
  return page:sub(section):match("\n```" .. language .. "\n(.-)```\n")
end

local function lines(text) return select(2, text:gsub("\n", "")) end

-- What doc/api.md must name: `inet.getaddrinfo`, `sock:send`.
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

local function list(folder) return proc.run(shell.format("ls %q", source .. "/" .. folder)) end

-- Pages and examples, by their path.
local pages, programs = { ["README.md"] = readme }, {}
for _, path in ipairs { "CONTRIBUTING.md", "t/abi/README.md" } do pages[path] = read(path) end
for name in list "doc":gmatch "[^\n]+" do pages["doc/" .. name] = read("doc/" .. name) end
for name in list "bench":gmatch "[^\n]+%.md" do pages["bench/" .. name] = read("bench/" .. name) end
for name in list "examples":gmatch "[^\n]+%.lua" do programs["examples/" .. name] = read("examples/" .. name) end

-- A heading with a call, such as "### fd = poller:fd()", names it.
local known = {}
for _, name in ipairs(names) do known[name] = true end
for path, page in pairs(pages) do
  for heading in path:find "^doc/" and page:gmatch "\n### ([^\n]+)" or function() end do
    local name = heading:match "(%l+[.:][%w_]+)%("
    if name and not known[name] then known[name], names[#names + 1] = true, name end
  end
end
table.sort(names)

local paths = {}
for path in pairs(pages) do paths[#paths + 1] = path end
table.sort(paths)

-- The names that GitHub gives to the headings of a page.
local function anchors(page)
  local out = {}
  for heading in ("\n" .. page):gmatch "\n#+ ([^\n]+)" do out[heading:lower():gsub("[^%w%- _]", ""):gsub(" ", "-")] = true end
  return out
end

-- The links of a page that lead nowhere.
local function broken(path)
  local out, folder = {}, path:match "^(.*/)" or ""
  for link in pages[path]:gmatch "%]%(([^)%s]+)%)" do
    local file, anchor = link:match "^([^#]*)#?(.*)$"
    local target = file == "" and path or (folder .. file):gsub("%w+/%.%./", "")
    local page = link:find "^https?:" or pages[target] or read(target)
    if not page or anchor ~= "" and pages[target] and not anchors(page)[anchor] then out[#out + 1] = link end
  end
  return table.concat(out, " ")
end

-- The first line that one of the pages has, with the page's path.
local function has(texts, pattern)
  for path, text in pairs(texts) do
    local line = text:match(pattern)
    if line then return path .. ": " .. line end
  end
end

local T = require("tap").plan(#names + #paths + 19)

local quick = block(readme, "Quick start", "sh")
T.ok(readme:match "\n```sh\n(.-)```\n" == quick, "the quick start is the first block of commands")
T.is(lines(quick), 2, "the quick start has two lines")
T.ok(quick:find "^%./setup [^\n]*examples/demo%.lua\n", "the first runs the demo")
T.ok(quick:find "\n%./setup [^\n]*meson test[^\n]*\n$", "the second runs the tests")

local machines = 0
for _ in ("\n" .. read "t/abi/targets"):gmatch "\n%w[^\n]*" do machines = machines + 1 end
T.is(readme:match "Tested on (%d+) machines", tostring(machines), "README counts the rows of t/abi/targets")

-- A path of the reader's may have a blank.
T.is(has(pages, '[^\n]*[^"]%$PWD[^\n]*'), nil, "no page has the reader's own folder without quotes")

-- A reader copies it, and learns "assertion failed!" where the kernel has said why.
for name, texts in pairs { page = pages, example = programs } do
  T.is(has(texts, "[^\n]*assert%(not [%w_%[%]]+:%w+%([^\n]*"), nil, "no " .. name .. " throws away why a call failed")
  T.is(has(texts, "[^\n]*assert%(not err%)[^\n]*"), nil, "no " .. name .. " throws away the text that it has")
end

local function start(program, args)
  local path = net.tmpdir() .. "/echo.lua"
  local file = assert(io.open(path, "w"))
  file:write(program)
  file:close()
  return example.start_file(path, args)
end

local function talk(socktype, port, msg, receive)
  local client = assert(L.socket.new(net.addr(L.AF_INET, socktype, port)))
  local err = client:connect()
  assert(not err, err)
  client:send(msg)
  T.is(receive(client), msg, "a client gets back what it sent")
  client:close()
end

local ten = block(readme, "Ten lines", "lua")
T.is(lines(ten), 10, "README's server has ten lines")
local child, line = start(ten, "0 2>&1")
talk(L.SOCK_DGRAM, tonumber(line:match "^listening on 127%.0%.0%.1:(%d+)$"), "over UDP", function(client)
  return client:recvable(10) and client:recv()
end)
example.stop(child)

local server = block(read "doc/getting-started.md", "3. A first server", "lua server")
T.ok(lines(server) <= 20, "the first server has twenty lines at most")
child, line = start(server, "0")
local port = tonumber(line:match "^listening on 127%.0%.0%.1:(%d+)$")
T.ok(port, "it says where it listens: " .. line)
local function receive_all(client)
  client:shutdown(L.SHUT_WR)
  local parts = {}
  for part in function() return client:recv() end do parts[#parts + 1] = part end
  return table.concat(parts)
end
for _, msg in ipairs { "hello", ("long"):rep(1000) } do talk(L.SOCK_STREAM, port, msg, receive_all) end
T.ok(example.stop(child):find "^hello 127%.0%.0%.1:%d+\ngoodbye\nhello ", "it greets each")

-- What is one method for IPv4 and IPv6.
local dual = pages["doc/option.md"]:match "\n## Dual%-stack sockets\n(.-)\n## "
local first, unnamed = {}, {}
for name, level in require("llsocket.socket.option").rows(1) do
  local is_both = first[name] == "IPPROTO_IP" and level == "IPPROTO_IPV6"
  if is_both and not dual:find("`" .. name .. "`", 1, true) then unnamed[#unnamed + 1] = name end
  first[name] = level
end
T.is(table.concat(unnamed, " "), "", "the section on dual-stack sockets names every option that has a row for both families")

for _, name in ipairs(names) do T.ok(api:find("`[^`]*" .. name .. "%f[^%w_]"), "doc/api.md has " .. name) end
for _, path in ipairs(paths) do T.is(broken(path), "", "every link of " .. path .. " leads somewhere") end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
