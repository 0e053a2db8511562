-- participant.lua -- starts one participant for one question, in a process of its own, and reads what it measured.
local M = {}

-- Where things are; bench/all.lua fills it in: root, build, luajit.  quick: whether to count few operations.
M.place = {}

local function quote(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

function M.program(name) return M.place.build .. "/bench/" .. name end

function M.has(tool) return output_of("command -v " .. tool) ~= "" end

-- Go's server is compiled when it is first asked for, with everything that the compiler writes in a folder of its own.
local folder
local GO = "HOME=%s GOCACHE=%s GOPATH=%s GOPROXY=off GO111MODULE=off GOTOOLCHAIN=local GOFLAGS= CGO_ENABLED=0 "
  .. "go build -o %s/server %s"

-- Answers true, or nil and why not.
local function compile(name)
  folder = output_of("mktemp -d"):gsub("\n", "")
  local place = quote(folder)
  local said = output_of(GO:format(place, place, place, place, quote(M.place.root .. "/bench/server/" .. name)))
  if said == "" then return true end
  return nil, ": " .. said:gsub("\n", " ")
end

-- nginx where it is installed, or where the tests have unpacked it; and the folder of the libraries that came along.
local function nginx()
  local path = output_of "command -v nginx /usr/sbin/nginx":match "[^\n]+"
  if path then return path, "" end
  local prefix = M.place.build .. "/t/nginx/prefix"
  path = prefix .. "/usr/sbin/nginx"
  if output_of("command -v " .. quote(path)) == "" then return nil end
  return path, (output_of(("echo %s/usr/lib/*-linux-*"):format(quote(prefix))):gsub("\n", ""))
end

-- A folder with the file that the servers of HTTP answer.
local served
local function folder_with(size)
  if served then return served end
  served = output_of("mktemp -d"):gsub("\n", "")
  local file = assert(io.open(served .. "/file", "w"))
  file:write(("x"):rep(size))
  file:close()
  return served
end

-- By which program a server runs, by the ending of its name; C's have none.
local RUNNERS = {
  lua = function(path) return quote(M.place.luajit) .. " " .. path end,
  js = function(path) return "node " .. path end,
  go = function() return quote(folder .. "/server") end,
}
local TOOLS = { js = "node", go = "go" }

local function ending(name) return name and name:match "%.(%l+)$" end

-- Whether what a row needs is installed; nil, and why not where there is more to say.
function M.present(row)
  local kind = ending(row.server)
  local tool = TOOLS[kind]
  if tool and not M.has(tool) then return false end
  if kind == "go" then return compile(row.server) end
  if row.server == "nginx.lua" then return nginx() ~= nil end
  return not row.needs or (pcall(require, row.needs))
end

-- The file that sendfile sends, made when it is first asked for.
local file
local function file_of(size)
  if file then return file end
  file = M.program "sendfile.data"
  local out = assert(io.open(file, "w"))
  for _ = 1, size / 2^20 do out:write((("0123456789abcdef"):rep(2^16))) end
  out:close()
  return file
end

local function remove(dir)
  if dir then output_of(("{ chmod -R u+w %s; rm -rf %s; }"):format(quote(dir), quote(dir))) end
end

function M.cleanup()
  if file then os.remove(file) end
  remove(folder)
  remove(served)
end

local function environment()
  local place = M.place
  return ("LUA_PATH=%s LUA_CPATH=%s "):format(quote(place.root .. "/lua/?.lua;" .. place.root .. "/?.lua;;"),
    quote(place.build .. "/csrc/?.so;;"))
end

-- What stands for a path in a row's `arguments`.
local ARGUMENTS = {
  folder = function(question) return folder_with(question.served) end,
  nginx = function() return (nginx()) end,
  libraries = function() return (select(2, nginx())) end,
}

local function arguments_of(question, row)
  local words = {}
  for i, word in ipairs(row.arguments or {}) do
    words[i] = quote(ARGUMENTS[word] and ARGUMENTS[word](question) or word)
  end
  return table.concat(words, " ")
end

-- A server, which load.c starts.
local function serving(question, row, case, span, tool)
  local runner, path = RUNNERS[ending(row.server)], row.server
  path = quote(M.place.root .. (path:find "/" and "/" or "/bench/server/") .. path)
  local command = runner and runner(path) or quote(M.program(row.server))
  return ("%s %s %d %g %s %s %s"):format(quote(M.program "load"), case[1], case[2], span, tool, command,
    arguments_of(question, row))
end

-- The command by which a row of a question works for so many seconds, or as many operations as the negative says.
local function command_of(question, row, case, span, tool)
  if question.load then return serving(question, row, case, span, tool) end
  local head = question.crowd and quote(M.program "crowd") .. " " or ""
  local work = row.work and ("%s %s"):format(quote(M.program "work"), row.work)
    or ("%s %s %s %d"):format(quote(M.place.luajit), quote(M.place.root .. "/bench/one.lua"), question.name, row.index)
  local words = { head .. tool, work, ("%g"):format(span) }
  for _, word in ipairs(case) do words[#words + 1] = quote(word) end
  if question.file then table.insert(words, ("%d %s"):format(question.file, quote(file_of(question.file)))) end
  return table.concat(words, " ")
end

local TRIES = 3 -- lua-ljsyscall's echo server raises an error now and then, once it is compiled

-- Nanoseconds (or bytes) that one operation takes, those on the CPU, and its garbage.
function M.sample(question, row, case, span)
  local said
  for _ = 1, TRIES do
    said = output_of(environment() .. "timeout 60 " .. command_of(question, row, case, span, ""))
    local n, wall, cpu, more = said:match "(%d+) (%d+) (%d+) ?([%d.]*)\n$"
    if n then return { wall = wall / n, cpu = cpu / n, more = tonumber(more) } end
    print("# once more: " .. row.name .. ": " .. (said:match "[^\n]*"))
  end
  error(("%s, %s: %s"):format(question.name, row.name, said), 0)
end

local CALLGRIND = "valgrind --tool=callgrind --smc-check=all-non-file --callgrind-out-file="

local function run(question, row, case, operations, tool)
  return assert(io.popen(environment() .. "timeout 120 " .. command_of(question, row, case, -operations, tool) .. " 2>&1"))
end

-- What one operation costs, from a short run and a longer one, so that starting and compiling drop out; nil where it
-- cannot be told.  The two run at the same time: other processes do not change what is counted.
local function difference(question, row, case, operations, tool, pattern)
  local pipes, counts = {}, {}
  for i = 1, 2 do pipes[i] = run(question, row, case, operations * i, tool) end
  for i = 1, 2 do
    counts[i] = tonumber(pipes[i]:read "*a":match(pattern))
    pipes[i]:close()
  end
  if not (counts[1] and counts[2] and counts[2] > counts[1]) then return nil end -- the short run had compiled more
  return (counts[2] - counts[1]) / operations
end

-- What callgrind counted between the two marks of one run: that compiling differs from run to run does not show.
local function between_marks(question, row, case, operations)
  local out = M.program "callgrind"
  run(question, row, case, operations, CALLGRIND .. out .. " --dump-before=getpgid"):close()
  local second = io.open(out .. ".2")
  local total = second and tonumber(second:read "*a":match "\ntotals: (%d+)")
  if second then second:close() end
  for _, part in ipairs { "", ".1", ".2", ".3" } do os.remove(out .. part) end
  return total and total / (operations / 2)
end

local function operations_of(question, row)
  local chunks = row.chunks or question.chunks or 8
  return (question.chunk or 100) * (M.place.quick and math.max(2, chunks / 2) or chunks)
end

-- User-space instructions of one operation.  Other languages' machines run in threads, of which one would be counted.
function M.instructions(question, row, case)
  if row.threads or row.uncounted or not M.has "valgrind" then return nil end
  if not question.load then
    local one = between_marks(question, row, case, operations_of(question, row))
    local other = between_marks(question, row, case, operations_of(question, row))
    return one and other and math.min(one, other) -- a trace that is made in between counts as well
  end
  return difference(question, row, case, operations_of(question, row), CALLGRIND .. "/dev/null", "Collected : (%d+)")
end

-- System calls of one operation.
function M.calls(question, row, case)
  if row.threads or not M.has "strace" then return nil end
  return difference(question, row, case, operations_of(question, row), "strace -c", "(%d+)%s+%d* total%s")
end

-- The peers' versions.
local function peers()
  local list = output_of("dpkg-query -W -f '${Package} ${Version}, ' lua-socket lua-posix lua-luv lua-cqueues lua-copas "
    .. "lua-ljsyscall golang-go nodejs"):gsub("dpkg%-query[^\n]*\n", ""):gsub("%S+ , ", "")
  local path, libraries = nginx()
  local said = path and output_of(("LD_LIBRARY_PATH=%s %s -v"):format(quote(libraries), quote(path))) or ""
  return ((list .. (said:match "nginx/%S+" or "")):gsub(", $", ""):gsub("nginx/", "nginx "))
end

-- What the machine is.
function M.machine()
  local function first(command) return (output_of(command):match "[^\n]*") end
  return {
    cpu = first "sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1", cpus = tonumber((first "nproc")),
    kernel = first "uname -sr", luajit = first(M.place.luajit .. " -v"), compiler = first "cc --version",
    date = os.date "!%Y-%m-%d", load = first "cut -d' ' -f1-3 /proc/loadavg",
    peers = peers(),
  }
end

return M
