/* handler.c -- signal handlers for tests: one that writes by itself, as eventfd(2) says, and one that calls `wake`. */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static int fd;
static void (*wake)(int);

static void on_signal(int sig) {
    uint64_t one = 1;
    (void)sig;
    if (wake)
        wake(fd);
    else if (write(fd, &one, sizeof one) < 0)
        return;
}

int llsocket_t_wake_on(int sig, int to, void (*by)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    fd = to, wake = by;
    return sigaction(sig, &action, 0);
}
