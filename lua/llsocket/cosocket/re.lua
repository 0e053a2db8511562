-- re.lua -- ngx.re over libpcre2-8: match, find, sub, gsub.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local pcre2 = require "llsocket.cosocket.pcre2"
local check = require "llsocket.core.check"
local settings = require "llsocket.cosocket.settings"
local ipairs, setmetatable, tonumber, tostring, type = ipairs, setmetatable, tonumber, tostring, type
local concat, floor, min = table.concat, math.floor, math.min

local band, bor, byte = bit.band, bit.bor, string.byte
local MOST_KEPT = 1024 -- patterns with the option "o", as in nginx
local ABSENT = "ngx.re needs libpcre2-8, which is not there"

-- OPTIONS[letter]: the options of PCRE2, or a field of the pattern.
local OPTIONS = {
  i = pcre2.CASELESS, s = pcre2.DOTALL, m = pcre2.MULTILINE, u = pcre2.UTF, x = pcre2.EXTENDED, a = pcre2.ANCHORED,
  U = pcre2.UTF, -- invalid UTF is checked for all the same: PCRE2 would read beyond the end of such a pattern
  D = pcre2.DUPNAMES,
  J = bor(pcre2.ALLOW_EMPTY_CLASS, pcre2.ALT_BSUX, pcre2.MATCH_UNSET_BACKREF),
}
local FIELDS = { o = "is_kept", j = "is_jit", d = "is_dfa", D = "has_dups" }

local function parse(options)
  local out, bits = {}, 0
  for letter in options:gmatch "." do
    if not (OPTIONS[letter] or FIELDS[letter]) then
      check.raise(('unknown flag "%s" (flags "%s")'):format(letter, options))
    end
    if OPTIONS[letter] then bits = bor(bits, OPTIONS[letter]) end
    if FIELDS[letter] then out[FIELDS[letter]] = true end
  end
  out.bits, out.is_utf = bits < 0 and bits + 2^32 or bits, band(bits, pcre2.UTF) ~= 0
  return out
end

local kept, n_kept = {}, 0

local function compile(pattern, options)
  local re = parse(options)
  local code, err, at = pcre2.new(pattern, re.bits)
  if not code then
    local rest = at < #pattern and (' at "%s"'):format(pattern:sub(at + 1)) or ""
    return nil, ('pcre2_compile() failed: %s in "%s"%s'):format(err, pattern, rest)
  end
  re.code, re.data = code, pcre2.data(code)
  if re.is_jit then pcre2.jit_compile(code, pcre2.JIT_COMPLETE) end
  re.groups, re.names = pcre2.number(code, pcre2.INFO_CAPTURECOUNT), pcre2.names(code)
  return re
end

-- Answers a compiled pattern: { code, data, groups, names, is_... }; nil, a word.
local function pattern_of(pattern, options)
  if not pcre2.load() then return nil, ABSENT end
  pattern, options = tostring(pattern), options or ""
  local key = options .. "\0" .. pattern
  if kept[key] then return kept[key] end
  local re, err = compile(pattern, options)
  if re and re.is_kept and n_kept < MOST_KEPT then kept[key], n_kept = re, n_kept + 1 end
  return re, err
end

local work = ffi.new "int[256]"

-- Matches from an offset; answers how many groups are set, false for none, or nil and a word.
local function run(re, subject, at)
  local n
  if re.is_dfa then
    n = pcre2.dfa_match(re.code, subject, #subject, at, 0, re.data, nil, work, 256)
  else
    n = pcre2.match(re.code, subject, #subject, at, 0, re.data, nil)
  end
  if n == pcre2.NOMATCH then return false end
  if n < 0 then return nil, "pcre_exec() failed: " .. n end
  return re.is_dfa and 1 or n
end

-- Answers where a group begins and ends, counted from 0; nil where it is not set.
local function bounds(re, i)
  local ends = pcre2.get_ovector_pointer(re.data)
  local from, to = tonumber(ends[2 * i]), tonumber(ends[2 * i + 1])
  if from >= 2^31 then return nil end -- PCRE2_UNSET
  return from, to
end

local function name_groups(re, out)
  for _, entry in ipairs(re.names) do
    local name, value = entry[1], out[entry[2]]
    if not re.has_dups then out[name] = value
    elseif value then
      out[name] = out[name] or {}
      out[name][#out[name] + 1] = value
    end
  end
  return out
end

-- Answers the table of what the groups hold: false for one that is not set.  With "d" PCRE2 knows of no groups.
local function captures(re, n, subject, into)
  local out = into or {}
  for i = 0, re.is_dfa and 0 or re.groups do
    local from, to
    if i < n then from, to = bounds(re, i) end
    out[i] = from and subject:sub(from + 1, to) or false
  end
  return name_groups(re, out)
end

-- Where to begin: ctx.pos counts from 1.  PCRE2 refuses what is behind the end.
local function offset(ctx)
  local pos = ctx and ctx.pos
  if type(pos) ~= "number" or pos ~= pos or pos <= 0 then return 0 end
  return floor(min(pos, 2^31)) - 1
end

-- Answers the pattern and how many groups matched; false where nothing did; nil, a word.
local function search(subject, pattern, options, ctx)
  local re, err = pattern_of(pattern, options)
  if not re then return nil, err end
  local n, why = run(re, subject, offset(ctx))
  if not n then return nil, why end
  local _, to = bounds(re, 0)
  if ctx then ctx.pos = to + 1 end
  return re, n
end

-- Answers a search that found nothing: nil, and where there is an error, it.
local function failed(has_two, err)
  if not err then return nil end
  if has_two then return nil, nil, err end
  return nil, err
end

local M = {}

--- Matches; see ngx.re.match of lua-nginx-module.
---@param subject string
---@param pattern string
---@param options? string  letters of "adDijJmosuUx"
---@param ctx? table  { pos = }: where to begin, from 1; is set to where the match ends
---@param into? table  to use for the answer
---@return table? captures  [0] is the whole match; a group that is not set is false
---@return string? err
function M.match(subject, pattern, options, ctx, into)
  subject = tostring(subject)
  local re, n = search(subject, pattern, options, ctx)
  if not re then return failed(nil, n) end
  return captures(re, n, subject, into)
end

--- Tells where a match begins and ends.
---@param subject string
---@param pattern string
---@param options? string
---@param ctx? table
---@param nth? integer  of which group; 0 is the whole
---@return integer? from
---@return integer? to
---@return string? err
function M.find(subject, pattern, options, ctx, nth)
  subject = tostring(subject)
  local re, n = search(subject, pattern, options, ctx)
  if not re then return failed(true, n) end
  nth = settings.integer(nth) or 0
  if nth < 0 then nth = 0 end
  if nth > re.groups then return nil, nil, "nth out of bound" end
  if nth >= n then return nil, nil end
  local from, to = bounds(re, nth)
  if not from then return nil, nil end
  return from + 1, to
end

-- Answers where to look for the match after this one: behind an empty match a whole character is skipped.
local function following(re, subject, from, to)
  if to > from then return to end
  local at = to + 1
  while re.is_utf and band(byte(subject, at + 1) or 0, 0xc0) == 0x80 do at = at + 1 end
  return at
end

-- Answers the next match of an iterator: its captures, or nil, which ends it.
local function next_match(self)
  if not self.at then return nil end
  local n, err = run(self.re, self.subject, self.at)
  if not n then self.at = nil end
  if err then return nil, err end
  if not n then return nil end
  local from, to = bounds(self.re, 0)
  self.at = following(self.re, self.subject, from, to)
  if self.at > #self.subject then self.at = nil end
  return captures(self.re, n, self.subject)
end

local iterator = { __call = next_match }

--- Makes an iterator over the matches.
---@param subject string
---@param pattern string
---@param options? string
---@return function? iterator  answers captures as match does, nil after the last
---@return string? err
function M.gmatch(subject, pattern, options)
  local re, err = pattern_of(pattern, options)
  if not re then return nil, err end
  return setmetatable({ re = re, subject = tostring(subject), at = 0 }, iterator)
end

-- Answers a template's parts: strings, and numbers of groups; nil where it is none.
local function template(text)
  local parts, i = {}, 1
  while i <= #text do
    local plain = text:match("^[^$]+", i)
    local number = text:match("^%$(%d+)", i) or text:match("^%${(%d+)}", i)
    if plain then parts[#parts + 1], i = plain, i + #plain
    elseif number then
      parts[#parts + 1], i = tonumber(number), i + #number + (text:sub(i + 1, i + 1) == "{" and 3 or 1)
    elseif text:sub(i, i + 1) == "$$" then parts[#parts + 1], i = "$", i + 2
    else return nil end
  end
  return parts
end

local function fill(parts, re, n, subject)
  local out = {}
  for i, part in ipairs(parts) do
    local from, to
    if type(part) == "number" and part < n then from, to = bounds(re, part) end
    out[i] = type(part) == "string" and part or from and subject:sub(from + 1, to) or ""
  end
  return concat(out)
end

-- Replaces once, or each time; `make` answers what takes a match's place.
local function replace(re, subject, make, is_global)
  local out, count, at, done = {}, 0, 0, 0
  while at <= #subject do
    local n, err = run(re, subject, at)
    if err then return nil, nil, err end
    if not n then break end
    local from, to = bounds(re, 0)
    out[#out + 1] = subject:sub(done + 1, from)
    out[#out + 1] = make(n)
    count, done, at = count + 1, to, following(re, subject, from, to)
    if not is_global then break end
  end
  out[#out + 1] = subject:sub(done + 1)
  return concat(out), count
end

local function substitute(subject, pattern, with, options, is_global)
  local re, err = pattern_of(pattern, options)
  if not re then return nil, nil, err end
  local parts = type(with) ~= "function" and template(tostring(with))
  if type(with) ~= "function" and not parts then return nil, nil, "failed to compile the replacement template" end
  subject = tostring(subject)
  return replace(re, subject, function(n)
    if parts then return fill(parts, re, n, subject) end
    return tostring(with(captures(re, n, subject)))
  end, is_global)
end

--- Replaces the first match.
---@param subject string
---@param pattern string
---@param with string|function  a template with $1 or ${1}, $0 for the whole, $$ for a dollar; or what gets the captures
---@param options? string
---@return string? text
---@return integer? count  0 or 1
---@return string? err
function M.sub(subject, pattern, with, options) return substitute(subject, pattern, with, options, false) end

--- Replaces each match.
---@param subject string
---@param pattern string
---@param with string|function
---@param options? string
---@return string? text
---@return integer? count
---@return string? err
function M.gsub(subject, pattern, with, options) return substitute(subject, pattern, with, options, true) end

return M
