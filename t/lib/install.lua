-- install.lua -- for the tests of each way of installing: copies of the source, and a round trip by a process that has
-- nothing but what was installed.
local net = require "net"
local proc = require "proc"
local shell = require "shell"

local M = { source = os.getenv "LLSOCKET_SOURCE" }

-- Prints the release and what came back, where the Lua files are, and the shim that is mapped, each once.
local ROUND_TRIP = [[
local L = require "llsocket"
local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1]))
assert(not listener:bind() and not listener:listen())
local client = assert(L.socket.new(listener:getsockname()))
assert(not client:connect())
local server = assert(listener:accept())
client:send "there"
server:send(server:recv() .. " and back")
print(L._VERSION .. " " .. client:recv())
print(package.searchpath("llsocket", package.path))
local maps = io.open "/proc/self/maps"
if maps then print(maps:read "*a":match "(/[^\n]*/shim%.so)") end
]]

-- What a round trip prints where both were found in these folders.
function M.expected(share, lib)
  local out = M.release() .. " there and back\n" .. share .. "/llsocket.lua\n"
  return lib and out .. lib .. "/llsocket/shim.so\n" or out
end

-- What _VERSION says: before a release its number ends in -dev.
function M.release() return M.read(M.source .. "/lua/llsocket.lua"):match '_VERSION = "([^"]+)"' end

-- The release that meson.build names.
function M.version() return M.read(M.source .. "/meson.build"):match "version: '([%d.]+)'" end

-- A file's bytes; "" where there is none.
function M.read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local bytes = file:read "*a" or ""
  file:close()
  return bytes
end

function M.write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

-- Runs a command; shows its output and answers false when it failed.
function M.sh(command)
  local text, ok = proc.run(command)
  if not ok then print("# " .. command .. "\n# " .. text:gsub("\n", "\n# ")) end
  return ok, text
end

-- Whether doc/install.md has a command, word for word.
function M.tells(command) return M.read(M.source .. "/doc/install.md"):find(command, 1, true) end

-- The commands of a section of doc/install.md: its sh blocks, in order.
function M.told(heading)
  local page, out = M.read(M.source .. "/doc/install.md") .. "\n## ", {}
  local section = page:match("\n## " .. heading .. "\n(.-)\n## ") or ""
  for block in section:gmatch "```sh\n(.-)```" do out[#out + 1] = block end
  return out
end

-- Makes the round trip with no LUA_PATH and LUA_CPATH but what `environment` sets; answers what it printed.
function M.round_trip(environment, luajit)
  local path = M.write(net.tmpdir() .. "/code.lua", ROUND_TRIP)
  return (proc.run(shell.format("cd / && env -u LUA_PATH -u LUA_CPATH %s %q %q", environment, luajit or proc.luajit, path)))
end

-- The same inside a folder that is a system of its own, by the LuaJIT in there.
function M.round_trip_in(root)
  M.write(root .. "/code.lua", ROUND_TRIP)
  return (proc.run(shell.format("env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot %q luajit /code.lua", root)))
end

-- A copy of the source, without what was built in it and without its history.
function M.copy()
  local dir = net.tmpdir() .. "/llsocket-" .. M.version()
  assert(M.sh(shell.format("mkdir %q && cd %q && tar c --exclude=./.git --exclude=./build --exclude=./BUILD . | tar x -C %q",
    dir, M.source, dir)))
  return dir
end

-- The files below a folder that a find(1) test chooses, one a line.
function M.files(dir, test)
  return (proc.run(shell.format("cd %q && find . -type f %s | LC_ALL=C sort", dir, test or "")))
end

-- Why no Debian package can be built here; nil when one can.
function M.lacks_debian()
  local why = M.lacks("dpkg-buildpackage", "dpkg-checkbuilddeps")
  if why then return why end
  local text, ok = proc.run(shell.format("cd %q && dpkg-checkbuilddeps", M.source))
  return not ok and (text:match "([^\n]*)\n$" or text) or nil
end

-- The first of these programs that the machine lacks, as the reason to skip; nil when all are there.
function M.lacks(...)
  for _, program in ipairs { ... } do
    if not select(2, proc.run("PATH=$PATH:/usr/sbin command -v " .. program)) then return "there is no " .. program end
  end
end

-- A prefix for commands that takes the network away, where the user may; else "".
function M.offline() return select(2, proc.run "unshare -rn true") and "unshare -rn " or "" end

return M
