// load.c -- starts a server, holds connections to it and counts rounds: 64 bytes there and back, or a file over HTTP.
//
//   load same|new|get CONNECTIONS SECONDS SERVER [ARG...]   prints rounds, the ns they took, the server's ns on the CPU
//   load same|new|get CONNECTIONS -ROUNDS SERVER [ARG...]   so many rounds on each connection, for strace and callgrind
//
// "same" sends the same 64 bytes always, with "new" no two messages are alike, and "get" asks for the file "file".  The
// server prints its port at the end of a line.  An echo server ends when its last connection has closed; one of HTTP is
// ended.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, EVENTS = 1024 };
static const double WARM_UP = 0.3; // seconds, in which LuaJIT and Node.js compile: a server runs for long
static const char REQUEST[] = "GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct connection {
    int fd;
    long left;
    size_t missing; // bytes of the answer
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
    int ends[2], port;
    char line[256];
    if (pipe(ends) != 0 || (*pid = fork()) < 0) die("fork");
    if (*pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        settle_on(cpu);
        prctl(PR_SET_PDEATHSIG, SIGTERM); // some servers never end by themselves
        execvp(command[0], command);
        die(command[0]);
    }
    close(ends[1]);
    FILE *said = fdopen(ends[0], "r");
    if (!fgets(line, sizeof line, said)) die("no port");
    const char *colon = strrchr(line, ':');
    port = atoi(colon ? colon + 1 : line);
    fclose(said);
    return port;
}

static int connection_to(int port) {
    struct sockaddr_in name = { .sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof name) == 0) return fd;
    close(fd);
    return -1;
}

static int connected(int port) {
    int fd = connection_to(port);
    if (fd < 0) die("connect");
    return fd;
}

// nginx tells its port before it listens there.
static int first_connection(int port) {
    int fd = connection_to(port);
    for (int tries = 0; fd < 0 && tries < 5000; tries++) {
        usleep(1000);
        fd = connection_to(port);
    }
    if (fd < 0) die("connect");
    return fd;
}

static int changing, is_http;
static size_t answer_size = SIZE;

static void ask(struct connection *c) {
    static long count;
    c->missing = answer_size;
    if (is_http) {
        if (send(c->fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) != sizeof REQUEST - 1) die("send");
        return;
    }
    if (changing) c->message[0] = ++count;
    if (send(c->fd, c->message, SIZE, MSG_NOSIGNAL) != SIZE) die("send");
}

// Answers whether the whole answer is there.
static int has_answer(struct connection *c) {
    static char got[1 << 16];
    ssize_t n = recv(c->fd, got, sizeof got, 0);
    if (n <= 0 || (size_t)n > c->missing) die("recv");
    c->missing -= (size_t)n;
    if (!is_http && (n != SIZE || memcmp(got, c->message, SIZE) != 0)) die("another answer");
    return c->missing == 0;
}

// Asks once; answers the bytes of the whole answer, which are as many each time.
static size_t measure_answer(int port) {
    static char got[1 << 16];
    struct connection c = { .fd = first_connection(port) };
    size_t have = 0, all = 0;
    ask(&c);
    do {
        ssize_t n = recv(c.fd, got + have, sizeof got - 1 - have, 0);
        if (n <= 0) die("recv");
        have += (size_t)n;
        char *length = strstr(got, "Content-Length: "), *end = strstr(got, "\r\n\r\n");
        if (length && end) all = (size_t)(end + 4 - got) + strtoul(length + 16, NULL, 10);
    } while (all == 0 || have < all);
    close(c.fd);
    if (strncmp(got, "HTTP/1.1 200 ", 13) != 0) die(got);
    return all;
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
            if (!has_answer(c)) continue;
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
        fprintf(stderr, "load same|new|get CONNECTIONS SECONDS|-ROUNDS SERVER [ARG...]\n");
        return 2;
    }
    changing = strcmp(argv[1], "new") == 0;
    is_http = strcmp(argv[1], "get") == 0;
    int n = atoi(argv[2]), epoll = epoll_create1(EPOLL_CLOEXEC), status = 0;
    double span = atof(argv[3]);
    pid_t server;
    int port = start(argv + 4, n > 1 ? 1 : 0, &server);
    settle_on(0);
    if (is_http) answer_size = measure_answer(port);
    struct connection *all = open_all(port, epoll, n, span < 0 ? (long)-span : 0);
    run(all, epoll, n, span, server);
    for (int i = 0; i < n; i++)
        close(all[i].fd);
    if (is_http) kill(server, SIGTERM);
    if (waitpid(server, &status, 0) != server || (status != 0 && !is_http)) die("the server failed");
    return 0;
}
