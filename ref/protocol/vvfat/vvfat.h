/*
 * What the parts of the vvfat driver share: the volume's layout, names, entries, and the tree.
 *
 * Positions are of specs/fat.yaml; LAY-3 and the like in comments are its clauses.
 */
#ifndef BLKREF_PROTOCOL_VVFAT_H
#define BLKREF_PROTOCOL_VVFAT_H

#include <sys/stat.h>
#include "ref/base/error.h"
#include "ref/base/strbuf.h"
#include "ref/block/node.h"
#include "specs/fat_layout.h"

/* ---- layout (layout.c) ---- */

struct fat_layout {
    unsigned bits; /* of a FAT entry: 12, 16, 32 */
    bool floppy;   /* the whole disk is the volume; else it is a partition behind a track */
    unsigned cylinders, heads, track_sectors;
    uint32_t start;   /* sectors in front of the volume */
    uint32_t sectors; /* of the volume */
    uint32_t cluster_sectors, reserved, fat_sectors;
    uint32_t root_entries; /* 0 with 32 bits */
    uint32_t clusters;     /* data clusters */
};

/* The disk of QEMU 7.2 for these words; bits 0 chooses.  -EINVAL with err where FAT has no such. */
int fat_layout_choose(struct fat_layout *l, unsigned bits, bool floppy, struct error **err);
uint32_t fat_disk_sectors(const struct fat_layout *l);
/* First sectors, counted from the volume's start. */
uint32_t fat_root_sector(const struct fat_layout *l);
uint32_t fat_data_sector(const struct fat_layout *l);
uint32_t fat_cluster_bytes(const struct fat_layout *l);
/* The partition table; buf: FAT_SECTOR bytes, zeroed. */
void fat_put_mbr(const struct fat_layout *l, uint8_t *buf);
/* Reserved sector `i` of the volume; label: FAT_BOOT_16_LABEL_WIDTH bytes; used: clusters. */
void fat_put_reserved(const struct fat_layout *l, uint32_t i, const uint8_t *label, uint32_t used,
                      uint8_t *buf);

/* ---- names (names.c) ---- */

struct fat_name {
    const char *host; /* given */
    uint8_t short_name[FAT_ENTRY_NAME_WIDTH];
    bool has_long; /* the host's name is lawful as a long one, and unique */
};

/*
 * Gives each of `count` host names of one directory its short name, unique there; the host names
 * are in the order in which they take them.
 */
void fat_choose_names(struct fat_name *names, size_t count);
/* The long name in UTF-16, host byte order: its length, 0 when the host's name makes none (LFN-5).
 */
size_t fat_long_name(const char *host, uint16_t out[FAT_LONG_MAX]);
bool fat_name_is_utf8(const char *host);

/* ---- directory entries (entries.c) ---- */

/* Adds the entry of a file or directory (attributes) with the times of st, and cluster 0. */
void fat_add_entry(struct strbuf *dir, const uint8_t *short_name, uint8_t attributes,
                   const struct stat *st, uint32_t size);
/* Adds the entries of the name's long form, if it has one. */
void fat_add_long_name(struct strbuf *dir, const struct fat_name *name);
void fat_add_label(struct strbuf *dir, const uint8_t *label);
void fat_set_cluster(uint8_t *entry, uint32_t cluster);

/* ---- the tree (tree.c) ---- */

/* A directory, or a file that is not empty. */
struct fat_file {
    uint32_t first, count; /* clusters, one behind the other; count 0: the root directory without */
    uint32_t size;         /* bytes of a file, or of a directory's entries */
    bool is_dir;
    uint32_t parent;  /* index of its directory; of the root its own */
    char *name;       /* in its directory; of the root the path that was given */
    uint8_t *entries; /* of a directory, up to the last one; NULL: a file, or none */
    size_t entry;     /* where its own stands in the parent's entries */
    dev_t dev;
    ino_t ino;
};

struct fat_tree {
    struct fat_file *files; /* ascending by first; the root is the first of all */
    size_t count, room;
    uint32_t used;    /* clusters */
    size_t dir_bytes; /* of all directories' entries */
};

/*
 * Lists `dir` and all below it.  label: NULL for none.  Returns 0, or -errno with err; then there
 * is nothing to free.
 */
int fat_tree_read(struct world *w, const struct fat_layout *l, const char *dir,
                  const uint8_t *label, struct fat_tree *t, struct error **err);
void fat_tree_free(struct fat_tree *t);
/* The file that has the cluster, or NULL; *until: the first cluster behind it that has another. */
const struct fat_file *fat_tree_find(const struct fat_tree *t, uint32_t cluster, uint32_t *until);
/* Bytes [offset, offset + bytes) of a directory; zeroes behind its entries. */
void fat_dir_read(const struct fat_file *f, size_t offset, uint8_t *buf, size_t bytes);
/* The path on the host, for mem_free(). */
char *fat_tree_path(const struct fat_tree *t, const struct fat_file *f);
/* Sector `i` of a FAT; buf: FAT_SECTOR bytes, zeroed. */
void fat_put_table(const struct fat_layout *l, const struct fat_tree *t, uint32_t i, uint8_t *buf);

#endif
