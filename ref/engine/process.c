/*
 * The process object: what outlives worlds.
 *
 * Models: a pool of coroutine stacks.  A stack is one mapping with an inaccessible page below it
 * (an overflow faults instead of running into a neighbour); the coroutine's structure lies at its
 * top.  Pages are touched lazily, so a large stack costs address space only.  Leaves out: the
 * worker threads, see workers.c.
 */
#include "ref/engine/internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ref/engine/sanitize.h"
#include "ref/engine/workers.h"

#ifdef BLKREF_ASAN
#define STACK_BYTES (4 * MiB) /* red zones make frames several times larger */
#else
#define STACK_BYTES (1 * MiB)
#endif
#define POOL_MAX 1024

struct process *process_new(void)
{
    struct process *p = mem_zalloc(sizeof(*p));

    list_init(&p->free_stacks);
    return p;
}

static size_t guard_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static struct co *stack_map(void)
{
    size_t guard = guard_size();
    char *map = mmap(NULL, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    uintptr_t top;
    struct co *co;

    if (map == MAP_FAILED || mprotect(map, guard, PROT_NONE) != 0) {
        perror("coroutine stack");
        abort();
    }
    top = ((uintptr_t)map + guard + STACK_BYTES - sizeof(*co)) & ~(uintptr_t)63;
    co = (struct co *)top;
    co->stack_lo = map + guard;
    co->stack_size = (size_t)((char *)co - co->stack_lo);
    co->valgrind_id = VALGRIND_STACK_REGISTER(co->stack_lo, (char *)co);
    return co;
}

static void stack_unmap(struct co *co)
{
    size_t guard = guard_size();

    VALGRIND_STACK_DEREGISTER(co->valgrind_id);
    munmap(co->stack_lo - guard, guard + STACK_BYTES);
}

struct co *stack_get(struct process *p)
{
    struct co *co;

    if (list_empty(&p->free_stacks)) {
        co = stack_map();
    } else {
        co = LIST_FIRST(&p->free_stacks, struct co, all);
        list_remove(&co->all);
        p->pooled--;
    }
    san_root(co->stack_lo, STACK_BYTES);
    return co;
}

void stack_put(struct process *p, struct co *co)
{
    san_unroot(co->stack_lo, STACK_BYTES);
    if (p->pooled == POOL_MAX) {
        stack_unmap(co);
        return;
    }
    list_push_front(&p->free_stacks, &co->all);
    p->pooled++;
}

void process_free(struct process *p)
{
    assert(p->worlds == 0);
    while (!list_empty(&p->free_stacks)) {
        struct co *co = LIST_FIRST(&p->free_stacks, struct co, all);
        list_remove(&co->all);
        stack_unmap(co);
    }
    workers_free(p->workers);
    mem_free(p);
}
