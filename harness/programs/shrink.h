/*
 * The minimiser: the smallest program that still fails.
 *
 * Drops operations (halves first), then image options, then makes offsets and sizes smaller, as
 * long as the caller's test still fails; bounded by a number of attempts.  The same for where a
 * program fails: the faults and the schedule (shrink_where.c).
 */
#ifndef BLKREF_HARNESS_SHRINK_H
#define BLKREF_HARNESS_SHRINK_H

#include "trace/op.h"

typedef bool shrink_test(const struct program *p, void *opaque); /* true: fails as before */

/* Changes *p in place; returns the number of attempts made. */
unsigned shrink_program(struct program *p, shrink_test *fails, void *opaque, unsigned max_attempts);

#define SHRINKS_A_STAGE 4 /* findings shrunk in one stage: the rest are reported as they are */

/* text: a fault plan, or a schedule's id; NULL: no faults. */
typedef bool shrink_text_test(const char *text, void *opaque);

/*
 * Fewer faults (may_vanish: down to none, *plan is NULL then), each once instead of from then on,
 * and earlier.  *plan is replaced; returns the number of attempts.
 */
unsigned shrink_faults(char **plan, bool may_vanish, shrink_text_test *fails, void *opaque,
                       unsigned max_attempts);
/* Fewer choices that are not the first one; as above. */
unsigned shrink_schedule(char **id, shrink_text_test *fails, void *opaque, unsigned max_attempts);

#endif
