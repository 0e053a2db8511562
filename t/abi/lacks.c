/* lacks.c -- socket options, messages and mremap(2) in plain C, one line each: run by t/abi/lacks here and under an
 * emulator, for what then differs is none of llsocket's. */
#define _GNU_SOURCE
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/socket.h>

#include "../../csrc/younger.def" /* SO_RCVPRIORITY */

static const char *name_of(int error) {
    return error ? strerrorname_np(error) : "done";
}

/* Sets, and reads back: as an int where it is four bytes long. */
static void option(const char *name, int fd, int level, int opt, const void *value, socklen_t len) {
    char got[256] = "";
    int number, set, get;
    socklen_t size = sizeof got;
    set = setsockopt(fd, level, opt, value, len) ? errno : 0;
    get = getsockopt(fd, level, opt, got, &size) ? errno : 0;
    memcpy(&number, got, sizeof number);
    printf("%s: set %s, read %s", name, name_of(set), name_of(get));
    if (!get) printf(", %d bytes, %d", (int)size, number);
    putchar('\n');
}

static int unix_socket(void) {
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

#define INT(fd, level, opt, n) option(#opt, fd, level, opt, &(int){ n }, sizeof(int))

static void options(int udp, int udp6, int tcp) {
    INT(udp, SOL_SOCKET, SO_BUSY_POLL, 50);
    INT(udp, SOL_SOCKET, SO_INCOMING_CPU, 0);
    INT(udp, SOL_SOCKET, SO_MARK, 7);
    INT(udp, SOL_SOCKET, SO_RXQ_OVFL, 1);
    INT(udp, SOL_SOCKET, SO_LOCK_FILTER, 1);
    INT(udp, SOL_SOCKET, SO_DETACH_FILTER, 1);
    INT(udp, SOL_SOCKET, SO_ATTACH_BPF, 0);
    INT(udp, SOL_SOCKET, SO_PEEK_OFF, 1);
    INT(udp, SOL_SOCKET, SO_RCVMARK, 1);
    INT(udp, SOL_SOCKET, SO_RCVPRIORITY, 1);
    INT(tcp, SOL_SOCKET, SO_TXREHASH, 1);
    INT(udp, SOL_SOCKET, SO_RESERVE_MEM, 0);
    option("SO_COOKIE", udp, SOL_SOCKET, SO_COOKIE, NULL, 0);
    option("SO_MEMINFO", udp, SOL_SOCKET, SO_MEMINFO, NULL, 0);
    INT(udp, SOL_SOCKET, SO_BINDTOIFINDEX, 1);
    INT(unix_socket(), SOL_SOCKET, SO_PASSPIDFD, 1);
    INT(unix_socket(), SOL_SOCKET, SO_PASSRIGHTS, 1);
    INT(udp, SOL_SOCKET, SO_TIMESTAMPING, 16);
    INT(udp, SOL_SOCKET, SO_SNDLOWAT, 1);
    INT(udp, SOL_SOCKET, SO_TIMESTAMP, 1);
    INT(udp, SOL_SOCKET, SO_TIMESTAMPNS, 1);
    INT(udp, IPPROTO_IP, IP_FREEBIND, 1);
    INT(udp, IPPROTO_IP, IP_RECVTOS, 1);
    INT(udp, IPPROTO_IP, IP_RECVTTL, 1);
    INT(udp, IPPROTO_IP, IP_TRANSPARENT, 1);
    INT(udp, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    INT(udp, IPPROTO_IP, IP_LOCAL_PORT_RANGE, 0);
    INT(udp, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
    option("IP_PROTOCOL", udp, IPPROTO_IP, IP_PROTOCOL, NULL, 0);
    INT(udp, IPPROTO_IP, IP_MINTTL, 1);
    INT(udp, IPPROTO_IP, IP_MULTICAST_ALL, 1);
    INT(udp, IPPROTO_IP, IP_RECVFRAGSIZE, 1);
    INT(udp, IPPROTO_IP, IP_UNICAST_IF, 0);
    INT(udp6, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
    INT(udp6, IPPROTO_IPV6, IPV6_MINHOPCOUNT, 1);
    INT(udp6, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 1);
    INT(udp6, IPPROTO_IPV6, IPV6_RECVFRAGSIZE, 1);
    INT(udp6, IPPROTO_IPV6, IPV6_UNICAST_IF, 0);
    INT(udp, IPPROTO_IP, IP_MULTICAST_TTL, 255);
    INT(udp6, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1);
    INT(tcp, IPPROTO_TCP, TCP_MAXSEG, 1000);
    INT(tcp, IPPROTO_TCP, TCP_CORK, 1);
    INT(tcp, SOL_SOCKET, SO_ZEROCOPY, 1);
    option("SO_BINDTODEVICE", udp, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
    option("TCP_CONGESTION", tcp, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    option("TCP_INFO", tcp, IPPROTO_TCP, TCP_INFO, NULL, 0);
}

static void steered(void) {
    int udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sock_filter first = { BPF_RET | BPF_K, 0, 0, 0 };
    struct sock_fprog program = { 1, &first };
    setsockopt(udp, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    option("SO_ATTACH_REUSEPORT_CBPF", udp, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
}

static struct sockaddr_in v4(const char *host) {
    struct sockaddr_in name = { .sin_family = AF_INET };
    inet_pton(AF_INET, host, &name.sin_addr);
    return name;
}

static void groups(int udp) {
    struct ip_mreqn lo = { .imr_ifindex = 1 };
    struct group_req any = { .gr_interface = 1 };
    struct group_source_req one = { .gsr_interface = 1 };
    struct sockaddr_in group = v4("239.1.2.3"), source = v4("127.0.0.1");
    memcpy(&any.gr_group, &group, sizeof group);
    memcpy(&one.gsr_group, &group, sizeof group);
    memcpy(&one.gsr_source, &source, sizeof source);
    option("IP_MULTICAST_IF", udp, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo);
    option("MCAST_JOIN_GROUP", udp, IPPROTO_IP, MCAST_JOIN_GROUP, &any, sizeof any);
    option("MCAST_JOIN_SOURCE_GROUP", udp, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &one, sizeof one);
}

/* A byte to the socket itself, with one piece of ancillary data. */
static void sends(const char *what, int udp, int level, int type, const void *data, size_t len) {
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    union {
        struct cmsghdr head;
        char bytes[256];
    } control = { .bytes = "" };
    struct iovec byte = { "x", 1 };
    struct msghdr msg = { .msg_name = &name,
                          .msg_namelen = sizeof name,
                          .msg_iov = &byte,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = CMSG_SPACE(len) };
    getsockname(udp, (struct sockaddr *)&name, &size);
    control.head = (struct cmsghdr){ .cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(len) };
    memcpy(CMSG_DATA(&control.head), data, len);
    printf("sendmsg with %s: %s\n", what, name_of(sendmsg(udp, &msg, 0) < 0 ? errno : 0));
}

/* Receives with this much room for ancillary data, and looks at what is behind it. */
static void receives(const char *what, int fd, size_t room) {
    char behind = 0, text[8], control[256] __attribute__((aligned(16)));
    struct iovec into = { text, sizeof text };
    struct msghdr msg = { .msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room };
    int next = dup(0), after;
    close(next);
    memset(control, 0x55, sizeof control);
    recvmsg(fd, &msg, 0);
    for (size_t i = room; i < sizeof control; i++)
        behind |= control[i] != 0x55;
    after = dup(0);
    printf("recvmsg of %s: MSG_CTRUNC %d, written behind the room %d, new descriptors %d\n", what,
           (msg.msg_flags & MSG_CTRUNC) != 0, behind, after - next);
}

static void messages(int udp) {
    int on = 1;
    struct sockaddr_in loopback = v4("127.0.0.1");
    setsockopt(udp, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    bind(udp, (struct sockaddr *)&loopback, sizeof loopback);
    sends("IP_TTL", udp, IPPROTO_IP, IP_TTL, &(int){ 9 }, sizeof(int));
    sends("IP_TOS", udp, IPPROTO_IP, IP_TOS, &(int){ 16 }, sizeof(int));
}

static void small_rooms(void) {
    int udp = socket(AF_INET, SOCK_DGRAM, 0), pair[2], on = 1;
    struct sockaddr_in name = v4("127.0.0.1");
    socklen_t size = sizeof name;
    char control[CMSG_SPACE(8 * sizeof(int))] = "";
    struct iovec byte = { "x", 1 };
    struct msghdr msg = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
    setsockopt(udp, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    bind(udp, (struct sockaddr *)&name, sizeof name);
    getsockname(udp, (struct sockaddr *)&name, &size);
    sendto(udp, "x", 1, 0, (struct sockaddr *)&name, size);
    receives("IP_PKTINFO into too little", udp, CMSG_LEN(0) + 4);
    *head =
        (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(8 * sizeof(int)) };
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair); /* CMSG_DATA is eight times descriptor 0 */
    sendmsg(pair[0], &msg, 0);
    receives("8 descriptors into room for 2", pair[1], CMSG_LEN(2 * sizeof(int)));
}

/* Three segments, which come as one again. */
static void segments(void) {
    int udp = socket(AF_INET, SOCK_DGRAM, 0), to = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in name = v4("127.0.0.1");
    socklen_t size = sizeof name;
    union {
        struct cmsghdr head;
        char bytes[64];
    } control = { .bytes = "" };
    static char data[2500], got[65536];
    struct iovec bytes = { data, sizeof data }, room = { got, sizeof got };
    struct msghdr msg = { .msg_name = &name,
                          .msg_namelen = size,
                          .msg_iov = &bytes,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = CMSG_SPACE(sizeof(uint16_t)) };
    bind(to, (struct sockaddr *)&name, size);
    getsockname(to, (struct sockaddr *)&name, &size);
    setsockopt(to, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    control.head =
        (struct cmsghdr){ .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t)) };
    memcpy(CMSG_DATA(&control.head), &(uint16_t){ 1000 }, sizeof(uint16_t));
    printf("sendmsg with UDP_SEGMENT: %s\n", name_of(sendmsg(udp, &msg, 0) < 0 ? errno : 0));
    memset(&control, 0, sizeof control);
    msg =
        (struct msghdr){ .msg_iov = &room, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    memcpy(&on, recvmsg(to, &msg, MSG_DONTWAIT) < 0 ? data : (char *)CMSG_DATA(&control.head), sizeof on);
    printf("recvmsg has UDP_GRO: %d\n", on);
}

/* What the error queue says of a port where nobody is: who has it is connected to itself. */
static void refused(void) {
    int udp = socket(AF_INET, SOCK_DGRAM, 0), deaf = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in name = v4("127.0.0.1");
    socklen_t size = sizeof name;
    union {
        struct cmsghdr head;
        char bytes[256];
    } control = { .bytes = "" };
    struct iovec room = { (char[8]){ 0 }, 8 };
    struct msghdr msg = {
        .msg_iov = &room, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    struct sock_extended_err error = { 0 };
    bind(deaf, (struct sockaddr *)&name, size);
    getsockname(deaf, (struct sockaddr *)&name, &size);
    connect(deaf, (struct sockaddr *)&name, size);
    setsockopt(udp, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
    sendto(udp, "x", 1, 0, (struct sockaddr *)&name, size);
    usleep(100000);
    if (recvmsg(udp, &msg, MSG_ERRQUEUE) >= 0) memcpy(&error, CMSG_DATA(&control.head), sizeof error);
    printf("the error queue has ECONNREFUSED: %d\n", error.ee_errno == ECONNREFUSED);
}

/* The interface's index, in both directions, and the traffic class. */
static void packet_info(void) {
    int udp = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in6 name = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
    socklen_t size = sizeof name;
    union {
        struct cmsghdr head;
        char bytes[256];
    } control = { .bytes = "" };
    struct iovec room = { (char[8]){ 0 }, 8 };
    struct msghdr msg = {
        .msg_iov = &room, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    struct in6_pktinfo info = { .ipi6_ifindex = 0 };
    setsockopt(udp, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    bind(udp, (struct sockaddr *)&name, size);
    getsockname(udp, (struct sockaddr *)&name, &size);
    sendto(udp, "x", 1, 0, (struct sockaddr *)&name, size);
    if (recvmsg(udp, &msg, MSG_DONTWAIT) >= 0) memcpy(&info, CMSG_DATA(&control.head), sizeof info);
    printf("recvmsg has ipi6_ifindex: %u\n", info.ipi6_ifindex);
    setsockopt(udp, IPPROTO_IPV6, IPV6_RECVPKTINFO, &(int){ 0 }, sizeof on);
    setsockopt(udp, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on);
    setsockopt(udp, IPPROTO_IPV6, IPV6_TCLASS, &(int){ 64 }, sizeof on);
    sendto(udp, "x", 1, 0, (struct sockaddr *)&name, size);
    msg.msg_controllen = sizeof control;
    if (recvmsg(udp, &msg, MSG_DONTWAIT) >= 0) memcpy(&on, CMSG_DATA(&control.head), sizeof on);
    printf("recvmsg has IPV6_TCLASS: %d\n", on);
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    bind(udp, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = v4("127.0.0.1").sin_addr },
         sizeof(struct sockaddr_in));
    sends("IP_PKTINFO by lo", udp, IPPROTO_IP, IP_PKTINFO, &(struct in_pktinfo){ .ipi_ifindex = 1 },
          sizeof(struct in_pktinfo));
}

/* Of eight pages the first four shrink to two; write(2) tells whether the fifth can still be read. */
static void shrinks(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int ends[2];
    char *block = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(block, 1, 8 * page);
    pipe(ends);
    syscall(SYS_mremap, block, 4 * page, 2 * page, 0, NULL); /* not t/abi/mremap.c's */
    printf("mremap that shrinks: what lies behind is %s\n",
           write(ends[1], block + 4 * page, 1) == 1 ? "there" : "gone");
}

static void interfaces(void) {
    struct ifaddrs *list, *i;
    char text[INET_ADDRSTRLEN];
    if (getifaddrs(&list)) return;
    for (i = list; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !i->ifa_broadaddr) continue;
        inet_ntop(AF_INET, &((struct sockaddr_in *)i->ifa_broadaddr)->sin_addr, text, sizeof text);
        printf("%s has the broadcast address %s\n", i->ifa_name, text);
    }
    freeifaddrs(list);
}

int main(void) {
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    options(udp, socket(AF_INET6, SOCK_DGRAM, 0), socket(AF_INET, SOCK_STREAM, 0));
    groups(udp);
    messages(socket(AF_INET, SOCK_DGRAM, 0));
    small_rooms();
    segments();
    steered();
    refused();
    packet_info();
    shrinks();
    interfaces();
    return 0;
}
