// crowd.c -- runs a server and is its clients, as many as it asks for.
//
//   crowd COMMAND [ARG...]
//
// The server writes lines.  "connect PORT N" opens N connections, those that it asked for before being gone, and is
// answered by an empty line; "keep PORT N" does so and keeps them; "drain PORT N" opens N whose bytes the kernel throws
// away, "read PORT N" N whose bytes are read and then thrown away.  What else it writes is passed on.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 20000 };
static int held[MOST];
static long count;

static void die(const char *what) {
    perror(what);
    exit(1);
}

// Clients and server keep to a CPU each, where there are two.
static void settle_on(size_t which) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && which-- == 0) CPU_SET(cpu, &one);
    }
    sched_setaffinity(0, sizeof one, &one);
}

static pid_t start(char **command, FILE **said, FILE **answers) {
    int up[2], down[2];
    if (pipe(up) != 0 || pipe(down) != 0) die("pipe");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        dup2(up[1], 1);
        dup2(down[0], 0);
        for (int i = 0; i < 2; i++)
            close(up[i]), close(down[i]);
        settle_on(1);
        execvp(command[0], command);
        die(command[0]);
    }
    close(up[1]);
    close(down[0]);
    *said = fdopen(up[0], "r");
    *answers = fdopen(down[1], "w");
    return pid;
}

static int connected(int port) {
    struct sockaddr_in name = { .sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof name) != 0) die("connect");
    return fd;
}

// By a reset, so that no port stays occupied.
static void leave(void) {
    struct linger now = { 1, 0 };
    while (count > 0) {
        setsockopt(held[--count], SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(held[count]);
    }
}

// With MSG_TRUNC the kernel counts the bytes and copies none.
static void drain(int port, int flags) {
    static char room[1 << 16];
    int fd = connected(port);
    if (fork() != 0) {
        close(fd);
        return;
    }
    while (recv(fd, room, sizeof room, flags) > 0) {
    }
    _exit(0);
}

int main(int argc, char **argv) {
    struct rlimit files;
    char line[4096], what[16];
    int port, status;
    long n;
    FILE *said, *answers;
    if (argc < 2) return 2;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    pid_t server = start(argv + 1, &said, &answers);
    settle_on(0);
    while (fgets(line, sizeof line, said)) {
        if (sscanf(line, "%15[a-z] %d %ld", what, &port, &n) != 3) {
            fputs(line, stdout);
            continue;
        }
        if (strcmp(what, "connect") == 0) leave();
        for (; n > 0; n--) {
            if (strcmp(what, "drain") == 0)
                drain(port, MSG_TRUNC);
            else if (strcmp(what, "read") == 0)
                drain(port, 0);
            else if (count < MOST)
                held[count++] = connected(port);
        }
        fputs("\n", answers);
        fflush(answers);
    }
    return waitpid(server, &status, 0) == server && status == 0 ? 0 : 1;
}
