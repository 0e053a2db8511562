/* facts.c -- prints constants and layouts as the compiler has them, from lists of its own: what csrc's
 * tables say is held against it.
 *
 *   const NAME value|nil                     the names of seed.def
 *   spot NAME value                          one or more of every other family
 *   struct NAME size align
 *   field NAME FIELD offset size signed      signed is 0 for what is no integer
 *   image STRUCT FIELD release offset hex    the bytes that change when a field of tcp_info has all bits set, and the
 *                                            release of the kernel that has it so, 0 for every one */
#include "shim.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/icmp6.h>
#include <netinet/udp.h>
#include <poll.h>
#ifdef __linux__
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#elif __has_include(<sys/event.h>)
#include <sys/event.h>
#endif
#include <time.h>

/* netinet/tcp.h has a shorter struct tcp_info, and the two cannot be included together. */
#if defined(__linux__) && __has_include(<linux/tcp.h>)
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/tcp.h>
#include <linux/vm_sockets.h>
#define HAVE_CC_INFO 1
#else
#include <netinet/tcp.h>
#endif

#include "fallbacks.def"

/* clang-format off */
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
    SPOT(AF_PACKET) SPOT(AF_NETLINK) SPOT(SOL_PACKET) SPOT(SOL_UDP)
    SPOT(SO_MARK) SPOT(SO_PEERCRED) SPOT(SO_BINDTODEVICE) SPOT(SO_REUSEPORT) SPOT(SO_TIMESTAMP) SPOT(SCM_CREDENTIALS)
    SPOT(TCP_CORK) SPOT(TCP_CONGESTION) SPOT(TCP_INFO) SPOT(TCP_KEEPIDLE) SPOT(TCP_USER_TIMEOUT)
#ifdef EPOLLIN
    SPOT(EPOLLIN) SPOT(EPOLLOUT) SPOT(EPOLLHUP) SPOT(EPOLLERR) SPOT(EPOLLRDHUP) SPOT(EPOLLONESHOT)
    SPOT(EPOLLET) SPOT(EPOLL_CTL_ADD) SPOT(EPOLL_CTL_MOD) SPOT(EPOLL_CTL_DEL) SPOT(EPOLL_CLOEXEC)
    SPOT(EFD_CLOEXEC) SPOT(EFD_NONBLOCK)
#endif
    SPOT(TFD_CLOEXEC) SPOT(TFD_NONBLOCK) SPOT(CLOCK_MONOTONIC)
    SPOT(SIGINT) SPOT(SIGTERM) SPOT(SIGCHLD) SPOT(SIGUSR1) SPOT(WNOHANG)
    SPOT(UDP_CORK) SPOT(IP_PKTINFO) SPOT(IP_RECVERR) SPOT(IPV6_RECVPKTINFO) SPOT(IPV6_RECVERR)
    SPOT(F_SETPIPE_SZ) SPOT(O_CLOEXEC)
#ifdef SPLICE_F_MOVE
    SPOT(SPLICE_F_MOVE) SPOT(MSG_WAITFORONE)
#endif
#ifdef RTM_GETLINK
    SPOT(NETLINK_GENERIC) SPOT(NLM_F_ACK) SPOT(NLMSG_OVERRUN) SPOT(RTM_NEWROUTE) SPOT(RTMGRP_IPV6_IFADDR)
    SPOT(RTNLGRP_NEIGH) SPOT(RT_TABLE_MAIN) SPOT(NUD_STALE) SPOT(IFLA_MTU) SPOT(IFA_F_PERMANENT)
    SPOT(PACKET_OTHERHOST) SPOT(PACKET_AUXDATA) SPOT(TP_STATUS_TS_RAW_HARDWARE) SPOT(ETH_P_ALL) SPOT(ETH_P_IPV6)
    SPOT(ICMP6_FILTER) SPOT(ICMP6_ECHO_REQUEST)
    SPOT(NETLINK_ROUTE) SPOT(RTM_GETLINK) SPOT(RTM_GETADDR) SPOT(NLM_F_DUMP) SPOT(IFLA_IFNAME) SPOT(IFA_LOCAL)
#endif
#ifdef SOCK_CLOEXEC
    SPOT(SOCK_CLOEXEC) SPOT(SOCK_NONBLOCK)
#endif
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
    STRUCT(sockaddr_in) INT(sockaddr_in, sin_family) INT(sockaddr_in, sin_port) OTHER(sockaddr_in, sin_addr)
    STRUCT(sockaddr_in6) INT(sockaddr_in6, sin6_family) INT(sockaddr_in6, sin6_port)
    INT(sockaddr_in6, sin6_flowinfo) OTHER(sockaddr_in6, sin6_addr) INT(sockaddr_in6, sin6_scope_id)
    STRUCT(sockaddr_un) INT(sockaddr_un, sun_family) OTHER(sockaddr_un, sun_path)
    STRUCT(sockaddr_storage) INT(sockaddr_storage, ss_family)
#ifdef LLSOCKET_SA_LEN
    INT(sockaddr_storage, ss_len)
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
#if defined(MCAST_MSFILTER) && defined(__linux__)
    STRUCT(group_filter) INT(group_filter, gf_interface) OTHER(group_filter, gf_group) INT(group_filter, gf_fmode)
    INT(group_filter, gf_numsrc) OTHER(group_filter, gf_slist)
#endif
}

static void messages(void) {
    STRUCT(iovec) OTHER(iovec, iov_base) INT(iovec, iov_len)
    STRUCT(msghdr) OTHER(msghdr, msg_name) INT(msghdr, msg_namelen) OTHER(msghdr, msg_iov) INT(msghdr, msg_iovlen)
    OTHER(msghdr, msg_control) INT(msghdr, msg_controllen) INT(msghdr, msg_flags)
#ifdef MSG_WAITFORONE
    STRUCT(mmsghdr) OTHER(mmsghdr, msg_hdr) INT(mmsghdr, msg_len)
#endif
    STRUCT(timespec) INT(timespec, tv_sec) INT(timespec, tv_nsec)
    STRUCT(in6_pktinfo) OTHER(in6_pktinfo, ipi6_addr) INT(in6_pktinfo, ipi6_ifindex)
#ifdef IP_PKTINFO
    STRUCT(in_pktinfo) INT(in_pktinfo, ipi_ifindex) OTHER(in_pktinfo, ipi_spec_dst) OTHER(in_pktinfo, ipi_addr)
#endif
#ifdef SCM_CREDENTIALS
    STRUCT(ucred) INT(ucred, pid) INT(ucred, uid) INT(ucred, gid)
#endif
#ifdef SO_EE_ORIGIN_LOCAL
    STRUCT(sock_extended_err) INT(sock_extended_err, ee_errno) INT(sock_extended_err, ee_origin)
    INT(sock_extended_err, ee_type) INT(sock_extended_err, ee_code) INT(sock_extended_err, ee_info)
    INT(sock_extended_err, ee_data)
#endif
#if defined(SCM_TIMESTAMPING_PKTINFO) && defined(SOF_TIMESTAMPING_TX_RECORD_MASK)
    STRUCT(scm_ts_pktinfo) INT(scm_ts_pktinfo, if_index) INT(scm_ts_pktinfo, pkt_length)
#endif
#ifdef SO_EE_RFC4884_FLAG_INVALID
    STRUCT(sock_ee_data_rfc4884) INT(sock_ee_data_rfc4884, len) INT(sock_ee_data_rfc4884, flags)
#endif
#ifdef IPV6_PATHMTU
    STRUCT(ip6_mtuinfo) OTHER(ip6_mtuinfo, ip6m_addr) INT(ip6_mtuinfo, ip6m_mtu)
#endif
#ifdef PACKET_AUXDATA
    STRUCT(tpacket_auxdata) INT(tpacket_auxdata, tp_status) INT(tpacket_auxdata, tp_len)
    INT(tpacket_auxdata, tp_snaplen) INT(tpacket_auxdata, tp_mac) INT(tpacket_auxdata, tp_net)
    INT(tpacket_auxdata, tp_vlan_tci) INT(tpacket_auxdata, tp_vlan_tpid)
#endif
#ifdef SKF_AD_OFF
    STRUCT(sock_filter) INT(sock_filter, code) INT(sock_filter, jt) INT(sock_filter, jf) INT(sock_filter, k)
    STRUCT(sock_fprog) INT(sock_fprog, len) OTHER(sock_fprog, filter)
#endif
}

static void netlink(void) {
#ifdef NETLINK_ROUTE
    STRUCT(sockaddr_nl) INT(sockaddr_nl, nl_family) INT(sockaddr_nl, nl_pid) INT(sockaddr_nl, nl_groups)
    STRUCT(sockaddr_ll) INT(sockaddr_ll, sll_family) INT(sockaddr_ll, sll_protocol) INT(sockaddr_ll, sll_ifindex)
    INT(sockaddr_ll, sll_hatype) INT(sockaddr_ll, sll_pkttype) INT(sockaddr_ll, sll_halen)
    OTHER(sockaddr_ll, sll_addr)
    STRUCT(sockaddr_vm) INT(sockaddr_vm, svm_family) INT(sockaddr_vm, svm_cid) INT(sockaddr_vm, svm_port)
#endif
#ifdef NLA_ALIGNTO
    STRUCT(nlattr) INT(nlattr, nla_len) INT(nlattr, nla_type)
#endif
#ifdef RTM_GETLINK
    STRUCT(nlmsghdr) INT(nlmsghdr, nlmsg_len) INT(nlmsghdr, nlmsg_type) INT(nlmsghdr, nlmsg_flags)
    INT(nlmsghdr, nlmsg_seq) INT(nlmsghdr, nlmsg_pid)
    STRUCT(ifinfomsg) INT(ifinfomsg, ifi_family) INT(ifinfomsg, ifi_type) INT(ifinfomsg, ifi_index)
    INT(ifinfomsg, ifi_flags) INT(ifinfomsg, ifi_change)
    STRUCT(ifaddrmsg) INT(ifaddrmsg, ifa_family) INT(ifaddrmsg, ifa_prefixlen) INT(ifaddrmsg, ifa_flags)
    INT(ifaddrmsg, ifa_scope) INT(ifaddrmsg, ifa_index)
#endif
}

static void waiting(void) {
#ifdef __linux__
#ifdef TFD_CLOEXEC
    STRUCT(itimerspec) OTHER(itimerspec, it_interval) OTHER(itimerspec, it_value)
#endif
#ifdef EPOLLIN
    STRUCT(epoll_event) INT(epoll_event, events)
    /* Ours are the two halves of what the kernel only keeps. */
    printf("field epoll_event fd %zu 4 0\n", offsetof(struct epoll_event, data));
    printf("field epoll_event generation %zu 4 0\n", offsetof(struct epoll_event, data) + 4);
#endif
    STRUCT(signalfd_siginfo) INT(signalfd_siginfo, ssi_signo) INT(signalfd_siginfo, ssi_pid)
#ifdef SIOCGIFNAME
    STRUCT(ifreq) OTHER(ifreq, ifr_name) INT(ifreq, ifr_ifindex)
#endif
#elif defined(EV_ADD)
    STRUCT(kevent) INT(kevent, ident) INT(kevent, filter) INT(kevent, flags) INT(kevent, fflags) INT(kevent, data)
    OTHER(kevent, udata)
#endif
}

#ifdef __linux__
static void image(const char *owner, const char *name, int release, const void *struct_of, size_t size, size_t base) {
    const unsigned char *byte = struct_of;
    size_t first = 0, last = size;
    while (byte[first] == 0) first++;
    while (byte[last - 1] == 0) last--;
    printf("image %s %s %d %zu ", owner, name, release, base + first);
    for (size_t i = first; i < last; i++) printf("%02x", byte[i]);
    printf("\n");
}

#define IMAGE(owner, s, f, name, release, base) \
    { struct s v; memset(&v, 0, sizeof v); v.f = ~v.f; image(owner, name, release, &v, sizeof v, base); }
#define TCP(f) IMAGE("info", tcp_info, tcpi_##f, #f, 0, 0)
/* Younger than the oldest headers: as the kernel's sources of 6.18 and 7.0 have them. */
struct young {
    uint32_t rcv_wnd, rehash;
    uint16_t total_rto, total_rto_recoveries;
    uint32_t total_rto_time, received_ce, delivered_e1_bytes, delivered_e0_bytes, delivered_ce_bytes;
    uint32_t received_e1_bytes, received_e0_bytes, received_ce_bytes;
    uint16_t accecn_fail_mode, accecn_opt_seen;
};
struct younger { uint32_t ecn_mode : 2, accecn_opt_seen : 2, accecn_fail_mode : 4, options2 : 24; };
#define YOUNG(f) IMAGE("info", young, f, #f, 0, 232)
#define CC(owner, s, prefix, f) IMAGE(owner, s, prefix##f, #f, 0, 0)

static void signatures(void) {
#ifdef TCP_MD5SIG_EXT
    STRUCT(tcp_md5sig) OTHER(tcp_md5sig, tcpm_addr) INT(tcp_md5sig, tcpm_flags) INT(tcp_md5sig, tcpm_prefixlen)
    INT(tcp_md5sig, tcpm_keylen) OTHER(tcp_md5sig, tcpm_key)
#endif
}

static void tcp(void) {
    TCP(state) TCP(ca_state) TCP(retransmits) TCP(probes) TCP(backoff) TCP(options)
    TCP(snd_wscale) TCP(rcv_wscale) TCP(delivery_rate_app_limited) TCP(fastopen_client_fail) TCP(rto) TCP(ato)
    TCP(snd_mss) TCP(rcv_mss) TCP(unacked) TCP(sacked) TCP(lost) TCP(retrans) TCP(fackets)
    TCP(last_data_sent) TCP(last_ack_sent) TCP(last_data_recv) TCP(last_ack_recv)
    TCP(pmtu) TCP(rcv_ssthresh) TCP(rtt) TCP(rttvar) TCP(snd_ssthresh) TCP(snd_cwnd) TCP(advmss) TCP(reordering)
    TCP(rcv_rtt) TCP(rcv_space) TCP(total_retrans) TCP(pacing_rate) TCP(max_pacing_rate)
    TCP(bytes_acked) TCP(bytes_received) TCP(segs_out) TCP(segs_in) TCP(notsent_bytes) TCP(min_rtt)
    TCP(data_segs_in) TCP(data_segs_out) TCP(delivery_rate) TCP(busy_time) TCP(rwnd_limited) TCP(sndbuf_limited)
    TCP(delivered) TCP(delivered_ce) TCP(bytes_sent) TCP(bytes_retrans) TCP(dsack_dups) TCP(reord_seen)
    TCP(rcv_ooopack) TCP(snd_wnd)
    YOUNG(rcv_wnd) YOUNG(rehash) YOUNG(total_rto) YOUNG(total_rto_recoveries) YOUNG(total_rto_time)
    YOUNG(received_ce) YOUNG(delivered_e1_bytes) YOUNG(delivered_e0_bytes) YOUNG(delivered_ce_bytes)
    YOUNG(received_e1_bytes) YOUNG(received_e0_bytes) YOUNG(received_ce_bytes)
    IMAGE("info", young, accecn_fail_mode, "accecn_fail_mode", 0x612, 232)
    IMAGE("info", young, accecn_opt_seen, "accecn_opt_seen", 0x612, 232)
    IMAGE("info", younger, ecn_mode, "ecn_mode", 0x700, 276)
    IMAGE("info", younger, accecn_opt_seen, "accecn_opt_seen", 0x700, 276)
    IMAGE("info", younger, accecn_fail_mode, "accecn_fail_mode", 0x700, 276)
    IMAGE("info", younger, options2, "options2", 0x700, 276)
#ifdef HAVE_CC_INFO
    CC("vegas", tcpvegas_info, tcpv_, enabled) CC("vegas", tcpvegas_info, tcpv_, rttcnt)
    CC("vegas", tcpvegas_info, tcpv_, rtt) CC("vegas", tcpvegas_info, tcpv_, minrtt)
    CC("dctcp", tcp_dctcp_info, dctcp_, enabled) CC("dctcp", tcp_dctcp_info, dctcp_, ce_state)
    CC("dctcp", tcp_dctcp_info, dctcp_, alpha) CC("dctcp", tcp_dctcp_info, dctcp_, ab_ecn)
    CC("dctcp", tcp_dctcp_info, dctcp_, ab_tot)
    CC("bbr", tcp_bbr_info, bbr_, bw_lo) CC("bbr", tcp_bbr_info, bbr_, bw_hi) CC("bbr", tcp_bbr_info, bbr_, min_rtt)
    CC("bbr", tcp_bbr_info, bbr_, pacing_gain) CC("bbr", tcp_bbr_info, bbr_, cwnd_gain)
#endif
}
#endif
/* clang-format on */

int main(void) {
    seed();
    families();
    errors();
    addresses();
    values();
    messages();
    netlink();
    waiting();
#ifdef __linux__
    tcp();
    signatures();
#endif
    return 0;
}
