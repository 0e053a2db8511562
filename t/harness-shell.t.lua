-- harness-shell: the tests' own tools work on every machine: odd paths, few descriptors, a long TMPDIR, structs of libc.
local ffi = require "ffi"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local before = leak.count()

local ODD = { "plain", "", "two words", "a path with 'quotes'", [["$HOME" `id` \n ; & *]], "a\nb", "-n", "%d %q %s", "'" }
local T = require("tap").plan(#ODD + 12)

for _, text in ipairs(ODD) do
  T.is(proc.run("printf %s " .. shell.quote(text)), text, "the shell reads back: " .. text:gsub("\n", "\\n"))
end
T.is(shell.format("%q/x %s %d %5.1f%% %q", "it's", "raw", 3, 2.5, 4), [['it'\''s'/x raw 3   2.5% '4']],
  "format quotes what stands for %q and nothing else")

-- A program in a folder with an odd name.
local dir = net.tmpdir() .. "/a path with 'quotes'"
T.ok(select(2, proc.run("mkdir " .. shell.quote(dir))), "a folder has an odd name")
local path = dir .. "/it is.lua"
local file = assert(io.open(path, "w"))
file:write "print(arg[1]) print(arg[0])"
file:close()
T.is(proc.run(example.command(path, "x")), "x\n" .. path .. "\n", "an example runs there")
local child, line = example.start_file(path, "y")
T.is(line, "y", "and is started there")
T.is(example.stop(child), path .. "\n", "and ended")

-- TMPDIR.
local where = [[-e 'local net = require "net" print(net.tmpdir():match "^(.*)/") net.cleanup()']]
local function temporary(folder)
  return proc.run(shell.format("mkdir -p %q && TMPDIR=%q %q %s", folder, folder, proc.luajit, where))
end
T.is(temporary(dir:match "^(.*)/"), dir:match "^(.*)/" .. "\n", "temporary folders lie where TMPDIR says")
local away = "# the path of TMPDIR is too long or too odd for a unix socket: /tmp is used\n/tmp\n"
T.is(temporary(dir:match "^(.*)/" .. ("/long"):rep(20)), away, "but where a unix socket's path would be too long, in /tmp")
T.is(temporary(dir), away, "and so for an odd one")
net.cleanup()

-- Limits.
local raise = [[-e 'local sys = require "sys" print(sys.limit_descriptors(200), sys.limit_descriptors(100))']]
T.is(proc.run(shell.format("ulimit -Sn 64 && %q %s", proc.luajit, raise)), "64\t200\n",
  "the soft limit of descriptors is raised where the hard one allows it")
T.is(proc.run(shell.format("ulimit -n 64 && %q %s", proc.luajit, raise)), "nil\tnil\n", "and where it does not, nil says so")

-- libc fills these structs: a larger one than we have room for would overwrite what lies behind.
local function written(call)
  local room = ffi.new "uint8_t[64]"
  ffi.fill(room, 64, 0x55)
  call(room)
  for i = 63, 0, -1 do if room[i] ~= 0x55 then return i + 1 end end
  return 0
end
T.ok(written(function(room) ffi.C.llsocket_t_getrlimit(7, room) end) <= ffi.sizeof(sys.rlimit)
  and written(function(room) ffi.C.llsocket_t_clock_gettime(1, room) end) <= ffi.sizeof(sys.now),
  "the memory for a limit and for a time is as large as libc's struct")
T.is(leak.count(), before, "no descriptor is left")
T.done()
