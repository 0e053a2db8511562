-- abi: t/abi/fetch also fetches a cross compiler that is installed here, and stamps only what it has fetched.
-- A stand-in for apt leaves out installed packages, as the real one does, and downloads every package that is named.
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local T = require("tap").plan(6)
local fetch, dir = os.getenv "LLSOCKET_SOURCE" .. "/t/abi/fetch", net.tmpdir()

local PROGRAMS = {
  -- INSTALLED names what apt leaves out, LOST what the archive does not have.
  ["apt-get"] = [[
archives= words=
for word do
  case $word in
  Dir::Cache::archives=*) archives=${word#*=} ;;
  -*) ;;
  *=* | update) ;;
  indextargets) echo http://archive.invalid/debian && exit ;;
  *) words="$words $word" ;;
  esac
done
made() { case " $LOST " in *" $2 "*) ;; *) touch "$1/$2_1_all.deb" ;; esac; }
set -- $words
[ "${1-}" != download ] || { shift; for name do made . "$name"; done; exit; }
[ "${1-}" = install ] || exit 0
shift
for name do case " $INSTALLED " in *" $name "*) ;; *) made "$archives" "$name" ;; esac; done
]],
  ["apt-cache"] = "printf '%s\\n' gcc-one-linux-gnu cpp-one-linux-gnu '  Depends: libc6' libc6 libc6-one-cross\n",
  dpkg = [[[ "$1" = -x ] || { echo amd64; exit; }
mkdir -p "$3/usr" && touch "$3/usr/$(basename "$2")"
]],
}
proc.run("mkdir " .. shell.quote(dir .. "/bin"))
for name, text in pairs(PROGRAMS) do
  local file = assert(io.open(dir .. "/bin/" .. name, "w"))
  file:write("#!/bin/sh\n", text)
  file:close()
end
proc.run(("chmod +x %s/bin/*"):format(shell.quote(dir)))

-- Fetches with such an apt; answers whether that ended well, and what lies below the root.
local function run(name, installed, lost)
  local _, ok = proc.run(shell.format("PATH=%q:$PATH INSTALLED=%q LOST=%q %q %q tools gcc-one-linux-gnu libc6-one-cross",
    dir .. "/bin", installed, lost, fetch, dir .. "/" .. name))
  return ok, (proc.run(shell.format("cd %q/root/tools && ls -A . usr", dir .. "/" .. name)))
end

if not example.has "sh" then T.skip(5, "no shell") else
  local ok, there = run("new", "", "")
  T.ok(ok and there:find "gcc%-one%-linux%-gnu_1" and there:find "%.fetched", "what is not installed is fetched, and stamped")
  ok, there = run("installed", "gcc-one-linux-gnu cpp-one-linux-gnu libc6 libc6-one-cross", "")
  T.ok(ok and there:find "gcc%-one%-linux%-gnu_1", "a cross compiler is fetched even if it is installed")
  T.ok(there:find "cpp%-one%-linux%-gnu_1" and there:find "libc6%-one%-cross_1", "with what it needs of the other machine")
  T.ok(not there:find "libc6_1", "but not the packages that this machine provides")
  ok, there = run("lost", "gcc-one-linux-gnu", "gcc-one-linux-gnu")
  T.ok(not ok and not there:find "%.fetched", "if a package cannot be fetched it fails, and leaves no stamp")
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
