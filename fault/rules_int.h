/*
 * What rules.c and breaks.c share.  Nobody else includes this.
 */
#ifndef BLKREF_FAULT_RULES_INT_H
#define BLKREF_FAULT_RULES_INT_H

#include "fault/rules.h"
#include "ref/base/list.h"

struct rule {
    struct list link;   /* fault_rules.rules[event], in file order */
    struct list active; /* fault_rules.active, or empty */
    bool set_state;
    int state;        /* 0: any */
    char *label;      /* glob on the tag, or NULL */
    int new_state;    /* set-state */
    unsigned iotypes; /* inject-error: 1 << enum fault_iotype */
    int error;
    int64_t sector; /* -1: any */
    bool once, immediately, scope_request;
};

struct fault_rules {
    int state;
    struct list rules[LABEL_COUNT];
    struct list active;       /* struct rule, the first that matches decides */
    struct list breaks, held; /* struct brk: set (newest first), holding a request (newest first) */
    fault_break_notice *notice;
    void *notice_opaque;
    struct value *sections[2]; /* read, not built yet: inject-error, set-state */
    struct value *ids[2];      /* of config sections */
};

bool fault_tag_matches(const char *glob, const struct fault_request *q);
int fault_breaks_fire(struct fault_rules *r, int ev, const struct fault_request *q, void *owner);
void fault_breaks_free(struct fault_rules *r);

#endif
