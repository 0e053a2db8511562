-- harness-tap: a test file that does not reach its end, for any reason, exits with the status of a failure, which Meson and
-- prove check.  Its output alone is not enough: the plan, results and skips printed by then may look right.
local leak = require "leak"
local proc = require "proc"
local before = leak.count()

-- What a file does, and whether it passes.
local ROWS = {
  { "all that was planned", "T.plan(2).ok(true, 'a') T.ok(true, 'b') T.done()", true },
  { "skips alone", "T.plan(2).skip(2, 'reason') T.done()", true },
  { "a child that exits by itself",
    "T.plan(1) local p = proc.fork(function() os.exit(0) end) proc.wait(p) T.ok(true, 'a') T.done()",
    true },
  { "a failed test", "T.plan(2).ok(true, 'a') T.ok(false, 'b') T.done()" },
  { "a test too few", "T.plan(2).ok(true, 'a') T.done()" },
  { "a test too many", "T.plan(1).ok(true, 'a') T.ok(true, 'b') T.done()" },
  { "a skip too few", "T.plan(3).skip(2, 'reason') T.done()" },
  { "no plan", "T.ok(true, 'a') T.done()" },
  { "the end of the file after the last test", "T.plan(1).ok(true, 'a')" },
  { "the end of the file before the last test", "T.plan(2).ok(true, 'a')" },
  { "the end of the file before the first test", "T.plan(2)" },
  { "the end of the file before the plan", "" },
  { "the end of the file after skips", "T.plan(2).skip(1, 'reason')" },
  { "an error after the last test", "T.plan(1).ok(true, 'a') error 'x'" },
  { "an error before the first test", "T.plan(2) error 'x'" },
  { "an error after skips", "T.plan(2).skip(1, 'reason') error 'x'" },
  { "os.exit() after skips", "T.plan(2).skip(1, 'reason') os.exit()" },
  { "os.exit(0) before the first test", "T.plan(2) os.exit(0)" },
  { "os.exit(true) after the last test", "T.plan(1).ok(true, 'a') os.exit(true)" },
  { "os.exit(0, true) after skips", "T.plan(2).skip(1, 'reason') os.exit(0, true)" },
  { "os.exit(0) in a coroutine", "T.plan(2).skip(1, 'reason') coroutine.wrap(function() os.exit(0) end)()" },
  { "a return after skips", "T.plan(2).skip(1, 'reason') do return end T.done()" },
}

local T = require("tap").plan(#ROWS + 2)
local said
for _, row in ipairs(ROWS) do
  local text, passes = proc.lua("local T, proc = require 'tap', require 'proc' " .. row[2])
  said = said or text
  T.is(passes, row[3] or false, ("%s %s"):format(row[1], row[3] and "passes" or "fails"))
end
T.ok(said:find("1..2\nok 1 - a\nok 2 - b\n", 1, true), "the output is TAP, with the plan first")
T.is(leak.count(), before, "no descriptor is left")
T.done()
