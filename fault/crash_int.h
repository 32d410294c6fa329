/*
 * What crash.c (the walk) and crash_cut.c (one cut and its states) share.  Nobody else includes
 * this.
 */
#ifndef BLKREF_FAULT_CRASH_INT_H
#define BLKREF_FAULT_CRASH_INT_H

#include "fault/crash.h"

enum choice_kind {
    CHOICE_FULL,
    CHOICE_ABSENT,
    CHOICE_PREFIX,
    CHOICE_SUFFIX,
    CHOICE_HOLE,
    CHOICE_SIZE
};

struct choice {
    enum choice_kind kind;
    int64_t sector; /* torn: as in the id */
};

/* An op whose fate, or whose place in the order, is open at the cut. */
struct item {
    size_t op;        /* number in the log */
    uint64_t key;     /* the log's order of application */
    bool forced;      /* durable, but an open op may have to be applied before it */
    bool extends;     /* ends behind the end of the disk as it is durably */
    uint32_t n_tears; /* sectors where tearing makes a difference */
    int64_t *tears;
};

/* Overlapping items a before b (by key); `open` when the other order is allowed, too. */
struct overlap {
    uint32_t a, b;
    bool open;
};

/* A cut, and one choice of what happened to its items. */
struct cut {
    const struct disk_log *log;
    struct crash_bounds bounds;
    uint64_t t;
    size_t marks;

    struct disk_set base;           /* what is durable for sure */
    size_t scanned;                 /* ops of the log looked at */
    size_t *live, n_live, cap_live; /* ops issued and not in base */
    uint64_t flushed[DISK_SET_MAX]; /* issue stamp of the last complete flush */

    struct item *items; /* by key */
    size_t n_items, cap_items;
    struct overlap *overlaps;
    size_t n_overlaps, cap_overlaps, n_open;

    struct choice *choice; /* of each item */
    bool *flip;            /* of each overlap: b before a; only open ones */
    uint32_t *order;       /* of application */
    bool *placed;
};

void cut_init(struct cut *c, const struct disk_set *base, const struct disk_log *log,
              const struct crash_bounds *b);
void cut_destroy(struct cut *c);
/* Moves to the cut at stamp t, not before the present one. */
void cut_move(struct cut *c, uint64_t t);
/* Sets order[] from the flips; false when they contradict each other. */
bool cut_order(struct cut *c);
/* How many torn versions item i has, and the v-th of them. */
uint32_t cut_torn_count(const struct cut *c, size_t i);
struct choice cut_torn(const struct cut *c, size_t i, uint32_t v);
/* Makes `out` (disks of the same pool) the state of the present choices and order. */
void cut_build(const struct cut *c, struct disk_set *out);

#endif
