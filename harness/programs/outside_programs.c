/*
 * Programs for exploring an unmodified QEMU.  See outside_programs.h.
 */
#include "harness/programs/outside_programs.h"

#include <assert.h>
#include <string.h>
#include "ref/base/mem.h"

#define MAX_LEN (64 * KiB)

/* What a format can do beyond writing, zeroing and discarding. */
enum ability { CAN_COMPRESS = 1, CAN_SNAPSHOT = 2, CAN_GROW = 4, CAN_SHRINK = 8 };
#define QCOW2 (CAN_COMPRESS | CAN_SNAPSHOT | CAN_GROW | CAN_SHRINK)

static const struct image {
    const char *line;
    int64_t unit;
    unsigned can;
} images[] = {
    {"image qcow2 1M cluster_size=4k", 4 * KiB, QCOW2},
    {"image qcow2 1M compat=0.10,cluster_size=4k", 4 * KiB, QCOW2},
    {"image qcow2 1M cluster_size=4k,lazy_refcounts=on", 4 * KiB, QCOW2},
    {"image qcow2 1M cluster_size=16k,extended_l2=on", 16 * KiB, QCOW2},
    {"image qcow2 1M cluster_size=4k,data_file=data", 4 * KiB, CAN_GROW},
    {"image qcow2 1M cluster_size=4k,data_file=data,data_file_raw=on", 4 * KiB, CAN_GROW},
    {"image qcow2 1M backing cluster_size=4k", 4 * KiB, QCOW2},
    {"image qcow2 1M cluster_size=512", 512, QCOW2},
    {"image qcow2 1M", 64 * KiB, QCOW2},
    {"image qed 1M cluster_size=4k,table_size=2", 4 * KiB, CAN_GROW},
    {"image qed 1M backing cluster_size=4k,table_size=2", 4 * KiB, CAN_GROW},
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

/* Where (in units, then in eighths of the length, then bytes) and how long (eighths, bytes). */
static const struct letter {
    enum op_kind kind;
    unsigned flags, can;
    int units, eighths, add, len_eighths, len_add;
    const char *text;
} alphabet[] = {
    {OP_FLUSH, 0, 0, 0, 0, 0, 0, 0, ""},
    {OP_WRITE, 0, 0, 0, 0, 0, 8, 0, ""},    /* one piece */
    {OP_WRITE, 0, 0, 1, -4, 0, 8, 0, ""},   /* crosses into the next unit */
    {OP_WRITE, 0, 0, 0, 1, 37, 0, 700, ""}, /* sectors in part */
    {OP_WRITE, 0, 0, 2, 0, 0, 8, 0, ""},    /* another unit */
    {OP_WRITE, OP_FUA, 0, 1, 0, 0, 8, 0, ""},
    {OP_ZERO, 0, 0, 0, 0, 0, 8, 0, ""},
    {OP_ZERO, OP_UNMAP, 0, 0, 0, 0, 16, 0, ""},
    {OP_ZERO, 0, 0, 0, 2, 0, 2, 0, ""},
    {OP_DISCARD, 0, 0, 0, 0, 0, 16, 0, ""},
    {OP_WRITE_COMPRESSED, 0, CAN_COMPRESS, 0, 0, 0, 8, 0, ""},
    {OP_WRITE_COMPRESSED, 0, CAN_COMPRESS, 1, 0, 0, 8, 0, ""},
    {OP_SNAPSHOT, 0, CAN_SNAPSHOT, 0, 0, 0, 0, 0, "s"},
    {OP_APPLY, 0, CAN_SNAPSHOT, 0, 0, 0, 0, 0, "s"},
    {OP_DELSNAP, 0, CAN_SNAPSHOT, 0, 0, 0, 0, 0, "s"},
    {OP_RESIZE, 0, CAN_GROW, 0, 0, 0, 0, 8 << 20, ""},
    {OP_RESIZE, 0, CAN_SHRINK, 0, 0, 0, 8, 0, ""},
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
static size_t letters_of(const struct image *im, const struct letter *out[ARRAY_SIZE(alphabet)])
{
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(alphabet); i++) {
        if ((alphabet[i].can & im->can) == alphabet[i].can) {
            out[n++] = &alphabet[i];
        }
    }
    return n;
}

static void start(const struct image *im, struct program *out)
{
    struct error *err = NULL;
    int ret = program_parse(im->line, out, &err);
    assert(ret == 0);
}

static void add_letter(struct program *p, const struct image *im, const struct letter *l,
                       int64_t shift)
{
    int64_t len = MIN(im->unit, MAX_LEN);
    struct op op = {.kind = l->kind, .flags = l->flags};
    op.offset = l->units * im->unit + l->eighths * (len / 8) + l->add + shift;
    op.bytes = l->len_eighths * (len / 8) + l->len_add;
    if (l->kind == OP_RESIZE || l->kind == OP_FLUSH || l->text[0]) {
        op.offset = 0;
    } else if (op.offset + op.bytes > p->size) {
        op.offset = ROUND_DOWN(p->size - op.bytes, 512);
    }
    if (l->kind == OP_WRITE || l->kind == OP_WRITE_COMPRESSED) {
        op.seed = (uint32_t)p->n_ops % 255 + 1;
    }
    memcpy(op.text, l->text, strlen(l->text) + 1);
    program_add(p, &op);
}

size_t outside_program_count(size_t image, unsigned ops)
{
    const struct letter *letters[ARRAY_SIZE(alphabet)];
    size_t n = 2, each = letters_of(&images[image], letters);
    for (unsigned i = 0; i < ops; i++) {
        assert(n < SIZE_MAX / each);
        n *= each;
    }
    return n;
}

void outside_program(size_t image, unsigned ops, size_t n, struct program *out)
{
    const struct letter *letters[ARRAY_SIZE(alphabet)];
    const struct image *im = &images[image];
    size_t each = letters_of(im, letters);
    assert(n < outside_program_count(image, ops));
    start(im, out);
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
    const struct letter *letters[ARRAY_SIZE(alphabet)];
    const struct image *im = &images[image];
    size_t each = letters_of(im, letters);
    unsigned n = 3 + (unsigned)rng_below(rng, max_ops - 2);
    start(im, out);
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
