/* protocols.c -- the constants of protocols.def, found by name. */
#include "shim.h"

#include <sys/types.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <math.h>
#include <string.h>
#if __has_include(<netinet/icmp6.h>)
#include <netinet/icmp6.h>
#endif

#if defined(__linux__) && __has_include(<linux/version.h>)
#include <linux/genetlink.h>
#include <linux/icmp.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <linux/version.h> /* LINUX_VERSION_CODE guards some enumerators */
#include <linux/vm_sockets.h>
#if __has_include(<linux/mptcp.h>)
#include <linux/mptcp.h>
#endif
#if __has_include(<linux/tls.h>)
#include <linux/tls.h>
#endif
#else
#include <netinet/in_systm.h> /* BSD: netinet/ip.h needs it first */
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#endif

#ifndef KERNEL_VERSION /* where there are no headers of Linux: an #if evaluates it all the same */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#endif

#include "younger.def"

/* clang-format off: the macro that makes the rows is aligned by hand. */
struct row {
    const char *name;
    double value;
};

#define K(name) { #name, (double)(int64_t)(name) },
static const struct row rows[] = {
#include "protocols.def"
    { NULL, 0 }
};
#undef K
/* clang-format on */

/* Answers NaN where no row has the name.  Comparing two characters first spares most calls of strcmp. */
EXPORT double llsocket2_protocol(const char *name) {
    for (const struct row *row = rows; row->name != NULL && name[0] != 0; row++) {
        if (row->name[0] == name[0] && row->name[1] == name[1] && strcmp(row->name, name) == 0) return row->value;
    }
    return NAN;
}
