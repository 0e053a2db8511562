/* variadic.c -- variadic calls under fixed prototypes: the FFI would pass a Lua number to them as a double. */
#include "shim.h"

#include <fcntl.h>
#include <sys/ioctl.h>

EXPORT int llsocket2_fcntl(int fd, int cmd, int arg) {
    return fcntl(fd, cmd, arg);
}

/* musl declares ioctl's request as int, other systems as unsigned long; the bits are the same. */
EXPORT int llsocket2_ioctl(int fd, uint32_t request, void *arg) {
#if defined(__linux__) && !defined(__GLIBC__)
    return ioctl(fd, (int)request, arg);
#else
    return ioctl(fd, (unsigned long)request, arg);
#endif
}
