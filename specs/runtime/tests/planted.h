/*
 * Planted defects for the spec checkers of format_checks.h: images made byte by byte in memory, one
 * field of each changed, and the clause under which the checker must report it.
 */
#ifndef BLKREF_SPECS_TESTS_PLANTED_H
#define BLKREF_SPECS_TESTS_PLANTED_H

#include "specs/runtime/format_checks.h"

struct planted {
    const char *clause;
    uint64_t at;
    unsigned width;
    uint64_t value;
};

struct planted_format {
    spec_format_check *check;
    bool big_endian;
    uint64_t size;
    void (*build)(uint8_t *m); /* m: size bytes of zeroes */
    void (*seal)(uint8_t *m);  /* checksums, behind a defect; or NULL */
};

void planted_put(const struct planted_format *f, uint8_t *m, uint64_t at, unsigned width,
                 uint64_t value);
/* The image, sealed; the caller frees it. */
uint8_t *planted_image(const struct planted_format *f);
/* The clause is found violated; NULL: nothing is found at all. */
void planted_expect(const struct planted_format *f, const uint8_t *m, uint64_t size,
                    const char *clause);
/* The promise's condition that holds, or NULL. */
const char *planted_condition(const struct planted_format *f, const uint8_t *m, uint64_t size);
/* How many corruptions and leaks are found. */
uint64_t planted_broken(const struct planted_format *f, const uint8_t *m, uint64_t size);
/* The image is clean; each defect by itself is reported. sealed: with right checksums. */
void planted_each(const struct planted_format *f, bool sealed, const struct planted *defects,
                  size_t n);
/* Too few ranges and too little work end the walk with -EFBIG, a reader's error with that error. */
void planted_limits(const struct planted_format *f);
/* Random damage to bytes [0, upto), and cut-off files: the walk ends within its limits. */
void planted_damage(const struct planted_format *f, uint64_t upto, unsigned rounds);

#endif
