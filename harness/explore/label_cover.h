/*
 * Label coverage: which of the labels that format drivers name programs reached.
 *
 * Each driver lists why it does I/O (block_driver.labels).  A label that no program reached is a
 * finding, and so is one that was met and stands in no list.  Leaves out: programs that reach them
 * (crash_programs.h).
 */
#ifndef BLKREF_HARNESS_LABEL_COVER_H
#define BLKREF_HARNESS_LABEL_COVER_H

#include "harness/explore/fault_explore.h"
#include "ref/block/driver.h"

struct label_cover;
/* Of the list's drivers that name labels. */
struct label_cover *label_cover_new(const struct driver_list *drivers);
void label_cover_free(struct label_cover *c);
/* Formats in the list's order; NULL behind the last. */
const char *label_cover_format(const struct label_cover *c, size_t i);
/* What programs on images of that format met. */
void label_cover_add(struct label_cover *c, const char *format, const struct fault_counts *n);
void label_cover_sum(struct label_cover *to, const struct label_cover *from);

/* A line for each label of each format: of the list, and of what was met besides. */
struct label_line {
    const char *format;
    enum label label;
    uint64_t reached;
    const uint64_t *failed; /* by fault mode */
    const char *wrong;      /* why it is a finding, or NULL */
};
void label_cover_each(const struct label_cover *c,
                      void (*line)(void *opaque, const struct label_line *l), void *opaque);

#endif
