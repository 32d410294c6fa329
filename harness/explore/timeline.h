/*
 * The time line of a finding, for the report: its operations, what the host did for them, who ran
 * when, what failed, and the guest's map before and after.
 *
 * Models: comment lines behind a reproducer's program, which reports/timeline.py draws:
 *
 *   # timeline: op BEGAN ENDED TEXT        stamps; 0: it never began, or never ended
 *   # timeline: ended N TEXT               operation N, counted from 0, failed so
 *   # timeline: ran N FROM TO              meanwhile it ran, and the others waited
 *   # timeline: fault T KIND ERROR TYPE OFFSET BYTES LABEL     an I/O that went wrong
 *   # timeline: cut T                      power went
 *   # timeline: host NUMBER ISSUED COMPLETED TYPE DISK OFFSET BYTES LABEL FATE
 *   # map fresh|whole|uncut|end|left OFFSET BYTES data|zero|hole   or why there is none
 *
 * COMPLETED is 0 when it was in flight.  FATE is as in crash.h, of a run without a cut also "ok"
 * and "open".  Maps: the fresh image, the end without the fault, the end without the cut, the end,
 * and what the cut left.  Leaves out: reads of the host that did not fail.
 */
#ifndef BLKREF_HARNESS_TIMELINE_H
#define BLKREF_HARNESS_TIMELINE_H

#include "harness/sandbox/sandbox.h"

#define TIMELINE "# timeline: "

struct timeline_run {
    const char
        *fault; /* plan (verdict.h); "none": an undisturbed run of the fault explorer; NULL */
    const char *schedule; /* id (schedule_explore.h), or NULL: first come, first served */
    const char *state;    /* id of a crash state (crash.h), or NULL: not cut */
    unsigned sector;      /* that it was told in; 0: 512 */
};

/* Runs the program once more, in that way, and appends its time line and maps. */
void timeline_run(struct sandbox *sb, const struct program *p, const struct timeline_run *how,
                  struct strbuf *out);
/* Of a run that was recorded elsewhere; state NULL: not cut. */
void timeline_recorded(const struct recording *rec, const char *state, unsigned sector,
                       struct strbuf *out);
/* How much of a reproducer's text stands before its time line. */
size_t timeline_start(const char *text);

#endif
