// work.c -- the work of each question in C: what the others are measured against.
//
//   work QUESTION SECONDS|-OPERATIONS [ARG...]   prints operations, and the ns of clock and CPU that they took
//
// Between two calls of getpgid(2), for callgrind to see, lies the second half of so many operations.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { BATCH = 64, ROOM = 65536 };

static int a, b, listener;
static size_t size;
static char *from, *into;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double clock_of(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

// A socket that is bound to a free port of the loopback, and its address.
static int bound(int type, struct sockaddr_in *name) {
    socklen_t length = sizeof *name;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    *name = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (fd < 0 || bind(fd, (struct sockaddr *)name, length) != 0) die("bind");
    if (getsockname(fd, (struct sockaddr *)name, &length) != 0) die("getsockname");
    return fd;
}

static int connected(struct sockaddr_in *name) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)name, sizeof *name) != 0) die("connect");
    return fd;
}

static void enable(int fd, int level, int option, int value) {
    if (setsockopt(fd, level, option, &value, sizeof value) != 0) die("setsockopt");
}

static void listen_here(struct sockaddr_in *name) {
    listener = bound(SOCK_STREAM, name);
    if (listen(listener, SOMAXCONN) != 0) die("listen");
}

// Asks the crowd for something, and waits until it is done.
static void ask(const char *what, long n, struct sockaddr_in *name) {
    printf("%s %d %ld\n", what, ntohs(name->sin_port), n);
    fflush(stdout);
    if (getchar() != '\n') die("the crowd has gone");
}

static struct sockaddr_in here;

static void round_start(char **args) {
    int ends[2];
    size = (size_t)atol(args[1]);
    if (strcmp(args[0], "socketpair") == 0) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) die("socketpair");
        a = ends[0];
        b = ends[1];
        return;
    }
    listen_here(&here);
    a = connected(&here);
    b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    enable(a, IPPROTO_TCP, TCP_NODELAY, 1);
}

static void round_run(long n) {
    while (n-- > 0) {
        if (send(a, from, size, MSG_NOSIGNAL) != (ssize_t)size) die("send");
        for (size_t got = 0; got < size;) {
            ssize_t part = recv(b, into, size - got, 0);
            if (part <= 0) die("recv");
            got += (size_t)part;
        }
    }
}

static void receive_start(char **args) {
    char *with_kind[] = { "socketpair", args[0] };
    round_start(with_kind);
}

// No two messages are alike, as for those that make strings of them.
static void receive_run(long n) {
    while (n-- > 0) {
        uint64_t count;
        memcpy(&count, from, sizeof count);
        count++;
        memcpy(from, &count, sizeof count);
        round_run(1);
    }
}

static void udp_start(char **args) {
    size = (size_t)atol(args[0]);
    b = bound(SOCK_DGRAM, &here);
    a = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (connect(a, (struct sockaddr *)&here, sizeof here) != 0) die("connect");
}

static void udp_run(long n) {
    for (; n > 0; n -= BATCH) {
        for (int i = 0; i < BATCH; i++) {
            if (send(a, from, size, MSG_NOSIGNAL) != (ssize_t)size) die("send");
        }
        for (int i = 0; i < BATCH; i++) {
            if (recv(b, into, 2048, 0) != (ssize_t)size) die("recv");
        }
    }
}

static struct mmsghdr out[BATCH], in[BATCH];
static struct iovec parts[2 * BATCH];
static struct sockaddr_storage names[BATCH]; // who sent each, which a batch of llsocket tells, too

static void batch_start(char **args) {
    static char room[BATCH][2048];
    udp_start(args);
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){ from, size };
        parts[BATCH + i] = (struct iovec){ room[i], sizeof room[i] };
        out[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
        in[i].msg_hdr = (struct msghdr){ .msg_name = &names[i], .msg_iov = &parts[BATCH + i], .msg_iovlen = 1 };
    }
}

static void batch_run(long n) {
    for (; n > 0; n -= BATCH) {
        if (sendmmsg(a, out, BATCH, MSG_NOSIGNAL) != BATCH) die("sendmmsg");
        for (int i = 0; i < BATCH; i++)
            in[i].msg_hdr.msg_namelen = sizeof names[i];
        if (recvmmsg(b, in, BATCH, 0, NULL) != BATCH) die("recvmmsg");
    }
}

static void segment_start(char **args) {
    udp_start(args);
    enable(a, IPPROTO_UDP, UDP_SEGMENT, (int)size);
    enable(b, IPPROTO_UDP, UDP_GRO, 1);
}

static void segment_run(long n) {
    for (; n > 0; n -= BATCH) {
        size_t all = BATCH * size;
        if (send(a, from, all, MSG_NOSIGNAL) != (ssize_t)all) die("send");
        for (size_t got = 0; got < all;) {
            ssize_t part = recv(b, into, ROOM, 0);
            if (part <= 0) die("recv");
            got += (size_t)part;
        }
    }
}

static void accept_start(char **args) {
    (void)args;
    listen_here(&here);
}

static void accept_prepare(long n) {
    ask("connect", n, &here);
}

static void accept_run(long n) {
    while (n-- > 0) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) die("accept");
        close(fd);
    }
}

static off_t bytes;

static void sendfile_start(char **args) {
    bytes = atol(args[1]);
    b = open(args[2], O_RDONLY | O_CLOEXEC);
    if (b < 0) die(args[2]);
    listen_here(&here);
    ask(args[0], 1, &here);
    a = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

static void sendfile_run(long n) {
    while (n-- > 0) {
        for (off_t at = 0; at < bytes;) {
            if (sendfile(a, b, &at, (size_t)(bytes - at)) <= 0) die("sendfile");
        }
    }
}

static void resolve_start(char **args) {
    (void)args;
}

static void resolve_run(long n) {
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list;
    while (n-- > 0) {
        if (getaddrinfo("127.0.0.1", "80", &hints, &list) != 0) die("getaddrinfo");
        freeaddrinfo(list);
    }
}

// Resident bytes; see proc(5).
static long resident(void) {
    long all, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &all, &pages) != 2) die("statm");
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

// Holds connections, each with what a server knows of it at least, its number; prints how much memory that took.
static void memory(char **args) {
    long n = atol(args[0]), before;
    int epoll = epoll_create1(EPOLL_CLOEXEC), *held = malloc((size_t)n * sizeof *held);
    listen_here(&here);
    before = resident();
    for (long i = 0; i < n; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.u64 = (uint64_t)i };
        if (i % 1000 == 0) ask("keep", 1000, &here);
        held[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (held[i] < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, held[i], &event) != 0) die("accept");
    }
    long took = resident() - before;
    printf("%ld %ld %ld\n", n, took, took);
}

static const struct {
    const char *name;
    void (*start)(char **args);
    void (*run)(long n);
    void (*prepare)(long n);
    long chunk;
} WORK[] = {
    { "round", round_start, round_run, NULL, 500 },
    { "receive", receive_start, receive_run, NULL, 500 },
    { "udp", udp_start, udp_run, NULL, 6400 },
    { "udp-batch", batch_start, batch_run, NULL, 6400 },
    { "udp-segment", segment_start, segment_run, NULL, 6400 },
    { "accept", accept_start, accept_run, accept_prepare, 100 },
    { "sendfile", sendfile_start, sendfile_run, NULL, 1 },
    { "resolve", resolve_start, resolve_run, NULL, 1000 },
};

static double wall, cpu;
static long done;

static void chunk_of(size_t i) {
    if (WORK[i].prepare) WORK[i].prepare(WORK[i].chunk);
    double w = clock_of(CLOCK_MONOTONIC), c = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    WORK[i].run(WORK[i].chunk);
    cpu += clock_of(CLOCK_PROCESS_CPUTIME_ID) - c;
    wall += clock_of(CLOCK_MONOTONIC) - w;
    done += WORK[i].chunk;
}

static void for_seconds(size_t i, double seconds) {
    wall = cpu = 0;
    done = 0;
    do
        chunk_of(i);
    while (wall < seconds * 1e9);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    double span = atof(argv[2]);
    from = malloc(ROOM); // aligned as LuaJIT's arrays are
    into = malloc(ROOM);
    memset(from, 'x', ROOM); // pages that were never written are one page, which is always in the cache
    if (strcmp(argv[1], "memory") == 0) return memory(argv + 3), 0;
    for (size_t i = 0; i < sizeof WORK / sizeof *WORK; i++) {
        if (strcmp(WORK[i].name, argv[1]) != 0) continue;
        WORK[i].start(argv + 3);
        if (span > 0) for_seconds(i, span / 2); // to warm up
        if (span > 0) for_seconds(i, span);
        for (long n = (long)-span; done < n; chunk_of(i)) {
            if (done == n / 2) getpgid(-1);
        }
        getpgid(-1);
        printf("%ld %.0f %.0f\n", done, wall, cpu);
        return 0;
    }
    return 2;
}
