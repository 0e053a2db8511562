-- libc.lua -- the only declarations of libc functions.
--
-- A function cdef is global to the VM and the first one wins without a word, so a wrong `getsockopt`
-- declared by some other module would become ours: private names bound by __asm__ cannot collide.
-- Counts are declared int, not ssize_t: a 64-bit result is boxed, and boxing runs a collector step before
-- errno can be read.  Callers keep lengths within 0x7ffff000, the kernel's own limit, so an int suffices.
-- The count of recvmmsg and sendmmsg is an unsigned int on Linux and a size_t on the BSDs: as the latter it is both.
-- Structs go as void *: their ctypes are anonymous, made by layout from what the compiler said.
local ffi = require "ffi"

ffi.cdef [[
int llsocket1_socket(int domain, int type, int protocol) __asm__("socket");
int llsocket1_socketpair(int domain, int type, int protocol, int *fds) __asm__("socketpair");
int llsocket1_bind(int fd, const void *name, uint32_t namelen) __asm__("bind");
int llsocket1_connect(int fd, const void *name, uint32_t namelen) __asm__("connect");
int llsocket1_listen(int fd, int backlog) __asm__("listen");
int llsocket1_accept(int fd, void *name, uint32_t *namelen) __asm__("accept");
int llsocket1_accept4(int fd, void *name, uint32_t *namelen, int flags) __asm__("accept4");
int llsocket1_getsockname(int fd, void *name, uint32_t *namelen) __asm__("getsockname");
int llsocket1_getpeername(int fd, void *name, uint32_t *namelen) __asm__("getpeername");
int llsocket1_shutdown(int fd, int how) __asm__("shutdown");
int llsocket1_close(int fd) __asm__("close");

int llsocket1_recv(int fd, void *buf, size_t len, int flags) __asm__("recv");
int llsocket1_recvfrom(int fd, void *buf, size_t len, int flags, void *name, uint32_t *namelen) __asm__("recvfrom");
int llsocket1_send(int fd, const void *buf, size_t len, int flags) __asm__("send");
int llsocket1_sendto(int fd, const void *buf, size_t len, int flags,
                     const void *name, uint32_t namelen) __asm__("sendto");
int llsocket1_sockatmark(int fd) __asm__("sockatmark");
int llsocket1_poll(void *fds, unsigned long nfds, int timeout) __asm__("poll");
int llsocket1_getsockopt(int fd, int level, int opt, void *val, uint32_t *len) __asm__("getsockopt");
int llsocket1_setsockopt(int fd, int level, int opt, const void *val, uint32_t len) __asm__("setsockopt");

int llsocket1_getaddrinfo(const char *host, const char *port, const void *hints, void *res) __asm__("getaddrinfo");
void llsocket1_freeaddrinfo(void *res) __asm__("freeaddrinfo");
int llsocket1_getnameinfo(const void *name, uint32_t namelen, char *host, uint32_t hostlen,
                          char *serv, uint32_t servlen, int flags) __asm__("getnameinfo");
const char *llsocket1_gai_strerror(int code) __asm__("gai_strerror");
int llsocket1_inet_pton(int family, const char *text, void *addr) __asm__("inet_pton");
void llsocket1_inet_ntop(int family, const void *addr, char *text, uint32_t size) __asm__("inet_ntop");
unsigned int llsocket1_if_nametoindex(const char *ifname) __asm__("if_nametoindex");
void llsocket1_if_indextoname(unsigned int index, char *ifname) __asm__("if_indextoname");
int llsocket1_getifaddrs(void *list) __asm__("getifaddrs");
void llsocket1_freeifaddrs(void *list) __asm__("freeifaddrs");

int llsocket1_sendmsg(int fd, const void *msg, int flags) __asm__("sendmsg");
int llsocket1_recvmsg(int fd, void *msg, int flags) __asm__("recvmsg");
int llsocket1_sendmmsg(int fd, void *msgs, size_t count, int flags) __asm__("sendmmsg");
int llsocket1_recvmmsg(int fd, void *msgs, size_t count, int flags, void *timeout) __asm__("recvmmsg");
int llsocket1_getpid(void) __asm__("getpid");
uint32_t llsocket1_getuid(void) __asm__("getuid");
uint32_t llsocket1_getgid(void) __asm__("getgid");
int llsocket1_unsetenv(const char *name) __asm__("unsetenv");

int llsocket1_epoll_create1(int flags) __asm__("epoll_create1");
int llsocket1_epoll_ctl(int epfd, int op, int fd, void *event) __asm__("epoll_ctl");
int llsocket1_epoll_wait(int epfd, void *events, int maxevents, int timeout) __asm__("epoll_wait");
int llsocket1_kqueue(void) __asm__("kqueue");
int llsocket1_kevent(int kq, const void *changes, int nchanges, void *events, int nevents,
                     const void *timeout) __asm__("kevent");
int llsocket1_eventfd(unsigned int initval, int flags) __asm__("eventfd");
int llsocket1_timerfd_create(int clockid, int flags) __asm__("timerfd_create");
int llsocket1_timerfd_settime(int fd, int flags, const void *value, void *old) __asm__("timerfd_settime");
int llsocket1_pipe(int *fds) __asm__("pipe");
int llsocket1_pipe2(int *fds, int flags) __asm__("pipe2");
int llsocket1_splice(int from, void *from_offset, int to, void *to_offset, size_t len, unsigned int flags) __asm__("splice");
int llsocket1_read(int fd, void *buf, size_t count) __asm__("read");
int llsocket1_write(int fd, const void *buf, size_t count) __asm__("write");

int llsocket1_fileno(void *file) __asm__("fileno");
void *llsocket1_malloc(size_t size) __asm__("malloc");
void llsocket1_free(void *memory) __asm__("free");
void llsocket1_memmove(void *to, const void *from, size_t size) __asm__("memmove");
]]

return ffi.C
