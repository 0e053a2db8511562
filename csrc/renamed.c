/* renamed.c -- calls whose symbol is not their name.
 *
 * When a struct grows, the headers give the functions that read it another symbol: glibc and musl do so for
 * functions with a time where time_t is longer than a long, NetBSD for kevent and socket.  The old symbol still exists
 * and expects the old struct.  The FFI binds by name, so it would pass the compiler's new struct to the old function.
 * C makes these calls instead.  Where nothing is renamed, Lua calls libc directly; see core/libc.lua. */
#include "shim.h"

#include <errno.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#if defined(__linux__)
#include <sys/timerfd.h>
#elif __has_include(<sys/event.h>)
#include <sys/event.h>
#endif

#include "fallbacks.def"

/* glibc declares the flags of recvmmsg(2) as int, musl as unsigned int. */
#if defined(__linux__) && !defined(__GLIBC__)
typedef unsigned int recvmmsg_flags;
#else
typedef int recvmmsg_flags;
#endif

#ifdef __NetBSD__
#define NETBSD 1
typedef size_t event_count;
#else
#define NETBSD 0
typedef int event_count;
#endif

EXPORT const int llsocket2_renames = NETBSD || sizeof(time_t) > sizeof(long);

EXPORT int llsocket2_renamed_socket(int domain, int type, int protocol) {
    return socket(domain, type, protocol);
}

/* A kernel before 5.1 writes timestamps of two longs into a message; this symbol of libc adds the time in the layout
 * that the headers have. */
EXPORT int llsocket2_renamed_recvmsg(int fd, void *msg, int flags) {
    return (int)recvmsg(fd, msg, flags);
}

EXPORT int llsocket2_renamed_recvmmsg(int fd, void *msgs, size_t count, int flags, void *timeout) {
#ifdef MSG_WAITFORONE
    return recvmmsg(fd, msgs, (unsigned int)count, (recvmmsg_flags)flags, timeout);
#else
    (void)fd, (void)msgs, (void)count, (void)flags, (void)timeout;
    return errno = ENOSYS, -1;
#endif
}

EXPORT int llsocket2_renamed_timerfd_settime(int fd, int flags, const void *value, void *old) {
#ifdef TFD_CLOEXEC
    return timerfd_settime(fd, flags, value, old);
#else
    (void)fd, (void)flags, (void)value, (void)old;
    return errno = ENOSYS, -1;
#endif
}

EXPORT int llsocket2_renamed_kevent(int kq, const void *changes, int nchanges, void *events, int nevents,
                                    const void *timeout) {
#ifdef EV_ADD
    return kevent(kq, changes, (event_count)nchanges, events, (event_count)nevents, timeout);
#else
    (void)kq, (void)changes, (void)nchanges, (void)events, (void)nevents, (void)timeout;
    return errno = ENOSYS, -1;
#endif
}
