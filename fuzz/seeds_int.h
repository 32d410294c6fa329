/*
 * What makers of seed images share.
 */
#ifndef BLKREF_FUZZ_SEEDS_INT_H
#define BLKREF_FUZZ_SEEDS_INT_H

#include "fuzz/fuzz_image.h"

struct fuzz_making {
    struct fuzz *f;
    const struct fuzz_recipe *recipe;
    struct disk *image; /* in the making; makers by hand write to it */
    struct world *w;
    int ret;
    struct error *err;
};

uint64_t fuzz_get(const struct disk *d, int64_t at, unsigned width, bool big_endian);
int fuzz_put(struct disk *d, int64_t at, unsigned width, bool big_endian, uint64_t v);

/* seeds_made.c */
int make_qcow2_outside(struct fuzz_making *m);
int make_qcow2_itself(struct fuzz_making *m);
int make_qcow2_data_file(struct fuzz_making *m);
int make_qed_dirty(struct fuzz_making *m);
int make_vhdx_log(struct fuzz_making *m);
int make_vhdx_4k(struct fuzz_making *m);
int make_parallels_extension(struct fuzz_making *m);
int make_parallels_old(struct fuzz_making *m);
int make_parallels_unclosed(struct fuzz_making *m);
int make_vpc_differencing(struct fuzz_making *m);
int make_vmdk_footer(struct fuzz_making *m);
int make_vmdk_cowd(struct fuzz_making *m);
int make_vmdk_sesparse(struct fuzz_making *m);
int make_vmdk_flat(struct fuzz_making *m);
int make_bochs(struct fuzz_making *m);
int make_cloop(struct fuzz_making *m);
int make_dmg_list(struct fuzz_making *m);
int make_dmg_fork(struct fuzz_making *m);

/* layouts.c */
struct vhdx_region {
    uint64_t entry, at; /* of the first region table; where it says that the region begins */
    bool metadata;      /* it begins as the metadata does; else it is taken for the BAT */
};
struct vhdx_region layout_vhdx_region(const struct disk *d, unsigned i); /* i: 0 or 1 */
void layout_qcow2(const struct disk *d, struct fuzz_layout *l);
void layout_qed(const struct disk *d, struct fuzz_layout *l);
void layout_qcow(const struct disk *d, struct fuzz_layout *l);
void layout_vdi(const struct disk *d, struct fuzz_layout *l);
void layout_vpc(const struct disk *d, struct fuzz_layout *l);
void layout_vhdx(const struct disk *d, struct fuzz_layout *l);
void layout_vmdk(const struct disk *d, struct fuzz_layout *l);
void layout_parallels(const struct disk *d, struct fuzz_layout *l);
void layout_luks(const struct disk *d, struct fuzz_layout *l);
void layout_bochs(const struct disk *d, struct fuzz_layout *l);
void layout_cloop(const struct disk *d, struct fuzz_layout *l);
void layout_dmg(const struct disk *d, struct fuzz_layout *l);

/* seal.c */
void seal_vpc(struct disk *d);
void seal_vhdx(struct disk *d);
void seal_parallels(struct disk *d);

#endif
