-- doc-coverage: doc/ describes every public function, with its arguments, and no other; the sources annotate each.
local multicast = require "llsocket.socket.multicast"
local owners = require "owners"
local shell = require "shell"
local options = require("methods").options
local cmsghdr = require "llsocket.cmsghdr"
local inner = require "inner"
local leak = require "leak"
local source = os.getenv "LLSOCKET_SOURCE"
local before = leak.count()

-- What a heading may name: `sock:send` is a method of sock, `inet.getaddrinfo` a function of inet.
local METHODS, OWNERS = owners.METHODS, {}
for owner, functions in pairs(owners.MODULES) do OWNERS[owner] = functions end
for owner, methods in pairs(METHODS) do OWNERS[owner] = methods end

local function set(names)
  local out = {}
  for name in names:gmatch "%S+" do out[name] = true end
  return out
end

-- Modules with no page: other modules use them, programs do not.
local INSIDE = set [[
  address.families address.ifaddrs address.interface address.links address.netlink address.numeric address.resolver
  address.sockaddr address.values
  core.check core.const core.failure core.forks core.layout core.lazy core.libc core.named core.renamed core.shortage
  message.ancillary message.block message.carrier message.control message.decode message.iovec message.region message.rights meta
  poll.bits poll.epoll poll.kqueue poll.poll poll.waker
  shim socket.activated socket.answer socket.anyoption socket.batch socket.buffer socket.connect socket.ended
  socket.filter socket.flags socket.foreign socket.lifecycle socket.message socket.multicast socket.object socket.option
  socket.optionkind socket.originaldst socket.program socket.rarekind socket.splice socket.steer socket.supports socket.tcpinfo
  socket.tcpmd5sig socket.transfer socket.wrap socket.zero socket.zerocopy wait.kernel wait.mending
  wait.crowd wait.pause wait.queue wait.results wait.timers wait.waiters wait.yielding
  resolve.asking resolve.files
  luasocket.argument luasocket.dns luasocket.except luasocket.luasec luasocket.names luasocket.object luasocket.option
  luasocket.packet luasocket.reading luasocket.select luasocket.serving luasocket.sleeping luasocket.tcp luasocket.udp
  luasocket.unix luasocket.words luasocket.writing
  stream.dial stream.inbox stream.object stream.reading stream.serving stream.writing
]]

-- A face of another library: it answers as that one does, and its page lists what is its own.
local FACES = set [[
  cosocket cosocket.address cosocket.data cosocket.dialing cosocket.digest cosocket.link cosocket.log cosocket.nested cosocket.ngx
  cosocket.options cosocket.output cosocket.pcre2 cosocket.pool cosocket.re cosocket.receiving cosocket.sending cosocket.settings
  cosocket.tcp cosocket.text cosocket.timer cosocket.tls cosocket.udp cosocket.until
]]

-- The ways of waiting and of looking up names, which doc/wait.md and doc/resolve.md have together; and the face of another
-- library, whose manual describes the functions.
local WAYS = set [[
  luasocket
  resolve.cqueues resolve.luv resolve.nginx resolve.unbound stream.luasec wait.copas wait.cqueues wait.luv wait.nginx
]]

-- What cannot fail, and so answers no errno.
local SURE = set [[
  sock:fd ai:family ai:socktype ai:protocol ai:canonname ai:addr ai:port ai:bytes ai:fields ai:unmapped
  errno.text errno.name gai.text desc:fd
  mh:name mh:flags mh:segment mh:timestamp msgs:to tube:held
  cmsg:level cmsg:type cmsg:data cmsg:rights cmsg:credentials cmsg:pktinfo cmsg:timestamp
  cmsg:pidfd cmsg:security cmsg:origdst cmsg:pathmtu cmsg:auxdata cmsg:rfc4884 cmsg:optstats cmsg:optpktinfo
  cmsg:integer cmsg:exterr poller:event poller:events poller:wakefd poller:fd event:fd hook:remove
  sock:getfd sock:dirty sock:pollfd sock:events sock:timeout wait.set wait.is_set loop.spawn loop.run
  loop.now loop.cancel resolve.set s:lines
  socket.activated
]]

local function list(folder, suffix)
  local names, pipe = {}, assert(io.popen(shell.format("cd %q/%s && find * -type f | LC_ALL=C sort", source, folder)))
  for name in pipe:lines() do
    if name:sub(-#suffix) == suffix then names[#names + 1] = name end
  end
  pipe:close()
  return names
end

local function read(path)
  local file = assert(io.open(source .. "/" .. path))
  local text = file:read "*a"
  file:close()
  return text
end

-- doc/ -----------------------------------------------------------------------------------------------------

-- `len, err = sock:send( msg [, flag, ...] )` as its parts; nil for what is no signature.
local function parse(heading)
  local returns, owner, mark, name, args = heading:match "^(.-)%s*=?%s*(%l+)([.:])([%w_]+)%((.-)%)$"
  if not OWNERS[owner] then return nil end
  return { title = owner .. mark .. name, owner = owner, name = name, returns = returns, args = args }
end

-- Appends the sections of a page, each with its lines, and the headings of the third rank that are no signature.
local function read_page(page, out, strays)
  local current
  for line in io.lines(source .. "/doc/" .. page) do
    local rank, heading = line:match "^(#+) (.+)$"
    if rank == "###" then
      current = parse(heading)
      if current then out[#out + 1] = current else strays[#strays + 1] = page .. ": " .. heading end
    elseif rank == "#" or rank == "##" then
      current = nil
    elseif current then
      current[#current + 1] = line
    end
  end
end

-- porting.md is left out: its headings are no functions.
local function sections()
  local out, strays = {}, {}
  for _, page in ipairs(list("doc", ".md")) do
    if page ~= "porting.md" then read_page(page, out, strays) end
  end
  for _, s in ipairs(out) do s.body = table.concat(s, "\n") end
  return out, strays
end

local MORE = " f2 f3 f4 f5 f6 f7 f8 f9" -- the flags behind the first, and the one too many

-- The names of a function's parameters, as a heading has them.
local function parameters(fn)
  local names, i = {}, 1
  while debug.getlocal(fn, i) do
    local name = debug.getlocal(fn, i)
    if name ~= "self" then names[#names + 1] = name end
    i = i + 1
  end
  if debug.getinfo(fn, "u").isvararg then names[#names + 1] = "..." end
  return (table.concat(names, " "):gsub(MORE, " ..."))
end

local ROWS = {}
for _, row in ipairs(options) do ROWS[row[1]] = true end
for _, row in ipairs(multicast.OPTIONS) do ROWS[row[1]] = true end
for _, row in ipairs(multicast.MEMBERSHIPS) do ROWS[row[1]] = true end

-- What a section says wrong about its function, or lacks.
local function faults(s)
  local out, fn = {}, OWNERS[s.owner][s.name]
  local function want(ok, what) if not ok then out[#out + 1] = what end end
  local args = s.args:gsub("[%[%],]", " "):gsub("%s+", " "):match "^ ?(.-) ?$"
  want(ROWS[s.name] and s.owner == "sock" or args == parameters(fn), "its arguments, which are: " .. parameters(fn))
  want(SURE[s.title] or s.returns:find "errno$", "errno as its last value")
  for arg in args:gmatch "%a+" do want(s.body:find("`" .. arg .. ": ", 1, true), "the type of " .. arg) end
  want(args == "" or s.body:find "%*%*Parameters%*%*", "its parameters")
  want(s.body:find "%*%*Returns%*%*", "what it returns")
  want(s.body:find "%*%*Source%*%* [^\n]*%(%d%)" or s.body:find "%*%*Source%*%*[^\n]*\n?[^\n]*%(%d%)", "its man page")
  want(SURE[s.title] or s.body:find "%*%*Branch on%*%* ", "the errno values")
  want((s.body:match "```lua.-```" or ""):find(s.name, 1, true), "an example that calls it")
  return table.concat(out, "; ")
end

-- Links to pages that are not there.
local function broken_links()
  local out = {}
  for _, page in ipairs(list("doc", ".md")) do
    for target in read("doc/" .. page):gmatch "%]%(([%w_./-]+)" do
      local file = io.open(source .. "/doc/" .. target)
      if file then file:close() else out[#out + 1] = page .. ": " .. target end
    end
  end
  return table.concat(out, ", ")
end

-- lua/ -----------------------------------------------------------------------------------------------------

-- The functions of a file that others can reach: fields of its table, and locals that its last statement gives away.
local function exported(text)
  local out, given = {}, " " .. (text:match "\nreturn (%b{})%s*$" or text:match "\nlocal M = (%b{})" or "") .. " "
  for name in text:gmatch "\nM%.[%w_]+ = ([%w_]+)%f[^%w_]" do given = given .. "= " .. name .. " " end
  for at, start, name, args in text:gmatch "()\n([%w ]*)function ([%w_.:]+)(%b())" do
    local is_field = start == "" and select(2, name:gsub("[.:]", "")) == 1
    local is_given = start == "local " and given:find("= " .. name .. "%f[^%w_]")
    if is_field or is_given then out[#out + 1] = { name = name, args = args, at = at } end
  end
  return out
end

-- The annotation whose last line is directly above a function.
local function above(text, at)
  local block = { "" }
  for line in text:sub(1, at):gmatch "(.-)\n" do
    if line:find "^%-%-%-" then block[#block + 1] = line else block = { "" } end
  end
  return table.concat(block, "\n") .. "\n"
end

local function answers_something(text, at)
  local body = text:match("^[^\n]*end\n", at + 1) or text:match("^.-\nend\n", at + 1)
  for word in body:gmatch "%f[%w]return%s+(%S+)" do
    if word ~= "end" and word ~= "else" then return true end
  end
  return false
end

local function unannotated(text, fn)
  local block, out = above(text, fn.at), {}
  if not block:find "^\n%-%-%- %u" then out[1] = "a sentence" end
  for arg in fn.args:gmatch "[%w_.]+" do
    local name = arg:gsub("%.", "%%.")
    local is_told = name:find "^f[3-9]$" and fn.args:find "f2, f3" -- by the annotation of f2
    if not (is_told or block:find("\n%-%-%-@param " .. name .. "%??[ \n]")) then out[#out + 1] = "@param " .. arg end
  end
  if answers_something(text, fn.at) and not block:find "\n%-%-%-@return " then out[#out + 1] = "@return" end
  return table.concat(out, ", ")
end

-- The type that an option's kind gives its field line; t/option-rows holds it against what is read.
local TYPE = {}
for kind, row in pairs(require("generated").KIND) do TYPE[kind] = row[2] end
local BOTH = {} -- the types of a method that has one for IPv4 and another for IPv6
for _, r in ipairs(options) do
  local was = BOTH[r[1]]
  BOTH[r[1]] = was and was ~= TYPE[r[4]] and was .. "|" .. TYPE[r[4]] or TYPE[r[4]]
end

-- The same for a row of cmsghdr, whose constructors all have one signature.
local function number_faults(text, name, what)
  if not what:find "^%u.+; see %w+%(%d%)%.$" then return "no description" end
  local field = ("\n---@field %s fun(n: integer): llsocket.cmsghdr?, string?, integer?  "):format(name)
  return text:find(field, 1, true) and "" or "no @field line"
end

-- What is wrong with a row: no description, or no field line, or one of another type.
local function row_faults(text, name, what, kind, read_only)
  if not (what or ""):find "^%u.+%.$" then return "no description" end
  local field = text:match("\n(%-%-%-@field " .. name .. " fun%(self: llsocket%.socket[^\n]*)")
  if not field then return "no @field line" end
  local promised = BOTH[name] or TYPE[kind]
  local arg = not read_only and kind and "%?: " .. promised:gsub("[|%[%]]", "%%%0") .. "%): "
  if arg and not field:find(arg) then return "the @field line's argument is no " .. promised end
  local value = kind and "): " .. promised
  if value and not field:find(value, 1, true) then return "the @field line's value is no " .. promised end
  return ""
end

local function rows()
  local out = {}
  local meta = read "lua/llsocket/meta.lua"
  local function add(name, ...) out[#out + 1] = { name = name, faults = row_faults(meta, ...) } end
  for _, r in ipairs(options) do add(r[1] .. " of " .. r[3], r[1], r[6], r[4], r[5] == "ro") end
  for _, r in ipairs(multicast.OPTIONS) do add(r[1], r[1], r[6], r[3]) end
  for _, r in ipairs(multicast.MEMBERSHIPS) do add(r[1], r[1], r[4]) end
  for _, r in ipairs(cmsghdr.NUMBERS) do
    out[#out + 1] = { name = r[1] .. " of cmsghdr", faults = number_faults(meta, r[1], r[5]) }
  end
  return out, meta
end

-- ----------------------------------------------------------------------------------------------------------

local heads, strays = sections()
local publics, annotated = {}, {}
for owner, functions in pairs(OWNERS) do
  for name, fn in pairs(functions) do
    local title = owner .. (METHODS[owner] and ":" or ".") .. name
    if type(fn) == "function" and not inner.set[title] then publics[#publics + 1] = title end
  end
end
table.sort(publics)
for _, file in ipairs(list("lua/llsocket", ".lua")) do
  local text = read("lua/llsocket/" .. file)
  for _, fn in ipairs(exported(text)) do annotated[#annotated + 1] = { file .. " " .. fn.name, unannotated(text, fn) } end
end
local table_rows, fields = rows()

-- A page's module is one of OWNERS, or has the methods of one.
local function has_page(module)
  for _, functions in pairs(OWNERS) do
    if functions == module or type(module) == "table" and (module.methods == functions or module.hook_methods == functions) then
      return true
    end
  end
end

local function unseen()
  local out = {}
  for _, file in ipairs(list("lua/llsocket", ".lua")) do
    local name = file:gsub("%.lua$", ""):gsub("/", ".")
    if not (INSIDE[name] or FACES[name] or WAYS[name] or has_page(require("llsocket." .. name))) then
      out[#out + 1] = ("llsocket.%s: add it to t/lib/owners.lua, or to INSIDE in t/doc-coverage"):format(name)
    end
  end
  return table.concat(out, "; ")
end

local T = require("tap").plan(#publics + #heads * 2 + #annotated + #table_rows + 6)

-- The options have a row each in the table of doc/option.md, and some a section, too.
local documented, in_table = {}, {}
for title in read("doc/option.md"):gmatch "\n| `(sock:%w+)` |" do in_table[title] = 1 end
for _, s in ipairs(heads) do documented[s.title] = (documented[s.title] or 0) + 1 end
for _, title in ipairs(publics) do
  T.is(documented[title] or in_table[title], 1, title .. " has one heading in doc/, or a row")
end
for _, s in ipairs(heads) do
  local exists = type(OWNERS[s.owner][s.name]) == "function"
  T.ok(exists, "the heading of " .. s.title .. " names a function")
  T.is(exists and faults(s), "", "the section of " .. s.title .. " is complete")
end
T.is(table.concat(strays, ", "), "", "every heading of the third rank is a signature")

T.is(broken_links(), "", "every link leads to a page")

T.is(unseen(), "", "every module has its page, or is inside the library")
T.ok(#annotated > 60, "the sources were read")
for _, fn in ipairs(annotated) do T.is(fn[2], "", fn[1] .. " is annotated") end
for _, row in ipairs(table_rows) do T.is(row.faults, "", "the row of " .. row.name .. " is described") end

local unknown = {}
for name in fields:gmatch "%-%-%-@field ([%w_]+) fun%(self: llsocket%.socket" do
  if not ROWS[name] then unknown[#unknown + 1] = name end
end
T.is(table.concat(unknown, ", "), "", "every @field line has its row")
T.is(leak.count(), before, "no descriptor is left")
T.done()
