-- verdict.lua -- what llsocket is to reach, known before anything is measured, and whether it did.
local turns = require "bench.lib.turns"

local M = {}

local function is_peer(row) return row.name:find "^lua%-" ~= nil end

-- Whom a row competes with: those that make strings as it does, those that make one call a message, or all.
local COMPETE = {
  strings = function(peer) return not (peer.buffers or peer.batches) end,
  singly = function(peer) return not peer.batches end,
  all = function() return true end,
}
local WHOM = { strings = " that makes strings", singly = " that makes one call a packet", all = "" }

local function peers_of(rows, which)
  local out = {}
  for _, row in ipairs(rows) do
    if is_peer(row) and COMPETE[which](row) then out[#out + 1] = row end
  end
  return out
end

-- How many operations a row does in the time, the CPU's unless said, in which another does one.
local function against(row, other, time) return turns.ratio(row.samples, other.samples, time or "cpu") end

local function named(rows, name)
  for _, row in ipairs(rows) do
    if row.name == name then return row end
  end
end

-- Level is what the clock cannot tell apart, where no more instructions are spent: the kernel does the same for both.
local function is_level(row, peer, ratio)
  if ratio.high < 1 then return false end
  return not (row.instructions and peer.instructions) or row.instructions <= peer.instructions
end

local GOALS = {}

function GOALS.to_c(row, rows)
  local base = row.base or rows[1].name
  local judged = row.judged == "wall" and "'s rate" or " in the same CPU time"
  return ("at least %g of %s%s"):format(row.to_c, base, judged), function(done)
    local ratio = against(done(row.name), done(base), row.judged)
    return ratio.median >= row.to_c, ("%.2f (%.2f to %.2f)"):format(ratio.median, ratio.low, ratio.high)
  end
end

function GOALS.ahead(row, rows)
  local peers = peers_of(rows, row.ahead)
  return "ahead of every peer" .. WHOM[row.ahead], function(done)
    local good, notes = true, {}
    if #peers == 0 then return nil, "no peer is installed" end
    for _, peer in ipairs(peers) do
      local ratio = against(done(row.name), done(peer.name))
      local ahead = ratio.median >= 1
      local level = not ahead and is_level(done(row.name), done(peer.name), ratio)
      good = good and (ahead or level)
      notes[#notes + 1] = ("%.2f of %s%s"):format(ratio.median, peer.name, level and " (level)" or "")
    end
    return good, table.concat(notes, ", ")
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

-- Calls fn(name, judge, short) for each goal of a case; judge(results) answers whether it was reached (nil where it
-- cannot be told), and the figures; `short` is why it is known not to be.
function M.each(rows, case, fn)
  for _, row in ipairs(rows) do
    for _, kind in ipairs { "to_c", "ahead", "times", "clean" } do
      if row[kind] then
        local text, judge = GOALS[kind](row, rows)
        fn(("%s: %s, %s"):format(row.name, text, case.name), function(results)
          return judge(function(name) return named(results, name) end)
        end, row.short and row.short[kind])
      end
    end
  end
end

return M
