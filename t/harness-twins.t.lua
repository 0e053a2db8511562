-- harness-twins: scripts run under two libraries are compared by all that they show, and errors count.
local leak = require "leak"
local twins = require "twins"
local before = leak.count()

local function written(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

local path = written [[
function double(x) return x * lib.two end
--- a value is shown
show(double(4), "a\n\0b", nil, true, { 1, "two", x = { y = 1.5 } })
--- an error is shown
raises(error, "at " .. tostring({}))
raises(double, 2)
--- an error ends a script
show(1)
error "here"
--- a script may wait
show(lib.wait())
]]
local scripts = twins.read(path)
os.remove(path)

local one = { lib = { two = 2, wait = function() return coroutine.yield "waits" end } }
local function in_coroutine(run)
  local co = coroutine.wrap(run)
  assert(co() ~= "waits" or co "woken" == nil)
end
local outputs = twins.run(scripts, one, in_coroutine)

-- A stand-in for the harness's T: counts.
local function judged(real, face, differences, list, again)
  local said = {}
  local T = { ok = function(yes) said[#said + 1] = yes and "same" or "not" end }
  function T.is(a, b) T.ok(a == b) end
  twins.compare(T, list or scripts, real, face, differences, nil, again)
  return table.concat(said, " ")
end

local T = require("tap").plan(11)
T.is(#scripts, 4, "a file has a script for each name")
T.is(outputs["a value is shown"], [[8, "a\n\0b", nil, true, {1, "two", x={y=1.5}}]], "values are shown")
T.is(outputs["an error is shown"], '"raises", "at table: 0x"\n"answers", 4', "and errors, without addresses")
T.is(outputs["an error ends a script"], "1\nerror: script:2: here", "an error that ends a script is shown with its line")
T.is(outputs["a script may wait"], '"woken"', "a script may wait")
T.is(judged(outputs, twins.parse(twins.dump(outputs))), "same same same same", "outputs can be sent as a text")
local other = twins.run(scripts, { lib = { two = 3, wait = one.lib.wait } }, in_coroutine)
T.is(judged(outputs, other), "not not same same", "what differs is found")
T.is(judged(outputs, other, { ["a value is shown"] = "reason", ["an error ends a script"] = "none" }),
  "same not not same", "what differs with a reason passes, and what does not differ any more fails")
local timed, runs = { { name = "timed", source = "sock:settimeout(10)" } }, 0
local function again()
  runs = runs + 1
  return "a", runs == 3 and "a" or "b"
end
T.is(judged({ timed = "a" }, { timed = "b" }, nil, timed, again) .. runs, "same3",
  "one with times is run again until it is the same")
runs = 3
T.is(judged({ timed = "a" }, { timed = "b" }, nil, timed, again) .. runs, "not7", "four times at most")
T.is(leak.count(), before, "no descriptor is left")
T.done()
