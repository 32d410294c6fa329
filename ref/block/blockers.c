/*
 * Op blockers: which operation may run beside which.
 *
 * A user of a node blocks operations on it with a reason; the reason's address identifies the
 * blocker.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/graph.h"

struct blocker {
    struct list link;
    const struct error *reason;
};

_Static_assert(BLOCK_OP_COUNT <= ARRAY_SIZE(((struct node *)0)->blockers),
               "room for every operation");

void node_block_op(struct node *n, enum blocker_op op, const struct error *reason)
{
    struct blocker *b = mem_alloc(sizeof(*b));
    assert(op < BLOCK_OP_COUNT && reason);
    b->reason = reason;
    list_push_front(&n->blockers[op], &b->link);
}

void node_unblock_op(struct node *n, enum blocker_op op, const struct error *reason)
{
    struct blocker *b, *next;
    LIST_FOREACH_SAFE (b, next, &n->blockers[op], link) {
        if (b->reason == reason) {
            list_remove(&b->link);
            mem_free(b);
        }
    }
}

void node_block_all(struct node *n, const struct error *reason)
{
    for (int op = 0; op < BLOCK_OP_COUNT; op++) {
        node_block_op(n, op, reason);
    }
}

void node_unblock_all(struct node *n, const struct error *reason)
{
    for (int op = 0; op < BLOCK_OP_COUNT; op++) {
        node_unblock_op(n, op, reason);
    }
}

bool node_op_blocked(struct node *n, enum blocker_op op, struct error **err)
{
    if (list_empty(&n->blockers[op])) {
        return false;
    }
    const struct blocker *b = LIST_FIRST(&n->blockers[op], struct blocker, link);
    error_set(err, EBUSY, "Node '%s' is busy: %s", node_device_or_name(n), b->reason->msg);
    return true;
}
