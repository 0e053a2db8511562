-- doc-examples: every ```lua block of doc/ runs by itself, creates no global and leaves no descriptor.
local leak = require "leak"
local missing = require "missing"
local shell = require "shell"
local dir = os.getenv "LLSOCKET_SOURCE" .. "/doc/"
local before = leak.count()

local function pages()
  local names, pipe = {}, assert(io.popen("ls " .. shell.quote(dir)))
  for name in pipe:lines() do names[#names + 1] = name:match "^.+%.md$" end
  pipe:close()
  return names
end

-- Appends the page's blocks: each its source, its page, the heading above and the line where it begins.
local function collect(blocks, page)
  local number, heading, block = 0, "", nil
  for line in io.lines(dir .. page) do
    number = number + 1
    if block and line == "```" then
      blocks[#blocks + 1], block = block, nil
    elseif block then
      block[#block + 1] = line
    elseif line == "```lua" then
      block = { page = page, heading = heading, line = number + 1 }
    else
      heading = line:match "^#+ `?([^`]*)" or heading
    end
  end
  assert(not block, page .. ": a block has no end")
end

-- Globals that a block makes stay in its environment, where they are found.
local function run(block)
  local env = setmetatable({}, { __index = _G })
  local fn, why = loadstring(table.concat(block, "\n"), "=" .. block.page)
  if not fn then return why end
  local ok, message = pcall(setfenv(fn, env))
  if not ok then return tostring(message) end
  return next(env) and "the global " .. tostring(next(env))
end

local blocks = {}
for _, page in ipairs(pages()) do collect(blocks, page) end

local T = require("tap").plan(#blocks * 2 + 1)
T.ok(#blocks > 60, "there are examples")
for _, block in ipairs(blocks) do
  local where = ("the example of doc/%s line %d, %s, "):format(block.page, block.line, block.heading)
  if missing.sendfile and table.concat(block, "\n"):find ":sendfile%(" then T.skip(1, missing.sendfile)
  else T.is(run(block), nil, where .. "runs") end
  T.is(leak.count(), before, where .. "leaves no descriptor")
  before = leak.count()
end
T.done()
