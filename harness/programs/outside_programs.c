/*
 * Programs for exploring an unmodified QEMU.  See outside_programs.h.
 */
#include "harness/programs/outside_programs.h"

#include <assert.h>
#include <string.h>
#include "harness/programs/letters.h"
#include "ref/base/mem.h"

#define MAX_LEN (64 * KiB)

/* What a format can do beyond writing, zeroing and discarding. */
enum ability {
    CAN_COMPRESS = 1,
    CAN_SNAPSHOT = 2,
    CAN_GROW = 4,
    CAN_SHRINK = 8,
    CAN_AMEND = 16,
    CAN_COMMIT = 32
};
#define QCOW2 (CAN_COMPRESS | CAN_SNAPSHOT | CAN_GROW | CAN_SHRINK | CAN_AMEND)

static const struct image {
    const char *line;
    int64_t unit;
    unsigned can;
} images[] = {
    {"image qcow2 1M cluster_size=4k", 4 * KiB, QCOW2},
    {"image qcow2 1M compat=0.10,cluster_size=4k", 4 * KiB, QCOW2},
    {"image qcow2 1M cluster_size=4k,lazy_refcounts=on", 4 * KiB, QCOW2},
    {"image qcow2 1M cluster_size=16k,extended_l2=on", 16 * KiB, QCOW2},
    {"image qcow2 1M cluster_size=4k,data_file=data", 4 * KiB, CAN_GROW | CAN_AMEND},
    {"image qcow2 1M cluster_size=4k,data_file=data,data_file_raw=on", 4 * KiB,
     CAN_GROW | CAN_AMEND},
    {"image qcow2 1M backing cluster_size=4k", 4 * KiB, QCOW2 | CAN_COMMIT},
    {"image qcow2 1M backing compat=0.10,cluster_size=4k", 4 * KiB, QCOW2 | CAN_COMMIT},
    {"image qcow2 1M cluster_size=512", 512, QCOW2},
    {"image qcow2 1M", 64 * KiB, QCOW2},
    {"image qed 1M cluster_size=4k,table_size=2", 4 * KiB, CAN_GROW},
    {"image qed 1M backing cluster_size=4k,table_size=2", 4 * KiB, CAN_GROW | CAN_COMMIT},
    {"image vmdk 1M subformat=monolithicSparse", 64 * KiB, 0},
    {"image vmdk 1M subformat=monolithicSparse,zeroed_grain=on", 64 * KiB, 0},
    {"image vmdk 1M subformat=monolithicFlat", 64 * KiB, 0},
    {"image vmdk 1M subformat=streamOptimized", 64 * KiB, CAN_COMPRESS},
    {"image vdi 4M", 1 * MiB, 0},
    {"image vdi 1M static=on", 1 * MiB, 0},
    {"image vhdx 4M block_size=1M,log_size=1M", 1 * MiB, 0},
    {"image vhdx 4M block_size=1M,log_size=1M,block_state_zero=off", 1 * MiB, 0},
    {"image vhdx 1M subformat=fixed,log_size=1M", 1 * MiB, 0},
    {"image vpc 8M force_size=on", 2 * MiB, 0},
    {"image vpc 1M subformat=fixed,force_size=on", 2 * MiB, 0},
    {"image parallels 1M cluster_size=64k", 64 * KiB, CAN_GROW},
    {"image parallels 4M", 1 * MiB, CAN_GROW},
    {"image qcow 1M", 4 * KiB, 0}, /* compressed over written clusters is known to be lost */
    {"image raw 1M", 4 * KiB, CAN_GROW | CAN_SHRINK},
};

/* A letter of the smaller of a unit and MAX_LEN, so many units further, of images that can. */
static const struct outside_letter {
    struct letter letter;
    int units;
    unsigned can;
} alphabet[] = {
    {{OP_FLUSH, 0, 0, 0, 0, 0, ""}, 0, 0},
    {{OP_WRITE, 0, 0, 0, 8, 0, ""}, 0, 0},    /* one piece */
    {{OP_WRITE, 0, -4, 0, 8, 0, ""}, 1, 0},   /* crosses into the next unit */
    {{OP_WRITE, 0, 1, 37, 0, 700, ""}, 0, 0}, /* sectors in part */
    {{OP_WRITE, 0, 0, 0, 8, 0, ""}, 2, 0},    /* another unit */
    {{OP_WRITE, OP_FUA, 0, 0, 8, 0, ""}, 1, 0},
    {{OP_ZERO, 0, 0, 0, 8, 0, ""}, 0, 0},
    {{OP_ZERO, OP_UNMAP, 0, 0, 16, 0, ""}, 0, 0},
    {{OP_ZERO, 0, 2, 0, 2, 0, ""}, 0, 0},
    {{OP_DISCARD, 0, 0, 0, 16, 0, ""}, 0, 0},
    {{OP_WRITE_COMPRESSED, 0, 0, 0, 8, 0, ""}, 0, CAN_COMPRESS},
    {{OP_WRITE_COMPRESSED, 0, 0, 0, 8, 0, ""}, 1, CAN_COMPRESS},
    {{OP_SNAPSHOT, 0, 0, 0, 0, 0, "s"}, 0, CAN_SNAPSHOT},
    {{OP_APPLY, 0, 0, 0, 0, 0, "s"}, 0, CAN_SNAPSHOT},
    {{OP_DELSNAP, 0, 0, 0, 0, 0, "s"}, 0, CAN_SNAPSHOT},
    {{OP_RESIZE, 0, 0, 0, 0, 8 << 20, ""}, 0, CAN_GROW},
    {{OP_RESIZE, 0, 0, 0, 8, 0, ""}, 0, CAN_SHRINK},
    {{OP_AMEND, 0, 0, 0, 0, 0, "compat=0.10"}, 0, CAN_AMEND},
    {{OP_AMEND, 0, 0, 0, 0, 0, "compat=1.1,refcount_bits=64"}, 0, CAN_AMEND},
    {{OP_COMMIT, 0, 0, 0, 0, 0, ""}, 0, CAN_COMMIT},
};

size_t outside_image_count(void)
{
    return ARRAY_SIZE(images);
}

const char *outside_image(size_t i)
{
    return images[i].line;
}

/* Letters that the image knows; returns how many. */
static size_t letters_of(const struct image *im,
                         const struct outside_letter *out[ARRAY_SIZE(alphabet)])
{
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(alphabet); i++) {
        if ((alphabet[i].can & im->can) == alphabet[i].can) {
            out[n++] = &alphabet[i];
        }
    }
    return n;
}

/* What would end behind the disk ends with it. */
static void add_letter(struct program *p, const struct image *im, const struct outside_letter *l,
                       int64_t shift)
{
    program_add_letter(p, &l->letter, MIN(im->unit, MAX_LEN), l->units * im->unit + shift, false);
    struct op *op = &p->ops[p->n_ops - 1];
    if (op->kind != OP_RESIZE && op->offset + op->bytes > p->size) {
        op->offset = ROUND_DOWN(p->size - op->bytes, 512);
    }
}

size_t outside_program_count(size_t image, unsigned ops)
{
    const struct outside_letter *letters[ARRAY_SIZE(alphabet)];
    size_t n = 2, each = letters_of(&images[image], letters);
    for (unsigned i = 0; i < ops; i++) {
        assert(n < SIZE_MAX / each);
        n *= each;
    }
    return n;
}

void outside_program(size_t image, unsigned ops, size_t n, struct program *out)
{
    const struct outside_letter *letters[ARRAY_SIZE(alphabet)];
    const struct image *im = &images[image];
    size_t each = letters_of(im, letters);
    assert(n < outside_program_count(image, ops));
    program_start(im->line, out);
    if (n & 1) {
        struct op write = {.kind = OP_WRITE, .bytes = 2 * MIN(im->unit, MAX_LEN), .seed = 77};
        struct op flush = {.kind = OP_FLUSH};
        program_add(out, &write);
        program_add(out, &flush);
    }
    n /= 2;
    for (unsigned i = 0; i < ops; i++, n /= each) {
        add_letter(out, im, letters[n % each], 0);
    }
}

void outside_random(size_t image, struct rng *rng, unsigned max_ops, struct program *out)
{
    const struct outside_letter *letters[ARRAY_SIZE(alphabet)];
    const struct image *im = &images[image];
    size_t each = letters_of(im, letters);
    unsigned n = 3 + (unsigned)rng_below(rng, max_ops - 2);
    program_start(im->line, out);
    for (unsigned i = 0; i < n; i++) {
        if (rng_below(rng, 8) == 0) {
            struct op reopen = {.kind = OP_REOPEN};
            program_add(out, &reopen);
        } else {
            size_t k = rng_below(rng, each);
            add_letter(out, im, letters[k], (int64_t)rng_below(rng, 4) * im->unit);
        }
    }
}
