-- examples/: each has its own test, keeps its limit of lines, and begins with its purpose.
local proc = require "proc"
local shell = require "shell"

local source = os.getenv "LLSOCKET_SOURCE"
local SHORT = { udpecho = 60, unixlog = 60, mcastchat = 60, handover = 90, pktinfo = 60, errqueue = 80, timestamps = 60,
  linkmonitor = 90, echoserver = 25, loops = 70, proxy = 90, redis = 26, luasocket = 25, cosocket = 40, smtp = 40 }

local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

-- What is in a folder of examples/ is one example of several modules, each of which is short.
local MODULE = 80

local function list(folder)
  local names = {}
  for name in proc.run(shell.format("ls %q/examples/%s", source, folder)):gmatch "(%w+)%.lua\n" do names[#names + 1] = name end
  return names
end

local names, modules, meson = list "", list "openresty", read(source .. "/t/meson.build")
local function lines(text) return select(2, text:gsub("\n", "")) end

local T = require("tap").plan(#names * 3 + 4 + #modules * 2)
T.ok(#names >= 5, "there are five examples at least")
for _, name in ipairs(names) do
  local text, test = read(source .. "/examples/" .. name .. ".lua"), "example-" .. name
  T.ok(text:find("-- " .. name .. ".lua ", 1, true) == 1, name .. " begins with what it is")
  T.ok(read(source .. "/t/" .. test .. ".t.lua") ~= "" and meson:find("'" .. test .. "'", 1, true), name .. " has a test")
  T.ok(lines(text) < (SHORT[name] or 300), name .. " is as short as promised")
end

T.ok(#modules >= 6, "the example for OpenResty has six modules")
for _, name in ipairs(modules) do
  local text = read(source .. "/examples/openresty/" .. name .. ".lua")
  T.ok(text:find("-- " .. name .. ".lua ", 1, true) == 1, "openresty/" .. name .. " begins with what it is")
  T.ok(lines(text) < MODULE, "openresty/" .. name .. " is short")
end
T.ok(read(source .. "/examples/openresty/nginx.conf"):find "^# nginx.conf %-%-", "openresty/nginx.conf does, too")
T.ok(meson:find("'example-openresty'", 1, true), "openresty has a test")
T.done()
