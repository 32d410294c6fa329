/*
 * Crash states: what a power cut may leave on a set of disks.  docs/disk-model.md states the model.
 *
 * In short: time is the log's clock; a *cut* at t sees the ops issued before t.  An op is durable
 * at t when it was FUA and completed before t, or when a flush of its disk, itself completed before
 * t, was issued after the op completed.  Every other op that was issued is *pending*: it is there,
 * absent, or (metadata, by the `tearable` predicate) torn.  Overlapping ops apply in the order of
 * the log when one completed before the other was issued, in either order when they were in flight
 * together.
 *
 * A state has a textual id from which it can be rebuilt with the same base and log:
 *   c<T>             cut at stamp T, every pending op there
 *   c<T>:<item>,...  as before, except: -N op N is absent; NpK, NsK, NhK op N is torn: only its
 * sectors before K, from K on, all but K are there; Nz of it only the file's new size is there; N>M
 * op N is applied after M, against the log's order c<T>!<item>,...  no pending op is there, except:
 * N; the other items as above Sectors are counted on the disk's own sector boundaries, from 0 at
 * the sector of the op's first byte.
 */
#ifndef BLKREF_FAULT_CRASH_H
#define BLKREF_FAULT_CRASH_H

#include "fault/disklog.h"
#include "ref/base/error.h"
#include "ref/base/strbuf.h"

struct crash_bounds {
    unsigned exhaustive; /* up to so many pending ops: every subset */
    unsigned drops;      /* beyond: all ways to drop, and to keep, up to so many */
    unsigned torn;       /* ops torn at once in enumerated states: 0 or 1 */
    unsigned orders;     /* up to so many pairs of concurrent overlapping ops: all orders; beyond:
                            single flips */
    unsigned samples;    /* seeded random states for each cut beyond the above */
    uint64_t seed;
    unsigned sector;  /* tearing granularity, 512 or 4096 (a power of two) */
    bool every_stamp; /* cut at every stamp; else only where the durable set or the marks change */
    uint64_t max_states; /* stop after so many distinct states; 0: no limit */
    uint64_t max_built; /* stop after so many states were built, equal ones included; 0: no limit */
    /* May this op be torn?  NULL: by label class, all but guest data. */
    bool (*tearable)(const struct disk_op *op, void *opaque);
    void *opaque;
};
/* exhaustive 8, drops 2, torn 1, orders 4, samples 64, seed 1, sector 512. */
extern const struct crash_bounds crash_bounds_default;

struct crash_stats {
    uint64_t cuts;     /* done */
    uint64_t states;   /* built */
    uint64_t distinct; /* returned: new content for the marks seen */
};

struct crash_state {
    const struct disk_set *set; /* the iterator's; clone what must outlive the next call */
    uint64_t cut;               /* stamp; ops and marks with completed < cut are complete */
    size_t marks;               /* number of marks before the cut */
    uint64_t hash;              /* of contents and sizes */
};

struct crash_iter;

/* base: the disks as they were when the log began; cloned.  log: must not change while the iterator
 * lives. */
struct crash_iter *crash_iter_new(const struct disk_set *base, const struct disk_log *log,
                                  const struct crash_bounds *bounds);
void crash_iter_free(struct crash_iter *it);
/* The next state whose content is new (for its number of marks); false at the end. */
bool crash_iter_next(struct crash_iter *it, struct crash_state *out);
struct crash_stats crash_iter_stats(const struct crash_iter *it);
/* Whether the walk came to its end, not to max_states or max_built. */
bool crash_iter_done(const struct crash_iter *it);
/* Of the state returned last: its id, and the same for a human, a line an op that is not simply
 * there. */
void crash_iter_id(const struct crash_iter *it, struct strbuf *out);
void crash_iter_describe(const struct crash_iter *it, struct strbuf *out);
/* Rebuilds the state named id into fresh disks of out (caller frees them).  0 or -EINVAL with err.
 */
int crash_state_build(const struct disk_set *base, const struct disk_log *log, unsigned sector,
                      const char *id, struct disk_set *out, struct error **err);
/*
 * What became of each op (marks left out) that was issued before the cut of the state named id, in
 * the log's order.  fate: "durable", "there", "absent", "before K", "from K", "without K"
 * (sectors), "size" (only the new size), "failed", and of a flush "done" or "cut"; open: the state
 * decides.
 */
typedef void crash_fate(void *opaque, size_t op, const char *fate, bool open);
int crash_state_fates(const struct disk_set *base, const struct disk_log *log, unsigned sector,
                      const char *id, crash_fate *told, void *opaque, struct error **err);

#endif
