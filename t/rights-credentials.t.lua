-- rights-credentials: the sender of a message: default and set credentials, after fork, and the peer of a connection.
local bit = require "bit"
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local values = require "values"
local text = require("llsocket.errno").text
local show = values.show
local before = leak.count()
local T = require("tap").plan(38)

local function ids(cred) return cred and ("%d %d %d"):format(cred.pid, cred.uid, cred.gid) end

-- The credentials that come with the next message, its data, and how many headers there are.
local function receive(sock)
  local mh = assert(L.msghdr.new())
  assert(sock:recvmsg(mh))
  local cmsgs = mh:control()
  return cmsgs[1] and ids(cmsgs[1]:credentials()), mh:data(), #cmsgs
end

local own = assert(L.cmsghdr.credentials())
local me = own:credentials()
T.is(me.pid, proc.getpid(), "the default pid is this process")
T.is(me.uid, sys.getuid(), "the default uid is this user")
T.is(#own:data(), 12, "they are three ints")
T.ok(own:level() == L.SOL_SOCKET and own:type() == L.SCM_CREDENTIALS, "at SOL_SOCKET")
T.is(own:rights(), nil, "they are no descriptors")

for _, name in ipairs { "SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET" } do
  local a, b = net.pair(L[name])
  a:send "before"
  T.is(select(3, receive(b)), 0, name .. ": without passcred there are none")
  T.is(b:passcred(true), true, name .. ": passcred sets")
  T.is(b:passcred(), true, name .. ": and reads")
  a:send "x"
  local cred, data, n = receive(b)
  T.is(show(cred, data, n), show(ids(me), "x", 1), name .. ": passcred brings the sender's, though it sent none")
  a:sendmsg(assert(L.msghdr.new { data = "y", control = { own } }))
  cred, data, n = receive(b)
  T.is(show(cred, data, n), show(ids(me), "y", 1), name .. ": and those it sent")
  a:close(); b:close()
end

-- Another process, and a grandchild's pid.
do
  local a, b = net.pair(L.SOCK_SEQPACKET)
  b:passcred(true)
  a:send "parent"
  local child = proc.fork(function()
    a:send "child"
    a:sendmsg(assert(L.msghdr.new { data = "told", control = { assert(L.cmsghdr.credentials()) } }))
  end)
  proc.wait(child)
  T.is((receive(b)), ids(me), "the parent's message has the parent's pid")
  me.pid = child
  T.is((receive(b)), ids(me), "the child's has the child's")
  T.is((receive(b)), ids(me), "also by credentials() in the child")
  me.pid = proc.getpid()
  T.is(ids(a:peercred()), ids(me), "peercred is who made the pair")
  a:close(); b:close()
end

-- Those of others: only root may.
local function explicit(pid, uid, gid)
  local a, b = net.pair(L.SOCK_DGRAM)
  b:passcred(true)
  local mh = assert(L.msghdr.new { data = "z", control = { assert(L.cmsghdr.credentials(pid, uid, gid)) } })
  local n, err, _, e = a:sendmsg(mh)
  local got = n and receive(b) or show(n, err, e)
  a:close(); b:close()
  return got
end

if sys.getuid() ~= 0 then
  T.skip(4, "only root may send another's credentials")
else
  T.is(explicit(nil, 65534, 65533), ("%d 65534 65533"):format(proc.getpid()), "root sends another uid and gid")
  T.is(explicit(1, nil, nil), ("1 %d %d"):format(me.uid, me.gid), "and another pid")
  T.is(explicit(nil, 2^32 - 2, nil), ("%d 4294967294 %d"):format(proc.getpid(), me.gid), "a uid above 2^31 stays what it is")
  T.is(explicit(2^31 - 1), show(nil, text(L.ESRCH), L.ESRCH), "a pid that is no process is ESRCH")
end

local refused = proc.fork(function()
  if sys.getuid() == 0 then sys.setuid(65534) end
  return explicit(nil, sys.getuid() + 1) == show(nil, text(L.EPERM), L.EPERM)
end)
T.is(proc.wait(refused), 0, "anybody else gets EPERM for another's uid")

-- With descriptors, in either order.
do
  local a, b = net.pair()
  b:passcred(true)
  for _, order in ipairs { { own, assert(L.cmsghdr.rights(a)) }, { assert(L.cmsghdr.rights(a)), own } } do
    a:sendmsg(assert(L.msghdr.new { data = "both", control = order }))
    local mh = assert(L.msghdr.new())
    b:recvmsg(mh)
    local creds, objects = {}, {}
    for _, cmsg in ipairs(mh:control()) do
      creds[#creds + 1] = ids(cmsg:credentials())
      objects[#objects + 1] = cmsg:rights() and cmsg:rights()[1]
    end
    T.is(show(#mh:control(), #creds, #objects, creds[1]), show(2, 1, 1, ids(me)), "credentials and a descriptor come together")
    objects[1]:close()
  end
  -- Room for the credentials only: the descriptor is closed.
  local count = leak.count()
  a:sendmsg(assert(L.msghdr.new { data = "both", control = { own, assert(L.cmsghdr.rights(a)) } }))
  local mh = assert(L.msghdr.new { controlsize = rights.cmsg_len(12) })
  b:recvmsg(mh)
  T.is(#mh:control(), 1, "where there is room for one")
  T.is(ids(mh:control()[1]:credentials()), ids(me), "it is the credentials")
  T.is(bit.band(mh:flags(), L.MSG_CTRUNC) ~= 0, true, "with MSG_CTRUNC")
  T.is(leak.count(), count, "and no descriptor")
  a:close(); b:close()
end

-- A header cut short tells nothing.
do
  local a, b = net.pair()
  b:passcred(true)
  a:send "x"
  local mh = assert(L.msghdr.new { controlsize = rights.cmsg_len(12) - 1 })
  b:recvmsg(mh)
  local cmsg = mh:control()[1]
  T.is(cmsg and cmsg:credentials(), nil, "credentials that are cut are nil")
  T.ok(bit.band(mh:flags(), L.MSG_CTRUNC) ~= 0, "with MSG_CTRUNC")
  a:close(); b:close()
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
