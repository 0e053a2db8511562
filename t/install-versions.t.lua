-- Several files name the release, the Lua files and the C files: they agree.
local install = require "install"
local leak = require "leak"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(9)
local before = leak.count()

local version = install.version()
local function text(path) return install.read(install.source .. "/" .. path) end

-- A rockspec is a Lua file that sets globals.
local function rockspec(path)
  local fields = {}
  local chunk = loadstring(text(path), "=" .. path)
  if chunk then setfenv(chunk, fields)() end
  return fields
end

local function lines(items)
  table.sort(items)
  return table.concat(items, "\n") .. "\n"
end

local function list(command) return (proc.run(shell.format("cd %q && %s | LC_ALL=C sort", install.source, command))) end

local path = ("llsocket-%s-1.rockspec"):format(version)
local rock = rockspec(path)
T.is(list "ls *.rockspec", path .. "\n", "there is one rockspec, of the release that meson.build names")
T.is(rock.version, version .. "-1", "which says so inside")
T.ok(rock.source and rock.source.url:find(("/llsocket-%s.tar.gz"):format(version), 1, true)
  and rock.source.dir == "llsocket-" .. version, "and names its archive")
T.is(text "debian/changelog":match "^lua%-llsocket %(([^)]*)%) ", version, "the Debian package is of the same release")

-- "llsocket.wait.luv" is lua/llsocket/wait/luv.lua.
local function misplaced(modules)
  local out = {}
  for name, file in pairs(modules) do
    if type(file) == "string" and file ~= "lua/" .. name:gsub("%.", "/") .. ".lua" then out[#out + 1] = name end
  end
  return table.concat(out, " ")
end

local files, modules = {}, rock.build and rock.build.modules or {}
local install_lua = rock.build and rock.build.install and rock.build.install.lua or {}
for _, set in ipairs { modules, install_lua } do
  for _, file in pairs(set) do files[#files + 1] = type(file) == "string" and file or nil end
end
T.is(lines(files), list "find lua -name '*.lua'", "the rockspec lists every Lua file, and no other")
T.is(misplaced(modules) .. misplaced(install_lua), "", "each under the name by which require finds it")
local shim = type(modules["llsocket.shim"]) == "table" and modules["llsocket.shim"].sources or {}
T.is(lines(shim), list "ls csrc/*.c", "and every C file")
local built = {}
for name in text "csrc/meson.build":match "files(%b())":gmatch "'([^']+)'" do built[#built + 1] = "csrc/" .. name end
T.is(lines(built), list "ls csrc/*.c", "as meson.build does")
T.is(leak.count(), before, "no descriptor is left")
T.done()
