/*
 * Opening, reopening, creating: from names and options to nodes.
 *
 * Models: plain names, "proto:..." names, json:{...} names, dotted options, references by node
 * name; probing with its warning; generic options (driver, node-name, read-only, auto-read-only,
 * force-share, cache.direct, cache.no-flush, discard, detect-zeroes, copy-on-read, file, backing);
 * backing chains with cycle detection.
 */
#ifndef BLKREF_BLOCK_OPEN_H
#define BLKREF_BLOCK_OPEN_H

#include "ref/block/node.h"

/*
 * Opens filename (or NULL) and/or `reference` (a node name, or NULL) with options (consumed, may be
 * NULL) and flags.  The caller owns the one reference of the result.  NULL with err.
 */
struct node *node_open(struct world *w, const char *filename, const char *reference,
                       struct value *options, unsigned flags, struct error **err);
/*
 * Opens the child `key` of n from opts ("key" = node name, or "key.*", or filename when key
 * absent), attaches it with role.  allow_none: NULL without err when nothing is specified.  Flags
 * are inherited by role.
 */
struct child *open_child(struct node *n, const char *filename, struct value *opts, const char *key,
                         unsigned role, bool allow_none, struct error **err);
/* For formats with one file: opens "file" as the primary image child. */
int open_file_child(struct node *n, struct value *opts, struct error **err);
/* For filters with one child "file" (ROLE_FILTERED | ROLE_PRIMARY). */
int open_filtered_child(struct node *n, const char *filename, struct value *opts, const char *key,
                        struct error **err);
/* Opens the backing file named in the header (or by "backing.*" options); no-op when there is none.
 */
int node_open_backing(struct node *n, struct value *parent_options, const char *bdref_key,
                      struct error **err);

/* In reopen_prepare: r->flags, r->options (what is left over is refused unless unchanged),
 * r->opaque for the driver. */
struct reopen {
    struct node *node;
    unsigned flags;
    struct value *options;
    enum detect_zeroes detect_zeroes;
    bool backing_missing;
    void *opaque;
    struct list link;
};
/* Reopens n with changed options (consumed); keep_old: keys not given keep their value. */
int node_reopen(struct node *n, struct value *options, bool keep_old, struct error **err);
int node_set_read_only(struct node *n, bool read_only, struct error **err);
/* Several at once, all or nothing: queue is a list of dicts each with "node-name"; for
 * blockdev-reopen. */
int nodes_reopen(struct world *w, struct node **nodes, struct value **options, size_t n,
                 bool keep_old, struct error **err);
/* For drivers that must become read-only (corrupt image, only readable feature): honours
 * auto-read-only. */
int node_apply_auto_read_only(struct node *n, const char *reason, struct error **err);

/* Creates an image of driver drv; opts: flat strings, validated here against create_options (with
 * messages). */
int image_create(struct world *w, const struct block_driver *drv, const char *filename,
                 struct value *opts, struct error **err);
/* The checks that come before anything is said or done: unknown keys and types, not yet the values
 * of enumerations. */
int image_create_check(struct world *w, const struct block_driver *drv, const char *filename,
                       const struct value *opts, struct error **err);
/* drv's create options, then those of the protocol (may be NULL) it does not have itself;
 * mem_free(). */
struct opt_desc *image_create_table(const struct block_driver *drv,
                                    const struct block_driver *protocol);
/* Formats: creates the protocol file below (truncating it), by the name's protocol driver. */
int image_create_file(struct world *w, const char *filename, struct value *opts,
                      struct error **err);

/* A node by device (backend) name, then by node name; NULL names are skipped.  Not referenced. */
struct node *node_lookup(struct world *w, const char *device, const char *node_name,
                         struct error **err);

/* Names. */
bool path_has_protocol(const char *path);
/* "dir of base" + filename unless that is absolute or has a protocol; NULL with err ("Cannot use
 * relative paths with ..."). */
char *path_combine(const char *base, const char *filename);
/* The directory that relative names in this image start from, ending in '/', or "" for the current
 * one; NULL with err. */
char *node_dirname(struct node *n, struct error **err);
char *node_full_backing_filename(struct node *n, struct error **err); /* NULL without err: none */
char *full_backing_filename(const char *backed, const char *backing, struct error **err);
/* Rebuilds filename, exact_filename, full_open_options for n and its children. */
void node_refresh_filename(struct node *n);
/* The graph below differs from what the image itself says (n and below are refreshed). */
bool node_backing_overridden(const struct node *n);
struct value *node_full_open_options(struct node *n);
/* json:{...} or plain to options: NULL with err. */
struct value *parse_json_filename(const char *filename, struct error **err);

/* "writeback", "none", "unsafe", "directsync", "writethrough" to flags and write-through; false:
 * unknown. */
bool parse_cache_mode(const char *mode, unsigned *flags, bool *writethrough);
bool parse_discard_mode(const char *mode, unsigned *flags); /* "ignore" off, "unmap" on */
bool parse_aio_mode(const char *mode, unsigned *flags);     /* threads, native, io_uring */

int node_change_backing_file(struct node *n, const char *backing, const char *format, bool warn);
int node_check(struct node *n, struct check_result *res, unsigned fix);
int node_make_empty(struct node *n, struct error **err);
int node_inactivate_all(struct world *w);
void node_activate_all(struct world *w, struct error **err);

#endif
