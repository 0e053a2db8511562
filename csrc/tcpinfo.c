/* tcpinfo.c -- what Linux tells about a TCP connection: struct tcp_info and the members of union tcp_cc_info.  One
 * table of fields, which only socket/tcpinfo.lua reads: no C type of the FFI says which bits a bit field has.
 *
 * netinet/tcp.h lacks the later fields, and it cannot be included together with linux/tcp.h: so this file stands
 * alone. */
#include "shim.h"

#ifdef __linux__
#include <sys/utsname.h>
#if __has_include(<linux/tcp.h>)
#include <linux/inet_diag.h>
#include <linux/tcp.h>
#include <linux/version.h>
#include "younger.def" /* compares the names that only this header has */
#define HEADERS      LINUX_VERSION_CODE
#define HAVE_CC_INFO 1
#else
#include <netinet/tcp.h> /* musl's own, where no kernel headers are in the path */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define HEADERS                 KERNEL_VERSION(5, 5, 0)
#endif
#endif

struct llsocket_info {
    const char *owner, *name;
    uint32_t offset, size;  /* of the integer, in bytes */
    uint32_t shift, bits;   /* of a bit field inside it; bits is 0 for the whole integer */
    uint32_t since, before; /* releases of the running kernel; before is 0 where there is no end */
};

#ifdef __linux__
struct info {
#define FIELD(type, name, since) type name;
#define HOLD(type, name)         type name;
#include "tcpinfo.def"
};

struct vegas {
    uint32_t enabled, rttcnt, rtt, minrtt;
};

struct dctcp {
    uint16_t enabled, ce_state;
    uint32_t alpha, ab_ecn, ab_tot;
};

struct bbr {
    uint32_t bw_lo, bw_hi, min_rtt, pacing_gain, cwnd_gain;
};

/* A field of ours must lie where the headers have theirs. */
/* clang-format off */
#define SAME(s, f, ours, name)                                             \
    _Static_assert(offsetof(struct s, f) == offsetof(struct ours, name) && \
                   sizeof(IN(s, f)) == sizeof(IN(ours, name)), #f);
/* clang-format on */
#define SAME_OLD(name) SAME(tcp_info, tcpi_##name, info, name)
#if HEADERS >= KERNEL_VERSION(5, 5, 0)
#define SAME_5_5(name) SAME_OLD(name)
#else
#define SAME_5_5(name)
#endif
#if HEADERS >= KERNEL_VERSION(6, 2, 0)
#define SAME_6_2(name) SAME_OLD(name)
#else
#define SAME_6_2(name)
#endif
#if HEADERS >= KERNEL_VERSION(6, 7, 0)
#define SAME_6_7(name) SAME_OLD(name)
#else
#define SAME_6_7(name)
#endif
#if HEADERS >= KERNEL_VERSION(6, 18, 0)
#define SAME_6_18(name) SAME_OLD(name)
#else
#define SAME_6_18(name)
#endif
#define FIELD(type, name, since) SAME_##since(name)
#include "tcpinfo.def"

/* ours, the headers' struct and its prefix, the field */
#define CC_FIELDS(F)                                                                                                   \
    F(vegas, tcpvegas_info, tcpv_, enabled)                                                                            \
    F(vegas, tcpvegas_info, tcpv_, rttcnt)                                                                             \
    F(vegas, tcpvegas_info, tcpv_, rtt)                                                                                \
    F(vegas, tcpvegas_info, tcpv_, minrtt)                                                                             \
    F(dctcp, tcp_dctcp_info, dctcp_, enabled)                                                                          \
    F(dctcp, tcp_dctcp_info, dctcp_, ce_state)                                                                         \
    F(dctcp, tcp_dctcp_info, dctcp_, alpha)                                                                            \
    F(dctcp, tcp_dctcp_info, dctcp_, ab_ecn)                                                                           \
    F(dctcp, tcp_dctcp_info, dctcp_, ab_tot)                                                                           \
    F(bbr, tcp_bbr_info, bbr_, bw_lo)                                                                                  \
    F(bbr, tcp_bbr_info, bbr_, bw_hi)                                                                                  \
    F(bbr, tcp_bbr_info, bbr_, min_rtt)                                                                                \
    F(bbr, tcp_bbr_info, bbr_, pacing_gain)                                                                            \
    F(bbr, tcp_bbr_info, bbr_, cwnd_gain)
#ifdef HAVE_CC_INFO
#define SAME_CC(ours, s, prefix, name) SAME(s, prefix##name, ours, name)
CC_FIELDS(SAME_CC)
#endif

/* C counts bit fields from the least significant bit on little endian machines, from the most significant on others. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SHIFT(size, first, count) (first)
#else
#define SHIFT(size, first, count) ((uint32_t)(size)*8 - (first) - (count))
#endif
#define WHOLE(s, name)                  { #s, #name, offsetof(struct s, name), sizeof(IN(s, name)), 0, 0, 0, 0 },
#define WHOLE_CC(ours, s, prefix, name) WHOLE(ours, name)
#endif

/* clang-format off */
EXPORT const struct llsocket_info llsocket2_tcpinfo[] = {
#ifdef __linux__
#define FIELD(type, name, since) WHOLE(info, name)
#define BITS(hold, first, count, name, since)                             \
    { "info", #name, offsetof(struct info, hold), sizeof(IN(info, hold)), \
      SHIFT(sizeof(IN(info, hold)), first, count), count, since, 0 },
#define HALF(hold, at, name, since, before) \
    { "info", #name, offsetof(struct info, hold) + (at), 2, 0, 0, since, before },
#include "tcpinfo.def"
    CC_FIELDS(WHOLE_CC)
#endif
    { NULL, NULL, 0, 0, 0, 0, 0, 0 }
};
/* clang-format on */

#ifdef __linux__
/* Reads a number and the character behind it.  Not by sscanf(3) or strtol(3): they are other symbols since glibc
 * 2.38. */
static int number(const char **text) {
    int n = 0;
    while (**text >= '0' && **text <= '9')
        n = n * 10 + (*(*text)++ - '0');
    if (**text) ++*text;
    return n;
}
#endif

/* The release of the running kernel, 0x612 for 6.18; 0 where it is not Linux. */
EXPORT int llsocket2_kernel(void) {
#ifdef __linux__
    struct utsname name;
    if (uname(&name) == 0) {
        const char *text = name.release;
        int major = number(&text);
        return major * 256 + number(&text);
    }
#endif
    return 0;
}
