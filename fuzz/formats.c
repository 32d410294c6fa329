/*
 * The formats that are fuzzed, a line each, with their seed images: small clusters keep them small.
 */
#include "fuzz/fuzz_image.h"

#include <string.h>
#include "fuzz/seeds_int.h"
#include "ref/base/mem.h"
#include "specs/qcow2_layout.h"
#include "specs/qcow_layout.h"
#include "specs/vmdk_layout.h"

#define KEY "key-secret=" FUZZ_SECRET

static const struct fuzz_recipe qcow2_seeds[] = {
    {"empty", "cluster_size=512", SEED_UNTOUCHED, NULL},
    {"v3", "cluster_size=512", 0, NULL},
    {"v2", "cluster_size=512,compat=0.10", 0, NULL},
    {"lazy", "cluster_size=512,lazy_refcounts=on", 0, NULL},
    {"snapshot", "cluster_size=512", SEED_SNAPSHOT, NULL},
    {"compressed", "cluster_size=512", SEED_COMPRESSED, NULL},
    {"zstd", "cluster_size=512,compression_type=zstd", SEED_COMPRESSED, NULL},
    {"refcount1", "cluster_size=512,refcount_bits=1", 0, NULL},
    {"refcount64", "cluster_size=512,refcount_bits=64", SEED_SNAPSHOT, NULL},
    {"4k", "cluster_size=4k", 0, NULL},
    {"extended", "cluster_size=16k,extended_l2=on", 0, NULL},
    {"backing", "cluster_size=512", SEED_BACKING, NULL},
    {"outside", "cluster_size=512", SEED_UNTOUCHED | SEED_NAMES, make_qcow2_outside},
    {"itself", "cluster_size=512", SEED_UNTOUCHED | SEED_NAMES, make_qcow2_itself},
    {"data-file", "cluster_size=512", SEED_UNTOUCHED | SEED_NAMES, make_qcow2_data_file},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe crypt_seeds[] = {
    {"aes", "cluster_size=512,encrypt.format=aes,encrypt." KEY, 0, NULL},
    {"luks",
     "cluster_size=4k,encrypt.format=luks,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,"
     "encrypt.ivgen-alg=plain64,encrypt.iter-time=10,encrypt." KEY,
     SEED_SNAPSHOT, NULL},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe qed_seeds[] = {
    {"empty", "cluster_size=4k,table_size=1", SEED_UNTOUCHED, NULL},
    {"data", "cluster_size=4k,table_size=1", 0, NULL},
    {"tables", "cluster_size=4k,table_size=2", 0, NULL},
    {"backing", "cluster_size=4k,table_size=1", SEED_BACKING, NULL},
    {"dirty", "cluster_size=4k,table_size=1", SEED_UNCLEAN, make_qed_dirty},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe qcow_seeds[] = {
    {"empty", "", SEED_UNTOUCHED, NULL},       {"data", "", 0, NULL},
    {"compressed", "", SEED_COMPRESSED, NULL}, {"aes", "encrypt.format=aes,encrypt." KEY, 0, NULL},
    {"backing", "", SEED_BACKING, NULL},       {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe vdi_seeds[] = {
    {"empty", "", SEED_UNTOUCHED, NULL},
    {"dynamic", "", 0, NULL},
    {"static", "static=on", 0, NULL},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe vpc_seeds[] = {
    {"empty", "", SEED_UNTOUCHED, NULL},
    {"dynamic", "", 0, NULL},
    {"forced", "force_size=on", 0, NULL},
    {"fixed", "subformat=fixed", 0, NULL},
    {"differencing", "force_size=on", SEED_UNTOUCHED, make_vpc_differencing},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe vhdx_seeds[] = {
    {"empty", "block_size=1M,log_size=1M", SEED_UNTOUCHED, NULL},
    {"dynamic", "block_size=1M,log_size=1M", 0, NULL},
    {"fixed", "block_size=1M,log_size=1M,subformat=fixed", 0, NULL},
    {"4k", "block_size=1M,log_size=1M", SEED_UNTOUCHED, make_vhdx_4k},
    {"log", "block_size=1M,log_size=1M", SEED_UNTOUCHED | SEED_UNCLEAN, make_vhdx_log},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe vmdk_seeds[] = {
    {"empty", "", SEED_UNTOUCHED, NULL},
    {"sparse", "", 0, NULL},
    {"zeroed", "zeroed_grain=on", 0, NULL},
    {"stream", "subformat=streamOptimized", SEED_COMPRESSED, NULL},
    {"footer", "subformat=streamOptimized", SEED_COMPRESSED, make_vmdk_footer},
    {"child", "", SEED_BACKING, NULL},
    {"cowd", NULL, 0, make_vmdk_cowd},
    {"sesparse", NULL, 0, make_vmdk_sesparse},
    {"flat", NULL, SEED_UNCLEAN, make_vmdk_flat},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe parallels_seeds[] = {
    {"empty", "cluster_size=64k", SEED_UNTOUCHED, NULL},
    {"data", "cluster_size=64k", 0, NULL},
    {"old", "cluster_size=64k", SEED_UNTOUCHED, make_parallels_old},
    {"extension", "cluster_size=64k", SEED_UNTOUCHED, make_parallels_extension},
    {"unclosed", "cluster_size=64k", SEED_UNCLEAN, make_parallels_unclosed},
    {NULL, NULL, 0, NULL},
};

#define LUKS_SMALL "cipher-alg=aes-128,iter-time=10," KEY
static const struct fuzz_recipe luks_seeds[] = {
    {"cbc", "cipher-mode=cbc,ivgen-alg=plain64," LUKS_SMALL, 0, NULL},
    {"essiv", "cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256," LUKS_SMALL, 0, NULL},
    {"xts", "cipher-mode=xts,ivgen-alg=plain64," LUKS_SMALL, 0, NULL},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe bochs_seeds[] = {
    {"growing", NULL, 0, make_bochs},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe cloop_seeds[] = {
    {"blocks", NULL, 0, make_cloop},
    {NULL, NULL, 0, NULL},
};

static const struct fuzz_recipe dmg_seeds[] = {
    {"list", NULL, 0, make_dmg_list},
    {"fork", NULL, 0, make_dmg_fork},
    {NULL, NULL, 0, NULL},
};

/* ---- how images are opened ---- */

static void with_key(struct value *opts)
{
    dict_put_str(opts, "encrypt.key-secret", FUZZ_SECRET);
}

static void options_qcow2(const struct disk *d, struct value *opts)
{
    uint64_t method = fuzz_get(d, QCOW2_HEADER_CRYPT_METHOD_OFF, 4, true);
    if (method) {
        dict_put_str(opts, "encrypt.format", method == QCOW2_CRYPT_AES ? "aes" : "luks");
        with_key(opts);
    }
}

static void options_qcow(const struct disk *d, struct value *opts)
{
    if (fuzz_get(d, QCOW_HEADER_CRYPT_METHOD_OFF, 4, true)) {
        dict_put_str(opts, "encrypt.format", "aes");
        with_key(opts);
    }
}

static void options_luks(const struct disk *d, struct value *opts)
{
    dict_put_str(opts, "key-secret", FUZZ_SECRET);
}

static void options_parallels(const struct disk *d, struct value *opts)
{
    dict_put_str(opts, "prealloc-size", "0"); /* 128 MiB would tell nothing more */
}

/* What is not opened by itself stands behind a descriptor. */
static const char *extent_vmdk(const struct disk *d)
{
    return fuzz_get(d, 0, 8, false) == VMDK_SE_MAGIC     ? "SESPARSE"
           : fuzz_get(d, 0, 4, false) == VMDK_COWD_MAGIC ? "VMFSSPARSE"
                                                         : NULL;
}

#define FORMAT(n)                                                                                  \
    .name = #n, .driver = #n, .spec = spec_##n, .layout = layout_##n, .recipes = n##_seeds

const struct fuzz_format fuzz_formats[] = {
    {FORMAT(qcow2), .share = 100, .judges_places = true, .options = options_qcow2},
    {.name = "crypt",
     .driver = "qcow2",
     .spec = spec_qcow2,
     .layout = layout_qcow2,
     .recipes = crypt_seeds,
     .share = 10,
     .judges_places = true,
     .options = options_qcow2},
    {FORMAT(qed), .share = 25},
    {FORMAT(qcow), .share = 25, .options = options_qcow},
    {FORMAT(vmdk), .share = 40, .weak_check = true, .base_options = "", .extent = extent_vmdk},
    /* The check has a bit for each block of the largest image. */
    {FORMAT(vdi), .share = 20, .memory = 65 << 20},
    {FORMAT(vpc), .share = 25, .base_options = "force_size=on", .seal = seal_vpc},
    {FORMAT(vhdx), .share = 40, .seal = seal_vhdx},
    {FORMAT(parallels), .share = 25, .seal = seal_parallels, .options = options_parallels},
    {FORMAT(luks), .share = 10, .options = options_luks},
    {FORMAT(bochs), .share = 15, .read_only = true},
    {FORMAT(cloop), .share = 15, .read_only = true, .memory = 65 << 20}, /* a block: 64 MiB */
    {FORMAT(dmg), .share = 20, .read_only = true, .memory = 65 << 20},   /* a chunk: 64 MiB */
    {.name = NULL},
};

const struct fuzz_format *fuzz_format_find(const char *name)
{
    for (const struct fuzz_format *f = fuzz_formats; f->name; f++) {
        if (!strcmp(f->name, name)) {
            return f;
        }
    }
    return NULL;
}

unsigned fuzz_format_count(void)
{
    return ARRAY_SIZE(fuzz_formats) - 1;
}
