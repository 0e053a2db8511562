/* mremap.c -- mremap(2) that shrinks by munmap(2), for LuaJIT on machines of 32 bits: there qemu up to 10.0 takes away,
 * of a block that shrinks by n bytes, not its last n bytes alone but also the n bytes behind it (t/abi/lacks.c shows
 * it). */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *mremap(void *old, size_t size, size_t wanted, int flags, ...) {
    void *place;
    va_list rest;
    if (wanted < size && !(flags & MREMAP_FIXED)) return munmap((char *)old + wanted, size - wanted) ? MAP_FAILED : old;
    va_start(rest, flags);
    place = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
    va_end(rest);
    return (void *)syscall(SYS_mremap, old, size, wanted, flags, place);
}
