/* macros.c -- what the FFI cannot say: variadic calls under fixed prototypes, error texts, the finaliser. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__linux__)
#include <netpacket/packet.h>
#elif __has_include(<net/if_dl.h>)
#include <net/if_dl.h>
#endif

/* Lua names the ABI it was written for; a stranger is refused with the negative of ours. */
EXPORT int llsocket1_abi(int wanted) {
    return wanted == LLSOCKET_ABI ? LLSOCKET_ABI : -LLSOCKET_ABI;
}

/* fcntl(2) and ioctl(2) are variadic, and the FFI would pass a Lua number as a double. */
EXPORT int llsocket1_fcntl(int fd, int cmd, int arg) {
    return fcntl(fd, cmd, arg);
}

/* ioctl's request is an int in musl and an unsigned long elsewhere; the bits are the same. */
EXPORT int llsocket1_ioctl(int fd, uint32_t request, void *arg) {
#if defined(__linux__) && !defined(__GLIBC__)
    return ioctl(fd, (int)request, arg);
#else
    return ioctl(fd, (unsigned long)request, arg);
#endif
}

/* strerror(3) shares one buffer among threads, and strerror_r(3) has two prototypes. */
EXPORT const char *llsocket1_strerror(int errnum, char *buf, size_t size) {
#if defined(__GLIBC__)
    return strerror_r(errnum, buf, size);
#else
    if (strerror_r(errnum, buf, size) != 0) snprintf(buf, size, "Unknown error %d", errnum);
    return buf;
#endif
}

/* The link-layer address inside a sockaddr: its length and its bytes, or -1 where it is of another family.
 * An InfiniBand address is longer than sll_addr; getifaddrs(3) allocates room for it. */
EXPORT int llsocket1_linkaddr(const void *name, const uint8_t **bytes, uint32_t *index) {
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

/* The collector calls this on an owner, whose first field is its descriptor.  It may run between any two
 * instructions of unrelated code, so it leaves errno as it was; closing is all it does, because a forked
 * child that collects its copy must not shut the parent's connection down. */
EXPORT void llsocket1_finalize(void *owner) {
    int *fd = owner, saved = errno;
    if (*fd >= 0) close(*fd);
    *fd = -1;
    errno = saved;
}
