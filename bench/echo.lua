-- echo.lua -- how many rounds does an echo server do, with 1, 50 and 1,000 connections?
--
-- load.c is the client, in a process of its own.  No two messages are alike, so a server that makes strings makes a new one
-- of each.
local cases = {}
for i, connections in ipairs { 1, 50, 1000 } do
  cases[i] = {
    name = ("%d connection%s"):format(connections, connections > 1 and "s" or ""), counts = connections == 1,
    spares = connections == 1000 and { Go = true } or nil, "new", connections,
  }
end

-- A program is written with coroutines or callbacks, so those are judged by everything that a user would see.  They are
-- counted in long runs: two runs do not make the same traces at the same time, and compiling counts, too.
local function natural(row)
  row.to_c, row.judged, row.ahead = function(case) return case[2] == 1 and 0.95 or 0.88 end, "both", "loops"
  row.few_instructions, row.few_calls, row.runs, row.chunks = 3000, 3, 7, 32
  return row
end

return {
  title = "a TCP echo server's rounds", unit = "rounds", chunk = 1000, load = true, cases = cases,
  turns = 11, seconds = 0.1, runs = 3, chunks = 32,
  note = "No two messages are alike. Go and Node.js run threads, so the CPU time of one would say nothing: they have a rate "
    .. "only.",
  rows = {
    { name = "C", server = "echo" },
    {
      name = "llsocket, strings", server = "string.lua", to_c = 0.95, judged = "wall", ahead = "strings",
      short = { to_c = "a string is made of each message" },
    },
    { name = "llsocket, buffers", server = "buffer.lua", to_c = 0.95, judged = "wall", ahead = "all" },
    natural { name = "llsocket, coroutines", server = "coroutine.lua", arguments = { "coroutine" } },
    natural { name = "llsocket, coroutines and buffers", server = "coroutine.lua", arguments = { "coroutine", "buffer" } },
    natural { name = "llsocket, callbacks", server = "callback.lua" },
    { name = "llsocket in lua-luv", server = "coroutine.lua", arguments = { "luv" }, needs = "luv" },
    { name = "llsocket in lua-cqueues", server = "coroutine.lua", arguments = { "cqueues" }, needs = "cqueues" },
    { name = "llsocket in lua-copas", server = "coroutine.lua", arguments = { "copas" }, needs = "copas" },
    { name = "lua-socket", server = "luasocket.lua", needs = "socket" },
    { name = "lua-posix", server = "luaposix.lua", needs = "posix.sys.socket" },
    { name = "lua-luv", server = "luv.lua", needs = "luv", loop = true },
    { name = "lua-cqueues", server = "cqueues.lua", needs = "cqueues", loop = true },
    { name = "lua-copas", server = "copas.lua", needs = "copas", loop = true },
    { name = "lua-ljsyscall", server = "ljsyscall.lua", needs = "syscall", buffers = true },
    { name = "Go", server = "echo.go", threads = true, loop = true },
    { name = "Node.js", server = "echo.js", threads = true, loop = true },
  },
}
