-- netns.lua -- a network namespace for the test process itself: it ends with the process, however that ends,
-- and with it all that was made inside.
local ffi = require "ffi"
local proc = require "proc"
local shell = require "shell"

ffi.cdef [[
int llsocket_t_unshare(int flags) __asm__("unshare");
int llsocket_t_geteuid(void) __asm__("geteuid");
int llsocket_t_getegid(void) __asm__("getegid");
]]

local C = ffi.C
local CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWNS = 0x40000000, 0x10000000, 0x00020000 -- Linux, every architecture

local M = {}

local PATH = "PATH=$PATH:/usr/sbin:/sbin "

local function write(path, text)
  local file = io.open(path, "w")
  if not file then return end
  file:write(text)
  file:close()
end

-- As nobody in particular one may have a namespace inside a user namespace of one's own, and be its root.
local function unshare(flags)
  if C.llsocket_t_unshare(flags) == 0 then return true end
  local uid, gid = C.llsocket_t_geteuid(), C.llsocket_t_getegid()
  if C.llsocket_t_unshare(CLONE_NEWUSER + flags) ~= 0 then return false end
  write("/proc/self/setgroups", "deny")
  write("/proc/self/uid_map", ("0 %d 1"):format(uid))
  write("/proc/self/gid_map", ("0 %d 1"):format(gid))
  return true
end

-- Runs ip(8); answers its output, and whether it ended well.
function M.try(command) return proc.run(PATH .. "ip " .. command) end

-- Whether an interface has a carrier and does not send yet.
local function is_pending(link) return link:find "LOWER_UP" and link:find "state [DL]" end

-- Waits until what is up sends.  The first end of a veth pair gets its carrier from the second, and begins to send when the
-- kernel's link watch comes to it, which waits for a lock while other namespaces are made or ended.  Until then what it sends
-- is lost without a word: beside three such processes 21 of 120 frames, and none of 120 after this.
function M.settle()
  for _ = 1, 2000 do -- of some 3 ms
    local pending = false
    for link in M.try "-o link":gmatch "[^\n]+" do pending = pending or is_pending(link) end
    if not pending then return end
  end
end

-- Runs ip(8) and insists.
function M.ip(command)
  local out, ok = M.try(command)
  if not ok then error(("ip %s: %s"):format(command, out), 2) end
  if command:find " up" then M.settle() end
  return out
end

-- Runs many commands of ip(8) in one process.
function M.batch(lines)
  local path = os.tmpname()
  write(path, table.concat(lines, "\n") .. "\n")
  local out, ok = M.try("-batch " .. shell.quote(path))
  os.remove(path)
  if not ok then error("ip -batch: " .. out, 2) end
  M.settle()
end

-- Whether there is an ip(8).
function M.has_ip() return select(2, M.try "-V") end

-- Moves this process into a namespace of its own; answers true, or nil and why that cannot be.  For the whole
-- process: what a test has to do outside, it does before.  With `mounts` it is a mount namespace, too.
function M.enter(mounts)
  if not pcall(function() return C.llsocket_t_unshare end) then return nil, "this system has no network namespaces" end
  if not M.has_ip() then return nil, "ip(8) is missing" end
  local file = io.open "/proc/net/if_inet6"
  if not file then return nil, "this kernel has no IPv6, or /proc is missing" end
  file:close()
  if not unshare(CLONE_NEWNET + (mounts and CLONE_NEWNS or 0)) then return nil, "no network namespace may be made here" end
  local _, ok = M.try "link add name va type veth peer name vb"
  if not ok then
    M.ip "link set lo up" -- there is no way back, and what is left of the test wants a loopback
    return nil, "no veth pair may be made in a network namespace here"
  end
  M.ip "link del va"
  return true
end

return M
