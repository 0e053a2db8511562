/* lifetime.c -- from load to exit: the ABI check, keeping the shim mapped, and the finaliser that needs it mapped. */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

/* Lua passes the ABI number that it was written for.  Any other number is refused: the answer is ours, negative. */
EXPORT int llsocket2_abi(int wanted) {
    return wanted == LLSOCKET_ABI ? LLSOCKET_ABI : -LLSOCKET_ABI;
}

/* Keeps the shim mapped until the process ends.  When a VM closes, it may unload the library first and collect an
 * object afterwards, whose finaliser is code of the shim. */
EXPORT void llsocket2_stay(void) {
#ifdef RTLD_NODELETE
    Dl_info info;
    if (dladdr((void *)(uintptr_t)llsocket2_stay, &info) == 0) return;
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

/* The finaliser of every owner; an owner's first field is its descriptor.  The collector may call it between any two
 * instructions of unrelated code, so it keeps errno.  It only closes: a forked child collects its copy, too, and a
 * shutdown(2) there would end the parent's connection. */
EXPORT void llsocket2_finalize(void *owner) {
    int *fd = owner, saved = errno;
    if (*fd >= 0) close(*fd);
    *fd = -1;
    errno = saved;
}

static int forks, is_registered;

static void forked(void) {
    forks++;
}

/* A counter that grows in each child of fork(2), so that Lua sees a fork without a system call; NULL without memory.
 * One handler serves all VMs.  With one for each VM, glibc's list of handlers would move as it grows, and glibc of 2022
 * reads the old list while another thread forks. */
EXPORT const int *llsocket2_forks(void) {
    if (__atomic_exchange_n(&is_registered, 1, __ATOMIC_RELAXED)) return &forks;
    if (pthread_atfork(NULL, NULL, forked) == 0) return &forks;
    is_registered = 0; /* the next call tries again */
    return NULL;
}
