/* platform.c -- what systems declare or lay out differently: error texts, the clock, link-layer addresses. */
#include "shim.h"

#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#if defined(__linux__)
#include <netpacket/packet.h>
#elif __has_include(<net/if_dl.h>)
#include <net/if_dl.h>
#endif

/* Not strerror(3), whose buffer all threads share; and strerror_r(3) has two prototypes, glibc's and POSIX's. */
EXPORT const char *llsocket2_strerror(int errnum, char *buf, size_t size) {
#if defined(__GLIBC__)
    return strerror_r(errnum, buf, size);
#else
    if (strerror_r(errnum, buf, size) != 0) snprintf(buf, size, "Unknown error %d", errnum);
    return buf;
#endif
}

/* Seconds of a clock that nobody sets back.  A double, because struct timespec has two layouts on 32-bit systems. */
EXPORT double llsocket2_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The date in seconds since 1970, which changes of the clock move. */
EXPORT double llsocket2_date(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Finds the link-layer address inside a sockaddr: returns its length and sets `bytes` and `index`.  Returns -1 when
 * the sockaddr is of another family.  The length may exceed sll_addr (InfiniBand): getifaddrs(3) allocates room for
 * that. */
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
