-- shapes.lua -- the families of answers: what a call of each family answers when it is done, would block, met the end or failed.
--
-- A row: how many values precede the error's text; whether `again` follows it; whether no values mean "done" or "end"; what
-- the first value is when the call would block.
local text = require("llsocket.errno").text
local L = require "llsocket"

local M = {}

local FAMILIES = {
  accept = { before = 1, again = true },
  read = { before = 1, again = true }, -- event:read
  send = { before = 1, again = true, none = "end", blocked = 0 },
  recv = { before = 1, again = true, none = "end" },
  recvfrom = { before = 2, again = true, none = "end" },
  connect = { before = 0, again = true, none = "done" },
  plain = { before = 0, none = "done" },
  option = { before = 1 },
  object = { before = 1 }, -- constructors
  program = { before = 1, detail = true }, -- the text goes on: what is wrong, and where
  maybe = { before = 1, is_nil = true }, -- nil alone says that there is nothing to tell
  dial = { before = 1 }, -- constructors that look up a name, whose failures may be the resolver's
  stream = { before = 1, none = "end" }, -- what a stream reads
  write = { before = 1, more = 1 }, -- what it writes, and how many bytes were taken before an error
  completed = { before = 1, again = true, gap = 1 },
  tls = { before = 1, has_own_text = true }, -- OpenSSL's text, with an errno
  gai = { before = 1, gap = 1 },
  face = true, -- of LuaSocket and nginx: nil and a word where it fails, perhaps followed by what came before
  never = false, -- cannot fail
}

-- One value as text that is the same in every run: descriptors and pointers have no numbers.
local function one(value, depth)
  if type(value) == "string" then
    return #value > 200 and ("%d bytes"):format(#value) or (("%q"):format(value):gsub("\\\n", "\\n"):gsub("\r", "\\r"))
  end
  if type(value) ~= "table" or getmetatable(value) or depth > 3 then
    return (tostring(value):gsub("0x%x+", "0x"):gsub("fd %d+", "fd"))
  end
  local names, out = {}, {}
  for name in pairs(value) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do
    out[#out + 1] = (type(name) == "number" and "" or tostring(name) .. "=") .. one(value[name], depth + 1)
  end
  return "{" .. table.concat(out, ", ") .. "}"
end

-- All values of an answer as one line: { n = 3, 5, nil, false } is "5, nil, false", no values are "".
function M.line(values)
  local out = {}
  for i = 1, values.n do out[i] = one(values[i], 1) end
  return table.concat(out, ", ")
end

function M.pack(...) return { n = select("#", ...), ... } end

local function is_errno(value) return type(value) == "number" and value > 0 and value % 1 == 0 end

-- The values of a failure between its text and its number, and whether all is as it must be.
local function failure(family, values)
  local at, more = family.before + 1, family.more or 0
  local e, last = values[values.n - more], at + (family.again and 1 or 0) + (family.gap or 0) + 1 + more
  if values.n ~= last or not is_errno(e) then return nil end
  for i = 1, family.before do if values[i] ~= nil and values[i] ~= family.blocked then return nil end end
  local err, again = values[at], values[at + 1]
  if not family.again then again = false end
  if type(again) ~= "boolean" then return nil end
  if again and err == nil then return values[1] == family.blocked and "again" or nil, e end
  if family.detail and type(err) == "string" then err = err:gsub(": .*", "") end
  if err ~= text(e) and not (family.has_own_text and type(err) == "string") or values[1] == 0 then return nil end
  return "failed", e
end

-- The resolver's failures: nil, text, EAI [, errno].
local function gai_failure(values)
  local code = values[3]
  if values[1] ~= nil or type(values[2]) ~= "string" or type(code) ~= "number" then return nil end
  if code ~= L.EAI_SYSTEM then return values.n == 3 and "failed" or nil, code end
  if values.n == 4 and is_errno(values[4]) and values[2] == text(values[4]) then return "failed", values[4] end
end

-- Whether the values are an answer of a call that has done its work.
local function is_done(family, values)
  if family.before == 0 then return values.n == 0 end
  if family.is_nil and values.n == 1 and values[1] == nil then return true end
  return values[1] ~= nil and not (family.again and values[family.before + 1] == nil and values[family.before + 2] == true
    and values[1] == 0)
end

-- Answers of the faces have words, which alone tell that memory ran out.
local NO_MEMORY = { [text(L.ENOMEM):lower()] = true, ["no memory"] = true, ["select failed"] = true }

local function word(values)
  if values[1] ~= nil or values.n == 0 then return "done" end
  if type(values[2]) ~= "string" then return nil end
  return "failed", NO_MEMORY[values[2]:lower()] and L.ENOMEM or nil
end

--- Judges an answer by its family.
---@param name string  of the family
---@param values table  { n =, ... }
---@return string? outcome  "done", "again", "end" or "failed"; nil where the answer has no shape of its family
---@return integer? errno  of "again" and "failed"; of the resolver's own errors the EAI number
function M.judge(name, values)
  local family = FAMILIES[name]
  if family == nil then error("no family is called " .. tostring(name), 2) end
  if family == false then return "done" end
  if family == true then return word(values) end
  if values.n == 0 then return family.none end
  if is_done(family, values) then return "done" end
  if name == "gai" or name == "dial" and not failure(family, values) then return gai_failure(values) end
  return failure(family, values)
end

return M
