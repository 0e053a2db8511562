/* sendfile.c -- one sendfile(2) for every system, and sends that never raise SIGPIPE where nothing else prevents it.
 *
 * sendfile and splice take no MSG_NOSIGNAL, and some systems have no such flag.  So each function here blocks
 * SIGPIPE in this thread during the call, and then consumes the signal that the call itself raised.  The call raises
 * one with EPIPE, and also with a short count: Linux sends page by page, and the peer may close between two pages. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/socket.h>

#if defined(__linux__)
#include <sys/sendfile.h>
#elif defined(__APPLE__) || defined(__FreeBSD__)
#include <sys/uio.h>
#else
#define LLSOCKET_NO_SENDFILE 1
#endif

#include "fallbacks.def"

#define MOST 0x7ffff000 /* the most that Linux moves in one call; the result fits into an int */

/* Returns the bytes sent, or -1 and errno.  Bytes that were sent before EAGAIN or EINTR count as sent.  Linux answers
 * EOVERFLOW for an offset beyond the largest file of the file system: like every offset past the end, that sends 0
 * bytes. */
static int transfer(int sd, int fd, int64_t offset, size_t bytes) {
#if defined(LLSOCKET_NO_SENDFILE)
    (void)fd, (void)offset, (void)bytes;
    errno = sd < 0 ? EBADF : ENOSYS;
    return -1;
#elif defined(__linux__)
    off_t from = (off_t)offset;
    ssize_t n = sendfile(sd, fd, &from, bytes);
    return n < 0 && errno == EOVERFLOW ? 0 : (int)n;
#elif defined(__APPLE__)
    off_t sent = (off_t)bytes;
    int rc = sendfile(fd, sd, (off_t)offset, &sent, NULL, 0);
    return rc == 0 || sent > 0 ? (int)sent : -1;
#else
    off_t sent = 0;
    int rc = sendfile(fd, sd, (off_t)offset, bytes, NULL, &sent, 0);
    return rc == 0 || sent > 0 ? (int)sent : -1;
#endif
}

static int is_pending(void) {
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
}

struct guard {
    sigset_t pipe, old;
    int before; /* a SIGPIPE was pending before the call (the program blocks it): do not consume that one */
};

/* Returns -1 and errno where the signal cannot be blocked, as in a sandbox: the call would be deadly, and the mask to
 * come back to is unknown. */
static int block(struct guard *guard) {
    sigemptyset(&guard->pipe);
    sigaddset(&guard->pipe, SIGPIPE);
    int refused = THREAD_SIGMASK(SIG_BLOCK, &guard->pipe, &guard->old);
    if (refused) {
        errno = refused > 0 ? refused : errno; /* sigprocmask(2) returns -1 */
        return -1;
    }
    guard->before = sigismember(&guard->old, SIGPIPE) == 1 && is_pending();
    return 0;
}

/* Ends the guard after a call that answered `n` for `wanted` bytes.  Returns `n`, with the errno of the call. */
static int unblock(const struct guard *guard, int n, size_t wanted) {
    int saved = errno, may_have = (n < 0 && saved == EPIPE) || (n > 0 && (size_t)n < wanted), sig;
    if (may_have && !guard->before && is_pending()) sigwait(&guard->pipe, &sig);
    THREAD_SIGMASK(SIG_SETMASK, &guard->old, NULL);
    errno = saved;
    return n;
}

/* Returns -errno on failure, unlike the other functions here. */
EXPORT int llsocket2_sendfile(int sd, int fd, int64_t offset, int64_t bytes) {
    size_t most = bytes > MOST ? (size_t)MOST : (size_t)bytes;
    struct guard guard;
    int n = block(&guard) ? -1 : unblock(&guard, transfer(sd, fd, offset, most), most);
    return n < 0 ? -errno : n;
}

EXPORT int llsocket2_guarded_send(int sd, const void *buf, size_t len, int flags) {
    struct guard guard;
    return block(&guard) ? -1 : unblock(&guard, (int)send(sd, buf, len, flags), len);
}

EXPORT int llsocket2_guarded_sendto(int sd, const void *buf, size_t len, int flags, const void *name,
                                    uint32_t namelen) {
    struct guard guard;
    return block(&guard) ? -1 : unblock(&guard, (int)sendto(sd, buf, len, flags, name, namelen), len);
}

EXPORT int llsocket2_guarded_sendmsg(int sd, const struct msghdr *msg, int flags) {
    struct guard guard;
    return block(&guard) ? -1 : unblock(&guard, (int)sendmsg(sd, msg, flags), SIZE_MAX);
}

/* Moves bytes from a pipe into any descriptor; offset -1 is the descriptor's own position, which moves. */
EXPORT int llsocket2_guarded_splice_to(int pipe, int fd, int64_t offset, size_t bytes) {
#ifdef SPLICE_F_MOVE
    struct guard guard;
    loff_t at = (loff_t)offset;
    if (block(&guard)) return -1;
    return unblock(&guard, (int)splice(pipe, NULL, fd, offset < 0 ? NULL : &at, bytes, 0), bytes);
#else
    (void)pipe, (void)fd, (void)offset, (void)bytes;
    errno = ENOSYS;
    return -1;
#endif
}

EXPORT int llsocket2_guarded_splice(int pipe, int sd, size_t bytes) {
    return llsocket2_guarded_splice_to(pipe, sd, -1, bytes);
}
