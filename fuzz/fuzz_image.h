/*
 * Fuzzing image formats: one iteration, seed images, and mutations that know the formats.
 *
 * An iteration opens an image on a simulated disk in a world of its own, has driver and spec
 * checker look at it, walks, reads, writes, compresses, takes and deletes snapshots, resizes,
 * closes, opens again with repair: what the driver can.  Names found in images open simulated disks
 * alone; memory and work are bounded.  Leaves out: who makes the images (fuzz/main: AFL++;
 * fuzz_mutate(): a seeded mutator); raw and vvfat, which have no metadata in a file.
 *
 * What is special about a format is its line in formats.c.
 */
#ifndef BLKREF_FUZZ_IMAGE_H
#define BLKREF_FUZZ_IMAGE_H

#include "fault/disk.h"
#include "fault/disklog.h"
#include "ref/base/error.h"
#include "ref/base/rng.h"
#include "ref/base/strbuf.h"
#include "ref/base/value.h"
#include "ref/engine/world.h"
#include "specs/runtime/spec.h"

enum {
    FUZZ_MAX_INPUT = 1 << 20,  /* bytes of a packed image that are looked at */
    FUZZ_MAX_IMAGE = 64 << 20, /* bytes of an image's file */
    FUZZ_MAX_PLACES = 40,      /* structures and tables of one image that are changed */
    FUZZ_DISK = 64 << 10,      /* bytes of the guest's disk of seed images */
};

#define FUZZ_SECRET   "fuzz" /* id of the password of encrypted images */
#define FUZZ_PASSWORD "secret"

/* Where structures of the format's spec stand in one image, and its tables of places. */
struct fuzz_layout {
    struct fuzz_place {
        const char *structure;
        int64_t at;
    } place[FUZZ_MAX_PLACES];
    struct fuzz_table {
        int64_t at;
        unsigned width, unit; /* bytes: of an entry; that one step of its value stands for */
        bool big_endian;
        uint64_t n;
    } table[FUZZ_MAX_PLACES];
    unsigned places, tables;
};

enum fuzz_seed_flag {
    SEED_UNTOUCHED = 1, /* nothing is written to it */
    SEED_SNAPSHOT = 2,
    SEED_COMPRESSED = 4,
    SEED_BACKING = 8, /* on "sim:base" */
    SEED_NAMES = 16,  /* names a file of the host, or itself: does not open */
    SEED_UNCLEAN = 32 /* a check may find something, or says nothing about such images */
};

struct fuzz_making; /* seeds_int.h */

struct fuzz_recipe {
    const char *name, *options; /* options NULL: made by hand alone */
    unsigned flags;
    /* Behind creating and writing; 0 or -errno. */
    int (*make)(struct fuzz_making *m);
};

struct fuzz_format {
    const char *name;   /* of results, the target's argument */
    const char *driver; /* of images, and of the spec */
    unsigned share;     /* of time and images, in hundredths of qcow2's */
    bool read_only;
    bool weak_check;    /* the driver's check looks at a part, as QEMU's: the spec checker judges */
    bool judges_places; /* guest data must stay off metadata, see qcow2_places.c */
    size_t memory; /* bytes in one piece that an image may make the driver ask for; 0: 32 MiB */
    const char *base_options; /* the backing file is an image of the format; NULL: raw bytes */
    const struct spec_format *(*spec)(void);
    void (*layout)(const struct disk *d, struct fuzz_layout *l);
    void (*seal)(struct disk *d);                              /* makes checksums right; NULL */
    void (*options)(const struct disk *d, struct value *opts); /* how to open it; NULL */
    const char *(*extent)(const struct disk *d); /* vmdk: type of an extent that a descriptor names;
                                                    NULL: the image is opened itself */
    const struct fuzz_recipe *recipes;           /* seed images; ends with name NULL */
};

extern const struct fuzz_format fuzz_formats[]; /* ends with name NULL; the first is qcow2 */
const struct fuzz_format *fuzz_format_find(const char *name); /* NULL: none */
unsigned fuzz_format_count(void);

enum fuzz_plant {
    FUZZ_PLANT_NONE,
    FUZZ_PLANT_FLIP_BYTE, /* a byte of each read is wrong */
    FUZZ_PLANT_MEMORY,    /* more than the format's limits is asked for */
    FUZZ_PLANT_ALIGNMENT, /* a write goes to a place that is no cluster */
    FUZZ_PLANT_NAME,      /* a file that no image may name is opened */
    FUZZ_PLANT_HANG       /* a request waits for nobody */
};

struct fuzz {
    struct process *process;
    const struct profile *profile;
    const struct fuzz_format *format;
    struct disk_pool *pool; /* of all images, bounded */
    struct disk *base;      /* "sim:base" */
    enum fuzz_plant plant;
    /* Counted over iterations. */
    uint64_t runs, opened, clean, wrote, kept;
};

/* process stays the caller's.  0, or -errno with err: nothing is there then. */
int fuzz_start(struct fuzz *f, struct process *process, const struct profile *profile,
               const struct fuzz_format *format, struct error **err);
void fuzz_end(struct fuzz *f);

/*
 * One iteration.  0, or -EILSEQ with err when the block layer broke its word: it hung; an image
 * that driver or spec checker had found clean did not give back what was written, or what was there
 * before; guest data went over metadata, or to a place that is no cluster; memory beyond the
 * format's limits was asked for; a file of the host was opened.  Crashes are not survived: that is
 * what a fuzzer looks for.
 */
int fuzz_image(struct fuzz *f, const struct disk *image, struct error **err);

/* What metadata of the qcow2 image lies in the range, NULL when none: as header and tables say now.
 */
const char *fuzz_metadata_at(const struct disk *d, int64_t offset, int64_t bytes);

/* ---- seed images ---- */

struct fuzz_seed {
    const struct fuzz_recipe *recipe;
    struct disk *image; /* of f->pool */
    uint32_t *sectors;  /* 512 bytes each: those whose bytes differ from one another */
    size_t n_sectors;
};

/* 0, or -errno with err. */
int fuzz_seed_make(struct fuzz *f, const struct fuzz_recipe *r, struct fuzz_seed *out,
                   struct error **err);
void fuzz_seed_free(struct fuzz_seed *s);

/* ---- mutations ---- */

/* AFL++ dictionary of the values that the spec's fields may have. */
void fuzz_dictionary(const struct fuzz_format *f, struct strbuf *out);
/*
 * Changes 1 to 4 places of d, a clone of the seed image: fields by their spec, entries of tables,
 * words, single bits, the length; in most cases checksums are made right again.
 */
void fuzz_mutate(struct rng *rng, const struct fuzz_format *f, const struct fuzz_seed *seed,
                 struct disk *d);
/*
 * The n-th of a walk: one number of one structure at one of its extremes, checksums made right.
 * False behind the last one.
 */
bool fuzz_extreme(const struct fuzz_format *f, unsigned n, struct disk *d);

/* ---- images as bytes and as text ---- */

/* Only the sectors that are not all zero.  *out by mem_free(). */
size_t fuzz_pack(const struct disk *d, uint8_t **out);
/* Whatever the bytes are, some image; a new disk of the pool. */
struct disk *fuzz_unpack(struct disk_pool *pool, const uint8_t *data, size_t len);
/* "# fuzz: hex FORMAT SIZE", then lines of offset and bytes in hex. */
void fuzz_print(const struct fuzz_format *f, const struct disk *d, struct strbuf *out);
/*
 * The image in a text; *f is its format.  Texts without a format are qcow2 images, all bytes in a
 * row.  NULL with err.
 */
struct disk *fuzz_parse(struct disk_pool *pool, const char *text, const struct fuzz_format **f,
                        struct error **err);

#endif
