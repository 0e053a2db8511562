/* shim.h -- what all C files share: feature macros, visibility, the ABI number, the rows that describe structs. */
#ifndef LLSOCKET_SHIM_H
#define LLSOCKET_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* glibc hides struct ucred and the MSG_* extensions without it */
#endif
#ifdef __APPLE__
#define __APPLE_USE_RFC_3542 1 /* macOS hides IPV6_PKTINFO and its kin without it */
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64 /* sendfile offsets beyond 2^31 on 32-bit systems */
#endif

#include <stddef.h>
#include <stdint.h>

#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__)
#define LLSOCKET_SA_LEN 1 /* addresses begin with a length byte */
#endif

#define EXPORT __attribute__((visibility("default")))

/* Sets this thread's signal mask.  glibc before 2.32 has pthread_sigmask only in libpthread, and LuaJIT is not linked
 * with that.  On Linux sigprocmask is the same system call, and every libc has it. */
#ifdef __linux__
#define THREAD_SIGMASK sigprocmask
#else
#define THREAD_SIGMASK pthread_sigmask
#endif

/* Raise it with every incompatible change.  Every exported name and every name that Lua declares carries this number,
 * so that two versions of the library can live in one process. */
#define LLSOCKET_ABI 2

/* One row per struct, whose name is NULL, and one per field.  `type` is int, uint, ptr, bytes, or the name of a struct
 * that is listed earlier. */
struct llsocket_field {
    const char *owner, *name, *type;
    uint32_t offset, size, align;
};

/* clang-format off */
#define SIGNED(x) _Generic((x), signed char: 1, short: 1, int: 1, long: 1, long long: 1, default: 0)
/* clang-format on */
#define IN(s, f) (((struct s *)0)->f)
/* Each macro turns the field's name into text itself, because some field names are macros: passed on to another macro
 * they would be expanded first. */
#define PLACE(s, f)  offsetof(struct s, f), sizeof(IN(s, f)), 0
#define STRUCT(s)    { #s, NULL, "struct", 0, sizeof(struct s), _Alignof(struct s) },
#define INT(s, f)    { #s, #f, SIGNED(IN(s, f)) ? "int" : "uint", PLACE(s, f) },
#define PTR(s, f)    { #s, #f, "ptr", PLACE(s, f) },
#define BYTES(s, f)  { #s, #f, "bytes", PLACE(s, f) },
#define SUB(s, f, t) { #s, #f, t, PLACE(s, f) },
/* 32 bits that we use, `at` bytes into a field that the kernel stores and gives back unread. */
#define PART(s, f, at, name) { #s, name, "uint", offsetof(struct s, f) + (at), 4, 0 },

#endif
