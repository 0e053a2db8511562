-- sendfile.lua -- how fast does a file go out?  64 MiB of it, 16 times, to a reader that throws the bytes away.
--
-- Who has sendfile(2) uses it; the others read 64 KiB and send them.
local ends = require "bench.lib.ends"

local PIECE = 65536

-- A connection with the reader.
local function reader()
  local listener, name = ends.listener()
  ends.ask("drain", name:port(), 1)
  return (assert(listener:accept()))
end

local function llsocket(size, path)
  local sock, file = reader(), assert(io.open(path))
  size = tonumber(size)
  return function(n)
    for _ = 1, n do
      local at = 0
      while at < size do at = at + sock:sendfile(file, size - at, at) end
    end
  end
end

local function luasocket(_, path)
  local listener = assert(require("socket").bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  ends.ask("drain", port, 1)
  local sock, file = assert(listener:accept()), assert(io.open(path))
  return function(n)
    for _ = 1, n do
      file:seek "set"
      for piece in function() return file:read(PIECE) end do assert(sock:send(piece)) end
    end
  end
end

local function luaposix(_, path)
  local send, unistd, fcntl = require("posix.sys.socket").send, require "posix.unistd", require "posix.fcntl"
  local sock, fd = reader():unwrap(), assert(fcntl.open(path, fcntl.O_RDONLY))
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

local function luv(size, path)
  local uv = require "luv"
  local sock, fd = reader():unwrap(), assert(uv.fs_open(path, "r", 0))
  size = tonumber(size)
  return function(n)
    for _ = 1, n do
      local at = 0
      while at < size do at = at + assert(uv.fs_sendfile(sock, fd, at, size - at)) end
    end
  end
end

local function cqueues(_, path)
  local socket = require "cqueues.socket"
  local sock, file = assert(socket.fdopen(reader():unwrap())), assert(io.open(path))
  sock:setmode("bn", "bn")
  return function(n)
    for _ = 1, n do
      file:seek "set"
      for piece in function() return file:read(PIECE) end do assert(sock:write(piece)) end
    end
  end
end

local function ljsyscall(size, path)
  local S = require "syscall"
  local sock, fd = S.t.fd(reader():unwrap()), assert(S.open(path, "rdonly"))
  size = tonumber(size)
  return function(n)
    for _ = 1, n do
      local at = 0
      while at < size do at = at + assert(S.sendfile(sock, fd, at, size - at)) end
    end
  end
end

return {
  title = "a file sent", unit = "MiB", scale = 64, chunk = 1, operations = 16, turns = 9, crowd = true,
  file = 64 * 2^20, cases = { { name = "1 GiB over TCP" } },
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
