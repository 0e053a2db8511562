-- around.lua -- an object around a socket with the methods that stream.wrap wants, as TLS libraries have them: no memory is
-- received into.
return function(sock)
  return {
    recv = function(_, size) return sock:recv(size) end, send = function(_, msg) return sock:send(msg) end,
    recvable = function(_, sec) return sock:recvable(sec) end, sendable = function(_, sec) return sock:sendable(sec) end,
    close = function() return sock:close() end,
  }
end
