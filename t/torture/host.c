/* host.c -- runs a Lua script as luajit does, in a VM whose n-th allocation can fail, and in a process whose n-th
 * malloc can fail.  The tortures call its functions through the FFI. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* What is counted now: allocations of the VM, or calls of malloc, calloc and realloc by everybody else. */
enum { NOTHING, OF_VM, OF_C };

static int counted = NOTHING, count, failing, lasting, spoiled;

/* Counts from here on; the n-th allocation fails, with `lasting` also those behind it.  n = 0: none fails. */
EXPORT void llsocket_t_host_begin(int kind, int n, int last) {
    count = 0;
    failing = n;
    lasting = last;
    counted = kind;
}

/* Counts no more; answers how many there were. */
EXPORT int llsocket_t_host_end(void) {
    counted = NOTHING;
    return count;
}

/* Every allocation and release of the VM sets errno to this from here on, as a collector step does in which a finaliser
 * fails.  0: leaves it alone. */
EXPORT void llsocket_t_host_spoil(int number) {
    spoiled = number;
}

static int fails(int kind) {
    if (counted != kind) return 0;
    count++;
    return failing && (lasting ? count >= failing : count == failing);
}

#ifdef __GLIBC__
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);

static void *out_of_memory(void) {
    errno = ENOMEM;
    return NULL;
}

EXPORT void *malloc(size_t size) {
    return fails(OF_C) ? out_of_memory() : __libc_malloc(size);
}
EXPORT void *calloc(size_t n, size_t size) {
    return fails(OF_C) ? out_of_memory() : __libc_calloc(n, size);
}
EXPORT void *realloc(void *memory, size_t size) {
    return fails(OF_C) ? out_of_memory() : __libc_realloc(memory, size);
}
EXPORT int llsocket_t_host_counts_malloc = 1;
#else
#define __libc_realloc realloc
EXPORT int llsocket_t_host_counts_malloc = 0;
#endif

/* Making memory smaller never fails: LuaJIT does so inside the collector and expects it to succeed. */
static void *allocate(void *state, void *memory, size_t old, size_t size) {
    int saved = errno;
    void *out = NULL;
    (void)state;
    if (size == 0) {
        free(memory);
    } else if (size <= old || !fails(OF_VM)) {
        out = __libc_realloc(memory, size);
    }
    errno = spoiled ? spoiled : saved;
    return out;
}

static int traceback(lua_State *L) {
    lua_getglobal(L, "debug");
    lua_getfield(L, -1, "traceback");
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 2);
    lua_call(L, 2, 1);
    return 1;
}

#define FLAGS                                                                                                          \
    "local flags = {} for flag in ('%s'):gmatch '[^,]+' do flags[#flags + 1] = flag end "                              \
    "require('jit.opt').start(unpack(flags))"

static int run(lua_State *L, const char *options, int argc, char **argv) {
    lua_pushcfunction(L, traceback);
    if (luaL_loadstring(L, options) || lua_pcall(L, 0, 0, 1)) return 1;
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
    if (luaL_loadfile(L, argv[0])) return 1;
    for (int i = 1; i < argc; i++)
        lua_pushstring(L, argv[i]);
    return lua_pcall(L, argc - 1, 0, 1);
}

/* host [-joff | -Oflags] SCRIPT [ARGUMENT...] */
int main(int argc, char **argv) {
    char options[256] = "";
    int first = 1;
    if (argc > 1 && !strcmp(argv[1], "-joff")) strcpy(options, "jit.off()");
    if (argc > 1 && !strncmp(argv[1], "-O", 2)) snprintf(options, sizeof options, FLAGS, argv[1] + 2);
    if (options[0]) first = 2;
    if (first >= argc) return 2;
    lua_State *L = lua_newstate(allocate, NULL);
    if (!L) { /* a LuaJIT of 64 bits without GC64 takes no allocator before it has made its VM */
        L = luaL_newstate();
        lua_setallocf(L, allocate, NULL);
    }
    luaL_openlibs(L);
    int failed = run(L, options, argc - first, argv + first);
    if (failed) fprintf(stderr, "%s\n", lua_tostring(L, -1));
    fflush(stdout);
    return failed ? 1 : 0;
}
