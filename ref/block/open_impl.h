/*
 * What open.c, options.c, backing.c and reopen.c share.  Private to ref/block.
 */
#ifndef BLKREF_BLOCK_OPEN_IMPL_H
#define BLKREF_BLOCK_OPEN_IMPL_H

#include "ref/block/open.h"

extern const struct opt_desc node_generic_options[];

/* Flags that a child starts from before its own options override them. */
unsigned inherit_flags(unsigned parent_flags, unsigned role, bool parent_is_format);

struct generic {
    unsigned flags;
    enum detect_zeroes detect_zeroes;
};
/* Takes the generic keys out of opts (driver and node-name too) and applies them to *g. */
int take_generic_options(struct value *opts, struct generic *g, struct error **err);
/* The on/off ones alone, left in place: what children inherit must be known before they are opened.
 */
int read_flag_options(const struct value *opts, unsigned *flags, struct error **err);
/* "backing": null or "" in opts: drops the key and returns true. */
bool take_no_backing(struct world *w, struct value *opts);
bool has_child_options(const struct value *opts, const char *key);
/* Drops "key" and "key.*" from d. */
void drop_child_options(struct value *d, const char *key);

/* node_open() for a child of `parent` (NULL: root); flags are already inherited. */
struct open_request {
    struct world *w;
    const char *filename, *reference;
    struct value *options; /* consumed */
    unsigned flags;
    struct node *parent;
    unsigned depth; /* opens around this one */
    bool no_chain;  /* the backing file is the caller's business */
    struct value *
        *backing_options; /* with no_chain: the node's "backing" and "backing.*" keys, or NULL */
};
struct node *open_request_run(const struct open_request *q, struct error **err);

/* Opens the rest of the chain below n; opts: n's "backing" and "backing.*" keys, consumed, may be
 * NULL. */
int open_backing_chain(struct node *n, struct value *opts, struct error **err);
/* An overlay of base that vanishes when closed, with a reference to base of its own; NULL with err.
 */
struct node *open_temporary_overlay(struct node *base, unsigned flags, struct error **err);
/* By the start of `file`; NULL with err when reading fails, or when not even raw is there. */
const struct block_driver *probe_node(struct node *file, bool *guessed_raw, struct error **err);

#endif
