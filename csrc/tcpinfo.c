/* tcpinfo.c -- struct tcp_info as the kernel's headers have it.  netinet/tcp.h lacks the later fields, and the two
 * headers cannot be included together.  Bit fields are left out, because they have no offset. */
#include "shim.h"

#if defined(__linux__) && __has_include(<linux/tcp.h>)
#include <linux/tcp.h>
#include <linux/version.h>
#include "younger.def" /* compares the names that only this header has */
#define HAVE_TCP_INFO 1
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define LLSOCKET_TCP_INFO_6_2 1
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
#define LLSOCKET_TCP_INFO_6_7 1
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 5, 0)
#define LLSOCKET_TCP_INFO_4 1
#endif
#elif defined(__linux__)
#include <netinet/tcp.h>
#define HAVE_TCP_INFO 1
#endif

EXPORT const struct llsocket_field llsocket2_tcpinfo[] = {
#ifdef HAVE_TCP_INFO
#include "tcpinfo.def"
#endif
    { NULL, NULL, NULL, 0, 0, 0 }
};
