/*
 * The rule engine: blkdebug's language.
 *
 * Models: one integer state (1 at first), rules that fire on events, the active set of injected
 * errors, and the table of breakpoints, all as plain data.  Leaves out: waiting.  The filter above
 * suspends a request while fault_suspended() says so, and turns a verdict into the request's
 * result.
 *
 * Semantics (observed on QEMU 7.2, see docs/fault-rules.md for our extension):
 * - fault_rules_event() evaluates all rules of the event with the state at entry; state changes
 * count from the next event on.  Where several set-state rules match, the first of the file wins.
 * - inject-error rules that match make up the *active set*; it replaces the former one as soon as
 * one rule matches, and stays when none does.  Active rules apply to every later request, in file
 * order: the first one whose iotype and sector match decides.
 * - sector N matches a request that contains byte 512 * N, the first of that sector; -1 is any.
 * - errno 0 lets the request pass, hides the rules behind it, and is not used up by `once`.
 *   A negative errno makes the request report success without doing anything (-error > 0 is
 * success).
 * - Breakpoints: all that match an event hold the same request, the last set first; it goes on when
 * every one of them was resumed.  Activation comes before suspension. Ours: `label = "GLOB"` (only
 * events of requests whose tag matches) and `scope = "request"` (the error hits only requests whose
 * tag matches; needs label).
 */
#ifndef BLKREF_FAULT_RULES_H
#define BLKREF_FAULT_RULES_H

#include <stdbool.h>
#include <stdint.h>
#include "fault/label.h"
#include "ref/base/error.h"
#include "ref/base/value.h"

/* BlkdebugIOType, in its order. */
enum fault_iotype {
    FAULT_IO_READ,
    FAULT_IO_WRITE,
    FAULT_IO_WRITE_ZEROES,
    FAULT_IO_DISCARD,
    FAULT_IO_FLUSH,
    FAULT_IO_BLOCK_STATUS,
    FAULT_IO_COUNT,
};
const char *fault_iotype_name(enum fault_iotype t);
int fault_iotype_parse(const char *name); /* -1 unknown */

/* What the rules look at: bytes of the node the rules sit on; flush: offset 0, bytes 0. */
struct fault_request {
    enum fault_iotype iotype;
    int64_t offset, bytes;
    const char *tag; /* NULL: untagged; matches no glob */
};

struct fault_rules;

struct fault_rules *fault_rules_new(void);
void fault_rules_free(struct fault_rules *r);

/*
 * Reading rules.  These collect sections and check syntax, names and types of keys;
 * fault_rules_build() then checks events and io types and puts the rules in force (config first,
 * then options; inject-error before set-state).  Messages are QEMU's.  Return 0 or -errno with err.
 */
int fault_rules_parse_config(struct fault_rules *r, const char *text, struct error **err);
/*
 * Takes `inject-error` and `set-state` (nested, or flat "inject-error.0.event") out of options.  A
 * form that cannot be a section (a scalar, an empty list) stays for the caller to complain about.
 */
int fault_rules_take_options(struct fault_rules *r, struct value *options, struct error **err);
int fault_rules_build(struct fault_rules *r, struct error **err);

/*
 * Event `ev` happens on behalf of q (NULL: no request, as for `none` at opening, which the filter
 * fires once after building).  Returns how many breakpoints now hold `owner` because of it; owner
 * names the request in the calls below and may be NULL only where nothing can be suspended
 * (breakpoints are passed over then).
 */
int fault_rules_event(struct fault_rules *r, enum label ev, const struct fault_request *q,
                      void *owner);
/* A request arrives, before any event: label-only breakpoints (event "-") stop it here.  As above.
 */
int fault_rules_submit(struct fault_rules *r, const struct fault_request *q, void *owner);

struct fault_error {
    bool inject;
    int error;        /* as in the rule: return -error */
    bool immediately; /* fail before anything else happens, without a scheduling point */
};
/* The verdict on one request that reaches the disk; uses up a `once` rule. */
struct fault_error fault_rules_decide(struct fault_rules *r, const struct fault_request *q);

/* ---- breakpoints ---- */
struct fault_break_filter {
    const char *label; /* glob on the request's tag, or NULL */
    unsigned nth;      /* fires at the nth match; 0 and 1: the first */
    int64_t sector;    /* -1: any; else a request that overlaps this 512-byte sector */
};
/* event: a label's name, or "-" with a label filter.  -ENOENT: no such event; -EINVAL: "-" without
 * label. */
int fault_break_set(struct fault_rules *r, const char *event, const char *tag,
                    const struct fault_break_filter *f);
/*
 * Drops breakpoints named tag and resumes every request they hold.  0, or -ENOENT when none was
 * still set (also when requests were resumed).
 */
int fault_break_remove(struct fault_rules *r, const char *tag);
/* Lifts the newest suspension named tag; *owner (may be NULL) is the request it held.  0 or
 * -ENOENT. */
int fault_break_resume(struct fault_rules *r, const char *tag, void **owner);
/* Lifts every suspension (close). */
void fault_break_resume_all(struct fault_rules *r);
/* Is some request held under tag? */
bool fault_break_suspended(const struct fault_rules *r, const char *tag);
/* How many suspensions hold owner; it may go on at 0. */
int fault_suspended(const struct fault_rules *r, const void *owner);
/* Called on every suspension and resumption ("blkdebug: Suspended request 'TAG'"); owner to wake
 * when held is 0. */
typedef void fault_break_notice(void *opaque, bool suspended, const char *tag, void *owner);
void fault_break_on_change(struct fault_rules *r, fault_break_notice *fn, void *opaque);

#endif
