/* ancillary.c -- ancillary data by the CMSG_* macros, and the buffer that owns descriptors until Lua takes them. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fallbacks.def"

/* All of these take an offset into a control buffer, and never trust what cmsg_len says. */
EXPORT uint32_t llsocket2_cmsg_space(uint32_t len) {
    return (uint32_t)CMSG_SPACE(len);
}

EXPORT uint32_t llsocket2_cmsg_len(uint32_t len) {
    return (uint32_t)CMSG_LEN(len);
}

/* Writes a header and its data at `at`, where the buffer must have CMSG_SPACE(len) bytes.  Returns the next offset. */
EXPORT uint32_t llsocket2_cmsg_put(void *control, uint32_t at, int level, int type, const void *data, uint32_t len) {
    struct cmsghdr *cmsg = (struct cmsghdr *)((char *)control + at);
    memset(cmsg, 0, CMSG_SPACE(len)); /* the padding goes to the kernel, too */
    cmsg->cmsg_len = CMSG_LEN(len);
    cmsg->cmsg_level = level;
    cmsg->cmsg_type = type;
    memcpy(CMSG_DATA(cmsg), data, len);
    return at + (uint32_t)CMSG_SPACE(len);
}

/* Reads the header at `at` into `out`: level, type, offset and length of its data, offset of the next header.  Returns
 * 0 at the end of the list.  A header that claims more bytes than there are ends the list, too.  The header is copied:
 * `control` may have any alignment, and C leaves undefined what a pointer to a misaligned struct does. */
EXPORT int llsocket2_cmsg_get(const void *control, uint32_t controllen, uint32_t at, int32_t *out) {
    struct cmsghdr cmsg;
    if (at > controllen || controllen - at < CMSG_LEN(0)) return 0;
    memcpy(&cmsg, (const char *)control + at, sizeof cmsg);
    if (cmsg.cmsg_len < CMSG_LEN(0) || cmsg.cmsg_len > controllen - at) return 0;
    out[0] = cmsg.cmsg_level;
    out[1] = cmsg.cmsg_type;
    out[2] = (int32_t)(at + CMSG_LEN(0));
    out[3] = (int32_t)(cmsg.cmsg_len - CMSG_LEN(0));
    out[4] = (int32_t)(at + CMSG_SPACE(cmsg.cmsg_len - CMSG_LEN(0)));
    return 1;
}

/* Reads the first header of one kind from `at` on, as llsocket2_cmsg_get does.  Returns 0 where there is none. */
EXPORT int llsocket2_cmsg_find(const void *control, uint32_t controllen, uint32_t at, int level, int type,
                               int32_t *out) {
    while (llsocket2_cmsg_get(control, controllen, at, out)) {
        if (out[0] == level && out[1] == type) return 1;
        at = (uint32_t)out[4];
    }
    return 0;
}

#if defined(__linux__) && !defined(SCM_PIDFD)
#define SCM_PIDFD 4 /* SO_PASSPIDFD, Linux 6.5; a kernel newer than the headers sends it all the same */
#endif

/* Tells whether this kind of data is descriptors: once they have arrived, this process must close them. */
EXPORT int llsocket2_cmsg_owns(int level, int type) {
    if (level != SOL_SOCKET) return 0;
#ifdef SCM_PIDFD
    if (type == SCM_PIDFD) return 1;
#endif
    return type == SCM_RIGHTS;
}

/* A buffer for received ancillary data, which owns the descriptors in it.  Lua overwrites each one that it takes with
 * -1; the others are closed with the buffer, or before its next use. */
struct llsocket_control {
    uint32_t len, size;
    _Alignas(8) unsigned char bytes[]; /* enough for CMSG_DATA, and some malloc(3) align to no more than 8 */
};

EXPORT void *llsocket2_control_new(uint32_t size) {
    struct llsocket_control *control = malloc(sizeof *control + size);
    if (control) control->len = 0, control->size = size;
    return control;
}

EXPORT void *llsocket2_control_bytes(struct llsocket_control *control) {
    return control->bytes;
}

/* Calls `act` with every descriptor that the buffer still owns. */
static void each(const struct llsocket_control *control, void (*act)(int fd)) {
    int32_t cmsg[5], fd;
    uint32_t at, end;
    for (at = 0; llsocket2_cmsg_get(control->bytes, control->len, at, cmsg); at = (uint32_t)cmsg[4]) {
        if (!llsocket2_cmsg_owns(cmsg[0], cmsg[1])) continue;
        end = (uint32_t)(cmsg[2] + cmsg[3]);
        for (uint32_t i = (uint32_t)cmsg[2]; i + sizeof fd <= end; i += sizeof fd) {
            memcpy(&fd, control->bytes + i, sizeof fd);
            if (fd >= 0) act(fd);
        }
    }
}

#ifndef MSG_CMSG_CLOEXEC
static void set_cloexec(int fd) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}
#endif

/* Takes note of what recvmsg(2) wrote; `n` is its result.  A failed call leaves msg_controllen as it was, so only a
 * result of 0 or more counts.  Makes the descriptors close-on-exec where MSG_CMSG_CLOEXEC cannot. */
EXPORT void llsocket2_control_received(struct llsocket_control *control, const struct msghdr *msg, int n) {
    control->len = n < 0 ? 0 : (uint32_t)msg->msg_controllen;
#ifndef MSG_CMSG_CLOEXEC
    int saved = errno;
    each(control, set_cloexec);
    errno = saved;
#endif
}

static void close_one(int fd) {
    close(fd);
}

EXPORT void llsocket2_control_close(struct llsocket_control *control) {
    each(control, close_one);
    control->len = 0;
}

/* Closes all descriptors but the first one that SCM_RIGHTS passed, and leaves that one as the only content: in the
 * first header, so that Lua knows where it lies.  The buffer must have room for it.  Returns whether there is one. */
EXPORT int llsocket2_control_single(struct llsocket_control *control) {
    int32_t cmsg[5], fd = -1;
    for (uint32_t at = 0; fd < 0 && llsocket2_cmsg_get(control->bytes, control->len, at, cmsg);
         at = (uint32_t)cmsg[4]) {
        if (cmsg[0] != SOL_SOCKET || cmsg[1] != SCM_RIGHTS || cmsg[3] < (int32_t)sizeof fd) continue;
        memcpy(&fd, control->bytes + cmsg[2], sizeof fd);
        memset(control->bytes + cmsg[2], 0xff, sizeof fd); /* -1: not to be closed below */
    }
    llsocket2_control_close(control);
    if (fd < 0) return 0;
    control->len = llsocket2_cmsg_put(control->bytes, 0, SOL_SOCKET, SCM_RIGHTS, &fd, sizeof fd);
    return 1;
}

/* A finaliser, too, so it keeps errno. */
EXPORT void llsocket2_control_free(void *control) {
    int saved = errno;
    llsocket2_control_close(control);
    free(control);
    errno = saved;
}
