-- twins.lua -- runs the same small scripts under two libraries, or in two places, and compares what they show.
--
-- The scripts stand in text files.  A line that begins with "--- " begins one and is its name; the names are sentences.  What
-- stands before the first is run before each; what it defines must be global.  Scripts find the names of `env` and the
-- globals, and call
--   show(...)      writes a line of what it got: each string in quotes, addresses of objects as 0x
--   raises(f, ...) writes the error that the call raises, or what it answers
-- A script is a text, so another process may run it, too: inside nginx for example, which answers dump(), for parse().
-- This file needs nothing but Lua.

local M = {}

-- Objects of both libraries stand somewhere else in each run.
local function same_everywhere(text) return (text:gsub("0x%x+", "0x")) end

--- Reads the scripts of a file: a list of { name =, source =, line = }.
function M.read(path)
  local file = assert(io.open(path))
  local list, head, current, n = {}, {}, nil, 0
  for line in file:lines() do
    n = n + 1
    local name = line:match "^%-%-%- (.+)$"
    if name then
      current = { name = name, line = n, head = table.concat(head, "\n"), lines = {} }
      list[#list + 1] = current
    else
      local lines = current and current.lines or head
      lines[#lines + 1] = line
    end
  end
  file:close()
  for _, script in ipairs(list) do script.source = table.concat(script.lines, "\n") end
  return list
end

local function quoted(text)
  return (("%q"):format(text):gsub("\\\n", "\\n"):gsub("[%c\127-\255]", function(c) return ("\\%d"):format(c:byte()) end))
end

local printable

-- A table with its keys sorted; one that holds an object as a key shows it as 0x.
local function fields(t, depth)
  local parts, list = {}, #t
  for i = 1, list do parts[i] = printable(t[i], depth + 1) end
  local named = {}
  for key, value in pairs(t) do
    local is_listed = type(key) == "number" and key >= 1 and key <= list and key % 1 == 0
    if not is_listed then named[#named + 1] = ("%s=%s"):format(tostring(key), printable(value, depth + 1)) end
  end
  table.sort(named)
  for _, part in ipairs(named) do parts[#parts + 1] = part end
  return "{" .. table.concat(parts, ", ") .. "}"
end

-- The same for a userdata and a table that stands for it: both are shown by their tostring.
function printable(value, depth)
  if type(value) == "string" then return quoted(value) end
  if type(value) == "number" then return ("%.14g"):format(value) end
  if type(value) == "table" and getmetatable(value) == nil and depth < 4 then return fields(value, depth) end
  return tostring(value)
end

local function line_of(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = printable((select(i, ...)), 0) end
  return same_everywhere(table.concat(parts, ", "))
end

-- What scripts call.  The lines go into `out`.
local function globals(env, out)
  local function write(...) out[#out + 1] = line_of(...) end
  local mine = { show = write }
  function mine.raises(f, ...)
    local function finish(done, ...)
      if done then return write("answers", ...) end
      write("raises", ...)
    end
    finish(pcall(f, ...))
  end
  for name, value in pairs(env) do mine[name] = value end
  return setmetatable(mine, { __index = _G })
end

local function compile(text, name, env) return setfenv(assert(loadstring(text, "=" .. name)), env) end

--- Runs one script; answers what it showed, with the text of an error that ended it.
function M.run_one(script, env)
  local out = {}
  local own = globals(env, out)
  local ok, err = pcall(function()
    compile(script.head, "head", own)()
    compile(script.source, "script", own)()
  end)
  if not ok then out[#out + 1] = "error: " .. same_everywhere(tostring(err)) end
  return table.concat(out, "\n")
end

--- Runs all scripts of a list.  `around`, where given, is called with a function that runs one, e.g. in a coroutine.
--- Answers the outputs by name.
function M.run(scripts, env, around)
  local outputs = {}
  for _, script in ipairs(scripts) do
    local function run() outputs[script.name] = M.run_one(script, env) end
    if around then around(run, script) else run() end
  end
  return outputs
end

--- The outputs as a text, and back.
function M.dump(outputs)
  local lines = {}
  for name, text in pairs(outputs) do lines[#lines + 1] = ("%s\0%s\0"):format(name, text) end
  return table.concat(lines)
end

function M.parse(text)
  local outputs = {}
  for name, output in text:gmatch "(%Z+)%z(%Z*)%z" do outputs[name] = output end
  return outputs
end

-- Whether what a script shows depends on how soon a process runs: on a loaded machine a limit of 100 ms may run out before the
-- peer has run at all.
local function is_timed(script)
  local text = script.source
  for _, sign in ipairs { "settimeout", "sleep", "wait [%d.]+", "drip", 'peer%("[^\n]*, %d+%)' } do
    if text:find(sign) then return true end
  end
end

--- Compares outputs, a test a script.  `differences[name]` is the reason why a script may differ; it must differ then, so that
--- the list stays true.  `again`, where given, runs a script once more and answers both outputs: a script with times may differ
--- by chance, and fails where it does so five times.
function M.compare(T, scripts, real, face, differences, where, again)
  for _, script in ipairs(scripts) do
    local name = script.name .. (where or "")
    local reason = differences and differences[script.name]
    local one, other = real[script.name], face[script.name]
    for _ = 1, again and not reason and is_timed(script) and 4 or 0 do
      if one == other then break end
      print((("# %s, again, for it differs: %q and %q"):format(name, tostring(one), tostring(other)):gsub("\n", "\n# ")))
      one, other = again(script)
    end
    if reason then
      T.ok(one ~= other, name .. " (it differs: " .. reason .. ")")
    else
      T.is(other, one, name)
    end
  end
end

return M
