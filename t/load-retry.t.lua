-- load-retry: a require that fails half-way, at any point, reports the cause, and can be repeated.
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local before = leak.count()
local source = os.getenv "LLSOCKET_SOURCE"

local names = { "llsocket" }
local pipe = assert(io.popen(shell.format("cd %q/lua/llsocket && ls *.lua", source)))
for file in pipe:lines() do names[#names + 1] = "llsocket." .. file:match "^(.*)%.lua$" end
pipe:close()
names[#names + 1] = "llsocket.wait.coroutine"
local DEEP = { "llsocket", "llsocket.socket", "llsocket.msghdr", "llsocket.poll", "llsocket.batch", "llsocket.wait.coroutine" }

local T = require("tap").plan(2 * #names + 2 * #DEEP + 4)

local function prints(code, want, name) T.is(proc.lua(code), want, name) end

-- The modules' own files, where the environment has a modules.bundle.
local FILES = ("package.path = %q\n"):format(source .. "/lua/?.lua;" .. source .. "/t/lib/?.lua;" .. package.path)

-- marks() tells the entries of package.loaded that are neither tables nor loaded C libraries.
local PRELUDE = [[
jit.off()
local function marks()
  local out = {}
  for name, value in pairs(package.loaded) do
    local is_library = type(value) == "userdata" and getmetatable(value)
    if name:find "^llsocket" and type(value) ~= "table" and not is_library then out[#out + 1] = name end
  end
  return table.concat(out, " ")
end
]]

-- The error comes from a module at the bottom, which somebody else has put there.
local LIBRARY = { ["llsocket.shim"] = true, ["llsocket.core.libc"] = true }
local NEEDS_NONE = { ["llsocket.core.check"] = true, ["llsocket.core.lazy"] = true, ["llsocket.poll.bits"] = true,
  ["llsocket.meta"] = true }
NEEDS_NONE["llsocket.core.libc"] = not io.open(source .. "/lua/llsocket/core/libc.lua"):read("*a"):find 'require "llsocket.shim"'
for _, name in ipairs(names) do
  if name == "llsocket.shim" then goto continue end
  local failed = NEEDS_NONE[name] and "nil nil " or "half-way half-way "
  prints(PRELUDE .. ([[
package.preload["llsocket.shim"] = function() error("half-way", 0) end
local function try()
  local ok, why = pcall(require, "NAME")
  io.write(ok and "nil" or why, " ", marks())
end
try() try()
package.preload["llsocket.shim"] = nil
io.write(type(require "NAME"))]]):gsub("NAME", name), failed .. (LIBRARY[name] and "userdata" or "table"),
    ("require %q fails twice with the cause, and then works"):format(name))
  ::continue::
end

-- The error comes out of any line: a debug hook raises it, as a time limit does, or memory that is used up.  Nothing can be
-- done about the first line of a module, which is the one that takes the mark away.
local HOOKED = PRELUDE .. [[
local function is_first(info)
  if info.what ~= "main" then return false end
  local n = 0
  for line in io.lines(info.source:sub(2)) do
    n = n + 1
    if line:find "^package.loaded" then return info.currentline <= n end
    if n >= info.currentline then return true end
  end
end
local function stop()
  local info = debug.getinfo(2, "Sl")
  -- What shim.lua calls protected is an answer to it and not an error.
  local is_asking = info.source:find "/shim.lua" and info.what ~= "main"
  if info.source:find "/llsocket" and (is_asking or is_first(info)) then return debug.sethook(stop, "", 1) end
  debug.sethook()
  error("half-way", 0)
end
local function hooked(name, count)
  debug.sethook(stop, "", count)
  local module = require(name)
  debug.sethook()
  return module
end
local failures, count, wrong = 0, 1, ""
repeat
  local ok, why = pcall(hooked, "NAME", count)
  if not ok then
    failures = failures + 1
    if why ~= "half-way" or marks() ~= "" then wrong = tostring(why) .. " " .. marks() break end
  end
  count = count + STEP
until ok
io.write(failures > LEAST and "many" or failures, " ", wrong, type(package.loaded["NAME"]))]]
local function hooked(name, step, least, files)
  return (proc.lua((files or "") .. HOOKED:gsub("NAME", name):gsub("STEP", step):gsub("LEAST", least)))
end
for _, name in ipairs(DEEP) do
  T.is(hooked(name, "7", "100"), "many table", ("require %q fails at any line with the cause, and then works"):format(name))
end
for _, name in ipairs(names) do
  local text = hooked(name, "1 + math.floor(count / 4)", "4", FILES)
  T.ok(text == "many table" or text == "many userdata", ("so does require %q, each time deeper: %s"):format(name, text))
end

local MEMORY = PRELUDE .. [[
local ffi = require "ffi"
ffi.cdef "int llsocket_t_getrlimit(int, void *) __asm__(\"getrlimit\");"
ffi.cdef "int llsocket_t_setrlimit(int, const void *) __asm__(\"setrlimit\");"
local both = ffi.new "unsigned long[2]"
local AS = jit.arch:find "mips" and 6 or 9
assert(ffi.C.llsocket_t_getrlimit(AS, both) == 0)
local old = both[0]
local function limit(bytes)
  both[0] = bytes
  assert(ffi.C.llsocket_t_setrlimit(AS, both) == 0)
end
local function used()
  local file = io.open "/proc/self/statm"
  local pages = file:read "*n"
  file:close()
  return pages * 4096
end
local failures, wrong, spare = 0, "", 0
repeat
  collectgarbage() collectgarbage()
  collectgarbage "stop"
  limit(used() + spare)
  local ok, why = pcall(require, "NAME")
  limit(old)
  if not ok then
    failures = failures + 1
    if tostring(why):find "loop or previous error" or marks() ~= "" then wrong = tostring(why) .. " " .. marks() break end
  end
  spare = spare + 32768
until ok
io.write(failures > 0 and "some " or "none ", wrong, type(package.loaded["NAME"]))]]
local endless = sys.endless_memory()
for _, name in ipairs(DEEP) do
  if endless then T.skip(1, endless) else
    prints(MEMORY:gsub("NAME", name), "some table", ("require %q that runs out of memory works when there is some"):format(name))
  end
end

-- Files that cannot be read for want of descriptors.
prints(PRELUDE .. [[
local sys = require "sys"
for name in pairs(package.loaded) do if name:find "^llsocket" and name ~= "llsocket.shim" then package.loaded[name] = nil end end
for _, name in ipairs { "llsocket.poll", "llsocket.msghdr", "llsocket" } do
  local old = sys.limit_descriptors(3)
  local ok, why = pcall(require, name)
  sys.limit_descriptors(old)
  io.write(tostring(ok), " ", tostring(why:find("not found", 1, true) ~= nil), " ", marks())
  io.write(type(require(name)), "; ")
end]], "false true table; false true table; false true table; ", "also if no file can be read because no descriptor is free")
-- Later than that: while the texts are read.
prints(FILES .. PRELUDE .. [[
local open, reader, opened = io.open, package.loaders[2], 0
function io.open(...)
  opened = opened + 1
  if opened <= 5 then return open(...) end
  return nil, "Too many open files", 24
end
package.loaders[2] = function(name) return opened > 5 and "\n\tno descriptor for " .. name or reader(name) end
local ok, why = pcall(require, "llsocket")
io.open, package.loaders[2] = open, reader
io.write(tostring(ok), " ", why:match "no descriptor for llsocket%.", marks(), " ", type(require "llsocket"))]],
  "false no descriptor for llsocket. table", "and where descriptors run out while the texts are read")

-- What is not ours, and the collector.
prints([[
package.loaded["mine"], package.loaded["llsocket.mine"], package.loaded["llsocket_too"] = true, print, "kept"
package.preload["llsocket.gai"] = function() error("half-way", 0) end
pcall(require, "llsocket")
io.write(tostring(package.loaded["mine"]), " ", tostring(package.loaded["llsocket.mine"] == print), " ",
  tostring(package.loaded["llsocket_too"]), " ", tostring(collectgarbage "isrunning"))]], "true true kept true",
  "modules of others stay, and the collector runs again")
prints([[
collectgarbage "stop"
local running = collectgarbage "isrunning"
require "llsocket"
io.write(tostring(running), " ", tostring(collectgarbage "isrunning"))]], "false false", "a collector that was stopped stays so")

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
