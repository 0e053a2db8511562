-- generated: the checked-in files equal the output of t/generate.
local generated = require "generated"
local inner = require "inner"
local leak = require "leak"
local before = leak.count()
local source = os.getenv "LLSOCKET_SOURCE"

-- The first line that differs, and what to do.
local function difference(is, want)
  local theirs = is:gmatch "([^\n]*)\n"
  for line in want:gmatch "([^\n]*)\n" do
    local there = theirs()
    if there ~= line then return ("run `luajit t/generate`: %q should be %q"):format(tostring(there), line) end
  end
  return is == want and "" or "run `luajit t/generate`: lines too many"
end

local files = generated.files(source)
local meta = files["lua/llsocket/meta.lua"]
local T = require("tap").plan(9)
for _, path in ipairs { "doc/api.md", "doc/option.md", "lua/llsocket/meta.lua" } do
  T.is(difference(generated.read(source .. "/" .. path), files[path]), "", path .. " is what its rows make")
end
T.ok(difference(meta, (meta:gsub("AF_INET6", "AF_INET7"))):find "^run `luajit t/generate`", "a line that differs is seen")
T.ok(difference(meta, meta:sub(1, -20)):find "^run `luajit t/generate`", "and lines too many")

-- What an editor must know: every constant, and what is made by its first use; and nothing by any name.
local L, lacking = require "llsocket", {}
for name in pairs(require "llsocket.core.const") do
  if not meta:find("\n---@field " .. name .. " integer\n", 1, true) then lacking[#lacking + 1] = name end
end
for name in ("inet unix addrinfo socket device msghdr batch cmsghdr descriptor pipe poll wait"):gmatch "%a+" do
  local is_field = meta:find(("\n---@field %s llsocket.%s.module\n"):format(name, name), 1, true)
  if not (L[name] and is_field) then lacking[#lacking + 1] = name end
end
T.is(table.concat(lacking, " "), "", "meta.lua has a field for every constant and every module")
T.ok(not (meta .. generated.read(source .. "/lua/llsocket.lua")):find("@field [string]", 1, true),
  "no field stands for any name, so a misspelt constant is flagged")
local gone = {}
for _, title in ipairs(inner.list) do
  local module, name = title:match "^(%w+)%.(.+)$"
  if type(require("llsocket." .. module)[name]) ~= "function" then gone[#gone + 1] = title end
end
T.is(table.concat(gone, " "), "", "what is hidden from programs is there for the library")
T.is(leak.count(), before, "no descriptor is left")
T.done()
