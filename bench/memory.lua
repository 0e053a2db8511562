-- memory.lua -- how many bytes does a server hold for a connection that is idle?
--
-- The clients are another process.  Counted are the resident bytes of this one, after a collection, and of them those of
-- Lua's heap.  What the kernel keeps is the same for all.
local ends = require "bench.lib.ends"

local STEP = 1000 -- the clients that one backlog holds

local function resident()
  local file = assert(io.open "/proc/self/statm")
  local _, pages = file:read("*n", "*n")
  file:close()
  return pages * 4096
end

local function settled()
  collectgarbage()
  collectgarbage()
  return resident(), collectgarbage "count" * 1024
end

-- Has `take` accept the connections; answers how many, the bytes of all (twice, for a clock there is none), and the
-- heap's of one.
local function hold(n, port, take)
  n = tonumber(n)
  local bytes, heap = settled()
  for _ = 1, n / STEP do
    ends.ask("keep", port, STEP)
    take(STEP)
  end
  local bytes_then, heap_then = settled()
  return n, bytes_then - bytes, bytes_then - bytes, (heap_then - heap) / n
end

local function llsocket(n)
  local p = assert(require("llsocket").poll.new())
  local listener, name = ends.listener()
  return hold(n, name:port(), function(count)
    for _ = 1, count do assert(p:add(listener:accept(true), "r")) end
  end)
end

-- Its select(2) would not take so many: they are only held.
local function luasocket(n)
  local listener = assert(require("socket").bind("127.0.0.1", 0, 4096))
  local _, port = listener:getsockname()
  local held = {}
  return hold(n, port, function(count)
    for _ = 1, count do table.insert(held, (assert(listener:accept()))) end
  end)
end

-- What it waits with is a table of tables.
local function luaposix(n)
  local S = require "posix.sys.socket"
  local listener, name = ends.listener()
  local fd, held = listener:unwrap(), {}
  return hold(n, name:port(), function(count)
    for _ = 1, count do held[S.accept(fd)] = { events = { IN = true } } end
    return held
  end)
end

local function luv(n)
  local uv = require "luv"
  local listener, left, held = uv.new_tcp(), 0, {}
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(4096, function()
    local sock = uv.new_tcp()
    listener:accept(sock)
    sock:read_start(function() end)
    held[#held + 1] = sock
    left = left - 1
  end))
  return hold(n, listener:getsockname().port, function(count)
    left = count
    repeat uv.run "once" until left == 0
  end)
end

local function cqueues(n)
  local loop, socket = require("cqueues").new(), require "cqueues.socket"
  local listener = assert(socket.listen { host = "127.0.0.1", port = 0 })
  assert(listener:listen())
  local _, _, port = listener:localname()
  return hold(n, port, function(count)
    for _ = 1, count do
      local sock = assert(listener:accept())
      loop:wrap(function() return sock:read(1) end)
    end
    assert(loop:step(0))
  end)
end

local function ljsyscall(n)
  local S = require "syscall"
  local listener, name = ends.listener()
  local fd, epoll, held = S.t.fd(listener:unwrap()), assert(S.epoll_create()), {}
  return hold(n, name:port(), function(count)
    for _ = 1, count do
      local sock = assert(S.accept4(fd, nil, nil, "cloexec,nonblock"))
      assert(S.epoll_ctl(epoll, "add", sock, "in"))
      held[sock:getfd()] = sock
    end
    return held
  end)
end

return {
  title = "memory of an idle connection", unit = "bytes", once = true, turns = 5, crowd = true,
  extra = "of them Lua's heap",
  cases = { { name = "of 10,000", 10000 } },
  rows = {
    { name = "C", work = "memory" },
    { name = "llsocket", start = llsocket },
    { name = "lua-socket", needs = "socket", start = luasocket },
    { name = "lua-posix", needs = "posix.sys.socket", start = luaposix },
    { name = "lua-luv", needs = "luv", start = luv },
    { name = "lua-cqueues", needs = "cqueues", start = cqueues },
    { name = "lua-ljsyscall", needs = "syscall", start = ljsyscall },
  },
}
