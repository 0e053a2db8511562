/* facts.c -- what only a C compiler knows: the values of constants and the layouts of structs. Two read-only tables,
 * no functions.  Lua walks the constants once, at load, and the structs as far as they are needed. */
#include "shim.h"

#include <sys/types.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/in_systm.h> /* BSD: netinet/ip.h needs it first */
#include <netinet/ip.h>       /* IPTOS_* */
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stddef.h>
#if defined(__linux__)
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#elif __has_include(<sys/event.h>)
#include <sys/event.h>
#endif
#include <sys/wait.h>
#include <signal.h>
#include <time.h> /* older linux/errqueue.h names struct timespec */

/* Include these after the libc headers: linux/libc-compat.h then leaves out what those have defined.  Do not include
 * linux/tcp.h: it clashes with netinet/tcp.h. */
#if defined(__linux__) && __has_include(<linux/version.h>)
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/in.h>  /* IP_LOCAL_PORT_RANGE, IP_PROTOCOL */
#include <linux/in6.h> /* IPV6_FLOWINFO_SEND, IPV6_FLOWLABEL_MGR */
#include <linux/net_tstamp.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h> /* SK_MEMINFO_* */
#include <linux/sockios.h>
#include <linux/version.h> /* LINUX_VERSION_CODE guards some enumerators */
#include <linux/vm_sockets.h>
#ifdef __GLIBC__      /* musl: clashes with net/if.h, which has the names */
#include <linux/if.h> /* IFF_LOWER_UP, IFF_DORMANT, IFF_ECHO */
#endif
#endif

#include "younger.def"

#include "fallbacks.def"

/* The rows and the macros that make them are aligned by hand. */
/* clang-format off */

struct llsocket_const {
    const char *name;
    int64_t value;
};

#define K(name) { #name, (int64_t)(name) },
EXPORT const struct llsocket_const llsocket2_consts[] = {
#include "consts.def"
    { NULL, 0 }
};
#undef K

EXPORT const struct llsocket_field llsocket2_fields[] = {
#include "structs.def"
    { NULL, NULL, NULL, 0, 0, 0 }
};

/* clang-format on */
