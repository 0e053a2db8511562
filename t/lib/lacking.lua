-- lacking.lua -- whether an operation is one that this system, or this user, is without: reasons to leave it out.
local L = require "llsocket"
local operations = require "operations"
local proc = require "proc"
local text = require("llsocket.errno").text

local M = {}

local LACKS = { L.EPERM, L.EACCES, L.ENOSYS, L.ENOPROTOOPT, L.EOPNOTSUPP, L.EAFNOSUPPORT, L.EADDRNOTAVAIL, L.EPROTONOSUPPORT }
local lacking, reasons = {}, {}
for _, e in pairs(LACKS) do lacking[e], reasons[#reasons + 1] = true, text(e) end

--- The reason in an error that operations.ready raised, or nil.
function M.reason_in(why)
  for _, reason in ipairs(reasons) do if tostring(why):find(reason, 1, true) then return reason end end
end

-- sendfile and splice.  Do not read missing.lua earlier: it calls sendfile, in which planted.lua plants a fault.
local function is_missing(op) return require("missing")[op.name:match "%w+$"] end

--- Whether an answer, which is not as wanted, tells that the system is without the operation.
function M.is_lack(op, outcome, e)
  if e == L.ENOSYS and outcome == "failed" and is_missing(op) then return true end
  return outcome == "failed" and lacking[e] and (op.family == "option" or op.family == "object" or op.family == "plain")
end

local function lacks(op)
  local made, case = pcall(operations.ready, op)
  if not made then return M.reason_in(case) ~= nil end
  local ok, answer = pcall(operations.run, case)
  local outcome, e, as_wanted
  if ok then outcome, e, as_wanted = operations.judge(op, answer) end
  operations.dispose(case)
  return ok and not as_wanted and M.is_lack(op, outcome, e)
end

--- The titles of what this system is without, as a set.  A child finds out, for whoever counts what a first use makes.
function M.titles()
  local path, out = os.tmpname(), {}
  local pid = proc.fork(function()
    local file = assert(io.open(path, "w"))
    for _, op in ipairs(operations.list) do
      if lacks(op) then file:write(op.title, "\n") end
    end
    file:close()
  end)
  assert(proc.wait(pid) == 0, "the operations cannot be performed once")
  for title in io.lines(path) do out[title] = true end
  os.remove(path)
  return out
end

return M
