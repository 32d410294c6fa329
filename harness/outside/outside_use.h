/*
 * Using an image further after a cut.
 *
 * Models: what a user does next: 4 KiB written and flushed near the end of the guest's disk must be
 * there and change nothing else; after `check -r all` the check is content and the guest's bytes
 * are as they were.  Leaves out: whether the bytes were lawful before (outside_look.h).
 */
#ifndef BLKREF_HARNESS_OUTSIDE_USE_H
#define BLKREF_HARNESS_OUTSIDE_USE_H

#include "harness/outside/outside_tools.h"

/*
 * The state set is in its files, its guest of `size` bytes in TOOLS_GUEST.  Writes to it, and (when
 * mend) repairs it, as the cut left it.  NULL, or what that breaks; mem_free().
 */
char *outside_use_further(struct outside_tools *t, const struct capture *c,
                          const struct disk_set *set, const char *options, int64_t size, bool mend);

#endif
