/*
 * Programs for the crash and fault explorers.  See crash_programs.h.
 */
#include "harness/programs/crash_programs.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "harness/programs/letters.h"
#include "ref/base/mem.h"

static const struct {
    const char *line;
    int64_t cluster;
} images[] = {
    {"image qcow2 1M cluster_size=4k", 4096},
    {"image qcow2 1M compat=0.10,cluster_size=4k", 4096},
    {"image qcow2 1M cluster_size=512", 512},
    {"image qcow2 1M cluster_size=4k,lazy_refcounts=on", 4096},
    {"image qcow2 1M cluster_size=16k,extended_l2=on", 16384},
    {"image qcow2 1M backing cluster_size=4k", 4096},
    {"image qcow2 1M cluster_size=4k,data_file=data", 4096},
    {"image qcow2 1M cluster_size=4k,data_file=data,data_file_raw=on", 4096},
    {"image qcow2 1M cluster_size=4k,refcount_bits=64", 4096},
    {"image qcow2 1M cluster_size=4k,refcount_bits=1", 4096},
    {"image qcow2 1M cluster_size=4k,compression_type=zstd", 4096},
    {"image qcow2 1M cluster_size=4k,preallocation=metadata", 4096},
    {"image qcow2 1M backing compat=0.10,cluster_size=4k", 4096},
    {"image qcow2 1M backing cluster_size=4k,lazy_refcounts=on", 4096},
    {"image qcow2 1M backing cluster_size=16k,extended_l2=on", 16384},
    {"image raw 1M", 4096},
    {"image vmdk 1M", 65536},
    {"image vmdk 1M zeroed_grain=on", 65536},
    {"image vmdk 1M backing", 65536},
    {"image vmdk 1M subformat=streamOptimized", 65536},
    {"image qed 1M cluster_size=4k,table_size=2", 4096},
    {"image qed 1M backing cluster_size=4k,table_size=2", 4096},
    {"image qcow 1M", 4096},
    {"image vdi 4M", 1 << 20},
    {"image vpc 8M force_size=on", 2 << 20},
    {"image vhdx 4M block_size=1M", 1 << 20},
    {"image parallels 1M cluster_size=64k", 65536},
    {"image vmdk 1M subformat=monolithicFlat", 65536},
    {"image vmdk 1M subformat=twoGbMaxExtentSparse", 65536},
    {"image vmdk 1M subformat=twoGbMaxExtentFlat", 65536},
    {"image vmdk 1M made=cowd", 65536},
    {"image qcow 1M backing", 512},
    {"image qcow 1M encrypt.format=aes", 4096},
    {"image vdi 4M static=on", 1 << 20},
    {"image vpc 8M subformat=fixed,force_size=on", 2 << 20},
    {"image vhdx 4M subformat=fixed,block_size=1M", 1 << 20},
    {"image parallels 1M backing cluster_size=64k", 65536},
    {"image luks 1M", 4096},
    {"image qcow2 1M cluster_size=4k,encrypt.format=luks", 4096},
    {"image qcow2 1M cluster_size=4k,encrypt.format=aes", 4096},
};

static const struct letter alphabet[] = {
    {OP_WRITE, 0, 0, 0, 8, 0, ""},    /* one cluster */
    {OP_WRITE, 0, 4, 0, 8, 0, ""},    /* crosses into the next */
    {OP_WRITE, 0, 1, 37, 0, 700, ""}, /* sectors in part */
    {OP_WRITE, OP_FUA, 8, 0, 8, 0, ""},
    {OP_WRITE, 0, 0, 0, 24, 0, ""}, /* three clusters */
    {OP_WRITE_COMPRESSED, 0, 0, 0, 8, 0, ""},
    {OP_WRITE_COMPRESSED, 0, 8, 0, 8, 0, ""},
    {OP_ZERO, 0, 0, 0, 8, 0, ""},
    {OP_ZERO, OP_UNMAP, 0, 0, 16, 0, ""},
    {OP_ZERO, 0, 2, 0, 2, 0, ""},
    {OP_DISCARD, 0, 0, 0, 16, 0, ""},
    {OP_SNAPSHOT, 0, 0, 0, 0, 0, "s"},
    {OP_APPLY, 0, 0, 0, 0, 0, "s"},
    {OP_DELSNAP, 0, 0, 0, 0, 0, "s"},
    {OP_RESIZE, 0, 0, 0, 0, 2 << 20, ""},
    {OP_RESIZE, 0, 0, 0, 8, 0, ""},
    {OP_FLUSH, 0, 0, 0, 0, 0, ""},
    {OP_COMMIT, 0, 0, 0, 0, 0, ""},
    {OP_AMEND, 0, 0, 0, 0, 0, "compat=0.10"},
    {OP_AMEND, 0, 0, 0, 0, 0, "compat=1.1,refcount_bits=64"},
};

static const char *const specials[] = {
    /* refcount table and L1 table outgrow their first cluster */
    "image qcow2 8M cluster_size=512,refcount_bits=64\nwrite 0 1300k 1\nflush\nwrite 2M 1300k "
    "2\nflush\n",
    "image qcow2 1M cluster_size=512\nwrite 0 4k 1\nflush\nresize 32M\nwrite 31M 4k 2\nflush\n",
    /* reads through everything that is loaded on demand */
    "image qcow2 1M cluster_size=512\nwrite 0 512k 1\nreopen\nread 0 512k\nwrite 1000 512 2\nread "
    "0 8k\nflush\n",
    "image qcow2 1M backing cluster_size=4k\nwrite 1000 512 1\nread 0 16k\nwrite 6k 4k "
    "2\nreopen\nread 0 16k\nflush\n",
    "image qcow2 1M cluster_size=4k\nwritec 0 4k 1\nwritec 4k 4k 2\nreopen\nread 0 8k\nwrite 0 512 "
    "3\nflush\n",
    "image qcow2 1M cluster_size=4k\nwrite 0 64k 1\nsnapshot s\nwrite 0 8k 2\nreopen\napply "
    "s\nread 0 64k\ndelsnap s\nflush\n",
    "image qcow2 4M cluster_size=512\nwrite 0 4M 1\nflush\nresize 64k\nflush\nresize 1M\nread 0 "
    "1M\n",
    "image qcow2 1M cluster_size=4k,lazy_refcounts=on\nwrite 0 64k 1\nflush\nwrite 32k 64k "
    "2\ndiscard 0 32k\nreopen\n",
    /* check and repair, VM state, preallocation, and an image that a commit empties */
    "image qcow2 1M cluster_size=4k\nwrite 0 64k 1\nsnapshot s\nwrite 0 8k 2\ncheck\nread 0 "
    "64k\nflush\n",
    "image qcow2 1M cluster_size=4k\nvmsave 0 16k 1\nsnapshot s\nreopen\nvmload 0 16k\nflush\n",
    "image qcow2 1M cluster_size=4k\nwrite 1000 512 1\nwrite 8k 64k 2\ndiscard 8k "
    "64k\nflush\nresize "
    "1300k metadata\nread 0 1300k\nflush\n",
    "image qcow2 1M cluster_size=4k\nwrite 0 8k 1\nresize 1300k falloc\nread 0 1300k\nflush\n",
    "image qcow2 1M backing cluster_size=4k\nwrite 0 64k 1\ncommit\nread 0 128k\nwrite 4k 8k "
    "2\nflush\n",
    "image qcow2 1M cluster_size=4k\nwrite 0 64k 1\nsnapshot s\namend refcount_bits=64\nresize "
    "64M\nreopen\namend refcount_bits=16\namend compat=0.10\nread 0 64k\nflush\n",
    "image qcow2 1M cluster_size=4k,data_file=data\nwrite 512 700 1\nwrite 8k 64k 2\ndiscard 8k "
    "8k\nzero 16k 4k\nreopen\nread 0 128k\nflush\n",
    /* emptied one by one, and with a data file */
    "image qcow2 1M backing compat=0.10,cluster_size=4k\nwrite 0 16k 1\nflush\ncommit\nread 0 "
    "64k\nflush\n",
    "image qcow2 1M backing cluster_size=4k,data_file=data\nwrite 0 16k 1\nflush\ncommit\nwrite "
    "1000 512 2\nread 0 64k\nflush\n",
    "image qcow2 1M cluster_size=4k,data_file=data,preallocation=metadata\nwrite 8k 8k 1\nread 0 "
    "1M\nflush\n",
    /* parts of clusters where only data are ordered */
    "image qcow2 1M backing cluster_size=4k,lazy_refcounts=on\nwrite 1000 512 1\nflush\nwrite 6000 "
    "700 2\nflush\n",
    /* options changed in place; one of a lower node cannot be changed, so none is */
    "image qcow2 1M cluster_size=512\nwrite 0 64k 1\nreopen "
    "l2-cache-size=1k,refcount-cache-size=2k\ndiscard 0 8k\nreopen "
    "lazy-refcounts=on,pass-discard-other=on\nwrite 4k 64k 2\nreopen "
    "overlap-check=none,file.none=1\nread 0 128k\nflush\n",
    "image raw 1M\nwrite 0 8k 1\nwrite 8k 8k 2\nreopen offset=8k,file.none=1\nread 0 "
    "16k\nwrite 0 4k 3\nreopen\nread 0 16k\nflush\n",
    "image vmdk 1M backing\nwrite 1000 512 1\nread 0 128k\nflush\nreopen\nread 0 128k\nflush\n",
    "image vmdk 1M subformat=streamOptimized\nwritec 0 64k 1\nreopen\nread 0 128k\nflush\n",
    "image qed 1M cluster_size=4k,table_size=1\nwrite 64k 8k 1\nwrite 0 64k 2\nflush\nresize "
    "34k\nwrite 0 8k 3\nflush\nresize 1M\nread 0 1M\nwrite 30k 16k 4\nflush\n",
    /* what only images show that create does not make (sandbox_made.h) */
    "image vmdk 64M subformat=streamOptimized,made=footer\nwritec 0 64k 1\nwritec 32M 64k "
    "2\nreopen\nread 0 64M\nflush\n",
    "image vmdk 1M made=cowd\nwrite 1000 512 1\nwrite 64k 64k 2\nreopen\nread 0 1M\nflush\n",
    "image vhdx 4M block_size=1M,made=unclosed\nread 0 64k\nwrite 1M 64k 1\nflush\n",
    "image qed 1M cluster_size=4k,table_size=2,made=cut-off\nwrite 64k 8k 1\ncheck\nread 0 "
    "1M\nflush\n",
    "image parallels 1M cluster_size=64k,made=shared\ncheck\nreopen\nwrite 0 64k 1\nread 0 "
    "1M\nflush\n",
    "image parallels 1M cluster_size=64k,made=extension\ncheck\nreopen\nwrite 0 64k 1\nread 0 "
    "1M\nflush\n",
    "image parallels 1M backing cluster_size=64k,open.prealloc-size=128k,"
    "open.prealloc-mode=falloc\nwrite 1000 512 1\nwrite 8k 64k 2\nread 0 1M\nflush\n",
    /* the other formats' */
    "image qed 1M backing cluster_size=4k,table_size=2\nwrite 1000 512 1\nwrite 8k 8k 2\nresize "
    "2M\nreopen\nread 0 2M\ncheck\nflush\n",
    "image qcow 1M\nwrite 1000 512 1\nwritec 8k 4k 2\nreopen\nread 0 1M\nwrite 8k 512 "
    "3\nflush\n",
    "image qcow 1M backing\nwrite 1000 512 1\nreopen\nread 0 1M\ncommit\nwrite 0 8k 3\nflush\n",
    "image vdi 4M\nwrite 1000 512 1\nwrite 1M 64k 2\nreopen\nread 0 4M\nflush\n",
    "image vpc 8M force_size=on,made=leftover\nwrite 1000 512 1\nread 0 8M\nflush\n",
    "image vpc 8M force_size=on\nwrite 1000 512 1\nwrite 2M 64k 2\nreopen\nread 0 8M\nflush\n",
    "image luks 1M\nwrite 1000 512 1\nflush\namend state=active,new-secret=s1\nwrite 64k 8k "
    "2\nreopen\namend state=inactive,old-secret=s1\nread 0 1M\nresize 2M\nflush\n",
    "image qcow2 1M cluster_size=4k,encrypt.format=luks\nwrite 1000 512 1\nflush\namend "
    "encrypt.state=active,encrypt.new-secret=s1\nwrite 64k 8k 2\nreopen\nread 0 1M\nflush\n",
    "image raw 1M\nwrite 0 64k 1\nwrite 100 5000 2 fua\nzero 8k 8k\ndiscard 16k 8k\nresize "
    "2M\nread 0 2M\nflush\n",
};

size_t crash_image_count(void)
{
    return ARRAY_SIZE(images);
}

const char *crash_image(size_t i)
{
    return images[i].line;
}

const char *crash_image_format(size_t i)
{
    static const char *const formats[] = {"qcow2", "vmdk", "raw",  "qed",       "qcow",
                                          "vdi",   "vpc",  "vhdx", "parallels", "luks"};
    const char *name = images[i].line + strlen("image ");
    size_t n = 0;
    while (strncmp(name, formats[n], strlen(formats[n])) != 0) {
        n++;
        assert(n < ARRAY_SIZE(formats));
    }
    return formats[n];
}

static void add(struct program *p, enum op_kind kind)
{
    struct op op = {.kind = kind};
    program_add(p, &op);
}

static void add_write(struct program *p, int64_t offset, int64_t bytes)
{
    struct op op = {
        .kind = OP_WRITE, .offset = offset, .bytes = bytes, .seed = (uint32_t)p->n_ops % 255 + 1};
    program_add(p, &op);
}

size_t crash_program_count(unsigned ops)
{
    size_t n = 2;
    for (unsigned i = 0; i < ops; i++) {
        assert(n < SIZE_MAX / ARRAY_SIZE(alphabet));
        n *= ARRAY_SIZE(alphabet);
    }
    return n;
}

void crash_program(size_t image, unsigned ops, size_t n, struct program *out)
{
    int64_t cluster = images[image].cluster;
    assert(n < crash_program_count(ops));
    program_start(images[image].line, out);
    if (n & 1) {
        add_write(out, 0, 2 * cluster);
        add(out, OP_FLUSH);
    }
    n /= 2;
    for (unsigned i = 0; i < ops; i++, n /= ARRAY_SIZE(alphabet)) {
        program_add_letter(out, &alphabet[n % ARRAY_SIZE(alphabet)], cluster, 0, false);
    }
}

void crash_random(size_t image, struct rng *rng, unsigned max_ops, struct program *out)
{
    int64_t cluster = images[image].cluster;
    unsigned n = 3 + (unsigned)rng_below(rng, max_ops - 2);
    program_start(images[image].line, out);
    for (unsigned i = 0; i < n; i++) {
        uint64_t dice = rng_below(rng, 8);
        if (dice == 0) {
            add(out, OP_REOPEN);
        } else if (dice <= 2) {
            add(out, OP_FLUSH);
        } else {
            const struct letter *l = &alphabet[rng_below(rng, ARRAY_SIZE(alphabet))];
            program_add_letter(out, l, cluster, (int64_t)rng_below(rng, 6) * cluster, false);
        }
    }
}

size_t crash_special_count(void)
{
    return ARRAY_SIZE(specials);
}

void crash_special(size_t n, struct program *out)
{
    program_start(specials[n], out);
}
