/* dlfind.c -- _dl_find_object, which Debian's libgcc_eh takes from glibc and musl has not, for LuaJIT built with
 * musl-gcc: LuaJIT raises errors through libgcc's unwinder. */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <stdint.h>

struct object { /* struct dl_find_object of glibc's <dlfcn.h>, on x86-64 */
    unsigned long long flags;
    void *map_start, *map_end;
    void *link_map, *eh_frame;
    unsigned long long reserved[7];
};

struct search {
    uintptr_t pc;
    struct object *found;
};

static int look(struct dl_phdr_info *info, size_t size, void *data) {
    struct search *search = data;
    struct object o = { 0 };
    int i;
    (void)size;
    for (i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_GNU_EH_FRAME) o.eh_frame = (void *)start;
        if (p->p_type != PT_LOAD || search->pc - start >= p->p_memsz) continue;
        o.map_start = (void *)start;
        o.map_end = (void *)(start + p->p_memsz);
    }
    if (!o.map_start || !o.eh_frame) return 0;
    *search->found = o;
    return 1;
}

int _dl_find_object(void *pc, struct object *found) {
    struct search search = { (uintptr_t)pc, found };
    return dl_iterate_phdr(look, &search) ? 0 : -1;
}
