/*
 * Breakpoints of the rule engine, as data: which are set, and which hold a request.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "fault/rules_int.h"
#include "ref/base/mem.h"

#define EVENT_SUBMIT (-1)

struct brk {
    struct list link;
    char *tag;
    int event;      /* enum label or EVENT_SUBMIT */
    char *label;    /* glob, or NULL */
    uint64_t left;  /* matches until it fires */
    int64_t sector; /* -1: any */
    void *owner;    /* the request held */
};

static void brk_free(struct brk *b)
{
    list_remove(&b->link);
    mem_free(b->tag);
    mem_free(b->label);
    mem_free(b);
}

void fault_breaks_free(struct fault_rules *r)
{
    struct brk *b, *tmp;

    assert(list_empty(&r->held));
    LIST_FOREACH_SAFE (b, tmp, &r->breaks, link) {
        brk_free(b);
    }
}

int fault_break_set(struct fault_rules *r, const char *event, const char *tag,
                    const struct fault_break_filter *f)
{
    int ev = strcmp(event, "-") ? label_parse(event) : EVENT_SUBMIT;

    if (ev == EVENT_SUBMIT && strcmp(event, "-")) {
        return -ENOENT;
    }
    if (ev == EVENT_SUBMIT && !(f && f->label)) {
        return -EINVAL;
    }
    struct brk *b = mem_zalloc(sizeof(*b));
    b->tag = str_dup(tag);
    b->event = ev;
    b->label = str_dup(f ? f->label : NULL);
    b->left = f && f->nth ? f->nth : 1;
    b->sector = f ? f->sector : -1;
    list_push_front(&r->breaks, &b->link);
    return 0;
}

static bool touches_sector(int64_t sector, const struct fault_request *q)
{
    if (sector == -1) {
        return true;
    }
    return q && q->bytes > 0 && sector >= q->offset / 512 &&
           sector <= (q->offset + q->bytes - 1) / 512;
}

int fault_breaks_fire(struct fault_rules *r, int ev, const struct fault_request *q, void *owner)
{
    struct list hit;
    struct brk *b, *tmp;
    int n = 0;

    if (!owner || list_empty(&r->breaks)) {
        return 0;
    }
    list_init(&hit);
    LIST_FOREACH_SAFE (b, tmp, &r->breaks, link) {
        if (b->event == ev && fault_tag_matches(b->label, q) && touches_sector(b->sector, q) &&
            --b->left == 0) {
            list_remove(&b->link);
            list_push(&hit, &b->link);
        }
    }
    while (!list_empty(&hit)) {
        b = LIST_FIRST(&hit, struct brk, link);
        list_remove(&b->link);
        list_push_front(&r->held, &b->link);
        b->owner = owner;
        n++;
        if (r->notice) {
            r->notice(r->notice_opaque, true, b->tag, owner);
        }
    }
    return n;
}

int fault_rules_submit(struct fault_rules *r, const struct fault_request *q, void *owner)
{
    return fault_breaks_fire(r, EVENT_SUBMIT, q, owner);
}

/* Lifts b; the notice may look at the engine, b is gone by then. */
static void *lift(struct fault_rules *r, struct brk *b)
{
    void *owner = b->owner;
    char *tag = str_dup(b->tag);

    brk_free(b);
    if (r->notice) {
        r->notice(r->notice_opaque, false, tag, owner);
    }
    mem_free(tag);
    return owner;
}

static struct brk *find(const struct list *l, const char *tag)
{
    struct brk *b;
    LIST_FOREACH (b, l, link) {
        if (!tag || !strcmp(b->tag, tag)) {
            return b;
        }
    }
    return NULL;
}

int fault_break_resume(struct fault_rules *r, const char *tag, void **owner)
{
    struct brk *b = find(&r->held, tag);

    if (!b) {
        return -ENOENT;
    }
    void *o = lift(r, b);
    if (owner) {
        *owner = o;
    }
    return 0;
}

void fault_break_resume_all(struct fault_rules *r)
{
    struct brk *b;
    while ((b = find(&r->held, NULL))) {
        lift(r, b);
    }
}

int fault_break_remove(struct fault_rules *r, const char *tag)
{
    struct brk *b;
    int ret = -ENOENT;

    while ((b = find(&r->breaks, tag))) {
        brk_free(b);
        ret = 0;
    }
    while ((b = find(&r->held, tag))) {
        lift(r, b);
    }
    return ret;
}

bool fault_break_suspended(const struct fault_rules *r, const char *tag)
{
    return find(&r->held, tag) != NULL;
}

int fault_suspended(const struct fault_rules *r, const void *owner)
{
    const struct brk *b;
    int n = 0;
    LIST_FOREACH (b, &r->held, link) {
        n += b->owner == owner;
    }
    return n;
}

void fault_break_on_change(struct fault_rules *r, fault_break_notice *fn, void *opaque)
{
    r->notice = fn;
    r->notice_opaque = opaque;
}
