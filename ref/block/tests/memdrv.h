/*
 * Drivers in memory, for tests of the block layer: a disk, a copy-on-write format over it, and a
 * filter.
 *
 * The disk has settable limits, flags, failures and, when `async`, gives way to other coroutines in
 * the middle of each request.  Every driver call is written to a log ("R 0+512 W 512+512:fua ..."),
 * if there is one.
 */
#ifndef BLKREF_BLOCK_TESTS_MEMDRV_H
#define BLKREF_BLOCK_TESTS_MEMDRV_H

#include "ref/base/strbuf.h"
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/engine/sched.h"

struct memdisk {
    uint8_t *data;
    int64_t size;         /* of data; the file's length */
    struct limits limits; /* 0: as node_refresh_limits() has it */
    bool async;
    bool no_zeroes; /* write_zeroes: -ENOTSUP */
    int fail;       /* -errno for the next matching call, then 0 */
    enum req_op fail_op;
    int64_t bad_from, bad_to; /* reads that touch these bytes fail with -EIO */
    unsigned reads, writes, flushes;
    struct strbuf *log;
    bool log_events;
    bool stopped; /* writes wait in `gate` */
    struct waitq gate;
    int64_t widen; /* not 0: writes make themselves serialising by so many bytes */
    unsigned drained;
};

struct memcow {
    int64_t cluster;
    uint8_t *map; /* a cluster: 0 not here, 1 data, 2 zero */
    int64_t clusters;
};

extern const struct block_driver driver_memdisk, driver_memcow, driver_memfilter;

/* All return a node with one reference that the caller owns; its children are owned by it. */
struct node *memdisk_new(struct world *w, const char *name, int64_t size);
struct memdisk *memdisk_of(struct node *n);
/* Data at the same offsets in `file`; backing may be NULL. Takes over the references. */
struct node *memcow_new(struct world *w, const char *name, int64_t cluster, struct node *file,
                        struct node *backing);
struct node *memfilter_new(struct world *w, const char *name, struct node *file);
/* After a change of memdisk.limits: asks n, and what stands on it, again. */
void mem_refresh_limits(struct node *n);

/* A root edge that a test holds on to: everything used, everything shared.  Takes over the
 * reference. */
struct child *mem_root(struct node *n);
void mem_root_drop(struct child *c);
/* Counts the edge class's callbacks. */
struct mem_root_state {
    unsigned drained, resized, in_flight;
};
struct mem_root_state *mem_root_state(struct child *c);

/* A world with one process, and fn run in a coroutine of it; asserts that it ended. */
struct mem_world {
    struct process *p;
    struct world *w;
    struct sched_seeded seeded;
};
void mem_world_init(struct mem_world *m, uint64_t seed); /* seed 0: FIFO */
void mem_world_init_profile(struct mem_world *m, uint64_t seed, const struct profile *profile);
void mem_world_exec(struct mem_world *m, void (*fn)(void *), void *arg);
void mem_world_destroy(struct mem_world *m);

#endif
