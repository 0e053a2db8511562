/* macros.c -- what the FFI cannot say: variadic calls under fixed prototypes, error texts, the finaliser. */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__)
#include <netpacket/packet.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#elif __has_include(<net/if_dl.h>)
#include <net/if_dl.h>
#endif

#include "fallbacks.def"

/* Lua names the ABI it was written for; a stranger is refused with the negative of ours. */
EXPORT int llsocket2_abi(int wanted) {
    return wanted == LLSOCKET_ABI ? LLSOCKET_ABI : -LLSOCKET_ABI;
}

/* Keeps the shim mapped until the process ends: when a VM closes, an object may be collected after the handle that
 * loaded its finaliser. */
EXPORT void llsocket2_stay(void) {
#ifdef RTLD_NODELETE
    Dl_info info;
    if (dladdr((void *)(uintptr_t)llsocket2_stay, &info) == 0) return;
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

/* fcntl(2) and ioctl(2) are variadic, and the FFI would pass a Lua number as a double. */
EXPORT int llsocket2_fcntl(int fd, int cmd, int arg) {
    return fcntl(fd, cmd, arg);
}

/* ioctl's request is an int in musl and an unsigned long elsewhere; the bits are the same. */
EXPORT int llsocket2_ioctl(int fd, uint32_t request, void *arg) {
#if defined(__linux__) && !defined(__GLIBC__)
    return ioctl(fd, (int)request, arg);
#else
    return ioctl(fd, (unsigned long)request, arg);
#endif
}

/* strerror(3) shares one buffer among threads, and strerror_r(3) has two prototypes. */
EXPORT const char *llsocket2_strerror(int errnum, char *buf, size_t size) {
#if defined(__GLIBC__)
    return strerror_r(errnum, buf, size);
#else
    if (strerror_r(errnum, buf, size) != 0) snprintf(buf, size, "Unknown error %d", errnum);
    return buf;
#endif
}

/* Signals as a descriptor: they are blocked in this thread first, or they would still be delivered; not where
 * there is no descriptor then. */
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

/* A child's end as a descriptor, close-on-exec by itself; libc has no function for it everywhere. */
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

/* Collects a child by its descriptor: by its number a stranger could be meant by now, where somebody else had
 * collected it.  Answers 1 and the exit status, or the signal that ended it, negative; 0 while it lives. */
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

/* Seconds of a clock that is never set back: clock_gettime(2) has two layouts on 32-bit systems. */
EXPORT double llsocket2_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Wakes a poller; for signal handlers, hence errno is kept. */
EXPORT void llsocket2_wake(int fd) {
    uint64_t one = 1;
    int saved = errno;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* a full counter has woken already */
    errno = saved;
}

/* The link-layer address inside a sockaddr: its length and its bytes, or -1 where it is of another family.
 * An InfiniBand address is longer than sll_addr; getifaddrs(3) allocates room for it. */
EXPORT int llsocket2_linkaddr(const void *name, const uint8_t **bytes, uint32_t *index) {
    const struct sockaddr *sa = name;
#if defined(__linux__)
    const struct sockaddr_ll *ll = name;
    if (sa->sa_family != AF_PACKET) return -1;
    *bytes = ll->sll_addr;
    *index = (uint32_t)ll->sll_ifindex;
    return ll->sll_halen;
#elif defined(AF_LINK)
    const struct sockaddr_dl *dl = name;
    if (sa->sa_family != AF_LINK) return -1;
    *bytes = (const uint8_t *)LLADDR(dl);
    *index = dl->sdl_index;
    return dl->sdl_alen;
#else
    return -1;
#endif
}

/* Ancillary data, by offset into a control buffer: what cmsg_len claims is never trusted. */
EXPORT uint32_t llsocket2_cmsg_space(uint32_t len) {
    return (uint32_t)CMSG_SPACE(len);
}

EXPORT uint32_t llsocket2_cmsg_len(uint32_t len) {
    return (uint32_t)CMSG_LEN(len);
}

/* Writes a header and its data at `at`, where the caller has made CMSG_SPACE of room; answers the next offset. */
EXPORT uint32_t llsocket2_cmsg_put(void *control, uint32_t at, int level, int type, const void *data, uint32_t len) {
    struct cmsghdr *cmsg = (struct cmsghdr *)((char *)control + at);
    memset(cmsg, 0, CMSG_SPACE(len)); /* the padding goes to the kernel too */
    cmsg->cmsg_len = CMSG_LEN(len);
    cmsg->cmsg_level = level;
    cmsg->cmsg_type = type;
    memcpy(CMSG_DATA(cmsg), data, len);
    return at + (uint32_t)CMSG_SPACE(len);
}

/* The header at `at`: its level and type, the offset and length of its data, and the next header's offset.
 * Answers 0 at the end of the list, which a header that claims more than there is ends too. */
EXPORT int llsocket2_cmsg_get(const void *control, uint32_t controllen, uint32_t at, int32_t *out) {
    const struct cmsghdr *cmsg = (const struct cmsghdr *)((const char *)control + at);
    if (at > controllen || controllen - at < CMSG_LEN(0)) return 0;
    if (cmsg->cmsg_len < CMSG_LEN(0) || cmsg->cmsg_len > controllen - at) return 0;
    out[0] = cmsg->cmsg_level;
    out[1] = cmsg->cmsg_type;
    out[2] = (int32_t)(at + CMSG_LEN(0));
    out[3] = (int32_t)(cmsg->cmsg_len - CMSG_LEN(0));
    out[4] = (int32_t)(at + CMSG_SPACE(cmsg->cmsg_len - CMSG_LEN(0)));
    return 1;
}

#if defined(__linux__) && !defined(SCM_PIDFD)
#define SCM_PIDFD 4 /* SO_PASSPIDFD, Linux 6.5; a kernel newer than the headers sends it all the same */
#endif

/* Whether what arrives are descriptors, which this process then has and must close. */
EXPORT int llsocket2_cmsg_owns(int level, int type) {
    if (level != SOL_SOCKET) return 0;
#ifdef SCM_PIDFD
    if (type == SCM_PIDFD) return 1;
#endif
    return type == SCM_RIGHTS;
}

/* A buffer for received ancillary data.  It owns the descriptors in it: one that Lua takes is overwritten
 * with -1, and the others are closed with the buffer or before its next use. */
struct llsocket_control {
    uint32_t len, size;
    _Alignas(8) unsigned char bytes[]; /* CMSG_DATA wants no more, and malloc(3) gives no more everywhere */
};

EXPORT void *llsocket2_control_new(uint32_t size) {
    struct llsocket_control *control = malloc(sizeof *control + size);
    if (control) control->len = 0, control->size = size;
    return control;
}

EXPORT void *llsocket2_control_bytes(struct llsocket_control *control) {
    return control->bytes;
}

/* Does one thing with every descriptor that the buffer still owns. */
static void each(const struct llsocket_control *control, void (*act)(int fd)) {
    int32_t cmsg[5], fd;
    uint32_t at, end;
    for (at = 0; llsocket2_cmsg_get(control->bytes, control->len, at, cmsg); at = (uint32_t)cmsg[4]) {
        if (!llsocket2_cmsg_owns(cmsg[0], cmsg[1])) continue;
        end = (uint32_t)(cmsg[2] + cmsg[3]);
        for (uint32_t i = (uint32_t)cmsg[2]; i + sizeof fd <= end; i += sizeof fd) {
            memcpy(&fd, control->bytes + i, sizeof fd);
            if (fd >= 0) act(fd);
        }
    }
}

#ifndef MSG_CMSG_CLOEXEC
static void set_cloexec(int fd) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}
#endif

/* Tells the buffer what recvmsg(2), which answered `n`, wrote: a call that failed leaves msg_controllen alone.
 * Descriptors are close-on-exec from here on, where the call itself could not see to that. */
EXPORT void llsocket2_control_received(struct llsocket_control *control, const struct msghdr *msg, int n) {
    control->len = n < 0 ? 0 : (uint32_t)msg->msg_controllen;
#ifndef MSG_CMSG_CLOEXEC
    int saved = errno;
    each(control, set_cloexec);
    errno = saved;
#endif
}

static void close_one(int fd) {
    close(fd);
}

EXPORT void llsocket2_control_close(struct llsocket_control *control) {
    each(control, close_one);
    control->len = 0;
}

EXPORT void llsocket2_control_free(void *control) {
    int saved = errno;
    llsocket2_control_close(control);
    free(control);
    errno = saved;
}

/* The collector calls this on an owner, whose first field is its descriptor.  It may run between any two
 * instructions of unrelated code, so it leaves errno as it was; closing is all it does, because a forked
 * child that collects its copy must not shut the parent's connection down. */
EXPORT void llsocket2_finalize(void *owner) {
    int *fd = owner, saved = errno;
    if (*fd >= 0) close(*fd);
    *fd = -1;
    errno = saved;
}
