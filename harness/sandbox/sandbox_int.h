/*
 * What the sandbox's files share.
 */
#ifndef BLKREF_HARNESS_SANDBOX_INT_H
#define BLKREF_HARNESS_SANDBOX_INT_H

#include "harness/sandbox/sandbox.h"
#include "ref/base/value.h"
#include "ref/engine/sched.h"
#include "ref/protocol/sim.h"

#define SANDBOX_BUF (256 * 1024) /* bytes of the buffer that reads go through */

struct sandbox {
    struct process *process;
    const struct profile *profile;
    enum planted planted;
    struct disk_pool *pool;
    struct sched_policy *policy;  /* of the programs that record() runs; NULL: first come */
    struct sched_policy *running; /* of the world that is made just now */
    uint32_t alignment;           /* of the disks' requests meanwhile; 0: bytes */
    uint8_t *buf;
};

/* A program on its way. */
struct run {
    struct sandbox *sb;
    struct world *w;
    struct recording *rec;
    struct blk *b;
    struct fault_plan *plan; /* NULL: nothing goes wrong */
    bool may_fail, close_flush, opened, done;
    bool optioned;  /* options were changed: discards may not be passed on */
    unsigned flags; /* of opening, besides */
    struct co_mutex planted[2];
    struct error *err;
};

/* What the oracle holds lawful changed: cuts from here on are judged by it. */
void sandbox_remember(struct recording *rec);
/* The guest was told that this much is durable: cuts from here on are judged so. */
void sandbox_acknowledge(struct recording *rec, const char *what);
/* Operation i begins in that coroutine, or ends. */
void recording_begin(struct recording *rec, size_t i, struct co *co);
void recording_end(struct recording *rec, size_t i);
/* 0 or -errno; what does not open is wrong where nothing may fail. */
int sandbox_open_image(struct run *r);
void sandbox_close_image(struct run *r);
int sandbox_flush(struct run *r);
/* Does one operation; reads are judged beside the oracle. */
int sandbox_carry_out(struct run *r, const struct op *op);
/* Operations [first, first + n) of the program beside each other. */
void sandbox_group(struct run *r, size_t first, size_t n);

/* A fresh world with the drivers, the set's disks and what opens the program's image in it. */
struct world *sandbox_world(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                            struct disk_log *log, struct fault_plan *plan);
struct value *sandbox_open_options(const struct program *p);
/* For create -o; mem_free(). */
char *sandbox_create_options(const struct program *p);

#endif
