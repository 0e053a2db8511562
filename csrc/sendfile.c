/* sendfile.c -- one sendfile(2) for every system, which never raises SIGPIPE.
 *
 * sendfile has no MSG_NOSIGNAL.  So SIGPIPE is blocked in this thread for the length of the call, and a
 * signal that the call itself raised is taken off again.  It raises one with EPIPE, and also when it answers a
 * short count: Linux sends page by page, and the peer may close between two of them. */
#include "shim.h"

#include <errno.h>
#include <signal.h>
#include <sys/types.h>

#if defined(__linux__)
#include <sys/sendfile.h>
#elif defined(__APPLE__) || defined(__FreeBSD__)
#include <sys/socket.h>
#include <sys/uio.h>
#endif

#define MOST 0x7ffff000 /* what Linux moves in one call; keeps the result an int */

/* Answers the bytes sent, or -errno.  What was sent before EAGAIN or EINTR counts as sent.  EOVERFLOW is Linux's
 * word for an offset that no file of that file system can reach: it is past the end. */
static int transfer(int sd, int fd, int64_t offset, size_t bytes) {
#if defined(__linux__)
    off_t from = (off_t)offset;
    ssize_t n = sendfile(sd, fd, &from, bytes);
    if (n < 0) return errno == EOVERFLOW ? 0 : -errno;
    return (int)n;
#elif defined(__APPLE__)
    off_t sent = (off_t)bytes;
    int rc = sendfile(fd, sd, (off_t)offset, &sent, NULL, 0);
    return rc == 0 || sent > 0 ? (int)sent : -errno;
#elif defined(__FreeBSD__)
    off_t sent = 0;
    int rc = sendfile(fd, sd, (off_t)offset, bytes, NULL, &sent, 0);
    return rc == 0 || sent > 0 ? (int)sent : -errno;
#else
    (void)sd, (void)fd, (void)offset, (void)bytes;
    return -ENOSYS;
#endif
}

static int is_pending(void) {
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
}

EXPORT int llsocket1_sendfile(int sd, int fd, int64_t offset, int64_t bytes) {
    sigset_t pipe, old;
    size_t most = bytes > MOST ? (size_t)MOST : (size_t)bytes;
    int before, n, may_have, sig;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &old);
    /* One that waited already, which takes a mask that blocked it, is not ours to consume. */
    before = sigismember(&old, SIGPIPE) == 1 && is_pending();
    n = transfer(sd, fd, offset, most);
    may_have = n == -EPIPE || (n > 0 && (size_t)n < most);
    if (may_have && !before && is_pending()) sigwait(&pipe, &sig);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return n;
}
