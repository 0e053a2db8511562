-- bench-pages: what the pages show of the benchmarks is what bench/result.json holds.
local leak = require "leak"
local before = leak.count()
local source = os.getenv "LLSOCKET_SOURCE"
package.path = source .. "/?.lua;" .. package.path
local json = require "bench.lib.json"
local pages = require "bench.lib.pages"
local T = require("tap").plan(3 + #pages.LIST)

local function read(name)
  local file = assert(io.open(source .. "/" .. name))
  local text = file:read "*a"
  file:close()
  return text
end

local value = { a = { 1, 2.5, "x \"[]{},:\n" }, b = { c = true }, d = 1e10, e = "" }
T.is(json.write(json.read(json.write(value))), json.write(value), "JSON is read as it was written")

local text = read "bench/result.json"
local plain = json.read(text)
T.is(json.write(plain) .. "\n", text, "result.json is what bench/all.lua writes")
for _, name in ipairs(pages.LIST) do
  local page = read(name)
  T.ok(page:find "<!%-%- figures: " and pages.fill(page, plain) == page, name .. " shows the figures of result.json")
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
