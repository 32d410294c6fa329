/*
 * Graph changes: attach, detach, replace, permissions, blockers; prepared, then committed or
 * aborted.
 *
 * A change list (struct graph_tx) collects steps, each with commit, abort and clean.  Permissions
 * are cumulative: what a node's parents use and share, translated by its driver's child_perm for
 * each child, all the way down; refused with "Permission conflict on node 'N': permissions 'write'
 * are both required by X (uses node 'N' as 'file' child) and unshared by Y (uses node 'N' as 'root'
 * child)."
 */
#ifndef BLKREF_BLOCK_GRAPH_H
#define BLKREF_BLOCK_GRAPH_H

#include "ref/block/node.h"

struct graph_tx;
struct graph_tx *graph_tx_new(struct world *w);
struct graph_action {
    void (*commit)(void *arg);
    void (*abort)(void *arg);
    void (*clean)(void *arg);
};
/* The step keeps a copy of the argument's `size` bytes, and returns it. */
void *graph_tx_add(struct graph_tx *tx, const struct graph_action *a, const void *arg, size_t size);
void graph_tx_commit(struct graph_tx *tx); /* in order, then clean; frees tx */
void graph_tx_abort(struct graph_tx *tx);  /* in reverse order, then clean; frees tx */

/* Edge from anything to a node: takes over the caller's reference to n (also on failure). NULL with
 * err. */
struct child *graph_attach_root(struct node *n, const char *name, const struct child_class *cls,
                                unsigned role, unsigned perm, unsigned shared, void *parent,
                                struct error **err);
/* Points a root edge at another node (takes its own reference). */
int graph_replace_root(struct child *c, struct node *n, struct error **err);
void graph_detach_root(struct child *c); /* drops the edge and its reference */
/* Node to node; sets n->file / n->backing by name and role. Takes over child's reference. */
struct child *graph_attach(struct node *n, struct node *child, const char *name, unsigned role,
                           struct error **err);
void graph_detach(struct node *n, struct child *c);
/* Makes `backing` (or NULL) the backing node of n; refuses cycles, frozen edges, conflicting
 * permissions. */
int graph_set_backing(struct node *n, struct node *backing, struct error **err);
/* -EINVAL where n's driver has no backing files, or `to` may not be its backing file. */
int graph_check_backing(struct node *n, struct node *to, struct error **err);
int graph_set_file(struct node *n, struct node *file, struct error **err);
/* All parents of `from` (that may change) point at `to` afterwards. */
int graph_replace_node(struct node *from, struct node *to, struct error **err);
/* Puts `top` (without backing) over n: top's backing (or file for filters) becomes n, n's parents
 * move to top. */
int graph_append(struct node *top, struct node *n, struct error **err);
/* Opens a node with options, its child key ("file"/"backing"...) being n, and moves n's parents to
 * it. */
struct node *graph_insert(struct node *n, struct value *options, unsigned flags,
                          struct error **err);
/*
 * Drops nodes between top and base from the chain (after a commit or stream).  With undo, *undo
 * remembers what stood on top, until it is put back (as far as it still stands on base; what cannot
 * be is warned of) or forgotten.
 */
struct graph_drop;
int graph_drop_intermediate(struct node *top, struct node *base, const char *backing_file_str,
                            struct graph_drop **undo, struct error **err);
void graph_drop_undo(struct graph_drop *d);
void graph_drop_forget(struct graph_drop *d);
bool graph_chain_contains(const struct node *top, const struct node *base);
struct node *graph_find_overlay(struct node *active, struct node *n);
/* Backing image of n whose (absolute) filename is `name`. */
struct node *graph_find_backing_image(struct node *n, const char *name);
/* The same by a name that opens it from here. */
struct node *graph_find_backing_file(struct node *n, const char *full);
int graph_freeze_chain(struct node *top, struct node *base, struct error **err);
void graph_unfreeze_chain(struct node *top, struct node *base);

/*
 * Drain's view of edges: an edge's parent is told once while its node is quiesced, also when the
 * edge moves to another node.  node_quiesce() (io.h) calls these for every parent when n->quiesce
 * leaves or reaches 0.
 */
void child_quiesce_parent(struct child *c);
void child_unquiesce_parent(struct child *c);

int child_set_perm(struct child *c, unsigned perm, unsigned shared, struct error **err);
/* Recomputes permissions below n; call when what the driver needs has changed. */
int node_refresh_perms(struct node *n, struct error **err);
void node_cumulative_perms(const struct node *n, unsigned *perm, unsigned *shared);
const char *perm_name(enum perm p); /* "consistent read", "write", ... */
char *perm_names(unsigned perm);    /* joined by ", "; caller frees */
/* Default rules by role and kind: filters pass through, formats own file and share backing. */
void child_perm_default(struct node *n, struct child *c, unsigned role, struct reopen *r,
                        unsigned perm, unsigned shared, unsigned *nperm, unsigned *nshared);

/* Op blockers: which operation may run beside which. */
enum blocker_op {
    BLOCK_OP_BACKUP_SOURCE,
    BLOCK_OP_BACKUP_TARGET,
    BLOCK_OP_CHANGE,
    BLOCK_OP_COMMIT_SOURCE,
    BLOCK_OP_COMMIT_TARGET,
    BLOCK_OP_DRIVE_DEL,
    BLOCK_OP_EJECT,
    BLOCK_OP_EXTERNAL_SNAPSHOT,
    BLOCK_OP_INTERNAL_SNAPSHOT,
    BLOCK_OP_INTERNAL_SNAPSHOT_DELETE,
    BLOCK_OP_MIRROR_SOURCE,
    BLOCK_OP_MIRROR_TARGET,
    BLOCK_OP_RESIZE,
    BLOCK_OP_STREAM,
    BLOCK_OP_REPLACE,
    BLOCK_OP_COUNT,
};
/* The reason is shared, not owned, and identifies the blocker. */
void node_block_op(struct node *n, enum blocker_op op, const struct error *reason);
void node_unblock_op(struct node *n, enum blocker_op op, const struct error *reason);
void node_block_all(struct node *n, const struct error *reason);
void node_unblock_all(struct node *n, const struct error *reason);
bool node_op_blocked(struct node *n, enum blocker_op op, struct error **err);

#endif
