-- shim: it needs no function that an older C library keeps elsewhere than in libc itself, since only libc, libm and libdl
-- are sure to be in a LuaJIT process; nor does libc.lua.
local leak = require "leak"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()

local T = require("tap").plan(4)

local source = os.getenv "LLSOCKET_SOURCE"
local shim = assert(package.searchpath("llsocket.shim", package.cpath))

-- What glibc had in libpthread, librt, libutil, libanl and libresolv before 2.34.  The few pthread functions that libc has
-- always had are of no use to a library that starts no thread.
local ELSEWHERE = {
  "^pthread_", "^sem_", "^thrd_", "^mtx_", "^cnd_", "^tss_", "^call_once$",                -- libpthread
  "^aio_", "^lio_listio", "^mq_", "^shm_", "^timer_",                                      -- librt
  "^openpty$", "^forkpty$", "^login", "^logout", "^logwtmp$",                              -- libutil
  "^getaddrinfo_a$", "^gai_", "^ns_", "^dn_", "^__dn_", "^__ns_", "^res_n", "^__res_n",    -- libanl, libresolv
}
local EXCEPT = { gai_strerror = true }

-- LuaJIT itself is linked with libdl.
local LOADER = { dladdr = true, dlopen = true }

local function is_elsewhere(name)
  if EXCEPT[name] then return false end
  for _, pattern in ipairs(ELSEWHERE) do
    if name:find(pattern) then return true end
  end
  return false
end

local function version(text)
  local major, minor = text:match "^GLIBC_(%d+)%.(%d+)"
  return major and major * 1000 + minor
end

-- The undefined symbols of the shim: { name = version or false }.
local function undefined()
  local text = proc.run("nm -D --undefined-only " .. shell.quote(shim))
  local symbols = {}
  for name, of in text:gmatch "%sU ([%w_]+)@*([%w_.]*)" do symbols[name] = version(of) or false end
  return symbols, text
end

-- glibc gives a function that moves into libc the version of that day.  Beside what all of its ABI have, whose version is
-- close's, only functions that are new as such may be newer than 2.31: those of 64-bit time.
local function is_moved(name, of, base)
  if not of or LOADER[name] or name:find "64$" then return false end
  return of > math.max(2031, base)
end

local function names_where(symbols, fault)
  local list = {}
  for name, of in pairs(symbols) do
    if fault(name, of) then list[#list + 1] = name end
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function bound()
  local symbols = {}
  local file = assert(io.open(source .. "/lua/llsocket/core/libc.lua"))
  for name in file:read("*a"):gmatch "__asm__%(\"([%w_]+)\"%)" do symbols[name] = false end
  file:close()
  return symbols
end

local function reason_not_to()
  if not jit.status() or os.getenv "LLSOCKET_STRESS" then return "symbols do not care how Lua runs" end
  if not select(2, proc.run "command -v nm") then return "there is no nm" end
  local symbols, text = undefined()
  if not next(symbols) then return "nm does not read the shim: " .. text:gsub("\n", " ") end
end

local why = reason_not_to()
if why then
  T.skip(2, why)
else
  local symbols = undefined()
  T.is(names_where(symbols, is_elsewhere), "", "the shim needs no function that may be in another library")
  T.is(names_where(symbols, function(name, of) return is_moved(name, of, symbols.close or 0) end), "",
    "and none that moved into libc after glibc 2.31")
end
T.is(names_where(bound(), is_elsewhere), "", "libc.lua binds none of these")
T.is(leak.count(), before, "no descriptor is left")
T.done()
