// load.c -- starts an echo server, holds connections to it and counts rounds: 64 bytes there and back on each.
//
//   load same|new CONNECTIONS SECONDS SERVER [ARG...]   prints rounds, the ns they took, and the server's ns on the CPU
//   load same|new CONNECTIONS -ROUNDS SERVER [ARG...]   so many rounds on each connection, for strace and callgrind
//
// "same" sends the same 64 bytes always, with "new" no two messages are alike.  The server prints its port, and ends
// when its last connection has closed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, EVENTS = 1024 };
static const double WARM_UP = 0.1; // seconds, in which LuaJIT compiles

struct connection {
    int fd;
    long left;
    long message[SIZE / sizeof(long)];
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// What a process has had of the CPU, user and kernel, in nanoseconds; see proc(5).
static double cpu_of(pid_t pid) {
    char path[64];
    double ns = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%lf", &ns) != 1) die(path);
    fclose(file);
    return ns;
}

// Keeps this process on one CPU, the first that it may use or the second.  With one connection client and server never
// run at once and share a CPU; with more each has its own.  Left to chance this would decide more than what they do.
static void settle_on(size_t which) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && which-- == 0) CPU_SET(cpu, &one);
    }
    sched_setaffinity(0, sizeof one, &one);
}

// Starts the server; answers its port.
static int start(char **command, size_t cpu, pid_t *pid) {
    int ends[2], port = 0;
    if (pipe(ends) != 0 || (*pid = fork()) < 0) die("fork");
    if (*pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        settle_on(cpu);
        execvp(command[0], command);
        die(command[0]);
    }
    close(ends[1]);
    FILE *said = fdopen(ends[0], "r");
    if (fscanf(said, "%d", &port) != 1) die("no port");
    fclose(said);
    return port;
}

static int connected(int port) {
    struct sockaddr_in name = { .sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof name) != 0) die("connect");
    return fd;
}

static int changing;

static void ask(struct connection *c) {
    static long count;
    if (changing) c->message[0] = ++count;
    if (send(c->fd, c->message, SIZE, MSG_NOSIGNAL) != SIZE) die("send");
}

static void check_answer(struct connection *c) {
    char got[SIZE + 1];
    if (recv(c->fd, got, sizeof got, 0) != SIZE) die("recv");
    if (memcmp(got, c->message, SIZE) != 0) die("another answer");
}

static struct connection *open_all(int port, int epoll, int n, long rounds) {
    struct connection *all = calloc((size_t)n, sizeof *all);
    for (int i = 0; i < n; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &all[i] };
        all[i].fd = connected(port);
        all[i].left = rounds;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event) != 0) die("epoll_ctl");
    }
    return all;
}

// Runs until each connection has had its rounds or the time is over; prints what was measured.
static void run(struct connection *all, int epoll, int n, double span, pid_t server) {
    struct epoll_event events[EVENTS];
    double begin = 0, cpu = 0;
    long done = 0, before = 0;
    enum { COLD, WARMING, MEASURING, OVER } phase = span > 0 ? COLD : OVER;
    int timed = span > 0, waiting = n;
    for (int i = 0; i < n; i++)
        ask(&all[i]);
    while (waiting > 0) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        if (ready < 0) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            check_answer(c);
            done++;
            if (timed ? phase != OVER : --c->left > 0)
                ask(c);
            else
                waiting--;
        }
        if (phase == OVER) continue;
        double t = now();
        if (phase == COLD && done >= 2L * n) {
            phase = WARMING;
            begin = t + WARM_UP;
        } else if (phase == WARMING && t >= begin) {
            phase = MEASURING;
            begin = t;
            before = done;
            cpu = cpu_of(server);
        } else if (phase == MEASURING && t >= begin + span) {
            phase = OVER;
            double rounds = (double)(done - before);
            printf("%.0f %.0f %.0f\n", rounds, (t - begin) * 1e9, cpu_of(server) - cpu);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 5 || atoi(argv[2]) < 1 || atof(argv[3]) == 0) {
        fprintf(stderr, "load same|new CONNECTIONS SECONDS|-ROUNDS SERVER [ARG...]\n");
        return 2;
    }
    changing = strcmp(argv[1], "new") == 0;
    int n = atoi(argv[2]), epoll = epoll_create1(EPOLL_CLOEXEC), status = 0;
    double span = atof(argv[3]);
    pid_t server;
    int port = start(argv + 4, n > 1 ? 1 : 0, &server);
    settle_on(0);
    struct connection *all = open_all(port, epoll, n, span < 0 ? (long)-span : 0);
    run(all, epoll, n, span, server);
    for (int i = 0; i < n; i++)
        close(all[i].fd);
    if (waitpid(server, &status, 0) != server || status != 0) die("the server failed");
    return 0;
}
