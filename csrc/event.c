/* event.c -- signals and child exits as descriptors, and what wakes a poller. */
#include "shim.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#endif

/* Makes signals readable from a descriptor.  It blocks them in this thread first, because an unblocked signal would
 * still be delivered.  If the descriptor cannot be made, the old mask comes back. */
EXPORT int llsocket2_signalfd(const int32_t *signals, int count) {
#ifdef __linux__
    sigset_t set, old;
    int i, fd, error;
    sigemptyset(&set);
    for (i = 0; i < count; i++) {
        if (sigaddset(&set, signals[i]) != 0) return -1;
    }
    if (THREAD_SIGMASK(SIG_BLOCK, &set, &old) != 0) return -1;
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd >= 0) return fd;
    error = errno;
    THREAD_SIGMASK(SIG_SETMASK, &old, NULL);
    return errno = error, -1;
#else
    (void)signals, (void)count;
    return errno = ENOSYS, -1;
#endif
}

/* Blocks all signals in this thread, so that a thread that begins meanwhile takes none of them.  `old`, of 128 bytes,
 * gets the mask of before. */
EXPORT int llsocket2_signals_block(void *old) {
    sigset_t all;
    _Static_assert(sizeof all <= 128, "the caller has memory for a mask");
    sigfillset(&all);
    return THREAD_SIGMASK(SIG_SETMASK, &all, old);
}

EXPORT int llsocket2_signals_restore(const void *old) {
    return THREAD_SIGMASK(SIG_SETMASK, old, NULL);
}

/* Opens a descriptor that becomes readable when a child ends; the kernel makes it close-on-exec.  By syscall(2),
 * because not every libc has a function for it. */
EXPORT int llsocket2_pidfd(int pid) {
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    (void)pid;
    return errno = ENOSYS, -1;
#endif
}

#if defined(SYS_pidfd_open) && !defined(P_PIDFD)
#define P_PIDFD 3 /* Linux 5.4; an enumerator or nothing in libc */
#endif

/* Tells whether a descriptor is a process. */
EXPORT int llsocket2_pidfd_is(int fd) {
#ifdef SYS_pidfd_open
    siginfo_t info;
    return waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno == ECHILD;
#else
    (void)fd;
    return errno = ENOSYS, 0;
#endif
}

/* Collects a child by its descriptor, not by its number: if somebody else has collected the child, the number may
 * belong to another process by now.  Returns 0 while the child lives, otherwise 1 and in `status` its exit status, or
 * the negative number of the signal that ended it. */
EXPORT int llsocket2_pidfd_wait(int fd, int32_t *status) {
#ifdef SYS_pidfd_open
    siginfo_t info;
    info.si_pid = 0;
    if (waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) != 0) return -1;
    if (info.si_pid == 0) return 0;
    *status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
#else
    (void)fd, (void)status;
    return errno = ENOSYS, -1;
#endif
}

/* Wakes a poller.  Signal handlers call this, so it keeps errno. */
EXPORT void llsocket2_wake(int fd) {
    uint64_t one = 1;
    int saved = errno;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* a write fails when the counter is full: then the poller is awake already */
    errno = saved;
}
