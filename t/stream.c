/* stream.c -- the far ends of a transfer under test: gives bytes, takes them, and prints how many and their digest.
 *
 *   stream give FD BYTES SEED    writes; datagrams of changing sizes to a descriptor with messages, and an empty one
 *   stream take FD               reads to the end, or to an empty datagram
 *   stream sum FILE TIMES        reads a file over and over
 *
 * The digest chains words of 64 bits, so that it changes with every byte and with their order. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 1 << 16, LONGEST = 8192 };

static uint64_t hash = 0x9e3779b97f4a7c15u, total;
static unsigned char block[BLOCK];
static size_t filled;

static void fold(const unsigned char *bytes, size_t size) {
    uint64_t word;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        memcpy(&word, bytes + i, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash = (hash << 29 | hash >> 35) + 0x52dce729u;
    }
}

/* How the bytes come in parts makes no difference. */
static void feed(const unsigned char *bytes, size_t size) {
    total += size;
    while (size > 0) {
        size_t n = size < BLOCK - filled ? size : BLOCK - filled;
        memcpy(block + filled, bytes, n);
        filled += n, bytes += n, size -= n;
        if (filled == BLOCK) fold(block, BLOCK), filled = 0;
    }
}

static int print(void) {
    memset(block + filled, 0, 8 - filled % 8);
    fold(block, filled + 8 - filled % 8);
    return printf("%llu %016llx\n", (unsigned long long)total, (unsigned long long)hash) < 0;
}

static int fail(const char *what) {
    perror(what);
    return 1;
}

static uint64_t state;
static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int has_messages(int fd) {
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type != SOCK_STREAM;
}

static int give(int fd, uint64_t bytes) {
    static unsigned char out[BLOCK];
    int messages = has_messages(fd);
    while (bytes > 0) {
        uint64_t word;
        size_t most = messages ? 1 + next() % LONGEST : BLOCK, size = bytes < most ? (size_t)bytes : most, sent = 0;
        for (size_t i = 0; i < size; i += 8)
            word = next(), memcpy(out + i, &word, 8);
        while (sent < size) {
            ssize_t n = write(fd, out + sent, size - sent);
            if (n < 0) return fail("write");
            sent += (size_t)n;
        }
        feed(out, size);
        bytes -= size;
    }
    if (messages && send(fd, "", 0, 0) < 0) return fail("send");
    return print();
}

static int take(int fd) {
    static unsigned char in[BLOCK * 4];
    ssize_t n;
    while ((n = read(fd, in, sizeof in)) > 0)
        feed(in, (size_t)n);
    return n < 0 ? fail("read") : print();
}

static int sum(const char *path, int times) {
    static unsigned char in[BLOCK];
    for (int i = 0; i < times; i++) {
        int fd = open(path, O_RDONLY);
        ssize_t n;
        if (fd < 0) return fail(path);
        while ((n = read(fd, in, sizeof in)) > 0)
            feed(in, (size_t)n);
        close(fd);
    }
    return print();
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "give") == 0) {
        state = strtoull(argv[4], NULL, 10) * 2 + 1;
        return give(atoi(argv[2]), strtoull(argv[3], NULL, 10));
    }
    if (argc == 3 && strcmp(argv[1], "take") == 0) return take(atoi(argv[2]));
    if (argc == 4 && strcmp(argv[1], "sum") == 0) return sum(argv[2], atoi(argv[3]));
    return 2;
}
