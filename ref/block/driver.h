/*
 * The driver seam: one const struct block_driver a driver.
 *
 * Every callback that may wait runs in a coroutine.  A driver never calls another driver: it talks
 * to its children through io.h.  NULL callbacks mean "not supported" unless a default is named.
 */
#ifndef BLKREF_BLOCK_DRIVER_H
#define BLKREF_BLOCK_DRIVER_H

#include "ref/base/error.h"
#include "ref/base/options.h"
#include "ref/block/request.h"
#include "ref/block/types.h"

struct node;
struct child;
struct world;
struct reopen;

enum driver_kind { DRIVER_PROTOCOL, DRIVER_FORMAT, DRIVER_FILTER };

struct block_driver {
    const char *name;     /* "qcow2" */
    const char *protocol; /* "nbd" for names "nbd:..."; NULL */
    enum driver_kind kind;
    size_t state_size; /* zeroed node->state of this size; 0: driver allocates */
    bool supports_backing;
    bool variable_length;       /* ask length() each time */
    bool filter_of_backing;     /* filters: the filtered child is "backing", not "file" */
    bool needs_filename;        /* protocol: an open without filename is an error */
    bool internal_only;         /* never probed, not in help lists */
    bool snapshots_in_fallback; /* snapshot ops go to the primary child when NULL here */

    const struct opt_desc *open_options;   /* driver's own keys; others are children or generic */
    const struct opt_desc *create_options; /* for `-o`; size is among them */
    const struct opt_desc *amend_options;
    const char *const
        *strong_options; /* keys that change guest data: go into json: names; NULL: none */
    /* Why it does I/O or announces steps on its children, all of it; ends with LABEL_COUNT. NULL:
     * protocols, filters, and what is read-only. */
    const enum label *labels;

    /* Score 0 (not mine) to 100 on the first bytes of a file; formats only. */
    int (*probe)(const uint8_t *buf, size_t len, const char *filename);
    /* Host devices: score on the name alone. */
    int (*probe_device)(const char *filename);
    /* "nbd:..." names to options; adds to opts. */
    int (*parse_filename)(const char *filename, struct value *opts, struct error **err);

    /*
     * Takes the keys it knows out of opts (what is left over is an error of the caller); opens
     * children with open_child().  On failure everything it made is undone by itself, except
     * children, which the caller detaches.
     */
    int (*open)(struct node *n, struct value *opts, unsigned flags, struct error **err);
    void (*close)(struct node *n);
    /* Reopen that keeps old options: drops from `old` what the new ones contradict, before they are
     * joined. */
    void (*join_options)(struct value *options, struct value *old);
    int (*reopen_prepare)(struct reopen *r, struct error **err);
    void (*reopen_commit)(struct reopen *r);
    void (*reopen_commit_post)(struct reopen *r);
    void (*reopen_abort)(struct reopen *r);

    /* `opts`: flat, strings, checked against create_options. `filename` as the user gave it. */
    int (*create)(struct world *w, const char *filename, struct value *opts, struct error **err);
    /* blockdev-create: `opts` nested, JSON types. */
    int (*create_json)(struct world *w, struct value *opts, struct error **err);
    /* Deletes what create() made (failed creation). */
    int (*delete_file)(struct node *n, struct error **err);

    int (*read)(struct node *n, const struct request *r);
    int (*write)(struct node *n, const struct request *r);
    int (*write_zeroes)(struct node *n,
                        const struct request *r); /* -ENOTSUP: caller writes zeroes */
    int (*discard)(struct node *n, const struct request *r);
    /* NULL: writes through the file child.  Own volatile data to the OS (then children are
     * flushed). */
    int (*flush_to_os)(struct node *n, const struct request *r);
    /* Protocols: to stable storage. */
    int (*flush_to_disk)(struct node *n, const struct request *r);
    /* Formats that must order their own flushes replace both. */
    int (*flush)(struct node *n, const struct request *r);
    /* Writes compressed; NULL: -ENOTSUP for REQ_COMPRESSED. r->bytes == 0 ends the stream. */
    int (*write_compressed)(struct node *n, const struct request *r);
    int (*copy_range_from)(struct node *n, struct child *src, int64_t src_off, struct child *dst,
                           int64_t dst_off, int64_t bytes, unsigned read_flags,
                           unsigned write_flags);
    int (*copy_range_to)(struct node *n, struct child *src, int64_t src_off, struct child *dst,
                         int64_t dst_off, int64_t bytes, unsigned read_flags, unsigned write_flags);

    /*
     * Status of [offset, offset+bytes) at this layer, aligned to request_alignment: flags
     * (STATUS_*) in *out, and for how many bytes from offset it holds (> 0).  precise false: may
     * report DATA where finding zeroes is dear.
     */
    int (*block_status)(struct node *n, bool precise, int64_t offset, int64_t bytes,
                        struct status *out);

    /* `exact`: a longer result (block devices) is an error. */
    int (*truncate)(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                    unsigned flags, struct error **err);
    int64_t (*length)(struct node *n);
    int64_t (*allocated_size)(struct node *n); /* host bytes; NULL: sum over data children */
    void (*refresh_limits)(struct node *n,
                           struct error **err); /* limits are merged from children first */
    /* Fills exact_filename / strips; NULL: generic. */
    void (*refresh_filename)(struct node *n);
    char *(*dirname)(struct node *n, struct error **err);
    void (*gather_child_options)(struct node *n, struct value *target, bool backing_overridden);
    /* NULL: child_perm_default for the kind. Perms that the parent needs from child c, given what
     * its own parents use and share. */
    void (*child_perm)(struct node *n, struct child *c, unsigned role, struct reopen *r,
                       unsigned perm, unsigned shared, unsigned *nperm, unsigned *nshared);
    /* Permission changes become effective on the host (locks, reopen read-write). */
    int (*check_perm)(struct node *n, unsigned perm, unsigned shared, struct error **err);
    void (*set_perm)(struct node *n, unsigned perm, unsigned shared);
    void (*abort_perm)(struct node *n);

    bool (*has_zero_init)(struct node *n); /* a fresh image reads as zeroes */
    int (*info)(struct node *n, struct image_info *out);
    struct value *(*specific_info)(struct node *n,
                                   struct error **err); /* {"type": ..., "data": {...}} or NULL */
    struct value *(*measure)(struct world *w, struct value *opts, struct node *in,
                             struct error **err);
    int (*check)(struct node *n, struct check_result *res, unsigned fix);
    int (*amend)(struct node *n, struct value *opts, amend_progress_fn *progress, void *opaque,
                 bool force, struct error **err);
    int (*amend_json)(struct node *n, struct value *opts, bool force, struct error **err);
    /* With supports_backing: may `backing` be n's backing file?  NULL: any may. */
    int (*check_backing)(struct node *n, struct node *backing, struct error **err);
    int (*change_backing)(struct node *n, const char *file, const char *format);
    int (*make_empty)(struct node *n);
    int (*inactivate)(struct node *n);
    void (*activate)(struct node *n, struct error **err);

    int (*snapshot_create)(struct node *n, struct snapshot_info *sn);
    int (*snapshot_goto)(struct node *n, const char *id);
    int (*snapshot_delete)(struct node *n, const char *id, const char *name, struct error **err);
    int (*snapshot_list)(struct node *n, struct snapshot_info **out); /* count; *out by mem_free */
    int (*snapshot_load)(struct node *n, const char *id, const char *name, struct error **err);
    int (*save_vmstate)(struct node *n, const struct request *r);
    int (*load_vmstate)(struct node *n, const struct request *r);

    /* Labels announced on this node, by parents and for its own requests. */
    void (*event)(struct node *n, enum label label, const struct request *r);
    int (*break_set)(struct node *n, const char *event, const char *tag);
    int (*break_remove)(struct node *n, const char *tag);
    int (*break_resume)(struct node *n, const char *tag);
    bool (*break_suspended)(struct node *n, const char *tag);

    /* Protocols: data is used once, see node_use_once(). */
    void (*use_once)(struct node *n);
    void (*drain_begin)(struct node *n);
    void (*drain_end)(struct node *n);
    void (*lock_medium)(struct node *n, bool locked);
    void (*eject)(struct node *n, bool eject);
    int (*add_child)(struct node *n, struct node *child, struct error **err);
    int (*del_child)(struct node *n, struct child *child, struct error **err);
    void (*stats)(struct node *n, struct value *out);
};

/* The explicit list of drivers; ref/tools/drivers.c fills it, the world is given it. */
struct driver_entry {
    const struct block_driver *drv; /* NULL: module */
    const char *name, *module;      /* shared object to load on first use */
};
struct driver_list {
    const struct driver_entry *entries; /* ends with drv == NULL && name == NULL */
};
void block_set_drivers(struct world *w, const struct driver_list *list);
const struct driver_list *block_drivers(struct world *w);
struct fault_fiu;
/* Programs: libfiu may fail the requests of protocols by label (fault/fiu.h); the caller keeps f.
 */
void block_set_fiu(struct world *w, struct fault_fiu *f);
const struct block_driver *driver_find(struct world *w, const char *name);
/* By "proto:" prefix, else host device probing, else "file". *err when the prefix is unknown. */
const struct block_driver *driver_for_filename(struct world *w, const char *filename,
                                               bool allow_prefix, struct error **err);
/* Best probe score; NULL when none (raw is the caller's choice). */
const struct block_driver *driver_probe(struct world *w, const uint8_t *buf, size_t len,
                                        const char *filename);

#endif
