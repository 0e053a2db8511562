/* cost.c -- the work of t/cost-operations.t.lua in C, for callgrind to count.
 *
 *   cost WORK ROUNDS [WORK ROUNDS]...
 *
 * Each work is done once before it counts; then between two calls of getpgid(2). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, SIZE = 64, CROWD = 1000 };

static int stream[2], messages[2], udp, listener, epoll, crowd[CROWD];
static struct sockaddr_in udp_name, listener_name;
static char message[SIZE], into[BATCH][SIZE];
static struct iovec from_vec = { message, SIZE }, into_vec[BATCH];
static struct msghdr out = { .msg_iov = &from_vec, .msg_iovlen = 1 };
static struct mmsghdr many_out[BATCH], many_in[BATCH];

static int must(int result) {
    if (result >= 0) return result;
    perror("cost");
    exit(1);
}

static int bound(int type, struct sockaddr_in *name) {
    socklen_t length = sizeof *name;
    int fd = must(socket(AF_INET, type, 0));
    *name = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    must(bind(fd, (struct sockaddr *)name, length));
    must(getsockname(fd, (struct sockaddr *)name, &length));
    return fd;
}

static void open_all(void) {
    int room = 1 << 20;
    struct epoll_event event = { .events = EPOLLIN };
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, stream));
    must(socketpair(AF_UNIX, SOCK_DGRAM, 0, messages));
    must(setsockopt(messages[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room));
    udp = bound(SOCK_DGRAM, &udp_name);
    listener = bound(SOCK_STREAM, &listener_name);
    must(listen(listener, CROWD));
    epoll = must(epoll_create1(0));
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, stream[1], &event));
    for (int i = 0; i < BATCH; i++) {
        into_vec[i] = (struct iovec){ into[i], SIZE };
        many_out[i].msg_hdr = out;
        many_in[i].msg_hdr = (struct msghdr){ .msg_iov = &into_vec[i], .msg_iovlen = 1 };
    }
}

static void transfer(int n) {
    for (int i = 0; i < n; i++) {
        must((int)send(stream[0], message, SIZE, MSG_NOSIGNAL));
        must((int)recv(stream[1], into, SIZE, 0));
    }
}

static void message_of_parts(int n) {
    struct msghdr box = { .msg_iov = into_vec, .msg_iovlen = 1 };
    for (int i = 0; i < n; i++) {
        must((int)sendmsg(stream[0], &out, MSG_NOSIGNAL));
        must((int)recvmsg(stream[1], &box, 0));
    }
}

static void datagram(int n) {
    struct sockaddr_in sender;
    for (int i = 0; i < n; i++) {
        socklen_t length = sizeof sender;
        must((int)sendto(udp, message, SIZE, MSG_NOSIGNAL, (struct sockaddr *)&udp_name, sizeof udp_name));
        must((int)recvfrom(udp, into, SIZE, 0, (struct sockaddr *)&sender, &length));
    }
}

static void batch(int n) {
    for (int i = 0; i < n; i++) {
        must(sendmmsg(messages[0], many_out, BATCH, MSG_NOSIGNAL));
        must(recvmmsg(messages[1], many_in, BATCH, MSG_WAITFORONE, NULL));
    }
}

static void come(int n) {
    for (int i = 0; i < n; i++) {
        crowd[i] = must(socket(AF_INET, SOCK_STREAM, 0));
        must(connect(crowd[i], (struct sockaddr *)&listener_name, sizeof listener_name));
    }
}

static void accepted(int n) {
    for (int i = 0; i < n; i++)
        close(must(accept4(listener, NULL, NULL, SOCK_CLOEXEC)));
}

static void leave(int n) {
    for (int i = 0; i < n; i++)
        close(crowd[i]);
}

static void option_read(int n) {
    for (int i = 0; i < n; i++) {
        int value;
        socklen_t length = sizeof value;
        must(getsockopt(stream[0], SOL_SOCKET, SO_RCVBUF, &value, &length));
    }
}

static void option_set(int n) {
    int on = 1;
    for (int i = 0; i < n; i++)
        must(setsockopt(stream[0], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
}

static void address(int n) {
    for (int i = 0; i < n; i++)
        must(inet_pton(AF_INET, "127.0.0.1", into));
}

/* What is held against nothing makes no call: its ceiling is its whole cost. */
static void nothing(int n) {
    for (volatile int i = 0; i < n; i++) {
    }
}

static void event(int n) {
    struct epoll_event events[64];
    for (int i = 0; i < n; i++) {
        must((int)send(stream[0], message, 1, MSG_NOSIGNAL));
        must(epoll_wait(epoll, events, 64, 0));
        must((int)recv(stream[1], into, SIZE, 0));
    }
}

static const struct work {
    const char *name;
    void (*before)(int), (*run)(int), (*after)(int);
} works[] = {
    { "transfer", NULL, transfer, NULL },
    { "message", NULL, message_of_parts, NULL },
    { "datagram", NULL, datagram, NULL },
    { "batch", NULL, batch, NULL },
    { "accept", come, accepted, leave },
    { "option read", NULL, option_read, NULL },
    { "option set", NULL, option_set, NULL },
    { "address", NULL, address, NULL },
    { "event", NULL, event, NULL },
    { "nothing", NULL, nothing, NULL },
    { NULL, NULL, NULL, NULL },
};

static void round_of(const struct work *work, int n, void (*mark)(void)) {
    if (work->before) work->before(n);
    mark();
    work->run(n);
    mark();
    if (work->after) work->after(n);
}

static void no_mark(void) {}

static void mark(void) {
    getpgid(-1);
}

int main(int argc, char **argv) {
    open_all();
    for (int i = 1; i + 1 < argc; i += 2) {
        const struct work *work = works;
        int n = atoi(argv[i + 1]);
        while (work->name && strcmp(work->name, argv[i]) != 0)
            work++;
        if (!work->name || n < 1 || n > 10 * CROWD || (work->before && n > CROWD)) return 2;
        round_of(work, n, no_mark);
        round_of(work, n, mark);
    }
    return 0;
}
