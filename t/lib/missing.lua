-- missing.lua -- what this system does not have, or a build with the option fallbacks does without: the reason to skip
-- a test, or nil where it is there.
local L = require "llsocket"
local shim = require "llsocket.shim"

local no_splice = not L.SPLICE_F_MOVE and "there is no splice(2)" or nil -- nor tee(2), vmsplice(2)
local M = {
  flags = not L.SOCK_CLOEXEC and "without SOCK_CLOEXEC a new descriptor takes more calls" or nil,
  nosignal = not L.MSG_NOSIGNAL and "without MSG_NOSIGNAL a send blocks SIGPIPE by calls of its own" or nil,
  mmsg = not (L.MSG_WAITFORONE and L.MSG_NOSIGNAL) and "without recvmmsg and sendmmsg each message is a call" or nil,
  splice = no_splice,
  from = no_splice, to = no_splice, tee = no_splice, fill = no_splice,
  sendfile = shim.llsocket2_sendfile(0, -1, 0, 1) == -L.ENOSYS and "there is no sendfile(2)" or nil,
}

-- Skips all `n` tests of a file that cannot do without.
function M.skip_all(T, n, reason)
  T.skip(n, reason)
  T.done()
end

return M
