/*
 * Opening: from names and options to a node.
 *
 * Order: json: name, driver (named, by protocol prefix, or probed on the file below), generic
 * options, the driver's own open, unknown options, the backing chain.  Leaves out: the chain
 * (backing.c), names (names.c).
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/backend.h"
#include "ref/block/block_state.h"
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open_impl.h"

#define MAX_OPEN_DEPTH 32 /* nested opens: a bound on stack, not on chains */

/* One open in progress. */
struct opening {
    const struct open_request *q;
    struct value *opts;   /* taken apart while opening */
    const char *filename; /* what is still to be opened, or NULL */
    unsigned flags;
    const struct block_driver *drv;
    struct node *file; /* opened ahead; owned */
    bool guessed_raw;
    bool file_inherits; /* it was opened for this node */
    char *name;         /* of the node, until it has one */
};

/* Options without a nested dict, and the json: name merged in (what was given beside it wins). */
static int merge_json_name(struct opening *o, struct error **err)
{
    if (!o->filename || strncmp(o->filename, "json:", 5) != 0) {
        return 0;
    }
    struct value *json = parse_json_filename(o->filename, err);
    if (!json) {
        return -EINVAL;
    }
    dict_join(o->opts, json, false);
    value_free(json);
    o->filename = NULL;
    return 0;
}

static int choose_named_driver(struct opening *o, struct error **err)
{
    const char *name = dict_get_str(o->opts, "driver");
    if (!name) {
        return 0;
    }
    o->drv = driver_find(o->q->w, name);
    if (!o->drv) {
        return error_set(err, EINVAL, "Unknown driver '%s'", name);
    }
    if (o->drv->kind == DRIVER_PROTOCOL) {
        o->flags |= OPEN_PROTOCOL;
    }
    return 0;
}

/* Protocol level: the driver by the name, the name into options. */
static int resolve_protocol(struct opening *o, struct error **err)
{
    const char *filename = o->filename ? o->filename : dict_get_str(o->opts, "filename");
    if (o->filename && dict_has(o->opts, "filename")) {
        return error_set(err, EINVAL,
                         "Can't specify 'file' and 'filename' options at the same time");
    }
    if (!o->drv) {
        if (!filename) {
            return error_set(err, EINVAL, "Must specify either driver or file");
        }
        o->drv = driver_for_filename(o->q->w, filename, o->filename != NULL, err);
        if (!o->drv) {
            return -EINVAL;
        }
        dict_put_str(o->opts, "driver", o->drv->name);
    }
    bool takes_name = o->drv->parse_filename || o->drv->needs_filename;
    if (o->filename && takes_name) {
        dict_put_str(o->opts, "filename", o->filename);
        if (o->drv->parse_filename) {
            int r = o->drv->parse_filename(o->filename, o->opts, err);
            if (r < 0) {
                return r;
            }
            if (!o->drv->needs_filename) {
                dict_del(o->opts, "filename");
            }
        }
        mem_free(o->name);
        o->name = str_dup(o->filename);
        o->filename = NULL;
    }
    if (o->drv->needs_filename) {
        const char *f = dict_get_str(o->opts, "filename");
        if (!f || !*f) {
            return error_set(err, EINVAL, "The '%s' block driver requires a file name",
                             o->drv->name);
        }
        mem_free(o->name);
        o->name = str_dup(f);
    }
    return 0;
}

/* Opens what the "file" key, its sub-options or the name lead to, before the driver is known. */
static int open_file_ahead(struct opening *o, struct error **err)
{
    bool format = !o->drv || o->drv->kind == DRIVER_FORMAT;
    const char *ref = dict_get_str(o->opts, "file");
    if (!ref) {
        dict_del(o->opts, "file"); /* null and the like name nothing */
    }
    if (!o->filename && !has_child_options(o->opts, "file")) {
        return o->drv ? 0 : error_set(err, EINVAL, "Must specify either driver or file");
    }
    char *reference = str_dup(ref);
    dict_del(o->opts, "file");
    struct open_request q = {
        .w = o->q->w,
        .filename = o->filename,
        .reference = reference,
        .options = dict_extract(o->opts, "file."),
        .flags = inherit_flags(o->flags, ROLE_IMAGE | ROLE_PRIMARY, format),
        .parent = o->q->parent,
        .depth = o->q->depth + 1,
    };
    o->file = open_request_run(&q, err);
    o->file_inherits = !reference;
    mem_free(reference);
    o->filename = NULL;
    return o->file ? 0 : -EINVAL;
}

static int choose_driver(struct opening *o, struct error **err)
{
    int r = choose_named_driver(o, err);
    if (r == 0 && !o->drv && !o->filename && !(o->flags & OPEN_PROTOCOL) &&
        !has_child_options(o->opts, "file")) {
        return error_set(err, EINVAL, "Must specify either driver or file");
    }
    opts_settle(node_generic_options, o->opts);
    r = r < 0 ? r : read_flag_options(o->opts, &o->flags, err);
    if (r < 0) {
        return r;
    }
    bool names_protocol = o->drv
                              ? o->drv->kind == DRIVER_PROTOCOL || (o->drv->protocol && o->filename)
                              : (o->flags & OPEN_PROTOCOL) != 0;
    if (names_protocol) {
        return resolve_protocol(o, err);
    }
    r = open_file_ahead(o, err);
    if (r < 0 || o->drv) {
        return r;
    }
    if (!o->file) {
        return error_set(err, EINVAL, "Must specify either driver or file");
    }
    o->drv = probe_node(o->file, &o->guessed_raw, err);
    if (!o->drv) {
        return -EINVAL;
    }
    dict_put_str(o->opts, "driver", o->drv->name);
    return 0;
}

/* ---- the node ---- */

static int refuse_leftovers(const struct node *n, const struct value *opts, struct error **err)
{
    struct dict_iter it;
    DICT_FOREACH (it, opts) {
        if (n->open_flags & OPEN_PROTOCOL) {
            return error_set(err, EINVAL, "Block protocol '%s' doesn't support the option '%s'",
                             n->drv->name, it.key);
        }
        return error_set(err, EINVAL, "Block format '%s' does not support the option '%s'",
                         n->drv->name, it.key);
    }
    if (n->pending_file) {
        return error_set(err, EINVAL, "Block format '%s' does not support the option 'file'",
                         n->drv->name);
    }
    return 0;
}

/* A format is known by its file while it has no name of its own; NULL: nothing yet. */
static const char *name_for_messages(const struct node *n)
{
    const struct node *file = n->pending_file ? n->pending_file : node_child(n);
    const char *name = n->filename && *n->filename ? n->filename : file ? file->filename : NULL;
    return name && *name ? name : NULL;
}

/* The driver's own open on a fresh node; opts loses what it takes.  *opened: there is something to
 * close. */
static int run_driver_open(struct node *n, struct value *opts, bool *opened, struct error **err)
{
    struct error *local = NULL;
    node_new_state(n);
    int r = n->drv->open ? n->drv->open(n, opts, n->open_flags, &local) : 0;
    if (r < 0) {
        if (local) {
            error_propagate(err, local);
        } else if (name_for_messages(n)) {
            error_set_errno(err, -r, "Could not open '%s'", name_for_messages(n));
        } else {
            error_set_errno(err, -r, "Could not open image");
        }
        return r;
    }
    assert(!local);
    *opened = true;
    if (!n->filename || !*n->filename) {
        mem_free(n->filename);
        n->filename =
            str_dup(node_child(n) && node_child(n)->filename ? node_child(n)->filename : "");
    }
    if (!*n->filename) {
        node_refresh_filename(n); /* options alone: messages call it json:{...} */
    }
    r = node_refresh_length(n);
    if (r < 0) {
        return error_set_errno(err, -r, "Could not refresh total sector count");
    }
    return node_refresh_limits(n, err);
}

static void trim_options(struct node *n)
{
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        drop_child_options(n->options, c->name);
    }
    drop_child_options(n->options, "backing");
}

/* Moves "backing" and "backing.*" of opts into a dict of their own, or NULL when there are none. */
static struct value *take_backing_options(struct value *opts)
{
    if (!has_child_options(opts, "backing")) {
        return NULL;
    }
    struct value *b = dict_extract(opts, "backing.");
    struct value *all = value_dict();
    /* What cannot name a node stays, for refuse_leftovers(). */
    struct value *ref = dict_get_str(opts, "backing") ? dict_take(opts, "backing") : NULL;
    struct dict_iter it;
    DICT_FOREACH (it, b) {
        char *key = str_fmt("backing.%s", it.key);
        dict_put(all, key, value_clone(it.value));
        mem_free(key);
    }
    value_free(b);
    if (ref) {
        dict_put(all, "backing", ref);
    }
    return all;
}

/* Closes a node whose driver had opened. */
static struct node *fail_open_node(struct node *n, bool driver_open)
{
    if (driver_open) {
        node_unref(n);
    } else {
        node_abandon(n);
    }
    return NULL;
}

static struct node *build_node(struct opening *o, struct error **err)
{
    struct generic g = {o->flags, DETECT_ZEROES_OFF};
    const char *name = dict_get_str(o->opts, "node-name");
    struct node *n = node_new(o->q->w, o->drv, name, err);
    if (!n) {
        return NULL;
    }
    n->options = value_clone(o->opts);
    n->inherits_from = o->q->parent;
    n->open_depth = o->q->depth;
    n->pending_file = o->file;
    o->file = NULL;
    int r = take_generic_options(o->opts, &g, err);
    if (r == 0 && (g.flags & OPEN_COPY_ON_READ) && !(g.flags & OPEN_RDWR)) {
        r = error_set(err, EINVAL, "Can't use copy-on-read on read-only device");
    }
    if (r < 0) {
        return fail_open_node(n, false);
    }
    n->open_flags = g.flags;
    n->detect_zeroes = g.detect_zeroes;
    n->read_only = !(g.flags & OPEN_RDWR);
    n->probed = o->guessed_raw;
    n->filename = o->name ? o->name : str_dup("");
    n->exact_filename = str_dup(n->filename);
    o->name = NULL;

    struct value *backing = NULL;
    if (!(g.flags & OPEN_NO_BACKING) && !n->drv->filter_of_backing) {
        backing = take_backing_options(o->opts);
    }
    if (n->pending_file && o->file_inherits) {
        n->pending_file->inherits_from = n;
    }
    bool opened = false;
    r = run_driver_open(n, o->opts, &opened, err);
    if (r < 0) {
        value_free(backing);
        return fail_open_node(n, opened);
    }
    r = refuse_leftovers(n, o->opts, err);
    trim_options(n);
    if (r == 0 && o->q->no_chain) {
        *o->q->backing_options = backing;
        return n;
    }
    if (r == 0) {
        r = open_backing_chain(n, backing, err);
    } else {
        value_free(backing);
    }
    return r < 0 ? fail_open_node(n, true) : n;
}

static struct node *open_reference(const struct open_request *q, struct error **err)
{
    if (q->filename || (q->options && dict_len(q->options) > 0)) {
        error_set(
            err, EINVAL,
            "Cannot reference an existing block device with additional options or a new filename");
        return NULL;
    }
    struct node *n = node_lookup(q->w, q->reference, q->reference, err);
    if (n) {
        node_ref(n);
    }
    return n;
}

static struct node *open_options(struct opening *o, struct error **err)
{
    const struct open_request *q = o->q;
    int r = merge_json_name(o, err);
    if (r < 0) {
        return NULL;
    }
    if (take_no_backing(q->w, o->opts)) {
        o->flags |= OPEN_NO_BACKING;
    }
    r = choose_driver(o, err);
    if (r < 0) {
        return NULL;
    }
    if (!o->drv->supports_backing && !o->drv->filter_of_backing && !(o->flags & OPEN_NO_BACKING) &&
        has_child_options(o->opts, "backing")) {
        error_set(err, EINVAL, "Driver doesn't support backing files");
        return NULL;
    }
    return build_node(o, err);
}

struct node *open_request_run(const struct open_request *q, struct error **err)
{
    struct node *n = NULL;
    struct opening o = {.q = q, .filename = q->filename, .flags = q->flags};
    if (q->no_chain) {
        *q->backing_options = NULL;
    }
    if (q->reference) {
        n = open_reference(q, err);
        value_free(q->options);
        return n;
    }
    o.opts = q->options ? q->options : value_dict();
    if (q->depth > MAX_OPEN_DEPTH) {
        error_set(err, ELOOP, "Block nodes are nested more than %d deep", MAX_OPEN_DEPTH);
    } else {
        n = open_options(&o, err);
    }
    value_free(o.opts);
    mem_free(o.name);
    node_unref(o.file);
    return n;
}

struct node *node_open(struct world *w, const char *filename, const char *reference,
                       struct value *options, unsigned flags, struct error **err)
{
    struct open_request q = {
        .w = w, .filename = filename, .reference = reference, .options = options, .flags = flags};
    if (options) {
        dict_flatten(options);
    }
    if (!(flags & OPEN_SNAPSHOT)) {
        return open_request_run(&q, err);
    }
    /* The image itself is only read; what is written goes to an overlay. */
    q.flags = flags & ~(unsigned)(OPEN_SNAPSHOT | OPEN_RDWR | OPEN_RESIZE | OPEN_COPY_ON_READ);
    struct node *base = open_request_run(&q, err);
    flags &= OPEN_RDWR | OPEN_UNMAP | OPEN_COPY_ON_READ;
    struct node *top = base ? open_temporary_overlay(base, flags, err) : NULL;
    node_unref(base);
    return top;
}

/* ---- children, for drivers ---- */

struct child *open_child(struct node *n, const char *filename, struct value *opts, const char *key,
                         unsigned role, bool allow_none, struct error **err)
{
    struct node *child;
    if (n->pending_file && strcmp(key, "file") == 0) {
        child = n->pending_file;
        n->pending_file = NULL;
        return graph_attach(n, child, key, role, err);
    }
    struct value *ref = dict_take(opts, key);
    char prefix[64];
    assert(strlen(key) < sizeof(prefix) - 1);
    stpcpy(stpcpy(prefix, key), ".");
    struct value *sub = dict_extract(opts, prefix);
    bool is_ref = ref && value_type(ref) == VALUE_STRING;
    if (!filename && !is_ref && dict_len(sub) == 0) {
        value_free(ref);
        value_free(sub);
        if (!allow_none) {
            error_set(err, EINVAL, "A block device must be specified for \"%s\"", key);
        }
        return NULL;
    }
    struct open_request q = {
        .w = n->w,
        .filename = filename,
        .reference = is_ref ? value_get_str(ref) : NULL,
        .options = sub,
        .flags = inherit_flags(n->open_flags, role, n->drv->kind == DRIVER_FORMAT),
        .parent = n,
        .depth = n->open_depth + 1,
    };
    child = open_request_run(&q, err);
    value_free(ref);
    return child ? graph_attach(n, child, key, role, err) : NULL;
}

int open_file_child(struct node *n, struct value *opts, struct error **err)
{
    return open_child(n, NULL, opts, "file", ROLE_IMAGE | ROLE_PRIMARY, false, err) ? 0 : -EINVAL;
}

int open_filtered_child(struct node *n, const char *filename, struct value *opts, const char *key,
                        struct error **err)
{
    return open_child(n, filename, opts, key, ROLE_FILTERED | ROLE_PRIMARY, false, err) ? 0
                                                                                        : -EINVAL;
}

int node_apply_auto_read_only(struct node *n, const char *reason, struct error **err)
{
    if (n->read_only) {
        return 0;
    }
    if (!(n->open_flags & OPEN_AUTO_RDONLY)) {
        return error_set(err, EACCES, "%s", reason ? reason : "Image is read-only");
    }
    n->open_flags &= ~(unsigned)OPEN_RDWR;
    n->read_only = true;
    return 0;
}
