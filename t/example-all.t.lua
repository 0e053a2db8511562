-- examples/: each has a test of its own, is short where it should be, and tells what it is.
local proc = require "proc"

local source = os.getenv "LLSOCKET_SOURCE"
local SHORT = { udpecho = 60, unixlog = 60, mcastchat = 60, handover = 90, pktinfo = 60, errqueue = 80, timestamps = 60,
  echoserver = 80, loops = 90, proxy = 130 }

local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

local names, meson = {}, read(source .. "/t/meson.build")
for name in proc.run("ls '" .. source .. "/examples'"):gmatch "[^\n]+" do names[#names + 1] = name:match "^(.*)%.lua$" or name end

local T = require("tap").plan(#names * 3 + 1)
T.ok(#names >= 5, "there are five examples at least")
for _, name in ipairs(names) do
  local text, test = read(source .. "/examples/" .. name .. ".lua"), "example-" .. name
  T.ok(text:find("-- " .. name .. ".lua ", 1, true) == 1, name .. " begins with what it is")
  T.ok(read(source .. "/t/" .. test .. ".t.lua") ~= "" and meson:find("'" .. test .. "'", 1, true), name .. " has a test")
  T.ok(select(2, text:gsub("\n", "")) < (SHORT[name] or 300), name .. " is as short as promised")
end
T.done()
