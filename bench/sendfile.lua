-- sendfile.lua -- how fast does a file go out?  1 GiB, larger than any processor's cache, to a process that throws the
-- bytes away: once it has read them ("read"), or without, by MSG_TRUNC ("drain").
--
-- Who has sendfile(2) uses it; the others read 64 KiB and send them.
local ends = require "bench.lib.ends"

local PIECE = 65536

-- A connection with who reads or drains.
local function reader(how)
  local listener, name = ends.listener()
  ends.ask(how, name:port(), 1)
  return (assert(listener:accept()))
end

local function llsocket(how, size, path)
  local sock, file = reader(how), assert(io.open(path))
  size = tonumber(size)
  return function(n)
    for _ = 1, n do
      local at = 0
      while at < size do at = at + sock:sendfile(file, size - at, at) end
    end
  end
end

local function luasocket(how, _, path)
  local listener = assert(require("socket").bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  ends.ask(how, port, 1)
  local sock, file = assert(listener:accept()), assert(io.open(path))
  return function(n)
    for _ = 1, n do
      file:seek "set"
      for piece in function() return file:read(PIECE) end do assert(sock:send(piece)) end
    end
  end
end

local function luaposix(how, _, path)
  local send, unistd, fcntl = require("posix.sys.socket").send, require "posix.unistd", require "posix.fcntl"
  local sock, fd = reader(how):unwrap(), assert(fcntl.open(path, fcntl.O_RDONLY))
  return function(n)
    for _ = 1, n do
      unistd.lseek(fd, 0, unistd.SEEK_SET)
      local piece = unistd.read(fd, PIECE)
      while #piece > 0 do
        assert(send(sock, piece) == #piece)
        piece = unistd.read(fd, PIECE)
      end
    end
  end
end

local function luv(how, size, path)
  local uv = require "luv"
  local sock, fd = reader(how):unwrap(), assert(uv.fs_open(path, "r", 0))
  size = tonumber(size)
  return function(n)
    for _ = 1, n do
      local at = 0
      while at < size do at = at + assert(uv.fs_sendfile(sock, fd, at, size - at)) end
    end
  end
end

local function cqueues(how, _, path)
  local socket = require "cqueues.socket"
  local sock, file = assert(socket.fdopen(reader(how):unwrap())), assert(io.open(path))
  sock:setmode("bn", "bn")
  return function(n)
    for _ = 1, n do
      file:seek "set"
      for piece in function() return file:read(PIECE) end do assert(sock:write(piece)) end
    end
  end
end

local function ljsyscall(how, size, path)
  local S = require "syscall"
  local sock, fd = S.t.fd(reader(how):unwrap()), assert(S.open(path, "rdonly"))
  size = tonumber(size)
  return function(n)
    for _ = 1, n do
      local at = 0
      while at < size do at = at + assert(S.sendfile(sock, fd, at, size - at)) end
    end
  end
end

return {
  title = "a file sent", unit = "MiB", scale = 1024, chunk = 1, operations = 1, turns = 9, crowd = true,
  file = 2^30, cases = { { name = "1 GiB over TCP, read", "read" }, { name = "1 GiB over TCP, drained", "drain" } },
  rows = {
    { name = "C", work = "sendfile" },
    { name = "llsocket", start = llsocket, to_c = 0.95, ahead = "all" },
    { name = "lua-socket", needs = "socket", start = luasocket },
    { name = "lua-posix", needs = "posix.sys.socket", start = luaposix },
    { name = "lua-luv", needs = "luv", start = luv },
    { name = "lua-cqueues", needs = "cqueues", start = cqueues },
    { name = "lua-ljsyscall", needs = "syscall", start = ljsyscall },
  },
}
