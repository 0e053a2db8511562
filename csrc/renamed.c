/* renamed.c -- calls whose symbol is not their name.
 *
 * Headers give a function another symbol where a struct that it reads has grown: glibc and musl the functions with a
 * time where time_t is longer than a long, NetBSD kevent and socket.  The name is still there, and takes the old
 * struct.  The FFI binds by name and would hand it the compiler's struct, so C makes these calls.  Where nothing is
 * renamed, Lua calls libc itself; see libc.lua. */
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

/* The flags of recvmmsg(2) are an int in glibc and unsigned in musl. */
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

/* A kernel before 5.1 stamps messages with times of a long; behind this symbol libc adds the time as the headers have
 * it. */
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
