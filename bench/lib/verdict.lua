-- verdict.lua -- what llsocket is to reach, known before anything is measured, and whether it did.
local turns = require "bench.lib.turns"

local M = {}

local function is_peer(row) return row.name:find "^lua%-" ~= nil or row.threads end

-- Whom a row competes with: those that make strings as it does, those that make one call a message, those that call
-- handlers from a loop, or all.  A case names in `spares` whom it leaves out.
local COMPETE = {
  strings = function(peer) return not (peer.buffers or peer.batches) end,
  singly = function(peer) return not peer.batches end,
  loops = function(peer, case) return peer.loop and not (case.spares and case.spares[peer.name]) end,
  blocking = function(peer) return not peer.loop end,
  all = function() return true end,
}
local WHOM = {
  strings = "every peer that makes strings", singly = "every peer that makes one call a packet", all = "every peer",
  blocking = "every peer that blocks",
}

local function peers_of(rows, which, case)
  local out = {}
  for _, row in ipairs(rows) do
    if is_peer(row) and COMPETE[which](row, case) then out[#out + 1] = row end
  end
  return out
end

local function names_of(list)
  local out = {}
  for i, row in ipairs(list) do out[i] = row.name end
  return #out > 0 and table.concat(out, ", ") or "every loop"
end

-- How many operations a row does in the time, the CPU's unless said, in which another does one.
local function against(row, other, time) return turns.ratio(row.samples, other.samples, time or "cpu") end

local function named(rows, name)
  for _, row in ipairs(rows) do
    if row.name == name then return row end
  end
end

-- Level is what the clock cannot tell apart, where no more instructions are spent: the kernel does the same for both.  Loops
-- differ in what they ask the kernel, so there is no level for those who run handlers.
local function is_level(row, peer, ratio)
  if ratio.high < 1 then return false end
  return not (row.instructions and peer.instructions) or row.instructions <= peer.instructions
end

-- What is judged: the time on the CPU, the rate, or both.
local TIMES = { wall = { "wall" }, cpu = { "cpu" }, both = { "cpu", "wall" } }
local BY = { wall = "'s rate", cpu = " in the same CPU time", both = ", by CPU time and rate" }
local SHORT = { wall = "by rate", cpu = "by CPU time" }

local GOALS = {}

local function value_of(goal, case) return type(goal) == "function" and goal(case) or goal end

function GOALS.to_c(row, rows, case)
  local base, judged, least = row.base or rows[1].name, row.judged or "cpu", value_of(row.to_c, case)
  return ("at least %g of %s%s"):format(least, base, BY[judged]), function(done)
    local good, notes = true, {}
    if not done(base) then return nil, base .. " is not installed" end
    for i, time in ipairs(TIMES[judged]) do
      local ratio = against(done(row.name), done(base), time)
      good = good and ratio.median >= least
      notes[i] = ("%.2f (%.2f to %.2f)%s"):format(ratio.median, ratio.low, ratio.high,
        judged == "both" and " " .. SHORT[time] or "")
    end
    return good, table.concat(notes, ", ")
  end
end

-- The times by which a row is compared with a peer: one with threads has only a rate.
local function times_against(row, peer)
  if peer.threads then return TIMES.wall end
  return row.judged == "both" and TIMES.both or TIMES.cpu
end

-- Answers whether a row is ahead of a peer, or level with it, and the figures.
local function is_ahead(row, peer, done)
  local good, times, notes = true, times_against(row, peer), {}
  for i, time in ipairs(times) do
    local ratio = against(done(row.name), done(peer.name), time)
    local level = ratio.median < 1 and row.ahead ~= "loops" and is_level(done(row.name), done(peer.name), ratio)
    good = good and (ratio.median >= 1 or level)
    notes[i] = ("%.2f%s"):format(ratio.median, level and " (level)" or "")
  end
  local how = peer.threads and ", by rate" or #times > 1 and ", by CPU time and rate" or ""
  return good, table.concat(notes, " and ") .. " of " .. peer.name .. how
end

function GOALS.ahead(row, rows, case)
  local peers = peers_of(rows, row.ahead, case)
  return "ahead of " .. (WHOM[row.ahead] or names_of(peers)), function(done)
    local all, notes = true, {}
    if #peers == 0 then return nil, "no peer is installed" end
    for i, peer in ipairs(peers) do
      local good
      good, notes[i] = is_ahead(row, peer, done)
      all = all and good
    end
    return all, table.concat(notes, "; ")
  end
end

function GOALS.times(row, rows)
  return ("at least %d times the best peer"):format(row.times), function(done)
    local least, peers = math.huge, peers_of(rows, "all")
    if #peers == 0 then return nil, "no peer is installed" end
    for _, peer in ipairs(peers) do least = math.min(least, against(done(row.name), done(peer.name)).median) end
    return least >= row.times, ("%.1f times"):format(least)
  end
end

function GOALS.clean(row)
  return "no garbage", function(done) return done(row.name).more < 1, ("%.2f bytes"):format(done(row.name).more) end
end

-- What goes up and down from run to run is counted in several, and their worst is judged, too.
local WORST = 1.5 -- times the median

function GOALS.few_instructions(row, _, case)
  if not case.counts then return nil end
  return ("at most %d instructions, the worst run at most %g times the median"):format(row.few_instructions, WORST),
    function(done)
      local runs = done(row.name).instruction_runs
      if not runs then return nil, "not counted" end
      local worst, median = math.max(unpack(runs)), done(row.name).instructions
      return median <= row.few_instructions and worst <= WORST * median,
        ("%.0f, the worst of %d runs %.0f"):format(median, #runs, worst)
    end
end

function GOALS.few_calls(row, _, case)
  if not case.counts then return nil end
  return ("at most %g system calls"):format(row.few_calls), function(done)
    local calls = done(row.name).calls
    if not calls then return nil, "not counted" end
    return calls < row.few_calls + 0.005, ("%.2f"):format(calls) -- a few are made by the memory, not by rounds
  end
end

-- Calls fn(name, judge, short) for each goal of a case; judge(results) answers whether it was reached (nil where it
-- cannot be told), and the figures; `short` is why it is known not to be.
function M.each(rows, case, fn)
  for _, row in ipairs(rows) do
    for _, kind in ipairs { "to_c", "ahead", "times", "clean", "few_instructions", "few_calls" } do
      local text, judge
      if row[kind] then text, judge = GOALS[kind](row, rows, case) end
      if text then
        fn(("%s: %s, %s"):format(row.name, text, case.name), function(results)
          return judge(function(name) return named(results, name) end)
        end, row.short and row.short[kind])
      end
    end
  end
end

return M
