/*
 * Backing chains: opening what an image's header names, level by level.
 *
 * A loop, not a recursion: the stack does not grow with the chain.  A name that was already
 * followed on the way here means that the chain never ends, and is refused.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open_impl.h"

#define MAX_CHAIN 1000 /* levels; names may differ and still lead in circles */

static const char *text(const char *s)
{
    return s ? s : "";
}

/*
 * `full` is what n's header names; were we here before?  Options end with the node they were given
 * for, so only what headers alone lead to can go on for ever.
 */
static int check_loop(const struct node *n, const char *full, struct error **err)
{
    int levels = 0;
    const char *bare = strncmp(full, "file:", 5) ? full : full + 5; /* as nodes have it */
    for (const struct node *a = n; a; a = a->inherits_from) {
        if (++levels > MAX_CHAIN) {
            return error_set(err, ELOOP, "Backing chain of '%s' is longer than %d images", full,
                             MAX_CHAIN);
        }
        if (!a->followed_header) {
            continue;
        }
        bool followed = a != n && strcmp(text(a->auto_backing_file), bare) == 0;
        bool itself = strcmp(text(a->filename), bare) == 0 ||
                      (a->file && strcmp(text(a->file->node->filename), bare) == 0);
        if (followed || itself) {
            return error_set(err, ELOOP, "Backing file '%s' creates an infinite loop.", full);
        }
    }
    return 0;
}

/* The name that the image itself gives, unless the options name a file of their own. */
static int header_name(struct node *n, const struct value *sub, char **full, struct error **err)
{
    *full = NULL;
    struct error *local = NULL;
    if (dict_has(sub, "file.filename") || dict_has(sub, "file")) {
        return 0;
    }
    *full = node_full_backing_filename(n, &local);
    if (local) {
        int code = local->code;
        error_propagate(err, local);
        return -code;
    }
    if (!*full) {
        return 0;
    }
    if (world_denies_names(n->w) && strncmp(*full, "sim:", 4) != 0) {
        return error_set(
            err, EPERM,
            "Backing file '%s' named by image '%s' is not opened: names in images are denied",
            *full, text(n->filename));
    }
    n->followed_header = dict_len(sub) == 0;
    return check_loop(n, *full, err);
}

/*
 * What refresh_filename() will call b when its own chain is open: "file:a" is "a" then.  An image
 * with a backing file has the name of its file.
 */
static char *name_when_open(struct node *b, const char *full)
{
    bool images = b->drv && b->drv->supports_backing && b->file;
    if (images && strncmp(full, "json:", 5) == 0) {
        return str_dup(full);
    }
    struct node *named = images ? b->file->node : b;
    node_refresh_filename(named);
    return str_dup(text(named->filename));
}

/* One level: 0 with *below NULL when there is none. `opts`: "backing" keys of n, consumed. */
static int open_level(struct node *n, struct value *opts, struct node **below,
                      struct value **below_opts, bool *prefix, struct error **err)
{
    *below = NULL;
    *below_opts = NULL;
    *prefix = false;
    bool named = n->backing_file && *n->backing_file;
    if (n->backing || (n->open_flags & OPEN_NO_BACKING) || (!opts && !named)) {
        value_free(opts);
        return 0;
    }
    struct value *ref = opts ? dict_take(opts, "backing") : NULL;
    struct value *sub = opts ? dict_extract(opts, "backing.") : value_dict();
    const char *reference = ref && value_type(ref) == VALUE_STRING ? value_get_str(ref) : NULL;
    char *full = NULL;
    int r = reference ? 0 : header_name(n, sub, &full, err);
    if (r == 0 && (reference || full || dict_len(sub) > 0)) {
        /* The image's word for the format holds for a file that options name, too. */
        bool says = !reference && n->backing_format && *n->backing_format;
        if (says && !dict_has(sub, "driver")) {
            dict_put_str(sub, "driver", n->backing_format);
        }
        struct open_request q = {
            .w = n->w,
            .filename = full,
            .reference = reference,
            .options = sub,
            .flags = inherit_flags(n->open_flags, ROLE_COW, true),
            .parent = n,
            .depth = n->open_depth,
            .no_chain = true,
            .backing_options = below_opts,
        };
        sub = NULL;
        struct node *b = open_request_run(&q, err);
        *prefix = !b;
        r = -EINVAL;
        if (b && full) {
            mem_free(n->auto_backing_file);
            n->auto_backing_file = name_when_open(b, full);
        }
        if (b && graph_check_backing(n, b, err) < 0) {
            node_unref(b);
            b = NULL;
        }
        if (b && graph_attach(n, b, "backing", ROLE_COW, err)) {
            *below = reference ? NULL : b; /* a node that was there has its chain already */
            r = node_refresh_limits(n, err);
        }
    }
    mem_free(full);
    value_free(ref);
    value_free(sub);
    value_free(opts);
    return r;
}

int open_backing_chain(struct node *n, struct value *opts, struct error **err)
{
    struct node *below;
    struct value *below_opts;
    for (int depth = 0;; depth++) {
        bool prefix;
        struct error *local = NULL;
        int r = open_level(n, opts, &below, &below_opts, &prefix, &local);
        if (r < 0) {
            value_free(below_opts);
            for (int i = prefix ? -1 : 0; i < depth; i++) {
                error_prepend(&local, "Could not open backing file: ");
            }
            error_propagate(err, local);
            return r;
        }
        if (!below) {
            assert(!below_opts);
            return 0;
        }
        n = below;
        opts = below_opts;
    }
}

int node_open_backing(struct node *n, struct value *parent_options, const char *bdref_key,
                      struct error **err)
{
    struct value *opts = NULL;
    assert(strcmp(bdref_key, "backing") == 0);
    if (parent_options && has_child_options(parent_options, "backing")) {
        opts = value_dict();
        struct value *ref = dict_take(parent_options, "backing");
        struct value *sub = dict_extract(parent_options, "backing.");
        struct dict_iter it;
        DICT_FOREACH (it, sub) {
            char *key = str_fmt("backing.%s", it.key);
            dict_put(opts, key, value_clone(it.value));
            mem_free(key);
        }
        value_free(sub);
        if (ref) {
            dict_put(opts, "backing", ref);
        }
    }
    return open_backing_chain(n, opts, err);
}
