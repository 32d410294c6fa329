/*
 * What the checkers of whole images share: reading within limits, the entries of a table, and which
 * stretches of the file something refers to.
 *
 * Memory follows the number of references and work is counted, so that neither depends on what an
 * image claims.  The first error (a limit, no memory, the reader's) ends every loop.  Leaves out:
 * refcounts (qcow2's checker counts references by cluster_map.h).
 */
#ifndef BLKREF_SPECS_WALK_H
#define BLKREF_SPECS_WALK_H

#include "specs/runtime/image.h"

struct spec_range {
    uint64_t start, end, at; /* bytes; at: where it is written */
    unsigned kind;           /* the format's */
};

struct spec_walk {
    const struct spec_image *image;
    const struct spec_format *format;
    const void *params; /* of the format's structures; set by the format before the first check */
    struct spec_report *r;
    uint64_t work, most; /* left; ranges at most */
    int error;
    struct spec_range *ranges;
    size_t n, room;
};

/* limits NULL: 4 Mi ranges, 4 GiB of work. */
void spec_walk_init(struct spec_walk *w, const struct spec_image *image,
                    const struct spec_format *format, const struct spec_limits *limits,
                    struct spec_report *r);
/* Frees what is held; the walk's first error, or 0. */
int spec_walk_end(struct spec_walk *w);
/* Takes n units of work; false once w->error is set. */
bool spec_walk_work(struct spec_walk *w, uint64_t n);
/* Reads bytes; what is behind the end of the file reads as zeroes.  False on an error. */
bool spec_walk_get(struct spec_walk *w, uint64_t offset, void *buf, size_t len);
/* Whether bytes at offset lie in the file. */
bool spec_walk_inside(const struct spec_walk *w, uint64_t offset, uint64_t bytes);
/* spec_structure_check() by name. */
unsigned spec_walk_check(struct spec_walk *w, const char *structure, const uint8_t *p,
                         uint64_t offset);
/*
 * The entries of a table of `entries` of `width` bytes (a power of two up to 8), in order; at: its
 * place in the file.  Those that are zero are passed over when zero_is_nothing.
 */
void spec_walk_table(struct spec_walk *w, uint64_t table, uint64_t entries, unsigned width,
                     bool zero_is_nothing,
                     void (*visit)(struct spec_walk *w, uint64_t index, const uint8_t *p,
                                   uint64_t at));
/* Something written at `at` refers to this range. */
void spec_walk_note(struct spec_walk *w, uint64_t start, uint64_t bytes, unsigned kind,
                    uint64_t at);
/*
 * Sorts the ranges and tells each one that begins inside an earlier one (a, which may be the union
 * of several).
 */
void spec_walk_overlaps(struct spec_walk *w,
                        void (*clash)(struct spec_walk *w, const struct spec_range *a,
                                      const struct spec_range *b));
/* A clash's report, under the clause; names: of the format's kinds. */
void spec_walk_tell_overlap(struct spec_walk *w, const char *clause, const char *const *names,
                            const struct spec_range *a, const struct spec_range *b);
/*
 * Behind spec_walk_overlaps(): tells the stretches of [start, end) that nothing refers to and that
 * have at least `unit` bytes, as leaks under the clause.
 */
void spec_walk_leaks(struct spec_walk *w, uint64_t start, uint64_t end, uint64_t unit,
                     const char *clause);

#endif
