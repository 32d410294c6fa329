/*
 * Fuzzing qcow2: one iteration, seed images, and mutations that know the format.
 *
 * An iteration opens bytes as a qcow2 image on a simulated disk in a world of its own, checks,
 * walks, reads, writes, compresses, takes and deletes snapshots, resizes, closes, opens again with
 * repair; then a copy without overlap checks. Names found in images open nothing; memory and work
 * are bounded. Leaves out: who makes the bytes (fuzz/main: AFL++; fuzz_mutate(): a seeded mutator
 * for `make check`).
 */
#ifndef BLKREF_FUZZ_QCOW2_H
#define BLKREF_FUZZ_QCOW2_H

#include "fault/disk.h"
#include "ref/base/error.h"
#include "ref/base/rng.h"
#include "ref/base/strbuf.h"
#include "ref/engine/world.h"

#define FUZZ_MAX_INPUT (1 << 20) /* bytes of an image that are looked at */

struct fuzz {
    struct process *process;
    const struct profile *profile;
    bool flip_byte; /* planted: a byte of each read is wrong */
    /* Counted over iterations. */
    uint64_t runs, opened, clean, wrote;
};

/*
 * One iteration.  0, or -EILSEQ with err when the block layer broke its word: it hung; an image
 * that check had found clean did not give back what was just written; guest data went over
 * metadata, or to a place that is no cluster; memory beyond the format's limits was asked for; a
 * name found in the image was opened.  Crashes are not survived: that is what a fuzzer looks for.
 */
int fuzz_qcow2(struct fuzz *f, const uint8_t *data, size_t len, struct error **err);

/* What metadata of the image lies in the range, NULL when none: as its header and tables say now.
 */
const char *fuzz_metadata_at(const struct disk *d, int64_t offset, int64_t bytes);

size_t fuzz_seed_count(void);
/* It names a file, which is refused: such an image does not open. */
bool fuzz_seed_names(size_t i);
const char *fuzz_seed_name(size_t i);
bool fuzz_seed_snapshot(size_t i); /* It has one. */
/* Makes seed image i; *out by mem_free().  Its length, or -errno with err. */
int64_t fuzz_seed(struct process *p, size_t i, uint8_t **out, struct error **err);
/* AFL++ dictionary of the values that the spec's fields may have. */
void fuzz_dictionary(struct strbuf *out);
/* Changes 1 to 4 places: fields of the header by their spec, table entries, single bits, the
 * length.  New length. */
size_t fuzz_mutate(struct rng *rng, uint8_t *data, size_t len);
/* The n-th of a walk: one number of the header, or of the first "snapshot", at one of its extremes.
 * False behind the last one; an image without that structure stays as it is. */
bool fuzz_extreme(const char *structure, unsigned n, uint8_t *data, size_t len);

#endif
