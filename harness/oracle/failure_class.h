/*
 * What kind of failure a finding's text tells of: its numbers taken out.
 *
 * The minimiser must keep to the failure that it began with, and programs that it makes smaller
 * fail at other offsets, in other operations, with other bytes.  Leaves out: whether two texts of
 * one class have one cause.
 */
#ifndef BLKREF_HARNESS_FAILURE_CLASS_H
#define BLKREF_HARNESS_FAILURE_CLASS_H

#include <stdbool.h>

/*
 * The class of a finding's text, mem_free():
 *   a clause of a spec ("spec checker: clause RC-10: ...")   all behind the clause is dropped
 *   lawful bytes ("found 0x01, lawful: ...")                  the list is dropped
 *   where it was seen (" at 3 (write 0 4096 1)")              only the operation's word stays, and
 * of bytes, maps, check and info nothing numbers, also with 0x or a size's letter "#"; of counted
 * things ("0 leaks") whether there are any files' names the last part of them NULL counts as "".
 */
char *failure_class(const char *text);
bool failure_alike(const char *a, const char *b);

/* What the minimiser looks for, when it must be the same failure again. */
struct failure {
    const char *why;
    bool cut; /* it shows behind a power cut */
};
/* Whether a finding counts as that failure; each does when f is NULL. */
bool failure_again(const struct failure *f, const char *why, bool cut);

#endif
