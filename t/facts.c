/* facts.c -- prints constants and layouts as the compiler has them, from lists of its own: what csrc's
 * tables say is held against it.
 *
 *   const NAME value|nil                     the names of seed.def
 *   spot NAME value                          one or more of every other family
 *   struct NAME size align
 *   field NAME FIELD offset size signed      signed is 0 for what is no integer */
#include "shim.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>

#define SPOT(name)    printf("spot %s %lld\n", #name, (long long)(name));
#define PRESENT(name) printf("const %s %lld\n", #name, (long long)(name));
#define ABSENT(name)  printf("const %s nil\n", #name);

static void seed(void) {
#include "seed.def"
}

static void families(void) {
    SPOT(AF_UNSPEC) SPOT(AF_UNIX) SPOT(AF_INET) SPOT(AF_INET6)
    SPOT(PF_UNSPEC) SPOT(PF_UNIX) SPOT(PF_INET) SPOT(PF_INET6)
    SPOT(SOL_SOCKET) SPOT(SOMAXCONN) SPOT(IFNAMSIZ) SPOT(SCM_RIGHTS)
    SPOT(SO_ACCEPTCONN) SPOT(SO_BROADCAST) SPOT(SO_ERROR) SPOT(SO_KEEPALIVE) SPOT(SO_LINGER)
    SPOT(SO_RCVBUF) SPOT(SO_RCVTIMEO) SPOT(SO_REUSEADDR) SPOT(SO_SNDBUF) SPOT(SO_SNDTIMEO) SPOT(SO_TYPE)
    SPOT(TCP_NODELAY) SPOT(TCP_MAXSEG)
    SPOT(IP_TOS) SPOT(IP_TTL) SPOT(IP_MULTICAST_IF) SPOT(IP_MULTICAST_LOOP) SPOT(IP_MULTICAST_TTL)
    SPOT(IPV6_V6ONLY) SPOT(IPV6_UNICAST_HOPS) SPOT(IPV6_MULTICAST_HOPS) SPOT(IPV6_MULTICAST_IF)
    SPOT(MCAST_JOIN_GROUP) SPOT(MCAST_LEAVE_GROUP) SPOT(MCAST_BLOCK_SOURCE) SPOT(MCAST_JOIN_SOURCE_GROUP)
    SPOT(EAI_AGAIN) SPOT(EAI_BADFLAGS) SPOT(EAI_FAIL) SPOT(EAI_FAMILY) SPOT(EAI_MEMORY) SPOT(EAI_NONAME)
    SPOT(EAI_OVERFLOW) SPOT(EAI_SERVICE) SPOT(EAI_SOCKTYPE) SPOT(EAI_SYSTEM)
#ifdef __linux__
    SPOT(SOCK_CLOEXEC) SPOT(SOCK_NONBLOCK) SPOT(AF_PACKET) SPOT(AF_NETLINK) SPOT(SOL_PACKET) SPOT(SOL_UDP)
    SPOT(SO_MARK) SPOT(SO_PEERCRED) SPOT(SO_BINDTODEVICE) SPOT(SO_REUSEPORT) SPOT(SO_TIMESTAMP) SPOT(SCM_CREDENTIALS)
    SPOT(TCP_CORK) SPOT(TCP_CONGESTION) SPOT(TCP_INFO) SPOT(TCP_KEEPIDLE) SPOT(TCP_USER_TIMEOUT)
    SPOT(UDP_CORK) SPOT(IP_PKTINFO) SPOT(IP_RECVERR) SPOT(IPV6_RECVPKTINFO) SPOT(IPV6_RECVERR)
#endif
}

/* Those of POSIX; a system may have more. */
static void errors(void) {
    SPOT(E2BIG) SPOT(EACCES) SPOT(EADDRINUSE) SPOT(EADDRNOTAVAIL) SPOT(EAFNOSUPPORT) SPOT(EAGAIN) SPOT(EALREADY)
    SPOT(EBADF) SPOT(EBADMSG) SPOT(EBUSY) SPOT(ECANCELED) SPOT(ECHILD) SPOT(ECONNABORTED) SPOT(ECONNREFUSED)
    SPOT(ECONNRESET) SPOT(EDEADLK) SPOT(EDESTADDRREQ) SPOT(EDOM) SPOT(EDQUOT) SPOT(EEXIST) SPOT(EFAULT)
    SPOT(EFBIG) SPOT(EHOSTUNREACH) SPOT(EIDRM) SPOT(EILSEQ) SPOT(EINPROGRESS) SPOT(EINTR) SPOT(EINVAL) SPOT(EIO)
    SPOT(EISCONN) SPOT(EISDIR) SPOT(ELOOP) SPOT(EMFILE) SPOT(EMLINK) SPOT(EMSGSIZE) SPOT(ENAMETOOLONG)
    SPOT(ENETDOWN) SPOT(ENETRESET) SPOT(ENETUNREACH) SPOT(ENFILE) SPOT(ENOBUFS) SPOT(ENODEV) SPOT(ENOENT)
    SPOT(ENOEXEC) SPOT(ENOLCK) SPOT(ENOMEM) SPOT(ENOMSG) SPOT(ENOPROTOOPT) SPOT(ENOSPC) SPOT(ENOSYS) SPOT(ENOTCONN)
    SPOT(ENOTDIR) SPOT(ENOTEMPTY) SPOT(ENOTSOCK) SPOT(ENOTSUP) SPOT(ENOTTY) SPOT(ENXIO) SPOT(EOPNOTSUPP)
    SPOT(EOVERFLOW) SPOT(EPERM) SPOT(EPIPE) SPOT(EPROTO) SPOT(EPROTONOSUPPORT) SPOT(EPROTOTYPE) SPOT(ERANGE)
    SPOT(EROFS) SPOT(ESPIPE) SPOT(ESRCH) SPOT(ESTALE) SPOT(ETIMEDOUT) SPOT(ETXTBSY) SPOT(EWOULDBLOCK) SPOT(EXDEV)
}

#undef STRUCT
#undef INT
#undef PTR
#undef BYTES
#undef SUB
#define STRUCT(s) printf("struct %s %zu %zu\n", #s, sizeof(struct s), _Alignof(struct s));
/* Each of the two turns the field's name into text itself: some are macros that FIELD's call would expand. */
#define FIELD(s, name, f, is_signed) \
    printf("field %s %s %zu %zu %d\n", #s, name, offsetof(struct s, f), sizeof(((struct s *)0)->f), is_signed);
/* With all bits set, an unsigned number is above 0 and a signed one is -1. */
#define INT(s, f) { struct s v; memset(&v, 0xff, sizeof v); FIELD(s, #f, f, !(v.f > 0)) }
#define OTHER(s, f) FIELD(s, #f, f, 0)

static void addresses(void) {
    STRUCT(in_addr) INT(in_addr, s_addr)
    STRUCT(in6_addr) OTHER(in6_addr, s6_addr)
    STRUCT(sockaddr) INT(sockaddr, sa_family)
    STRUCT(sockaddr_in) INT(sockaddr_in, sin_family) INT(sockaddr_in, sin_port) OTHER(sockaddr_in, sin_addr)
    STRUCT(sockaddr_in6) INT(sockaddr_in6, sin6_family) INT(sockaddr_in6, sin6_port)
    INT(sockaddr_in6, sin6_flowinfo) OTHER(sockaddr_in6, sin6_addr) INT(sockaddr_in6, sin6_scope_id)
    STRUCT(sockaddr_un) INT(sockaddr_un, sun_family) OTHER(sockaddr_un, sun_path)
    STRUCT(sockaddr_storage) INT(sockaddr_storage, ss_family)
#ifdef LLSOCKET_SA_LEN
    INT(sockaddr, sa_len) INT(sockaddr_storage, ss_len)
#endif
    STRUCT(addrinfo) INT(addrinfo, ai_flags) INT(addrinfo, ai_family) INT(addrinfo, ai_socktype)
    INT(addrinfo, ai_protocol) INT(addrinfo, ai_addrlen) OTHER(addrinfo, ai_addr)
    OTHER(addrinfo, ai_canonname) OTHER(addrinfo, ai_next)
    STRUCT(ifaddrs) OTHER(ifaddrs, ifa_next) OTHER(ifaddrs, ifa_name) INT(ifaddrs, ifa_flags)
    OTHER(ifaddrs, ifa_addr) OTHER(ifaddrs, ifa_netmask) OTHER(ifaddrs, ifa_broadaddr)
}

static void values(void) {
    STRUCT(timeval) INT(timeval, tv_sec) INT(timeval, tv_usec)
    STRUCT(linger) INT(linger, l_onoff) INT(linger, l_linger)
    STRUCT(pollfd) INT(pollfd, fd) INT(pollfd, events) INT(pollfd, revents)
    STRUCT(ip_mreqn) OTHER(ip_mreqn, imr_multiaddr) OTHER(ip_mreqn, imr_address) INT(ip_mreqn, imr_ifindex)
    STRUCT(group_req) INT(group_req, gr_interface) OTHER(group_req, gr_group)
    STRUCT(group_source_req) INT(group_source_req, gsr_interface) OTHER(group_source_req, gsr_group)
    OTHER(group_source_req, gsr_source)
}

int main(void) {
    seed();
    families();
    errors();
    addresses();
    values();
    return 0;
}
