-- shim.lua -- finds and loads the C shim; the only ffi.load in the library.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local error, pcall, package = error, pcall, package
local abs, concat, getinfo = math.abs, table.concat, debug.getinfo

local ABI = 2 -- equals LLSOCKET_ABI in csrc/shim.h

ffi.cdef [[
int llsocket2_abi(int wanted);
void llsocket2_stay(void);
]]

-- Answers why `lib` is none of ours, or nil.
local function refusal(lib)
  local asked, abi = pcall(function() return lib.llsocket2_abi(ABI) end)
  if not asked then return "no shim of ABI " .. ABI end
  if abi ~= ABI then return ("a shim of ABI %d, not %d"):format(abs(abi), ABI) end
end

local function open(path)
  if not path:find("/", 1, true) then path = "./" .. path end -- a bare name would become lib<name>.so
  local loaded, lib = pcall(ffi.load, path)
  if not loaded and lib:find(path, 1, true) then return nil, lib end
  if not loaded then return nil, path .. ": " .. lib end -- a library that it needs is missing
  local why = refusal(lib)
  if why then return nil, path .. ": " .. why end
  return lib
end

-- Where the Lua file itself lies, and the folder for compiled modules that belongs to it.
local function beside()
  local dir = getinfo(1, "S").source:match "^@(.*)shim%.lua$"
  if not dir then return "" end
  return dir .. "shim.so;" .. dir:gsub("/share/lua/", "/lib/lua/") .. "shim.so"
end

-- Each template is tried by itself, so that a stale or foreign file is passed over.
local function find()
  if not refusal(ffi.C) then return ffi.C end -- linked into the process
  local refused = {}
  for template in (package.cpath .. ";" .. beside()):gmatch "[^;]+" do
    local path = package.searchpath("llsocket.shim", template)
    local lib, why
    if path then lib, why = open(path) end
    if lib then return lib end
    refused[#refused + 1] = "\n\t" .. (why or ("no file '%s'"):format((template:gsub("%?", "llsocket/shim"))))
  end
  return nil, "llsocket: no usable shim; set LUA_CPATH (nginx: lua_package_cpath)" .. concat(refused)
end

local lib, why = find()
if not lib then error(why, 0) end
lib.llsocket2_stay()
debug.getregistry()["llsocket2.shim"] = lib -- a collected handle would unmap code still referenced

return lib
