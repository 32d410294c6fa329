/*
 * Tracked requests: which requests are in flight on a node, and which must wait for which.
 *
 * A serialising request (an unaligned write, copy-on-read, a growing truncate) excludes every
 * request that overlaps the blocks it touches.  Requests wait once, before their first I/O, so any
 * order is right, and a request that itself waits is passed by: there are no cycles.
 */
#include <assert.h>
#include "ref/block/io_impl.h"

void io_begin(struct io *io, struct child *c, struct node *n, enum req_op op, int64_t offset,
              int64_t bytes, enum label label, const struct request *parent)
{
    io->n = n;
    io->c = c;
    io->label = label;
    io->parent = parent;
    io->t = (struct tracked){
        .op = op,
        .offset = offset,
        .bytes = bytes,
        .overlap_offset = offset,
        .overlap_bytes = bytes,
        .co = co_self(n->w),
    };
    n->in_flight++;
    list_push(&n->tracked, &io->t.link);
}

/* Waiters run later, when t is gone: they must not point at it any more. */
static void wake_waiters(struct node *n, struct tracked *t)
{
    struct tracked *other;
    LIST_FOREACH (other, &n->tracked, link) {
        if (other->waiting_for == t) {
            other->waiting_for = NULL;
        }
    }
    waitq_wake_all(n->w, &t->waiters);
}

void io_end(struct io *io)
{
    struct node *n = io->n;
    if (io->t.serialising) {
        assert(n->serialising > 0);
        n->serialising--;
    }
    list_remove(&io->t.link);
    if (!waitq_empty(&io->t.waiters)) {
        wake_waiters(n, &io->t);
    }
    node_dec_in_flight(n);
}

static bool overlap(const struct tracked *a, const struct tracked *b)
{
    return a->overlap_offset < b->overlap_offset + b->overlap_bytes &&
           b->overlap_offset < a->overlap_offset + a->overlap_bytes;
}

/*
 * A request that waits and has done no I/O yet will look again, and then find us: it is passed by.
 * So is one that waits, through others, for `self`.
 */
static bool may_pass(const struct tracked *t, const struct tracked *self)
{
    if (t->waiting_for && !t->begun) {
        return true;
    }
    for (t = t->waiting_for; t; t = t->waiting_for) {
        if (t == self) {
            return true;
        }
    }
    return false;
}

static struct tracked *find_conflict(struct node *n, const struct tracked *self)
{
    struct tracked *t;
    if (!n->serialising) {
        return NULL;
    }
    LIST_FOREACH (t, &n->tracked, link) {
        if (t != self && (t->serialising || self->serialising) && overlap(t, self) &&
            !may_pass(t, self)) {
            assert(t->co != co_self(n->w)); /* a request cannot wait for its own caller */
            return t;
        }
    }
    return NULL;
}

bool tracked_conflicts(struct node *n, struct tracked *t)
{
    return !t->started && find_conflict(n, t) != NULL;
}

void tracked_wait(struct node *n, struct tracked *self)
{
    struct tracked *t;
    if (self->started) {
        return;
    }
    while ((t = find_conflict(n, self)) != NULL) {
        self->waiting_for = t;
        waitq_wait(n->w, &t->waiters);
        self->waiting_for = NULL;
    }
    self->started = self->begun = true;
}

void tracked_set_serialising(struct node *n, struct tracked *t, uint64_t align)
{
    int64_t start = ROUND_DOWN(t->offset, (int64_t)align);
    int64_t end = ROUND_UP(t->offset + t->bytes, (int64_t)align);
    int64_t old_end = t->overlap_offset + t->overlap_bytes;
    if (t->serialising && start >= t->overlap_offset && end <= old_end) {
        return;
    }
    if (!t->serialising) {
        t->serialising = true;
        n->serialising++;
    }
    t->overlap_offset = MIN(start, t->overlap_offset);
    t->overlap_bytes = MAX(end, old_end) - t->overlap_offset;
    t->started = false;
}

void tracked_make_serialising(struct node *n, struct tracked *t, uint64_t align)
{
    tracked_set_serialising(n, t, align);
    tracked_wait(n, t);
}

struct tracked *tracked_self(struct node *n)
{
    struct tracked *t;
    struct co *co = co_self(n->w);
    LIST_FOREACH (t, &n->tracked, link) {
        if (t->co == co) {
            return t;
        }
    }
    return NULL;
}
