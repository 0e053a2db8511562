-- libc: each function that libc.lua binds is the same that a C program gets by this name.  Headers may rename a function
-- whose struct has grown; then the FFI, which goes by the name, would hand the old function the new struct.
local C = require "llsocket.core.libc"
local ffi = require "ffi"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()

local T = require("tap").plan(5)

local source = os.getenv "LLSOCKET_SOURCE"

-- The names and their symbols, of the functions that this system has.
local function bound()
  local file = assert(io.open(source .. "/lua/llsocket/core/libc.lua"))
  local list = {}
  for name, symbol in file:read("*a"):gmatch "(llsocket%d*_[%w_]+)%([^;]*%) __asm__%(\"([%w_]+)\"%)" do
    if pcall(function() return ffi.C[name] end) then list[#list + 1] = { name = name, symbol = symbol } end
  end
  file:close()
  return list
end

local HEAD = [[
#include "%s/csrc/facts.c"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
]]

-- The addresses as the compiler has them, from a library with the headers of the shim.
local function compiled(list)
  local dir, text = net.tmpdir(), { HEAD:format(source) }
  for _, one in ipairs(list) do
    text[#text + 1] = ("EXPORT void *llsocket_t_is_%s(void) { return (void *)%s; }\n"):format(one.symbol, one.symbol)
    ffi.cdef(("void *llsocket_t_is_%s(void);"):format(one.symbol))
  end
  local file = assert(io.open(dir .. "/names.c", "w"))
  file:write(table.concat(text))
  file:close()
  local out, ok = proc.run(shell.format("cc -w -shared -fPIC -I%q/csrc %q/names.c -o %q/names.so", source, dir, dir))
  if not ok then print("# " .. out:gsub("\n", "\n# ")) end
  return ok and ffi.load(dir .. "/names.so")
end

local function address(pointer) return tonumber(ffi.cast("uintptr_t", ffi.cast("void *", pointer))) end

-- What a compiler calls otherwise, unless C makes the call.
local function renamed(list, library)
  local wrong, made = {}, {}
  for _, one in ipairs(list) do
    local is_other = address(library["llsocket_t_is_" .. one.symbol]()) ~= address(ffi.C[one.name])
    local by_c = address(C[one.name]) ~= address(ffi.C[one.name])
    if is_other and not by_c then wrong[#wrong + 1] = one.symbol end
    if by_c then made[#made + 1] = one.symbol end
  end
  return table.concat(wrong, " "), table.concat(made, " ")
end

local function reason_not_to()
  if not jit.status() or os.getenv "LLSOCKET_STRESS" then return "symbols do not care how Lua runs" end
  if not select(2, proc.run "command -v cc") then return "this machine has no cc" end
end

local why = reason_not_to()
if why then
  T.skip(4, why)
else
  local list = bound()
  T.ok(#list > 50, ("libc.lua binds %d functions that are here"):format(#list))
  local library = compiled(list)
  T.ok(library, "a C program names them all")
  local wrong, made = renamed(list, library)
  T.is(wrong, "", "none has another symbol, unless C calls it (a line in renamed.lua)")
  local has_wide_time = ffi.sizeof(require("llsocket.core.layout").timespec) > 2 * ffi.sizeof "long"
  T.is(made ~= "", has_wide_time, "C makes calls only where a time is longer than a long: " .. made)
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
