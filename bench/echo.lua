-- echo.lua -- how many rounds does an echo server do, with 1, 50 and 1,000 connections?
--
-- load.c is the client, in a process of its own; judged is what the server does with its time on the CPU.
local cases = {}
for _, messages in ipairs { "same", "new" } do
  for _, connections in ipairs { 1, 50, 1000 } do
    table.insert(cases, {
      name = ("%d connection%s, %s messages"):format(connections, connections > 1 and "s" or "", messages),
      counts = connections == 1, messages, connections,
    })
  end
end

return {
  title = "a TCP echo server's rounds", unit = "rounds", chunk = 1000, load = true, cases = cases,
  turns = 11, seconds = 0.1,
  rows = {
    { name = "C", server = "echo" },
    {
      name = "llsocket, strings", server = "string.lua", to_c = 0.95, judged = "wall", ahead = "strings",
      short = { to_c = "a string is made of each message" },
    },
    { name = "llsocket, buffers", server = "buffer.lua", to_c = 0.95, judged = "wall", ahead = "all" },
    { name = "llsocket, coroutines", server = "coroutine.lua", needs = "llsocket.wait.coroutine" },
    { name = "lua-socket", server = "luasocket.lua", needs = "socket" },
    { name = "lua-posix", server = "luaposix.lua", needs = "posix.sys.socket" },
    { name = "lua-luv", server = "luv.lua", needs = "luv" },
    { name = "lua-cqueues", server = "cqueues.lua", needs = "cqueues" },
    { name = "lua-ljsyscall", server = "ljsyscall.lua", needs = "syscall", buffers = true },
  },
}
