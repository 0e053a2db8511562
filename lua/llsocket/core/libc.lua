-- libc.lua -- the only declarations of libc functions.
--
-- A cdef of a function is global to the VM, and the first one silently wins: a wrong `getsockopt` declared by another module
-- would become ours.  Private names bound by __asm__ cannot collide.
-- Never declare a 64-bit result: it is boxed, and boxing runs a collector step before errno can be read.  Counts are int
-- instead of ssize_t; callers keep lengths within 0x7ffff000, the kernel's own limit, so an int suffices.
-- recvmmsg/sendmmsg take the count, and getnameinfo its buffers' sizes, as 32 bits (Linux) or size_t (FreeBSD); declaring
-- size_t works for both ABIs.
-- Structs are passed as void *: layout.lua builds their ctypes without names, from the offsets that the compiler reported.
-- The FFI binds by name: add a function to renamed.lua, too, where the headers give it another symbol.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"

ffi.cdef [[
int llsocket2_socket(int domain, int type, int protocol) __asm__("socket");
int llsocket2_socketpair(int domain, int type, int protocol, int *fds) __asm__("socketpair");
int llsocket2_bind(int fd, const void *name, uint32_t namelen) __asm__("bind");
int llsocket2_connect(int fd, const void *name, uint32_t namelen) __asm__("connect");
int llsocket2_listen(int fd, int backlog) __asm__("listen");
int llsocket2_accept(int fd, void *name, uint32_t *namelen) __asm__("accept");
int llsocket2_accept4(int fd, void *name, uint32_t *namelen, int flags) __asm__("accept4");
int llsocket2_getsockname(int fd, void *name, uint32_t *namelen) __asm__("getsockname");
int llsocket2_getpeername(int fd, void *name, uint32_t *namelen) __asm__("getpeername");
int llsocket2_shutdown(int fd, int how) __asm__("shutdown");
int llsocket2_close(int fd) __asm__("close");

int llsocket2_recv(int fd, void *buf, size_t len, int flags) __asm__("recv");
int llsocket2_recvfrom(int fd, void *buf, size_t len, int flags, void *name, uint32_t *namelen) __asm__("recvfrom");
int llsocket2_send(int fd, const void *buf, size_t len, int flags) __asm__("send");
int llsocket2_sendto(int fd, const void *buf, size_t len, int flags,
                     const void *name, uint32_t namelen) __asm__("sendto");
int llsocket2_sockatmark(int fd) __asm__("sockatmark");
int llsocket2_poll(void *fds, unsigned long nfds, int timeout) __asm__("poll");
int llsocket2_getsockopt(int fd, int level, int opt, void *val, uint32_t *len) __asm__("getsockopt");
int llsocket2_setsockopt(int fd, int level, int opt, const void *val, uint32_t len) __asm__("setsockopt");

int llsocket2_getaddrinfo(const char *host, const char *port, const void *hints, void *res) __asm__("getaddrinfo");
void llsocket2_freeaddrinfo(void *res) __asm__("freeaddrinfo");
int llsocket2_getnameinfo(const void *name, uint32_t namelen, char *host, size_t hostlen,
                          char *serv, size_t servlen, int flags) __asm__("getnameinfo");
const char *llsocket2_gai_strerror(int code) __asm__("gai_strerror");
int llsocket2_inet_pton(int family, const char *text, void *addr) __asm__("inet_pton");
void llsocket2_inet_ntop(int family, const void *addr, char *text, uint32_t size) __asm__("inet_ntop");
unsigned int llsocket2_if_nametoindex(const char *ifname) __asm__("if_nametoindex");
void llsocket2_if_indextoname(unsigned int index, char *ifname) __asm__("if_indextoname");
int llsocket2_getifaddrs(void *list) __asm__("getifaddrs");
void llsocket2_freeifaddrs(void *list) __asm__("freeifaddrs");

int llsocket2_sendmsg(int fd, const void *msg, int flags) __asm__("sendmsg");
int llsocket2_recvmsg(int fd, void *msg, int flags) __asm__("recvmsg");
int llsocket2_sendmmsg(int fd, void *msgs, size_t count, int flags) __asm__("sendmmsg");
int llsocket2_recvmmsg(int fd, void *msgs, size_t count, int flags, void *timeout) __asm__("recvmmsg");
int llsocket2_getpid(void) __asm__("getpid");
int llsocket2_gethostname(char *name, size_t size) __asm__("gethostname");
uint32_t llsocket2_getuid(void) __asm__("getuid");
uint32_t llsocket2_getgid(void) __asm__("getgid");
int llsocket2_unsetenv(const char *name) __asm__("unsetenv");

int llsocket2_epoll_create1(int flags) __asm__("epoll_create1");
int llsocket2_epoll_ctl(int epfd, int op, int fd, void *event) __asm__("epoll_ctl");
int llsocket2_epoll_wait(int epfd, void *events, int maxevents, int timeout) __asm__("epoll_wait");
int llsocket2_kqueue(void) __asm__("kqueue");
int llsocket2_kevent(int kq, const void *changes, int nchanges, void *events, int nevents,
                     const void *timeout) __asm__("kevent");
int llsocket2_eventfd(unsigned int initval, int flags) __asm__("eventfd");
int llsocket2_timerfd_create(int clockid, int flags) __asm__("timerfd_create");
int llsocket2_timerfd_settime(int fd, int flags, const void *value, void *old) __asm__("timerfd_settime");
int llsocket2_pipe(int *fds) __asm__("pipe");
int llsocket2_pipe2(int *fds, int flags) __asm__("pipe2");
int llsocket2_splice(int from, void *from_offset, int to, void *to_offset, size_t len, unsigned int flags) __asm__("splice");
int llsocket2_tee(int from, int to, size_t len, unsigned int flags) __asm__("tee");
int llsocket2_vmsplice(int fd, const void *parts, unsigned long count, unsigned int flags) __asm__("vmsplice");
int llsocket2_read(int fd, void *buf, size_t count) __asm__("read");
int llsocket2_write(int fd, const void *buf, size_t count) __asm__("write");

void *llsocket2_dlopen(const char *name, int flags) __asm__("dlopen");
void *llsocket2_dlsym(void *handle, const char *name) __asm__("dlsym");
int llsocket2_fileno(void *file) __asm__("fileno");
void *llsocket2_malloc(size_t size) __asm__("malloc");
void *llsocket2_calloc(size_t count, size_t size) __asm__("calloc");
void llsocket2_free(void *memory) __asm__("free");
const void *llsocket2_memchr(const void *memory, int byte, size_t size) __asm__("memchr");
void llsocket2_memmove(void *to, const void *from, size_t size) __asm__("memmove");
]]

return shim.llsocket2_renames == 0 and ffi.C or require "llsocket.core.renamed"
