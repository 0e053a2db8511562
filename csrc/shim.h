/* shim.h -- what every C file here shares: feature macros, visibility, the ABI number. */
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

#include <stdint.h>

#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__)
#define LLSOCKET_SA_LEN 1 /* addresses begin with a length byte */
#endif

#define EXPORT __attribute__((visibility("default")))

/* Raised with every incompatible change; every exported name carries it, and so does every name that Lua
 * declares, so that two versions of the library can live in one process. */
#define LLSOCKET_ABI 1

#endif
