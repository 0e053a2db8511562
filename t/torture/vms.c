/* vms.c -- a luajit(1) for the tortures: the memory of its VMs comes from malloc(3), which sanitizers and valgrind
 * watch, and it runs one file in several threads, with a VM each, time and again.
 *
 *     vms [-t THREADS] [-r ROUNDS] [-jCOMMAND] [-OFLAG] [-e CODE] [FILE [ARGUMENT...]]
 *
 * `arg.thread` and `arg.round` count from 1 on where -t is given.  Then the file is also judged: no thread may fail,
 * and when all VMs are closed as many descriptors must be open as before the first. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

struct job {
    pthread_t id;
    int thread, argc, failed;
    char **argv;
};

static int rounds = 1;

static void *from_malloc(void *ud, void *block, size_t old, size_t size) {
    (void)ud, (void)old;
    if (size > 0) return realloc(block, size);
    free(block);
    return NULL;
}

/* LuaJIT takes a foreign allocator only where its pointers have 64 bits. */
static lua_State *new_vm(void) {
    lua_State *L = lua_newstate(from_malloc, NULL);
    if (!L) L = luaL_newstate();
    if (L) luaL_openlibs(L);
    return L;
}

/* What luajit(1) does with its arguments, in Lua. */
static const char *const options =
    "local i = 1\n"
    "while arg[i] and arg[i]:sub(1, 1) == '-' do\n"
    "  local what, rest = arg[i]:sub(1, 2), arg[i]:sub(3)\n"
    "  if rest == '' and what ~= '-' then i = i + 1; rest = arg[i] end\n"
    "  if what == '-j' then jit[rest:match '^%a+']()\n"
    "  elseif what == '-O' then jit.opt.start((rest:gsub(',.*', '')), rest:match ',(.*)')\n"
    "  elseif what == '-e' then assert(loadstring(rest, '=(command line)'))()\n"
    "  elseif what == '-v' then print(jit.version)\n"
    "  else error('vms: ' .. what .. ' is no option', 0) end\n"
    "  i = i + 1\n"
    "end\n"
    "local path, most = arg[i], #arg\n"
    "if not path then return end\n"
    "for k = 0, most do arg[k - i] = arg[k] end\n"
    "for k = most - i + 1, most do arg[k] = nil end\n"
    "return assert(loadfile(path ~= '-' and path or nil))(unpack(arg))\n";

static int traceback(lua_State *L) {
    const char *text = lua_tostring(L, 1);
    luaL_traceback(L, L, text ? text : "an error that is no text", 1);
    return 1;
}

static void give_arguments(lua_State *L, const struct job *job, int round) {
    lua_createtable(L, job->argc, 2);
    for (int i = 0; i < job->argc; i++) {
        lua_pushstring(L, job->argv[i]);
        lua_rawseti(L, -2, i);
    }
    if (job->thread > 0) {
        lua_pushinteger(L, job->thread);
        lua_setfield(L, -2, "thread");
        lua_pushinteger(L, round);
        lua_setfield(L, -2, "round");
    }
    lua_setglobal(L, "arg");
}

/* One life of a VM; returns whether its file ran to the end. */
static int live(const struct job *job, int round) {
    lua_State *L = new_vm();
    if (!L) return 0;
    give_arguments(L, job, round);
    lua_pushcfunction(L, traceback);
    int failed = luaL_loadbuffer(L, options, strlen(options), "=vms") || lua_pcall(L, 0, 0, 1);
    if (failed) fprintf(stderr, "vms: %s\n", lua_tostring(L, -1));
    lua_close(L);
    return !failed;
}

static void *run(void *argument) {
    struct job *job = argument;
    for (int round = 1; round <= rounds; round++)
        job->failed += !live(job, round);
    return NULL;
}

static int count_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int run_threads(const struct job *like, int threads) {
    struct job *jobs = calloc((size_t)threads, sizeof *jobs);
    int before = count_descriptors(), failed = 0;
    for (int i = 0; i < threads; i++) {
        jobs[i] = *like;
        jobs[i].thread = i + 1;
        if (pthread_create(&jobs[i].id, NULL, run, &jobs[i]) != 0) return perror("vms"), 2;
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(jobs[i].id, NULL);
        failed += jobs[i].failed;
    }
    free(jobs);
    int left = count_descriptors() - before;
    printf("%d VMs, %d failed, %d descriptors left\n", threads * rounds, failed, left);
    return failed > 0 || left != 0;
}

int main(int argc, char **argv) {
    int threads = 0, i = 1;
    for (; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "-t") == 0)
            threads = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "-r") == 0)
            rounds = atoi(argv[i + 1]);
        else
            break;
    }
    argv[i - 1] = argv[0]; /* what precedes the first argument of the VMs */
    struct job job = { .argc = argc - i + 1, .argv = argv + i - 1 };
    if (threads > 0) return run_threads(&job, threads);
    return !live(&job, 1);
}
