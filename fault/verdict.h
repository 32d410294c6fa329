/*
 * Fault plans: the framework's own faults, richer than blkdebug's.
 *
 * Models: what goes wrong (kind) and when (label, tag, range, operation, k-th occurrence), as a
 * list of entries with counters, plus coverage: how often each label was reached and each entry
 * fired.  Leaves out: doing it.  The simulated disk and filters carry out a verdict; see enum
 * fault_kind for what they owe.
 *
 * All entries that match an event count it; the first of the list that is due gives the verdict.
 */
#ifndef BLKREF_FAULT_VERDICT_H
#define BLKREF_FAULT_VERDICT_H

#include <stdbool.h>
#include <stdint.h>
#include "fault/label.h"
#include "fault/rules.h"
#include "ref/base/error.h"
#include "ref/base/strbuf.h"

enum fault_kind {
    FAULT_NONE,
    FAULT_ERROR,       /* fails with `error`; nothing is done */
    FAULT_SHORT,       /* the first `arg` bytes are done, then it fails with `error` (*) */
    FAULT_TORN,        /* write: only the first `arg` bytes reach the disk; reports success (*) */
    FAULT_LOST,        /* write, discard, flush: nothing is done; reports success */
    FAULT_STALE,       /* read: what the range held before its last write; reports success */
    FAULT_MISDIRECTED, /* done at offset + arg; reports success */
    FAULT_DELAYED,     /* completes `arg` scheduling points (or ns of virtual time) later */
    FAULT_HUNG,        /* never completes, until cancelled */
    FAULT_NOMEM,       /* no I/O: an allocation that may fail (mem_try_*) does */
    FAULT_KIND_COUNT,
};
/* (*) where `arg` is a multiple of 512, to the end of the last whole sector of the disk in them */
const char *fault_kind_name(enum fault_kind k);
/* Bit set of 1 << enum fault_iotype: the operations that a kind makes sense for. */
unsigned fault_kind_iotypes(enum fault_kind k);
/* Reports success although the medium does, or holds, something else. */
bool fault_kind_is_silent(enum fault_kind k);

struct fault_event {
    enum label label;
    struct fault_request req;
};

struct fault_verdict {
    enum fault_kind kind;
    int error; /* positive errno: ERROR, SHORT */
    int64_t arg;
    int entry; /* index in the plan, -1 for none */
};

struct fault_entry {
    enum fault_kind kind;
    int error; /* 0: EIO */
    int64_t arg;
    int label;        /* enum label, or -1: any */
    unsigned iotypes; /* bit set of 1 << enum fault_iotype; 0: all but block-status */
    char *tag;        /* glob on the request's tag, or NULL: any */
    int64_t start,
        end; /* range [start, end) that the request must touch; end 0: any; a flush touches none */
    uint64_t nth; /* first occurrence that fails, from 1; 0 is 1 */
    bool sticky;  /* every later occurrence fails, too; else just that one */
    uint64_t seen, fired;
};

/* Told of each fault that fires, before it does. */
struct fault_watch {
    void (*fires)(struct fault_watch *w, const struct fault_event *ev, const struct fault_entry *e);
};

struct fault_plan {
    struct fault_entry *entries;
    int n, cap;
    uint64_t reached[LABEL_COUNT]; /* events decided, by label */
    uint64_t fired[LABEL_COUNT];   /* of them, with a fault */
    uint32_t iotypes[LABEL_COUNT]; /* what was done under the label: 1 << enum fault_iotype */
    /* Labels that drivers announced on the disk, also those that go with no I/O of their own. */
    uint64_t announced[LABEL_COUNT];
    uint64_t allocations;      /* that might fail */
    struct fault_watch *watch; /* NULL: nobody */
};

void fault_plan_init(struct fault_plan *p);
void fault_plan_destroy(struct fault_plan *p);
/* Copies *e (tag included; counters start at 0); returns the index. */
int fault_plan_add(struct fault_plan *p, const struct fault_entry *e);
/* Counters to 0, entries stay. */
void fault_plan_reset(struct fault_plan *p);
struct fault_verdict fault_plan_decide(struct fault_plan *p, const struct fault_event *ev);
/* How many bytes of a request of `bytes` at `offset` are done before a short or torn end at `arg`:
 * up to a sector's end where arg counts sectors, else just as many. */
int64_t fault_part(int64_t arg, int64_t offset, int64_t bytes);

/*
 * Text form, one entry:
 * "kind[:ARG][,errno=N][,label=L][,io=TYPE[+TYPE]][,tag=GLOB][,range=START-END][,nth=K]
 * [,sticky]"; entries are separated by ';'.  Parse adds to p: 0 or -EINVAL.  Print gives a text
 * that parses to the same plan.
 */
int fault_plan_parse(struct fault_plan *p, const char *text, struct error **err);
void fault_plan_print(const struct fault_plan *p, struct strbuf *out);
/* An allocation that may fail is made: must it?  Counted, and fired under LABEL_NONE. */
bool fault_plan_nomem(struct fault_plan *p);
/* Silent faults that fired so far under labels of the class (enum label_class). */
uint64_t fault_plan_silent(const struct fault_plan *p, enum label_class class);
/* "label reached fired" lines of the labels reached, in enum order. */
void fault_plan_coverage(const struct fault_plan *p, struct strbuf *out);

#endif
