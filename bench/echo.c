// echo.c -- the echo server in C over epoll(7), which the others are measured against.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, SIZE = 4096 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int listening(void) {
    struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) != 0 || listen(fd, SOMAXCONN) != 0) die("listen");
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0) die("getsockname");
    printf("%d\n", ntohs(name.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int epoll, int fd) {
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.fd = fd };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

// Answers how many connections came.
static int take(int epoll, int listener) {
    int fd, count = 0;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        watch(epoll, fd);
        count++;
    }
    return count;
}

// Answers whether the connection is still open.
static int echo(int fd) {
    static char buf[SIZE];
    ssize_t n = recv(fd, buf, SIZE, 0);
    if (n > 0 && send(fd, buf, (size_t)n, MSG_NOSIGNAL) == n) return 1;
    close(fd);
    return 0;
}

int main(void) {
    static struct epoll_event events[EVENTS];
    int listener = listening(), epoll = epoll_create1(EPOLL_CLOEXEC), open = 0;
    watch(epoll, listener);
    do {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                open += take(epoll, listener);
            else
                open -= !echo(events[i].data.fd);
        }
    } while (open > 0);
    return 0;
}
