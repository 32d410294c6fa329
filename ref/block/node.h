/*
 * Nodes and edges of the block graph.
 *
 * A node is one driver instance.  An edge (struct child) connects a parent (a node, or a backend,
 * job or export through its edge class) with a child node, and carries role, used and shared
 * permissions. Leaves out: how the graph changes (graph.h), opening (open.h), I/O (io.h).
 */
#ifndef BLKREF_BLOCK_NODE_H
#define BLKREF_BLOCK_NODE_H

#include "ref/base/list.h"
#include "ref/base/value.h"
#include "ref/block/driver.h"
#include "ref/block/request.h"
#include "ref/engine/world.h"

enum perm {
    PERM_CONSISTENT_READ = 1 << 0,
    PERM_WRITE = 1 << 1,
    PERM_WRITE_UNCHANGED = 1 << 2,
    PERM_RESIZE = 1 << 3,
    PERM_ALL = (1 << 4) - 1,
};

/* What a child means to its parent node. */
enum child_role {
    ROLE_DATA = 1 << 0,
    ROLE_METADATA = 1 << 1,
    ROLE_FILTERED = 1 << 2, /* parent is a filter of it: same guest content */
    ROLE_COW = 1 << 3,      /* backing */
    ROLE_PRIMARY = 1 << 4,  /* the node that a filename of the parent names */
    ROLE_IMAGE = ROLE_DATA | ROLE_METADATA,
};

struct child;
struct node;
struct blk;

/* Behaviour of an edge's upper end.  Nodes use child_of_node; backends, jobs, exports have their
 * own. */
struct child_class {
    const char *name;
    bool parent_is_node;
    /* "block device 'x'", "node 'y'" for messages; caller frees. */
    char *(*describe)(const struct child *c);
    void (*drained_begin)(struct child *c); /* stop sending new requests */
    bool (*drained_poll)(struct child *c);  /* true while requests are still on their way */
    void (*drained_end)(struct child *c);
    void (*resized)(struct child *c);
    int (*inactivate)(struct child *c);
    void (*activate)(struct child *c, struct error **err);
};
extern const struct child_class child_of_node;

struct child {
    struct node *node; /* lower end; the edge owns a reference */
    void *parent;      /* upper end: struct node * when class->parent_is_node */
    const struct child_class *class;
    char *name;                /* "file", "backing", "data-file", "children.0" ... */
    unsigned role;             /* enum child_role */
    unsigned perm, shared;     /* enum perm */
    bool frozen;               /* a job forbids changing this edge */
    bool parent_quiesced;      /* drained_begin was called for a quiesced node */
    struct list parents_link;  /* in node->parents */
    struct list children_link; /* in parent node->children */
};

struct limits {
    uint32_t request_alignment; /* bytes, power of two, >= 1 */
    int64_t max_transfer;       /* 0: no limit below INT_MAX */
    uint32_t min_mem_alignment, opt_mem_alignment;
    int max_iov;
    int64_t max_discard, discard_alignment;
    int64_t max_zeroes, zeroes_alignment;
    int64_t opt_transfer;
};

enum detect_zeroes { DETECT_ZEROES_OFF, DETECT_ZEROES_ON, DETECT_ZEROES_UNMAP };

/* Open flags of a node (also what a reopen changes). */
enum open_flag {
    OPEN_RDWR = 1 << 0,
    OPEN_RESIZE = 1 << 1,   /* take the resize permission */
    OPEN_NO_CACHE = 1 << 2, /* cache.direct */
    OPEN_NO_FLUSH = 1 << 3, /* cache.no-flush */
    OPEN_UNMAP = 1 << 4,    /* discard=unmap */
    OPEN_NO_BACKING = 1 << 5,
    OPEN_PROTOCOL = 1 << 6, /* filename names a protocol; no format probing */
    OPEN_CHECK = 1 << 7,    /* opened to be checked: no repair on open, tolerate damage */
    OPEN_NO_IO = 1 << 8,    /* metadata only: keys for encrypted data may be missing */
    OPEN_INACTIVE = 1 << 9,
    OPEN_AUTO_RDONLY = 1 << 10,
    OPEN_SNAPSHOT = 1 << 11, /* temporary overlay */
    OPEN_COPY_ON_READ = 1 << 12,
    OPEN_FORCE_SHARE = 1 << 13, /* -U */
    OPEN_NATIVE_AIO = 1 << 14,
    OPEN_IO_URING = 1 << 15,
    OPEN_ALLOW_RDWR = 1 << 16,
    OPEN_NO_DATA_FILE = 1 << 17, /* with OPEN_NO_IO: files that hold data stay closed */
    OPEN_NO_SHARE = 1 << 18,     /* blk_open(): nobody else may write or resize */
};

struct tracked { /* a request in flight on a node; on its issuer's stack */
    struct list link;
    enum req_op op;
    int64_t offset, bytes;                 /* as sent */
    int64_t overlap_offset, overlap_bytes; /* widened to alignment when serialising */
    bool serialising;
    bool started; /* waited for what was before it; does not wait again unless widened */
    bool begun;   /* was started once: may have I/O under way even if it waits again */
    struct co *co;
    struct tracked *waiting_for; /* never circular */
    struct waitq waiters;
};

struct node {
    struct world *w;
    const struct block_driver *drv; /* NULL after a fatal error closed it ("no medium") */
    void *state;                    /* the driver's */
    int refcnt;
    struct list all_link; /* every node of the world */
    char node_name[32];   /* never empty: "#blockNNN" when generated */
    unsigned open_flags;  /* enum open_flag */
    bool read_only;
    bool implicit; /* inserted by a job: hidden from queries */
    bool encrypted, sg;
    bool probed; /* format was guessed: refuse to make block 0 look like another format */
    bool never_freeze;
    enum detect_zeroes detect_zeroes;

    char *filename;        /* as QEMU prints it: plain, or json:{...} (refresh_filename) */
    char *exact_filename;  /* a plain name that opens the same, or "" */
    struct value *options; /* effective options */
    struct value *full_open_options; /* what json: would need */

    /* What the image's header says; may differ from the graph after graph changes. */
    char *backing_file;      /* "" when none; as stored */
    char *auto_backing_file; /* what refresh_filename() of a node opened from it gives */
    char *backing_format;    /* "" when none */

    struct list children; /* of struct child.children_link, newest first */
    struct list parents;  /* of struct child.parents_link */
    struct child *file;   /* the primary child, also in children */
    struct child *backing;

    struct limits limits;
    unsigned write_flags; /* REQ_* that drv->write takes */
    unsigned zero_flags;  /* REQ_* that drv->write_zeroes takes */
    unsigned truncate_flags;
    int64_t length; /* bytes; cached for drivers without variable length */

    struct list tracked;
    struct waitq tracked_done;
    unsigned in_flight, serialising, quiesce;
    unsigned drained_all; /* levels of quiesce that world_drain_all_begin() added */
    struct waitq quiesce_done, idle;
    uint64_t write_gen, flushed_gen; /* flush is a no-op when nothing was written since */
    bool flushed;                    /* since it was opened */
    bool flush_active;
    unsigned flush_held; /* node_hold_flush() */
    struct waitq flush_q;

    struct list blockers[16]; /* op blockers by enum blocker_op */
    struct list dirty_bitmaps;
    struct list write_watches; /* of struct write_watch (io.h) */
    bool wrote_beyond;
    uint64_t wr_highest_offset; /* end of the highest guest write: query-blockstats */
    struct value *(*extra_info)(struct node *n);

    /* The graph's own (perm.c, open.c). */
    struct node *inherits_from; /* parent whose options it inherits; NULL: opened on its own */
    bool followed_header;       /* its backing file is being, or was, opened as the header says, no
                                   options */
    unsigned open_depth;        /* how deep the opens nested that made it */
    struct node
        *pending_file; /* opened before the driver was known; open_child() "file" takes it */
    unsigned used_perm, shared_perm; /* cumulative, as last told to the driver */
    bool perm_dirty;                 /* what children need must be computed again */
    unsigned perm_mark;
    struct reopen *reopening; /* prepared, not yet committed */
};

/* Looks down through filters. */
struct child *node_filtered(const struct node *n);  /* filter child or NULL */
struct child *node_cow_child(const struct node *n); /* backing or NULL */
struct child *node_primary(const struct node *n);   /* ROLE_PRIMARY child or NULL */
struct node *node_skip_filters(struct node *n);
struct node *node_backing_chain_next(struct node *n); /* next non-filter node below, through COW */
bool node_is_filter(const struct node *n);
struct node *node_find(struct world *w, const char *node_name);
struct node *node_next(struct world *w,
                       struct node *n);        /* every node of the world; starts with NULL */
struct node *node_child(const struct node *n); /* n->file's node */
struct node *child_parent_node(const struct child *c); /* NULL when the parent is no node */
const char *node_device_name(const struct node *n);    /* name of a backend right above, or "" */
const char *node_device_or_name(const struct node *n); /* backend's name, else node name */
const char *node_format_name(const struct node *n);

void node_ref(struct node *n);
void node_unref(struct node *n); /* coroutine function: the last one flushes and closes */

#endif
