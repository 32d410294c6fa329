/*
 * The shadow: what the guest must see, kept beside the subjects as plain memory.
 *
 * Models: the current image's bytes, and those of each internal snapshot of the top image.  A
 * discard leaves each byte of its range as it was or zero; which of the two is taken from the
 * oracle by shadow_adopt().  Growth behind a shrink shows what the last cluster had, or zeroes.
 * Committing to the backing file may change what snapshots see: then
 * they are adopted whole.  Leaves out: power cuts (oracle.h).
 */
#ifndef BLKREF_HARNESS_SHADOW_H
#define BLKREF_HARNESS_SHADOW_H

#include "ref/base/error.h"
#include "trace/op.h"

#define SHADOW_SNAPSHOTS 16
#define SHADOW_MAX       (64LL << 20) /* longest image, bytes */

struct shadow_snapshot {
    char name[48];
    int64_t size;
    uint8_t *data;
    bool stale; /* content unknown since a commit */
};

struct shadow {
    int64_t size;
    uint8_t *data;
    unsigned layers; /* images made so far, overlays included */
    struct shadow_snapshot snapshots[SHADOW_SNAPSHOTS];
    unsigned n_snapshots;
    /* What adopt() must ask for: bytes are old or zero, or (whole) anything. */
    int64_t adopt_offset, adopt_bytes;
    bool adopt_whole;
    /* What shrinks cut off, at its place: as far as the last cluster goes, growth may show it
     * again. */
    uint8_t *cut;
    int64_t cut_size;
    bool cut_unknown; /* a snapshot with clusters of its own came back */
    int64_t cluster;  /* bytes; the largest there are where the program does not say */
};

/* A run of equal bytes. */
struct shadow_run {
    int64_t offset, bytes;
    uint8_t value;
};

/* Bytes that the program's image allocates at once; 1: it never allocates (raw). */
int64_t program_granule(const struct program *p);
/* Bytes of a cluster of the program's images; no less than that where it does not say. */
int64_t program_cluster(const struct program *p);
/* Bytes of the backing file that a program with `backing` starts from. */
void shadow_backing_fill(void *buf, int64_t offset, size_t len);
/* -EFBIG when the program's image is longer than SHADOW_MAX. */
int shadow_init(struct shadow *sh, const struct program *p, struct error **err);
void shadow_free(struct shadow *sh);
/* The operation's effect; call only when it succeeded. */
void shadow_apply(struct shadow *sh, const struct op *op);
/* The effect of an OP_ZERO that failed: it may have been done in part. */
void shadow_fail(struct shadow *sh, const struct op *op);
/* The oracle's bytes at the range to adopt: -EILSEQ with err when one is neither old nor zero. */
int shadow_adopt(struct shadow *sh, const uint8_t *bytes, struct error **err);
/* The run at offset, or false at the end. */
bool shadow_run_at(const struct shadow *sh, int64_t offset, struct shadow_run *run);
uint64_t shadow_hash(const struct shadow *sh);
bool shadow_is_zero(const struct shadow *sh, int64_t offset, int64_t bytes);

#endif
