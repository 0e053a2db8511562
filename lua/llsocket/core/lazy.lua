-- lazy.lua -- the globals of all modules.  Its require() reads the text of every module when the library is loaded, and
-- compiles some modules only on first use.
--
-- No method or field reads a file of the library after loading: it works without a free descriptor, after chroot(2) and
-- when its files are gone.  Meson builds modules.bundle, one file with the text of all modules.  The modules needed at load
-- come from it, too: it holds no comments and saves looking for 60 files, together 0.8 of 15.9 million instructions.  Without
-- modules.bundle each module is read from its own file.  Compiling all modules at load would take 15 million instructions more.
--
-- Each load of the library has its own lazy.lua with its own modules: when package.loaded is cleared and the library loaded
-- again, the methods of an old socket still use the old modules.
--
-- A failed require of LuaJIT leaves a sentinel in package.loaded, and the next require reports "loop or previous error"
-- instead of the cause.  So the first line of every module removes its own sentinel, and the require() that its second line
-- brings in removes those of other modules.
package.loaded[...] = nil

local RELEASE = "0.2.0-dev" -- equals llsocket._VERSION; a modules.bundle of another release is ignored

-- All modules that `require "llsocket"` does not run, except the ways of waiting: a program gets those by require alone.
local NAMES = {
  "address.families", "address.ifaddrs", "address.links", "address.netlink", "address.resolver", "address.values",
  "batch", "bpf", "cmsghdr", "core.named", "descriptor", "device", "message.ancillary",
  "message.block", "message.carrier", "message.control", "message.decode", "message.iovec", "message.region", "message.rights",
  "msghdr", "pipe", "poll", "poll.bits", "poll.epoll", "poll.event", "poll.kqueue", "poll.poll", "poll.waker",
  "socket.activated", "socket.anyoption", "socket.batch", "socket.buffer", "socket.ended", "socket.filter", "socket.foreign",
  "socket.message", "socket.multicast", "socket.onclose", "socket.option", "socket.originaldst", "socket.program",
  "socket.rarekind", "socket.splice",
  "socket.steer", "socket.supports", "socket.tcpinfo", "socket.tcpmd5sig", "socket.wrap", "socket.zerocopy",
}

local error, getmetatable, ipairs, loadstring, open, pairs = error, getmetatable, ipairs, loadstring, io.open, pairs
local pcall, rawget, require, setfenv, setmetatable = pcall, rawget, require, setfenv, setmetatable
local tonumber, type = tonumber, type
local package, loaded, preload = package, package.loaded, package.preload

jit.off(true, true) -- the loops here run once: compiling them would take longer than running them

local mine = { ffi = require "ffi", bit = require "bit" } -- this load's modules
-- texts[name]: the text of a module that is not made yet, or its function where only one of require's loaders had it.
local texts = {}
local folder = debug.getinfo(1, "S").source:match "^@(.*)core/lazy%.lua$" -- nil where the library is linked into the program

local function copy(t)
  local out = {}
  for name, value in pairs(t) do out[name] = value end
  return out
end

-- The globals of the modules: these functions as they are now, even if the program replaces them later.
local M = setmetatable({
  assert = assert, collectgarbage = collectgarbage, error = error, getmetatable = getmetatable, ipairs = ipairs,
  next = next, pairs = pairs, pcall = pcall, rawget = rawget, rawset = rawset, select = select,
  setmetatable = setmetatable, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  coroutine = coroutine, debug = copy(debug), io = copy(io), jit = jit, math = copy(math), os = copy(os),
  string = copy(string), table = copy(table), package = package, texts = texts, release = RELEASE,
}, { __index = _G })
mine["llsocket.core.lazy"] = M

-- Whether Lua's require answers with the modules of this load now.
local function is_current() return loaded["llsocket.core.lazy"] == M end

-- A module is a table, or a loaded C library, which is userdata with a metatable.  The sentinel of a failed require is a
-- number in some versions of LuaJIT and userdata without a metatable in others.
local function is_module(value) return type(value) == "table" or type(value) == "userdata" and getmetatable(value) end

local function is_mark(name, value)
  return (type(value) == "number" or type(value) == "userdata" and not getmetatable(value))
    and type(name) == "string" and name:find "^llsocket"
end

-- Requires a module whose text is not held; removes all sentinels of the library when that fails.
local function guarded(name)
  local is_loaded, result = pcall(require, name)
  if is_loaded then return result end
  for other, value in pairs(loaded) do
    if is_mark(other, value) then loaded[other] = nil end
  end
  error(result, 0)
end

-- Asks the loaders of require one after the other, as require does; answers the function that makes the module.
local function find(name)
  local said = ""
  for _, loader in ipairs(package.loaders) do
    local found = loader(name)
    if type(found) == "function" then return found end
    said = said .. (found or "")
  end
  error(("module '%s' not found:%s"):format(name, said), 0)
end

local function read(name)
  local file = folder and open(folder .. name:gsub("%.", "/") .. ".lua", "rb")
  local text = file and file:read "*a" or find("llsocket." .. name)
  if file then file:close() end
  return text
end

-- The templates of package.path before the one that found this file, as names of modules.bundle: the build tree keeps its
-- own there.  A folder behind that template may belong to another copy of the library.
local function before()
  local paths = {}
  for template in package.path:gmatch "[^;]+" do
    local path = template:gsub("%?", "llsocket/modules")
    if path == folder .. "modules.lua" then return paths end
    paths[#paths + 1] = path:gsub("%.lua$", ".bundle")
  end
  return {}
end

local function open_all()
  local file = open(folder .. "modules.bundle", "rb")
  if file then return file end
  for _, path in ipairs(before()) do
    file = open(path, "rb")
    if file then return file end
  end
end

-- The first line holds the release, then each module's name and length.  The texts follow with nothing in between.
-- If a text is cut off, that module and those after it are read from their own files.
local function read_all(file)
  local head = file:read "*l" or ""
  if head:match "^%S+" ~= RELEASE then head = "" end
  for name, length in head:gmatch " (%S+) (%d+)" do
    local text = file:read(tonumber(length))
    if not text or #text ~= tonumber(length) then break end
    texts["llsocket." .. name] = text
  end
  file:close()
end

--- Reads the text of all modules that are made on first use, except of those that are already read.
function M.hold()
  for _, name in ipairs(NAMES) do
    local full = "llsocket." .. name
    if not texts[full] and not mine[full] then texts[full] = read(name) end
  end
end

local first_lines -- the globals of a text's first two lines

-- The chunk gets the name of the module's file: stack traces show it, and check.lua recognises the library by it.
local function make(name)
  local text, why = texts[name], nil
  if type(text) == "string" then text, why = loadstring(text, "@" .. folder .. name:sub(10):gsub("%.", "/") .. ".lua") end
  if not text then error(why, 0) end
  return setfenv(text, first_lines)(name)
end

--- Answers a module of this load.  Reads no file where the module's text is held.
---@param name string
---@return any module
function M.require(name)
  if mine[name] then return mine[name] end
  if name:sub(1, 8) ~= "llsocket" then return require(name) end
  local there = is_current() and loaded[name]
  local module = is_module(there) and there or texts[name] and not preload[name] and make(name) or guarded(name)
  mine[name], texts[name] = module, nil
  if is_current() then loaded[name] = module end
  return module
end

first_lines = { package = { loaded = mine }, require = M.require, setfenv = setfenv }

--- Keeps a module as this load's: a program may have required it directly.
---@generic T : table
---@param name string
---@param module T
---@return T module
function M.keep(name, module)
  mine[name] = module
  return module
end

--- Keeps a module, and completes it on the first use of a name that it lacks.
---@generic T : table
---@param name string
---@param module T
---@param rest string  the module whose function `complete` adds the rest
---@return T module
function M.completed(name, module, rest)
  mine[name] = setmetatable(module, { __index = function(_, key)
    M.require(rest).complete(module)
    return rawget(module, key)
  end })
  return module
end

local all = folder and open_all()
if all then read_all(all) end

return M
