/*
 * What a node is called: a plain name when that opens the same graph, else json:{...}.
 *
 * Not kept up to date by every change: who wants a current name calls node_refresh_filename(). What
 * goes into json: are the driver, its strong options as the user gave them, and the children; the
 * backing child only when it is not the one that the image's header leads to.
 */
#include <assert.h>
#include <errno.h>
#include "ref/base/json.h"
#include "ref/block/node.h"
#include "ref/block/open.h"

static void set_string(char **p, const char *s)
{
    if (!*p || strcmp(*p, s) != 0) {
        mem_free(*p);
        *p = str_dup(s);
    }
}

bool node_backing_overridden(const struct node *n)
{
    if (n->open_flags & OPEN_NO_IO) {
        return false; /* opened for its metadata alone, without a chain */
    }
    const char *expected = n->auto_backing_file ? n->auto_backing_file : "";
    if (n->backing) {
        return strcmp(expected, n->backing->node->filename) != 0;
    }
    return *expected != '\0';
}

static bool is_strong(const struct block_driver *drv, const char *key)
{
    for (const char *const *s = drv->strong_options; s && *s; s++) {
        size_t len = strlen(*s);
        /* "prefix." stands for every key below it. */
        if (strcmp(*s, key) == 0 || (len && (*s)[len - 1] == '.' && strncmp(*s, key, len) == 0)) {
            return true;
        }
    }
    return false;
}

/* Copies what changes the guest's data; returns whether there was anything. */
static bool add_strong_options(struct value *target, const struct node *n)
{
    bool any = false;
    struct dict_iter it;
    if (n->options && n->drv->strong_options) {
        DICT_FOREACH (it, n->options) {
            if (is_strong(n->drv, it.key)) {
                dict_put(target, it.key, value_clone(it.value));
                any = true;
            }
        }
    }
    if (!dict_has(target, "driver")) {
        dict_put_str(target, "driver", n->drv->name);
    }
    return any;
}

static void add_children(struct value *target, struct node *n, bool overridden)
{
    if (n->drv->gather_child_options) {
        n->drv->gather_child_options(n, target, overridden);
        return;
    }
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (c == n->backing && !overridden && !node_is_filter(n)) {
            continue;
        }
        dict_put(target, c->name, value_clone(c->node->full_open_options));
    }
    if (overridden && !n->backing) {
        dict_put(target, "backing", value_null());
    }
}

/* The primary child's plain name will do when nothing here changes what it means. */
static void inherit_exact_name(struct node *n, bool must_be_json)
{
    struct child *p = node_primary(n);
    if (!p && n->file) {
        p = n->file;
    }
    if (!p) {
        return; /* a protocol keeps the name it was opened with */
    }
    set_string(&n->exact_filename, "");
    /* A name leads to a protocol and one format on it; what is stacked higher must be spelled out.
     */
    const struct block_driver *below = p->node->drv;
    bool named = below && (below->kind == DRIVER_PROTOCOL || below->protocol);
    if (!must_be_json && named && p->node->exact_filename && p == n->file &&
        n->drv->kind != DRIVER_FILTER) {
        set_string(&n->exact_filename, p->node->exact_filename);
    }
}

static void refresh_implicit(struct node *n)
{
    struct child *c = LIST_FIRST(&n->children, struct child, children_link);
    set_string(&n->exact_filename, c->node->exact_filename ? c->node->exact_filename : "");
    set_string(&n->filename, c->node->filename);
    value_free(n->full_open_options);
    n->full_open_options = value_clone(c->node->full_open_options);
}

void node_refresh_filename(struct node *n)
{
    struct child *c;
    if (!n->drv) {
        return;
    }
    LIST_FOREACH (c, &n->children, children_link) {
        node_refresh_filename(c->node);
    }
    if (n->implicit && !list_empty(&n->children)) {
        refresh_implicit(n);
        return;
    }
    bool overridden = node_backing_overridden(n);
    struct value *o = value_dict();
    bool strong = add_strong_options(o, n);
    add_children(o, n, overridden);
    value_free(n->full_open_options);
    n->full_open_options = o;
    if (n->drv->refresh_filename) {
        /* Drivers know no override of backing files: their plain name is void then. */
        n->drv->refresh_filename(n);
        if (overridden) {
            set_string(&n->exact_filename, "");
        }
    } else {
        inherit_exact_name(n, strong || overridden);
    }
    if (n->exact_filename && *n->exact_filename) {
        set_string(&n->filename, n->exact_filename);
    } else {
        char *json = json_text(o, false);
        mem_free(n->filename);
        n->filename = str_fmt("json:%s", json);
        mem_free(json);
    }
}

struct value *node_full_open_options(struct node *n)
{
    node_refresh_filename(n);
    return n->full_open_options;
}

char *node_dirname(struct node *n, struct error **err)
{
    if (!n->drv) {
        error_set(err, ENOMEDIUM, "Node '%s' is ejected", n->node_name);
        return NULL;
    }
    if (n->drv->dirname) {
        return n->drv->dirname(n, err);
    }
    struct child *p = node_primary(n);
    if (p && (n->drv->kind != DRIVER_FILTER || p == n->file)) {
        return node_dirname(p->node, err);
    }
    if (n->exact_filename && *n->exact_filename) {
        return path_combine(n->exact_filename, "");
    }
    error_set(err, ENOTSUP, "Cannot generate a base directory for %s nodes", n->drv->name);
    return NULL;
}

char *node_full_backing_filename(struct node *n, struct error **err)
{
    const char *backing = n->backing_file ? n->backing_file : "";
    if (!*backing) {
        return NULL;
    }
    if (backing[0] == '/' || path_has_protocol(backing)) {
        return str_dup(backing);
    }
    node_refresh_filename(n);
    char *dir = node_dirname(n, err);
    if (!dir) {
        return NULL;
    }
    char *full = str_fmt("%s%s", dir, backing);
    mem_free(dir);
    return full;
}
