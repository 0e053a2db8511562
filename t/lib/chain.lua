-- chain.lua -- network namespaces in a row: this process's own, then those of children, each wired to the next by a veth pair.
--
-- The wire between namespaces i - 1 and i, counted from 0, has the ends `w<i>a` there and `w<i>b` here.
local L = require "llsocket"
local net = require "net"
local netns = require "netns"
local proc = require "proc"

local M = {}

-- A child does what it is told: a text of Lua, with the netns module and proc.run as arguments.
local function obey(wire)
  assert(netns.enter())
  wire:send "there"
  while true do
    local text = wire:recv(65536)
    if not text then return end
    local done, answer = pcall(assert(loadstring(text)), netns, proc.run)
    wire:send(done and "done " .. tostring(answer) or "failed " .. tostring(answer))
  end
end

local function child()
  local ours, theirs = net.pair(L.SOCK_SEQPACKET)
  local pid = proc.fork(function()
    ours:close()
    obey(theirs)
  end)
  theirs:close()
  return ours:recv() == "there" and { pid = pid, wire = ours } or nil, ours, pid
end

--- Has child i do something; answers what that answers, as text.
---@param chain table
---@param i integer
---@param text string  Lua, with `local netns, run = ...` before it
---@return string answer
function M.tell(chain, i, text)
  chain[i].wire:send("local netns, run = ... " .. text)
  local how, answer = tostring(chain[i].wire:recv(65536)):match "^(%a+) ?(.*)$"
  if how ~= "done" then error(("namespace %d: %s"):format(i, tostring(answer)), 2) end
  return answer
end

-- Commands of ip(8) in the i-th namespace.
local function configure(chain, i, lines)
  if i == 0 then return netns.batch(lines) end
  M.tell(chain, i, ("netns.batch { %s }"):format(("%q, "):rep(#lines):format(unpack(lines))))
end

--- Sets a value below /proc/sys in a child.
function M.sysctl(chain, i, path, value)
  M.tell(chain, i, ("local file = assert(io.open(%q, 'w')) file:write(%q) file:close()"):format("/proc/sys/" .. path, value))
end

--- Ends the children; answers 0 if all ended well.  All ends are closed first: a child has those of the children before it.
function M.close(chain)
  local status = 0
  for _, one in ipairs(chain) do one.wire:close() end
  for _, one in ipairs(chain) do status = status + (proc.wait(one.pid) or 1) end
  return status
end

--- Makes the namespaces; `netns.enter` must have been called.
---@param all table  [0]: the commands of ip(8) for this one, [1] and so on for the others, whose wires are there already
---@return table? chain  nil where that cannot be
---@return string? why
function M.make(all)
  local chain = {}
  for i = 1, #all do
    local one, wire, pid = child()
    if not one then
      wire:close()
      proc.wait(pid)
      M.close(chain)
      return nil, "no further network namespace may be made here"
    end
    chain[i] = one
    netns.ip(("link add w%da type veth peer name w%db"):format(i, i))
    if i > 1 then netns.ip(("link set w%da netns %d"):format(i, chain[i - 1].pid)) end
    netns.ip(("link set w%db netns %d"):format(i, one.pid))
  end
  for i = 0, #all do configure(chain, i, all[i]) end
  netns.settle()
  for i = 1, #all do M.tell(chain, i, "netns.settle()") end
  return chain
end

return M
