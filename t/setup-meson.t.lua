-- setup: a Meson that is too old is refused before anything is installed, whether it is there or would come by apt-get.
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local source = os.getenv "LLSOCKET_SOURCE"
local before = leak.count()
local T = require("tap").plan(7)

local dir = net.tmpdir()
local function sh(command) return proc.run(shell.format("cd %q && ", dir) .. command) end

-- A program of this name, first in PATH.
local function program(name, text)
  local file = assert(io.open(dir .. "/bin/" .. name, "w"))
  file:write("#!/bin/sh\n", text, "\n")
  file:close()
  sh("chmod +x bin/" .. name)
end

-- What setup says; whether it has asked apt-get to install something.
local function setup()
  local text, ok = sh(shell.format("PATH=%q/bin:$PATH ./setup 2>&1", dir))
  local log = sh "cat log 2>/dev/null"
  return text, ok, log:find("install", 1, true) ~= nil, log:find("update", 1, true) ~= nil
end

sh(shell.format("mkdir bin && cp %q/setup . && touch log", source))
program("apt-get", 'echo "$@" >>' .. shell.quote(dir .. "/log"))
program("sudo", '"$@"')
program("cc", "exit 1") -- so libc6-dev seems to be missing
program("meson", "echo 0.56.2")
local SAYS = "^setup: Meson 1%.0 or later is needed, this is 0%.56%.2[^\n]*"

local text, ok, installs, updates = setup()
T.ok(not ok and text:find(SAYS .. "\n?$"), "setup refuses an old Meson and says nothing else: " .. text)
T.ok(not installs and not updates, "and asks apt-get for nothing")

program("meson", "exit 127")
program("apt-cache", "echo '  Candidate: 0.56.2-1'")
text, ok, installs = setup()
T.ok(not ok and text:find "this is 0%.56%.2%-1", "the Meson that apt-get would install is refused, too: " .. text)
T.ok(not installs, "and nothing is installed")

-- Fresh machines have no lists of packages yet.
program("apt-cache", "grep -q update " .. shell.quote(dir .. "/log") .. " && echo '  Candidate: 0.56.2-1'")
text, ok, installs, updates = setup()
T.ok(not ok and text:find "this is 0%.56%.2%-1" and updates, "where there are no lists, they are fetched first")
T.ok(not installs, "and nothing is installed either")

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
