/*
 * Kinds of images.  See image_kinds.h.
 */
#include "harness/programs/image_kinds.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "harness/subject/subject.h"
#include "ref/base/mem.h"

#define QCOW2                                                                                      \
    (IMAGE_COMPRESSES | IMAGE_SNAPSHOTS | IMAGE_AMENDS | IMAGE_SHRINKS | IMAGE_GROWS |             \
     IMAGE_HAS_BACKING | IMAGE_COMMITS | IMAGE_TAKES_COMMIT)

/*
 * A vmdk parent that was written is a parent no more.  What a luks volume grows by deciphers to
 * noise.  Encrypted qcow2 has no preallocation here, so that growth costs no key derivation more.
 */
const struct image_kind image_kinds[] = {
    {"qcow2", "qcow2", 60, QCOW2 | IMAGE_PREALLOCATES},
    {"crypt", "qcow2", 2, QCOW2},
    {"raw", "raw", 8, IMAGE_SHRINKS | IMAGE_GROWS | IMAGE_TAKES_COMMIT},
    {"vmdk", "vmdk", 7, IMAGE_COMPRESSES | IMAGE_HAS_BACKING | IMAGE_TAKES_COMMIT},
    {"qed", "qed", 5, IMAGE_GROWS | IMAGE_HAS_BACKING | IMAGE_COMMITS},
    {"qcow", "qcow", 4, IMAGE_COMPRESSES | IMAGE_HAS_BACKING | IMAGE_COMMITS},
    {"vdi", "vdi", 3, 0},
    {"vpc", "vpc", 3, 0},
    {"vhdx", "vhdx", 3, 0},
    {"parallels", "parallels", 4, 0},
    {"luks", "luks", 1, IMAGE_BEGINS_AS_NOISE},
    {0},
};

const struct image_kind *image_kind_named(const char *name)
{
    for (const struct image_kind *k = image_kinds; k->name; k++) {
        if (!strcmp(k->name, name)) {
            return k;
        }
    }
    return NULL;
}

const struct image_kind *image_kind_of(const struct program *p)
{
    bool crypt = !strcmp(p->format, "qcow2") && subject_encrypted(p);
    const struct image_kind *k = image_kind_named(crypt ? "crypt" : p->format);
    assert(k); /* programs that are made here have no other formats */
    return k;
}

unsigned image_abilities(const struct program *p)
{
    unsigned can = image_kind_of(p)->can;
    if (strstr(p->options, "data_file=")) {
        can &= ~(unsigned)(IMAGE_COMPRESSES | IMAGE_SNAPSHOTS);
    }
    if (strstr(p->options, "=streamOptimized")) {
        can = (can & ~(unsigned)IMAGE_TAKES_COMMIT) | IMAGE_WHOLE_GRAINS;
    }
    return can;
}

static const struct combination {
    const char *format, *options;
    bool backing;
} combinations[] = {
    {"raw", "", false},
    {"qcow2", "compat=0.10", false},
    {"qcow2", "compat=0.10,cluster_size=512", false},
    {"qcow2", "compat=0.10,cluster_size=2M", false},
    {"qcow2", "compat=0.10", true},
    {"qcow2", "compat=1.1", false},
    {"qcow2", "compat=1.1", true},
    {"qcow2", "compat=1.1,cluster_size=512", false},
    {"qcow2", "compat=1.1,cluster_size=512", true},
    {"qcow2", "compat=1.1,cluster_size=4k", true},
    {"qcow2", "compat=1.1,cluster_size=1M", true},
    {"qcow2", "compat=1.1,cluster_size=2M", false},
    {"qcow2", "compat=1.1,refcount_bits=1", false},
    {"qcow2", "compat=1.1,refcount_bits=2", false},
    {"qcow2", "compat=1.1,refcount_bits=4,cluster_size=4k", true},
    {"qcow2", "compat=1.1,refcount_bits=8", false},
    {"qcow2", "compat=1.1,refcount_bits=32", false},
    {"qcow2", "compat=1.1,refcount_bits=64,cluster_size=512", false},
    {"qcow2", "compat=1.1,lazy_refcounts=on", false},
    {"qcow2", "compat=1.1,lazy_refcounts=on,cluster_size=1k", true},
    {"qcow2", "compat=1.1,extended_l2=on", false},
    {"qcow2", "compat=1.1,extended_l2=on", true},
    {"qcow2", "compat=1.1,extended_l2=on,cluster_size=16k", true},
    {"qcow2", "compat=1.1,extended_l2=on,cluster_size=2M", false},
    {"qcow2", "compat=1.1,compression_type=zstd", false},
    {"qcow2", "compat=1.1,compression_type=zstd,cluster_size=4k", true},
    {"qcow2", "compat=1.1,compression_type=zstd,extended_l2=on", true},
    {"qcow2", "compat=1.1,data_file=data", false},
    {"qcow2", "compat=1.1,data_file=data,data_file_raw=on", false},
    {"qcow2", "compat=1.1,data_file=data,cluster_size=4k", true},
    {"qcow2", "compat=1.1,data_file=data,extended_l2=on", false},
    {"qcow2", "compat=1.1,preallocation=metadata", false},
    {"qcow2", "compat=1.1,preallocation=falloc", false},
    {"qcow2", "compat=1.1,preallocation=full", false},
    {"qcow2", "compat=0.10,preallocation=metadata,cluster_size=4k", false},
    {"qcow2", "compat=1.1,preallocation=metadata,extended_l2=on", false},
    {"qcow2", "compat=1.1,preallocation=metadata,data_file=data", false},
    {"qcow2", "compat=0.10,encrypt.format=aes,cluster_size=4k", true},
    {"qcow2", "compat=1.1,encrypt.format=aes,extended_l2=on", false},
    {"qcow2", "compat=1.1,encrypt.format=luks", false},
    {"vmdk", "", false},
    {"vmdk", "", true},
    {"vmdk", "zeroed_grain=on", false},
    {"vmdk", "zeroed_grain=on,compat6=on", true},
    {"vmdk", "subformat=twoGbMaxExtentSparse", false},
    {"vmdk", "subformat=twoGbMaxExtentSparse", true},
    {"vmdk", "subformat=streamOptimized", false},
    {"vmdk", "subformat=streamOptimized", true},
    {"vmdk", "subformat=monolithicFlat", false},
    {"vmdk", "subformat=twoGbMaxExtentFlat,adapter_type=lsilogic", false},
    {"qed", "", false},
    {"qed", "cluster_size=4k,table_size=2", true},
    {"qed", "cluster_size=16k,table_size=4", false},
    {"qed", "table_size=16", true},
    {"qcow", "", false},
    {"qcow", "", true},
    {"qcow", "encrypt.format=aes", false},
    {"vdi", "", false},
    {"vdi", "static=on", false},
    {"vpc", "force_size=on", false},
    {"vpc", "subformat=fixed,force_size=on", false},
    {"vhdx", "", false},
    {"vhdx", "block_size=1M", false},
    {"vhdx", "block_size=1M,block_state_zero=off", false},
    {"vhdx", "subformat=fixed,block_size=1M", false},
    {"vhdx", "block_size=2M,log_size=2M", false},
    {"parallels", "", false},
    {"parallels", "cluster_size=64k", false},
    {"parallels", "cluster_size=4k", false},
    {"parallels", "cluster_size=63k", false},
    {"luks", "", false},
    {"luks", "cipher-alg=serpent-256,cipher-mode=cbc,ivgen-alg=essiv", false},
};

bool image_combination(unsigned n, struct program *p)
{
    if (n >= ARRAY_SIZE(combinations)) {
        return false;
    }
    memset(p, 0, sizeof(*p));
    snprintf(p->format, sizeof(p->format), "%s", combinations[n].format);
    snprintf(p->options, sizeof(p->options), "%s", combinations[n].options);
    p->backing = combinations[n].backing;
    return true;
}
