-- loading.lua -- how long does `require` take?  In a new process each time.
local clock = require "bench.lib.clock"

-- Answers one operation, and the ns of the clock and of the CPU that it took; then bytes, which stay.
local function loading(...)
  local modules = { ... }
  return function()
    collectgarbage()
    local bytes, wall, cpu = collectgarbage "count", clock.wall(), clock.cpu()
    for _, name in ipairs(modules) do require(name) end
    wall, cpu = clock.wall() - wall, clock.cpu() - cpu
    collectgarbage()
    return 1, wall, cpu, (collectgarbage "count" - bytes) * 1024
  end
end

return {
  title = "loading time", unit = "us", per = 1000, once = true, extra = "bytes of Lua's heap",
  cases = { { name = "require" } },
  rows = {
    { name = "llsocket", start = loading "llsocket" },
    { name = "lua-socket", needs = "socket", start = loading "socket" },
    { name = "lua-posix", needs = "posix.sys.socket", start = loading("posix.sys.socket", "posix.unistd", "posix.poll") },
    { name = "lua-luv", needs = "luv", start = loading "luv" },
    { name = "lua-cqueues", needs = "cqueues", start = loading("cqueues", "cqueues.socket") },
    { name = "lua-ljsyscall", needs = "syscall", start = loading "syscall" },
  },
}
