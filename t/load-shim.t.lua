-- load: the shim is found in every documented place; a missing or foreign one is reported with the reason.
local ABI = require "abi"
local ffi = require "ffi"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local before = leak.count()
local T = require("tap").plan(28)

local dir = net.tmpdir()
local source = os.getenv "LLSOCKET_SOURCE"
local real = assert(package.searchpath("llsocket.shim", package.cpath))

local function sh(command) assert(select(2, proc.run(command)), command) end
local function slurp(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

-- Makes DIR/name/llsocket/shim.so of these bytes, or a folder of that name; answers its path.
local function put(name, bytes)
  local path = ("%s/%s/llsocket/shim.so"):format(dir, name)
  sh(shell.format("mkdir -p %q", bytes and path:match "^(.*)/" or path))
  if not bytes then return path end
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  return path
end

-- A tree of its own, so that no shim lies beside the Lua files.
local lua = dir .. "/share/lua/5.1"
sh(shell.format("mkdir -p %q && cp -r %q/lua/. %q", lua, source, lua))
local BESIDE = { lua .. "/llsocket/shim.so", dir .. "/lib/lua/5.1/llsocket/shim.so" }

local WORKS = [[
local L = require "llsocket"
local p = L.socket.pair(L.SOCK_STREAM)
io.write((p[1]:send "works"))]]

-- Runs Lua with a cpath of these templates.
local function run(cpath, code, environment, folder)
  local path = dir .. "/code.lua"
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  return (proc.run(shell.format("cd %q && LUA_PATH=%q'/?.lua' LUA_CPATH=%q %s %q %q",
    folder or dir, lua, table.concat(cpath, ";"), environment or "", proc.luajit, path)))
end

local REQUIRE = [[
local function try(name) return tostring(select(2, pcall(require, name))) end
local first = try "llsocket"
io.write(first, "\n", tostring(try "llsocket" == first), " ", tostring(try "llsocket.socket" == first), " ",
  tostring(try "llsocket.shim" == first), " ", tostring(try "llsocket" == first))
for name in pairs(package.loaded) do
  local is_library = type(package.loaded[name]) == "userdata" and getmetatable(package.loaded[name])
  if name:find "^llsocket" and type(package.loaded[name]) ~= "table" and not is_library then io.write(" left: ", name) end
end]]

local HEAD = "llsocket: no usable shim; set LUA_CPATH (nginx: lua_package_cpath), "
  .. "or build it in the source folder: cc -O2 -shared -fPIC -Icsrc csrc/*.c -o lua/llsocket/shim.so"
local function refusal(reasons)
  local out = { HEAD }
  for _, reason in ipairs(reasons) do out[#out + 1] = reason end
  for _, path in ipairs(BESIDE) do out[#out + 1] = ("no file '%s'"):format(path) end
  return table.concat(out, "\n\t") .. "\ntrue true true true"
end

T.is(run({ dir .. "/none/?.so", dir .. "/nor/here.so" }, REQUIRE),
  refusal { ("no file '%s/none/llsocket/shim.so'"):format(dir), ("no file '%s/nor/here.so'"):format(dir) },
  "a missing shim is one error that lists every path, and a second require gives the same text")
T.is(run({}, REQUIRE), refusal {}, "an empty cpath leaves the two places beside the Lua file")
T.is(run({ dir .. "/none/?.so" }, ([[
local ok = pcall(require, "llsocket")
package.cpath = "%s"
io.write(tostring(ok), " ")
]]):format(real) .. WORKS), "false 5", "once the path is right, require works")
T.is(run({ dir .. "/none/?.so" }, [[
package.loaded["mine"], package.loaded["my.llsocket"] = true, "kept"
pcall(require, "llsocket")
io.write(tostring(package.loaded["mine"]), " ", tostring(package.loaded["my.llsocket"]))]]), "true kept",
  "modules of others stay loaded")

-- Files that are no shim of this release: path and reason, one line each.
local function noted(name, path, why)
  local text = run({ path }, REQUIRE)
  local noun = text:match("\n\t([^\n]*)\n\tno file")
  local is_listed = noun and noun:find(path, 1, true) and noun:find(why) and text:find "true true true true$"
  T.ok(is_listed, ("%s is noted: %s"):format(name, noun))
  T.is(run({ path, real }, WORKS), "5", name .. " earlier in the path is passed over")
end

noted("an ELF file of nonsense", put("nonsense", "\127ELF" .. ("nonsense"):rep(100)), ": .+")
noted("an empty file", put("empty", ""), sys.musl and ": Exec format error" or ": file too short")
-- LuaJIT follows it where the loader's words are glibc's.
noted("a linker script", put("script", "INPUT ( /no/such/library.so )\n"), sys.glibc and ": /no/such/library.so: .+" or ": .+")
noted("a text file", put("text", "nonsense\n"), ": .+")
noted("a folder", put "folder", ": .+")

local header = slurp(real)
if sys.musl then
  T.skip(2, "musl's loader does not look at the ELF class")
elseif header:sub(1, 4) == "\127ELF" then
  local other = header:byte(5) == 1 and "\2" or "\1"
  noted("a shim of the other ELF class", put("class", header:sub(1, 4) .. other .. header:sub(6)), "wrong ELF class")
else
  T.skip(2, "the shim is no ELF file here")
end

local function compile(name, code)
  local path = put(name, "")
  local file = assert(io.open(dir .. "/stale.c", "w"))
  file:write(code)
  file:close()
  return select(2, proc.run(shell.format("cc -shared -fPIC -o %q %q/stale.c", path, dir))) and path
end

local later = compile("later", ("int llsocket%d_abi(int wanted) { (void)wanted; return %d; }"):format(ABI, -ABI - 1))
if later then
  noted("a shim of a later ABI", later, (": a shim of ABI %d, not %d$"):format(ABI + 1, ABI))
  noted("a shim without our symbols", compile("older", "int llsocket0_abi(int n) { return n; }"),
    ": no shim of ABI " .. ABI .. "$")
else
  T.skip(4, "no C compiler to build a stale shim with")
end

-- Where a good one is found.
T.is(run({ "shim.so" }, WORKS, nil, real:match "^(.*)/"), "5", "a template without a slash is a file of this folder")
T.is(run({ "?.so" }, WORKS, nil, real:match "^(.*)/llsocket/"), "5", "so is a relative one")
sh(shell.format("mkdir -p %q/all; cp %q %q/all/one.so", dir, real, dir))
T.is(run({ dir .. "/all/one.so" }, WORKS), "5", "a template may name the file itself")
sh(shell.format("cp %q %q", real, BESIDE[1]))
T.is(run({}, WORKS), "5", "a shim beside the Lua file is found")
sh(shell.format("mkdir -p %q && mv %q %q", BESIDE[2]:match "^(.*)/", BESIDE[1], BESIDE[2]))
T.is(run({}, WORKS), "5", "and one in lib/lua where the Lua files are in share/lua")
T.is(run({ dir .. "/none/?.so" }, WORKS), "5", "after the paths of cpath")
os.remove(BESIDE[2])

if ffi.os == "Linux" and not run({}, "", shell.format("LD_PRELOAD=%q", real)):find "%S" then
  T.is(run({}, WORKS, shell.format("LD_PRELOAD=%q", real)), "5", "symbols that are in the process already need no file")
else
  T.skip(1, "no LD_PRELOAD here")
end

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
