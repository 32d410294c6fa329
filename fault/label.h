/*
 * Labels: why an I/O happens.
 *
 * Models: one closed list of reasons.  The first 48 are blkdebug's events (QMP's BlkdebugEvent) in
 * its order and with its names, so a label is a blkdebug event; what follows is our extension for
 * metadata those events have no word for.  Each label has a class, which says whose bytes the I/O
 * carries.  Leaves out: who fires a label, and what happens then (rules.h, verdict.h).
 *
 * LABEL_NONE is blkdebug's event `none` (fired once when a node is opened) and marks a request
 * without a reason of its own, plain guest data of a raw file for instance.  Zero is a real label:
 * say LABEL_NONE.
 */
#ifndef BLKREF_FAULT_LABEL_H
#define BLKREF_FAULT_LABEL_H

#include <stdbool.h>

enum label_class {
    LABEL_DATA,    /* the guest's bytes (vmstate is the guest's, too) */
    LABEL_META,    /* the format's own structures */
    LABEL_CONTROL, /* announces a step; carries no bytes of its own */
};

/* X(NAME, "name", class): the events of QMP's BlkdebugEvent, in its order. */
#define LABELS_BLKDEBUG(X)                                                                         \
    X(L1_UPDATE, "l1_update", META)                                                                \
    X(L1_GROW_ALLOC_TABLE, "l1_grow_alloc_table", CONTROL)                                         \
    X(L1_GROW_WRITE_TABLE, "l1_grow_write_table", META)                                            \
    X(L1_GROW_ACTIVATE_TABLE, "l1_grow_activate_table", META)                                      \
    X(L2_LOAD, "l2_load", META)                                                                    \
    X(L2_UPDATE, "l2_update", META)                                                                \
    X(L2_UPDATE_COMPRESSED, "l2_update_compressed", META)                                          \
    X(L2_ALLOC_COW_READ, "l2_alloc_cow_read", META)                                                \
    X(L2_ALLOC_WRITE, "l2_alloc_write", META)                                                      \
    X(READ_AIO, "read_aio", DATA)                                                                  \
    X(READ_BACKING_AIO, "read_backing_aio", DATA)                                                  \
    X(READ_COMPRESSED, "read_compressed", DATA)                                                    \
    X(WRITE_AIO, "write_aio", DATA)                                                                \
    X(WRITE_COMPRESSED, "write_compressed", DATA)                                                  \
    X(VMSTATE_LOAD, "vmstate_load", DATA)                                                          \
    X(VMSTATE_SAVE, "vmstate_save", DATA)                                                          \
    X(COW_READ, "cow_read", DATA)                                                                  \
    X(COW_WRITE, "cow_write", DATA)                                                                \
    X(REFTABLE_LOAD, "reftable_load", META)                                                        \
    X(REFTABLE_GROW, "reftable_grow", CONTROL)                                                     \
    X(REFTABLE_UPDATE, "reftable_update", META)                                                    \
    X(REFBLOCK_LOAD, "refblock_load", META)                                                        \
    X(REFBLOCK_UPDATE, "refblock_update", META)                                                    \
    X(REFBLOCK_UPDATE_PART, "refblock_update_part", META)                                          \
    X(REFBLOCK_ALLOC, "refblock_alloc", CONTROL)                                                   \
    X(REFBLOCK_ALLOC_HOOKUP, "refblock_alloc_hookup", META)                                        \
    X(REFBLOCK_ALLOC_WRITE, "refblock_alloc_write", META)                                          \
    X(REFBLOCK_ALLOC_WRITE_BLOCKS, "refblock_alloc_write_blocks", META)                            \
    X(REFBLOCK_ALLOC_WRITE_TABLE, "refblock_alloc_write_table", META)                              \
    X(REFBLOCK_ALLOC_SWITCH_TABLE, "refblock_alloc_switch_table", META)                            \
    X(CLUSTER_ALLOC, "cluster_alloc", CONTROL)                                                     \
    X(CLUSTER_ALLOC_BYTES, "cluster_alloc_bytes", CONTROL)                                         \
    X(CLUSTER_FREE, "cluster_free", CONTROL)                                                       \
    X(FLUSH_TO_OS, "flush_to_os", CONTROL)                                                         \
    X(FLUSH_TO_DISK, "flush_to_disk", CONTROL)                                                     \
    X(PWRITEV_RMW_HEAD, "pwritev_rmw_head", DATA)                                                  \
    X(PWRITEV_RMW_AFTER_HEAD, "pwritev_rmw_after_head", CONTROL)                                   \
    X(PWRITEV_RMW_TAIL, "pwritev_rmw_tail", DATA)                                                  \
    X(PWRITEV_RMW_AFTER_TAIL, "pwritev_rmw_after_tail", CONTROL)                                   \
    X(PWRITEV, "pwritev", DATA)                                                                    \
    X(PWRITEV_ZERO, "pwritev_zero", DATA)                                                          \
    X(PWRITEV_DONE, "pwritev_done", CONTROL)                                                       \
    X(EMPTY_IMAGE_PREPARE, "empty_image_prepare", CONTROL)                                         \
    X(L1_SHRINK_WRITE_TABLE, "l1_shrink_write_table", META)                                        \
    X(L1_SHRINK_FREE_L2_CLUSTERS, "l1_shrink_free_l2_clusters", META)                              \
    X(COR_WRITE, "cor_write", DATA)                                                                \
    X(CLUSTER_ALLOC_SPACE, "cluster_alloc_space", CONTROL)                                         \
    X(NONE, "none", DATA)

/* Ours: any format.  A format with a mapping table that is not called L1/L2 uses the table_*
 * labels. */
#define LABELS_EXTENSION(X)                                                                        \
    X(HEADER_LOAD, "header_load", META)                                                            \
    X(HEADER_UPDATE, "header_update", META)                                                        \
    X(EXT_LOAD, "ext_load", META)                                                                  \
    X(EXT_UPDATE, "ext_update", META)                                                              \
    X(SNAPSHOT_TABLE_LOAD, "snapshot_table_load", META)                                            \
    X(SNAPSHOT_TABLE_WRITE, "snapshot_table_write", META)                                          \
    X(SNAPSHOT_L1_LOAD, "snapshot_l1_load", META)                                                  \
    X(SNAPSHOT_L1_WRITE, "snapshot_l1_write", META)                                                \
    X(BITMAP_DIR_LOAD, "bitmap_dir_load", META)                                                    \
    X(BITMAP_DIR_WRITE, "bitmap_dir_write", META)                                                  \
    X(BITMAP_TABLE_LOAD, "bitmap_table_load", META)                                                \
    X(BITMAP_TABLE_WRITE, "bitmap_table_write", META)                                              \
    X(BITMAP_DATA_LOAD, "bitmap_data_load", META)                                                  \
    X(BITMAP_DATA_WRITE, "bitmap_data_write", META)                                                \
    X(CRYPTO_HEADER_LOAD, "crypto_header_load", META)                                              \
    X(CRYPTO_HEADER_WRITE, "crypto_header_write", META)                                            \
    X(TABLE_LOAD, "table_load", META)                                                              \
    X(TABLE_UPDATE, "table_update", META)                                                          \
    X(TABLE_GROW, "table_grow", META)                                                              \
    X(FOOTER_UPDATE, "footer_update", META)                                                        \
    X(DESCRIPTOR_LOAD, "descriptor_load", META)                                                    \
    X(DESCRIPTOR_WRITE, "descriptor_write", META)                                                  \
    X(ALLOC_BITMAP_LOAD, "alloc_bitmap_load", META)                                                \
    X(ALLOC_BITMAP_UPDATE, "alloc_bitmap_update", META)                                            \
    X(JOURNAL_LOAD, "journal_load", META)                                                          \
    X(JOURNAL_WRITE, "journal_write", META)                                                        \
    X(JOURNAL_REPLAY, "journal_replay", META)                                                      \
    X(DIRTY_FLAG_SET, "dirty_flag_set", META)                                                      \
    X(DIRTY_FLAG_CLEAR, "dirty_flag_clear", META)                                                  \
    X(CHECK_READ, "check_read", META)                                                              \
    X(CHECK_WRITE, "check_write", META)                                                            \
    X(PROBE_READ, "probe_read", META)                                                              \
    X(CREATE_WRITE, "create_write", META)                                                          \
    X(RESIZE, "resize", CONTROL)                                                                   \
    X(PREALLOCATE, "preallocate", CONTROL)                                                         \
    X(DISCARD, "discard", CONTROL)                                                                 \
    X(COPY_READ, "copy_read", DATA)                                                                \
    X(COPY_WRITE, "copy_write", DATA)

enum label {
#define LABEL_ENUM(id, name, class) LABEL_##id,
    LABELS_BLKDEBUG(LABEL_ENUM) LABELS_EXTENSION(LABEL_ENUM)
#undef LABEL_ENUM
        LABEL_COUNT,
};

#define LABEL_BLKDEBUG_COUNT 48 /* labels below are blkdebug events */

_Static_assert(LABEL_NONE == LABEL_BLKDEBUG_COUNT - 1,
               "blkdebug's events come first, `none` is their last");

/* The name as QMP and rule files write it; asserts a valid label. */
const char *label_name(enum label label);
/* The label of that name, or -1. */
int label_parse(const char *name);
enum label_class label_class(enum label label);
/* True for blkdebug's own events, false for our extension. */
bool label_is_blkdebug(enum label label);

#endif
