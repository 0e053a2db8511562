-- lazy.lua -- the globals of all modules; their require makes some by their first use, from text that is read before.
--
-- So no method and no field needs a file of the library: once loaded it works without a free descriptor, after chroot(2)
-- and when its files are gone.  Meson makes one file with the text of all modules, modules.bundle, from which the others come at
-- once, too: it holds no comments, and 60 files need not be looked for, which saves 0.8 of 15.9 million instructions.  Where
-- there is none, modules are read from their own files.  Compiling all of them would take 15 million more.
--
-- Each load of the library has its own lazy.lua, which has its own modules: when package.loaded is cleared and the
-- library loaded again, an old socket's methods stay with the old modules.
--
-- LuaJIT's require marks in package.loaded what it loads, and leaves the mark of a module that fails: the next require
-- raises "loop or previous error" in place of the cause.  So the first line of every module takes its own mark away, and
-- the require that the second line gives it takes away those of others.
package.loaded[...] = nil

local RELEASE = "0.2.0-dev" -- equals llsocket._VERSION; a modules.bundle of another one is not for these files

-- All modules that `require "llsocket"` does not run, but for the ways of waiting, which are had by require alone.
local NAMES = {
  "address.ifaddrs", "address.links", "address.netlink", "address.resolver", "batch", "cmsghdr", "descriptor", "device",
  "message.control", "message.iovec", "message.region", "msghdr", "pipe", "poll", "poll.bits", "poll.epoll", "poll.event",
  "poll.kqueue", "poll.poll", "socket.activated", "socket.anyoption", "socket.batch", "socket.buffer", "socket.ended",
  "socket.foreign", "socket.message", "socket.onclose", "socket.splice", "socket.steer", "socket.zerocopy",
}

local error, getmetatable, ipairs, loadstring, open, pairs = error, getmetatable, ipairs, loadstring, io.open, pairs
local pcall, require, setfenv, tonumber, type = pcall, require, setfenv, tonumber, type
local package, loaded, preload = package, package.loaded, package.preload

jit.off(true, true) -- loops that run once would be compiled for nothing, which takes longer than they

local mine = { ffi = require "ffi", bit = require "bit" } -- this load's modules
local texts = {} -- by name, until a module is made: its text, or its function where only the loaders of require had it
local folder = debug.getinfo(1, "S").source:match "^@(.*)core/lazy%.lua$" -- nil where the library is linked into the program

-- What the modules find as globals: these functions as they are now, whatever the program makes of them later.
local M = setmetatable({
  assert = assert, collectgarbage = collectgarbage, error = error, getmetatable = getmetatable, ipairs = ipairs,
  next = next, pairs = pairs, pcall = pcall, rawget = rawget, rawset = rawset, select = select,
  setmetatable = setmetatable, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  coroutine = coroutine, debug = debug, io = io, jit = jit, math = math, os = os, string = string, table = table,
  package = package, texts = texts, release = RELEASE,
}, { __index = _G })
mine["llsocket.core.lazy"] = M

-- Whether this load is the one that require answers with now.
local function is_current() return loaded["llsocket.core.lazy"] == M end

-- A table, or a loaded C library, which has a metatable; the mark is a number or userdata, as the LuaJIT has it.
local function is_module(value) return type(value) == "table" or type(value) == "userdata" and getmetatable(value) end

local function is_mark(name, value)
  return (type(value) == "number" or type(value) == "userdata" and not getmetatable(value))
    and type(name) == "string" and name:find "^llsocket"
end

-- Requires one whose text is not held; no mark stays when it fails.
local function guarded(name)
  local is_loaded, result = pcall(require, name)
  if is_loaded then return result end
  for other, value in pairs(loaded) do
    if is_mark(other, value) then loaded[other] = nil end
  end
  error(result, 0)
end

-- Asks the loaders of require one after the other, as require does; answers the function that makes a module.
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

-- Where the templates of package.path come before the one that found this file: the build tree has its modules.bundle there.
-- A folder behind that may belong to another copy of the library.
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

-- The first line tells the release, then each module's name and length; their texts follow, with nothing in between.
-- Modules that do not come whole are read from their own files.
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

--- Reads the text of all modules that are made by their first use, where that is still to be done.
function M.hold()
  for _, name in ipairs(NAMES) do
    local full = "llsocket." .. name
    if not texts[full] and not mine[full] then texts[full] = read(name) end
  end
end

local first_lines -- the globals of a text's first two lines

-- The chunk is named as if it came from its file: stack traces name that, and check.lua knows its own by it.
local function make(name)
  local text, why = texts[name], nil
  if type(text) == "string" then text, why = loadstring(text, "@" .. folder .. name:sub(10):gsub("%.", "/") .. ".lua") end
  if not text then error(why, 0) end
  return setfenv(text, first_lines)(name)
end

--- Answers a module of this load.  Reads no file of one whose text is held.
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

--- Remembers a module that a program may require by itself.
---@param name string
---@param module table
---@return table module
function M.keep(name, module)
  mine[name] = module
  return module
end

local all = folder and open_all()
if all then read_all(all) end

return M
