/*
 * A rig for driver tests: a fresh world that knows chosen drivers, simulated disks, and what was
 * reported.
 */
#ifndef BLKREF_PROTOCOL_TESTS_RIG_H
#define BLKREF_PROTOCOL_TESTS_RIG_H

#include "ref/base/strbuf.h"
#include "ref/block/backend.h"
#include "ref/block/io.h"
#include "ref/protocol/sim.h"

#define RIG_DISKS DISK_SET_MAX

struct rig {
    struct process *process;
    struct world *w;
    struct strbuf out; /* everything reported */
    struct driver_entry entries[16];
    struct driver_list drivers;
    struct disk_pool *pool;
    struct disk_log *log;
    struct fault_plan plan;
    struct disk *disk[RIG_DISKS]; /* "sim:d0", "sim:d1", ... */
};

/* Runs fn in a coroutine of a fresh world of profile reference; `drivers` ends with NULL.  Nothing
 * may be left behind. */
void rig_run(const struct block_driver *const *drivers, void (*fn)(struct rig *r));
void rig_run_profile(const struct block_driver *const *drivers, const struct profile *profile,
                     void (*fn)(struct rig *r));
/* The same in a world where names in images open nothing. */
void rig_run_denying(const struct block_driver *const *drivers, void (*fn)(struct rig *r));
/* Registers disk i, `size` bytes long, on the rig's log and plan. */
void rig_disk(struct rig *r, int i, int64_t size);
/* Opens with options "key=value,..." (or NULL), all permissions shared; must succeed. */
struct blk *rig_open(struct rig *r, const char *filename, const char *options, unsigned flags);
/* Opening fails with just this message. */
void rig_open_fails(struct rig *r, const char *filename, const char *options, unsigned flags,
                    const char *msg);
void rig_expect(struct error **err, const char *msg);
/* Writes or checks `bytes` bytes of one value. */
int rig_fill(struct blk *b, int64_t offset, int64_t bytes, uint8_t value);
void rig_check(struct blk *b, int64_t offset, int64_t bytes, uint8_t value);
/*
 * `writes` writes at random places of "sim:d0", up to `most` bytes each, reopening now and then;
 * the disk of `bytes` bytes, which must have been zeroes, reads back as a plain array holds them.
 */
void rig_program(struct rig *r, const char *options, int64_t bytes, int64_t most, int writes,
                 uint64_t seed);
/* How many ops of a kind are in the log. */
int rig_count(const struct rig *r, enum disk_op_kind kind);

#endif
