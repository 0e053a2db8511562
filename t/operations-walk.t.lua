-- operations: every public name has an operation, and each, performed without a fault, answers what its row says; so it does
-- when all garbage was collected and written over between its making and its call.
local L = require "llsocket"
local lacking = require "lacking"
local leak = require "leak"
local litter = require "litter"
local operations = require "operations"
local shapes = require "shapes"
local signals = require "signals"
local signature = require "signature"
local text = require("llsocket.errno").text

local before = leak.count()
local mask = signals.mask()
local T = require("tap").plan(#operations.all + 5)

T.is(operations.difference(), "", "every public name has an operation, and no operation a name that is not public")

local performed, missing = {}, {}
for _, op in ipairs(operations.list) do if op.fn then performed[op.fn] = true end end
for _, f in ipairs(signature.all()) do if not performed[f.fn] then missing[#missing + 1] = f.title end end
T.is(table.concat(missing, " "), "", "every function with a signature has an operation")

local function perform(op)
  local made, case = pcall(operations.ready, op)
  if not made then
    local reason = lacking.reason_in(case)
    if reason then return T.skip(1, op.title .. ": " .. reason) end
    return T.is(case, "", op.title .. " is made ready")
  end
  litter.churn()
  local answer = operations.run(case)
  local outcome, e, as_wanted = operations.judge(op, answer)
  local line = shapes.line(answer)
  operations.dispose(case)
  if lacking.is_lack(op, outcome, e) and not as_wanted then return T.skip(1, op.title .. ": " .. text(e)) end
  T.is(as_wanted and outcome and "" or line, "", ("%s answers as its row says"):format(op.title))
end

for _, op in ipairs(operations.all) do perform(op) end

-- The families tell answers apart that differ in one value.
local SHAPES = {
  { "send", "done", 3, nil, true }, { "send", "again", 0, nil, true, L.EAGAIN }, { "send", "end" },
  { "send", "failed", nil, text(L.EBADF), false, L.EBADF }, { "send", nil, nil, nil, true, L.EAGAIN },
  { "recv", "again", nil, nil, true, L.EAGAIN }, { "recv", nil, nil, text(L.EBADF), true }, { "recv", "end" },
  { "recv", nil, nil, text(L.EPERM), false, L.EBADF }, { "recvfrom", "failed", nil, nil, text(L.EBADF), false, L.EBADF },
  { "recvfrom", nil, nil, text(L.EBADF), false, L.EBADF }, { "connect", "done" },
  { "connect", "again", nil, true, L.EINPROGRESS }, { "connect", "failed", text(L.EINTR), true, L.EINTR },
  { "plain", "failed", text(L.EBADF), L.EBADF }, { "plain", nil, nil, text(L.EBADF), L.EBADF }, { "plain", "done" },
  { "option", "failed", nil, text(L.EBADF), L.EBADF }, { "option", "done", false }, { "option", nil, nil, nil, L.EBADF },
  { "completed", "failed", nil, text(L.EBADF), false, nil, L.EBADF }, { "gai", "failed", nil, "x", L.EAI_NONAME },
  { "gai", "failed", nil, text(L.EMFILE), L.EAI_SYSTEM, L.EMFILE }, { "gai", nil, nil, "x", L.EAI_SYSTEM },
  { "accept", "again", nil, nil, true, L.ECONNABORTED }, { "accept", nil }, { "read", nil },
}
local wrong = {}
for i, row in ipairs(SHAPES) do
  local n = 2
  for at in pairs(row) do n = math.max(n, at) end
  local outcome = shapes.judge(row[1], { n = n - 2, unpack(row, 3, n) })
  if outcome ~= row[2] then wrong[#wrong + 1] = ("%d: %s %s"):format(i, row[1], tostring(outcome)) end
end
T.is(table.concat(wrong, ", "), "", "an answer of another shape belongs to no family")

T.is(signals.mask(), mask, "the signal mask is as it was")
T.is(leak.count(), before, "no descriptor is left")
T.done()
