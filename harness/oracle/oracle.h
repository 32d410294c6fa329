/*
 * The crash oracle: which contents each byte of the guest's disk may lawfully have.
 *
 * Models: runs of bytes that the same operations touched.  Each has two sets of lawful contents:
 * what a read must return now (live), and what may be found after a power cut (crash).  An
 * operation in progress adds to the crash set what the format's promise (specs, `promise:`) allows;
 * a flush that succeeded makes crash equal live; a failed operation leaves old and new lawful.
 * Writes of programs are uniform (op_fill), so a content is one byte value, the backing file's
 * pattern, or anything; inside a sector a run is of one content (atomic_unit). Leaves out: who runs
 * operations (sandbox.h), metadata (judged by check), snapshots' contents after a cut.
 */
#ifndef BLKREF_HARNESS_ORACLE_H
#define BLKREF_HARNESS_ORACLE_H

#include "ref/base/strbuf.h"
#include "trace/op.h"

#define ORACLE_SECTOR    512
#define ORACLE_SNAPSHOTS 8
#define ORACLE_SIZES     8
#define ORACLE_MADE      0xee /* the byte that an image made by hand begins with, see below */

/* A set of contents. */
struct lawful {
    uint64_t byte[4]; /* bit v: every byte is v */
    bool backing;     /* the backing file's pattern at this place */
    bool any;         /* anything, even an unreadable sector */
};

struct oracle_run {
    int64_t start, end;
    struct lawful live, crash;
    struct lawful under; /* what the backing file may hold here: a discard may show it */
    bool written;        /* lies in a granule that a plain write allocated, not yet flushed */
    bool settled;        /* the same, flushed and not shared since: later writes are in place */
};

struct oracle_snapshot {
    char name[48];
    bool unsure;  /* making or deleting it failed: it may be there or not */
    int64_t size; /* of the disk then; -1: not known */
    struct oracle_run *runs;
    size_t n_runs;
};

struct oracle {
    struct oracle_run *runs; /* in order, without gaps, from 0 to beyond any size */
    size_t n_runs, cap;
    int64_t size;                /* live */
    int64_t sizes[ORACLE_SIZES]; /* lawful after a cut */
    unsigned n_sizes;
    bool any_size;    /* too many to list */
    bool size_open;   /* a resize failed: old or new from then on */
    int64_t cluster;  /* bytes: what is copied as a whole when it is shared */
    int64_t granule;  /* bytes: what the format allocates at once; 1: never allocates (raw) */
    bool in_place;    /* data never moves (raw, raw external data file) */
    bool as_file;     /* the disk is as long as its file, which a write may make longer */
    bool committed;   /* the backing file is no longer the pattern */
    bool freed;       /* clusters were freed before: new ones may hold stale bytes */
    bool scrambled;   /* deciphered, what was never written is noise */
    bool compressing; /* every write is a compressed one */
    /* What is discarded, unmapped or cut off may be given to another write at once (the promise's
     * "stale"); the reference does better, so it is held to more. */
    bool reuses_at_once;
    struct oracle_snapshot snapshots[ORACLE_SNAPSHOTS];
    unsigned n_snapshots;
};

/* The oracle of a fresh image of the program's format, options and size. */
void oracle_init(struct oracle *o, const struct program *p);
/* Of an image whose past is unknown: any size, any content. */
void oracle_allow_anything(struct oracle *o);
void oracle_free(struct oracle *o);
void oracle_copy(struct oracle *to, const struct oracle *from);

/* The operation was submitted: what it may leave after a cut is lawful from now on. */
void oracle_begin(struct oracle *o, const struct op *op);
/* It came back with status (0 or -errno).  A flush, or a write with FUA, that succeeded made its
 * data durable. */
void oracle_end(struct oracle *o, const struct op *op, int status);

/* The medium lied while the operation ran: whatever its range, rounded to clusters, holds is lawful
 * from now on; the whole disk's, where it has no range. */
void oracle_distrust(struct oracle *o, const struct op *op);

/* The image was closed, and what was kept in memory could not be written, which the guest was told:
 * whatever is not durable may be there or not. */
void oracle_close_unflushed(struct oracle *o);

/* As the guest sees a disk's length: whole sectors. */
int64_t oracle_length(int64_t bytes);

enum oracle_view { ORACLE_LIVE, ORACLE_CRASH };

/* Is the size lawful? */
bool oracle_size_lawful(const struct oracle *o, enum oracle_view view, int64_t size);
/*
 * Are `bytes` bytes at offset lawful?  buf: what was read.  buf NULL: the range is known to read as
 * zeroes, or (backing) as the backing file.  The first wrong byte's offset, or -1; what and why is
 * said in *why when not NULL.
 */
int64_t oracle_judge(const struct oracle *o, enum oracle_view view, int64_t offset, int64_t bytes,
                     const uint8_t *buf, bool backing, struct strbuf *why);
/* May the range be unreadable? */
bool oracle_unreadable_lawful(const struct oracle *o, enum oracle_view view, int64_t offset,
                              int64_t bytes);

/* Bytes of the backing file of programs with `backing`. */
void oracle_backing_fill(uint8_t *buf, int64_t offset, size_t len);

#endif
