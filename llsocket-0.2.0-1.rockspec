-- For LuaRocks: `luarocks --lua-version 5.1 make` in this folder builds and installs the library; see doc/install.md.
package = "llsocket"
version = "0.2.0-1"
source = {
  url = "file://llsocket-0.2.0.tar.gz", -- made by `meson dist --formats gztar`; a source rock carries it
  dir = "llsocket-0.2.0",
}
description = {
  summary = "The whole BSD socket API for LuaJIT",
  detailed = "TCP, UDP, unix sockets, sendfile, multicast, messages with descriptors, all socket options, and a poller, " ..
    "as the man pages have them, over LuaJIT's FFI. It needs LuaJIT: plain Lua 5.1 has no FFI.",
  license = "MIT",
}
supported_platforms = { "unix" }
dependencies = { "lua == 5.1" }
build = {
  type = "builtin",
  modules = {
    llsocket = "lua/llsocket.lua",
    ["llsocket.activation"] = "lua/llsocket/activation.lua",
    ["llsocket.addrinfo"] = "lua/llsocket/addrinfo.lua",
    ["llsocket.anyoption"] = "lua/llsocket/anyoption.lua",
    ["llsocket.batch"] = "lua/llsocket/batch.lua",
    ["llsocket.buffer"] = "lua/llsocket/buffer.lua",
    ["llsocket.burst"] = "lua/llsocket/burst.lua",
    ["llsocket.check"] = "lua/llsocket/check.lua",
    ["llsocket.cmsghdr"] = "lua/llsocket/cmsghdr.lua",
    ["llsocket.const"] = "lua/llsocket/const.lua",
    ["llsocket.control"] = "lua/llsocket/control.lua",
    ["llsocket.descriptor"] = "lua/llsocket/descriptor.lua",
    ["llsocket.device"] = "lua/llsocket/device.lua",
    ["llsocket.endpoint"] = "lua/llsocket/endpoint.lua",
    ["llsocket.epoll"] = "lua/llsocket/epoll.lua",
    ["llsocket.errno"] = "lua/llsocket/errno.lua",
    ["llsocket.event"] = "lua/llsocket/event.lua",
    ["llsocket.fcntl"] = "lua/llsocket/fcntl.lua",
    ["llsocket.gai"] = "lua/llsocket/gai.lua",
    ["llsocket.guest"] = "lua/llsocket/guest.lua",
    ["llsocket.handle"] = "lua/llsocket/handle.lua",
    ["llsocket.hook"] = "lua/llsocket/hook.lua",
    ["llsocket.ifaddrs"] = "lua/llsocket/ifaddrs.lua",
    ["llsocket.inet"] = "lua/llsocket/inet.lua",
    ["llsocket.interface"] = "lua/llsocket/interface.lua",
    ["llsocket.iovec"] = "lua/llsocket/iovec.lua",
    ["llsocket.kqueue"] = "lua/llsocket/kqueue.lua",
    ["llsocket.later"] = "lua/llsocket/later.lua",
    ["llsocket.layout"] = "lua/llsocket/layout.lua",
    ["llsocket.libc"] = "lua/llsocket/libc.lua",
    ["llsocket.links"] = "lua/llsocket/links.lua",
    ["llsocket.memory"] = "lua/llsocket/memory.lua",
    ["llsocket.message"] = "lua/llsocket/message.lua",
    ["llsocket.msghdr"] = "lua/llsocket/msghdr.lua",
    ["llsocket.multicast"] = "lua/llsocket/multicast.lua",
    ["llsocket.netlink"] = "lua/llsocket/netlink.lua",
    ["llsocket.option"] = "lua/llsocket/option.lua",
    ["llsocket.owner"] = "lua/llsocket/owner.lua",
    ["llsocket.pipe"] = "lua/llsocket/pipe.lua",
    ["llsocket.poll"] = "lua/llsocket/poll.lua",
    ["llsocket.pollset"] = "lua/llsocket/pollset.lua",
    ["llsocket.readiness"] = "lua/llsocket/readiness.lua",
    ["llsocket.shortage"] = "lua/llsocket/shortage.lua",
    ["llsocket.sockaddr"] = "lua/llsocket/sockaddr.lua",
    ["llsocket.socket"] = "lua/llsocket/socket.lua",
    ["llsocket.sockopt"] = "lua/llsocket/sockopt.lua",
    ["llsocket.splice"] = "lua/llsocket/splice.lua",
    ["llsocket.steer"] = "lua/llsocket/steer.lua",
    ["llsocket.transfer"] = "lua/llsocket/transfer.lua",
    ["llsocket.unix"] = "lua/llsocket/unix.lua",
    ["llsocket.wait"] = "lua/llsocket/wait.lua",
    ["llsocket.wait.copas"] = "lua/llsocket/wait/copas.lua",
    ["llsocket.wait.coroutine"] = "lua/llsocket/wait/coroutine.lua",
    ["llsocket.wait.cqueues"] = "lua/llsocket/wait/cqueues.lua",
    ["llsocket.wait.luv"] = "lua/llsocket/wait/luv.lua",
    ["llsocket.wait.nginx"] = "lua/llsocket/wait/nginx.lua",
    ["llsocket.zero"] = "lua/llsocket/zero.lua",
    ["llsocket.zerocopy"] = "lua/llsocket/zerocopy.lua",
    ["llsocket.renamed"] = "lua/llsocket/renamed.lua",
    ["llsocket.shim"] = {
      sources = { "csrc/facts.c", "csrc/macros.c", "csrc/renamed.c", "csrc/sendfile.c", "csrc/tcpinfo.c" },
      incdirs = { "csrc" },
    },
  },
  install = { lua = { ["llsocket.shim"] = "lua/llsocket/shim.lua" } }, -- of the shim's own name, so it cannot stand above
}
