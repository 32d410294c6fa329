/*
 * Options that every node has, and what children inherit.
 *
 * Inherited values live in the child's open_flags only; node->options holds what was really given,
 * so that a reopen of the parent can hand down new values.
 */
#include <errno.h>
#include "ref/base/options.h"
#include "ref/block/open_impl.h"

static const char *const detect_zeroes_names[] = {"off", "on", "unmap", NULL};

const struct opt_desc node_generic_options[] = {
    {.name = "driver", .type = OPT_STRING, .help = "Block driver to use for the node"},
    {.name = "node-name", .type = OPT_STRING, .help = "Node name of the block device node"},
    {.name = "cache.direct",
     .type = OPT_BOOL,
     .help = "Bypass software writeback cache on the host",
     .runtime = true},
    {.name = "cache.no-flush", .type = OPT_BOOL, .help = "Ignore flush requests", .runtime = true},
    {.name = "read-only",
     .type = OPT_BOOL,
     .help = "Node is opened in read-only mode",
     .runtime = true},
    {.name = "auto-read-only",
     .type = OPT_BOOL,
     .help = "Node can become read-only if opening read-write fails",
     .runtime = true},
    {.name = "force-share", .type = OPT_BOOL, .help = "always accept other writers (default: off)"},
    {.name = "detect-zeroes",
     .type = OPT_STRING,
     .help = "try to optimize zero writes (off, on, unmap)",
     .runtime = true},
    {.name = "discard",
     .type = OPT_STRING,
     .help = "discard operation (ignore/off, unmap/on)",
     .runtime = true},
    {.name = NULL},
};

unsigned inherit_flags(unsigned parent, unsigned role, bool parent_is_format)
{
    unsigned f = parent & (OPEN_NO_CACHE | OPEN_NO_FLUSH | OPEN_FORCE_SHARE | OPEN_INACTIVE |
                           OPEN_NATIVE_AIO | OPEN_IO_URING);
    if (role & ROLE_COW) {
        return f | (parent & (OPEN_NO_IO | OPEN_UNMAP));
    }
    f |= parent & (OPEN_RDWR | OPEN_AUTO_RDONLY);
    f |= OPEN_UNMAP; /* upper layers decide; below, discard is on */
    if (!(role & ROLE_METADATA)) {
        f |= parent & OPEN_NO_IO;
    }
    /* What a filter filters is named like a protocol, too; its other children are images. */
    return parent_is_format || (role & ROLE_PRIMARY) ? f | OPEN_PROTOCOL : f;
}

static const struct {
    const char *key;
    unsigned bit;
    bool inverse;
} flag_options[] = {
    {"cache.no-flush", OPEN_NO_FLUSH, false}, {"auto-read-only", OPEN_AUTO_RDONLY, false},
    {"read-only", OPEN_RDWR, true},           {"cache.direct", OPEN_NO_CACHE, false},
    {"force-share", OPEN_FORCE_SHARE, false},
};

int read_flag_options(const struct value *opts, unsigned *flags, struct error **err)
{
    for (size_t i = 0; i < ARRAY_SIZE(flag_options) && dict_len(opts) > 0; i++) {
        bool inverse = flag_options[i].inverse;
        bool on = !!(*flags & flag_options[i].bit) != inverse; /* null: as it is */
        if (!dict_has(opts, flag_options[i].key)) {
            continue;
        }
        int r = opts_get_bool(node_generic_options, opts, flag_options[i].key, &on, err);
        if (r < 0) {
            return r;
        }
        *flags = on != inverse ? *flags | flag_options[i].bit : *flags & ~flag_options[i].bit;
    }
    if ((*flags & OPEN_FORCE_SHARE) && (*flags & OPEN_RDWR)) {
        return error_set(err, EINVAL, "force-share=on can only be used with read-only images");
    }
    return 0;
}

static int take_detect_zeroes(struct value *opts, struct generic *g, struct error **err)
{
    const char *s = dict_get_str(opts, "detect-zeroes");
    if (!s) {
        return 0;
    }
    for (int i = 0; detect_zeroes_names[i]; i++) {
        if (strcmp(detect_zeroes_names[i], s) == 0) {
            g->detect_zeroes = i;
            dict_del(opts, "detect-zeroes");
            return 0;
        }
    }
    return error_set(err, EINVAL, "invalid parameter value: %s", s);
}

int take_generic_options(struct value *opts, struct generic *g, struct error **err)
{
    opts_settle(node_generic_options, opts);
    int r = read_flag_options(opts, &g->flags, err);
    if (r < 0) {
        return r;
    }
    dict_del(opts, "driver");
    dict_del(opts, "node-name");
    for (size_t i = 0; i < ARRAY_SIZE(flag_options) && dict_len(opts) > 0; i++) {
        dict_del(opts, flag_options[i].key);
    }
    const char *discard = dict_get_str(opts, "discard");
    if (discard) {
        if (!parse_discard_mode(discard, &g->flags)) {
            return error_set(err, EINVAL, "Invalid discard option");
        }
        dict_del(opts, "discard");
    }
    r = take_detect_zeroes(opts, g, err);
    if (r < 0) {
        return r;
    }
    if (g->detect_zeroes == DETECT_ZEROES_UNMAP && !(g->flags & OPEN_UNMAP)) {
        return error_set(err, EINVAL,
                         "setting detect-zeroes to unmap is not allowed without setting discard "
                         "operation to unmap");
    }
    return 0;
}

bool take_no_backing(struct world *w, struct value *opts)
{
    const struct value *v = dict_get(opts, "backing");
    if (!v) {
        return false;
    }
    if (value_type(v) == VALUE_STRING && !*value_get_str(v)) {
        world_warn(w, "Use of \"backing\": \"\" is deprecated; use \"backing\": null instead");
    } else if (value_type(v) != VALUE_NULL) {
        return false;
    }
    dict_del(opts, "backing");
    return true;
}

bool has_child_options(const struct value *opts, const char *key)
{
    size_t len = strlen(key);
    struct dict_iter it;
    DICT_FOREACH (it, opts) {
        if (strncmp(it.key, key, len) == 0 && (it.key[len] == '.' || !it.key[len])) {
            return true;
        }
    }
    return false;
}

void drop_child_options(struct value *d, const char *key)
{
    size_t len = strlen(key);
    struct dict_iter it;
    bool found;
    dict_del(d, key);
    do {
        found = false;
        DICT_FOREACH (it, d) {
            if (strncmp(it.key, key, len) == 0 && it.key[len] == '.') {
                found = true;
                break;
            }
        }
        if (found) {
            dict_del(d, it.key);
        }
    } while (found);
}

bool parse_cache_mode(const char *mode, unsigned *flags, bool *writethrough)
{
    static const struct {
        const char *name;
        unsigned flags;
        bool writethrough;
    } modes[] = {
        {"none", OPEN_NO_CACHE, false},      {"off", OPEN_NO_CACHE, false},
        {"directsync", OPEN_NO_CACHE, true}, {"writeback", 0, false},
        {"unsafe", OPEN_NO_FLUSH, false},    {"writethrough", 0, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        if (strcmp(modes[i].name, mode) == 0) {
            *flags = (*flags & ~(unsigned)(OPEN_NO_CACHE | OPEN_NO_FLUSH)) | modes[i].flags;
            *writethrough = modes[i].writethrough;
            return true;
        }
    }
    return false;
}

bool parse_discard_mode(const char *mode, unsigned *flags)
{
    if (strcmp(mode, "ignore") == 0 || strcmp(mode, "off") == 0) {
        *flags &= ~(unsigned)OPEN_UNMAP;
    } else if (strcmp(mode, "unmap") == 0 || strcmp(mode, "on") == 0) {
        *flags |= OPEN_UNMAP;
    } else {
        return false;
    }
    return true;
}

bool parse_aio_mode(const char *mode, unsigned *flags)
{
    *flags &= ~(unsigned)(OPEN_NATIVE_AIO | OPEN_IO_URING);
    if (strcmp(mode, "native") == 0) {
        *flags |= OPEN_NATIVE_AIO;
    } else if (strcmp(mode, "io_uring") == 0) {
        *flags |= OPEN_IO_URING;
    } else if (strcmp(mode, "threads") != 0) {
        return false;
    }
    return true;
}
