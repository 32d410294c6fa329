/*
 * The map of an image on simulated disks, for the report of a finding.
 */
#include "harness/sandbox/sandbox_int.h"

#include "ref/block/backend.h"
#include "ref/block/io.h"

#define MAP_RUNS 200 /* more are not told */

struct mapping {
    struct world *w;
    const struct program *p;
    const char *prefix;
    struct strbuf *out;
};

static const char *kind_of(const struct status *st)
{
    return st->flags & STATUS_ZERO ? "zero" : st->flags & STATUS_DATA ? "data" : "hole";
}

static void print_run(const struct mapping *m, int64_t start, int64_t end, const char *kind)
{
    strbuf_printf(m->out, "%s%lld %lld %s\n", m->prefix, (long long)start, (long long)(end - start),
                  kind);
}

static void walk(const struct mapping *m, struct node *n, int64_t length)
{
    const char *kind = NULL;
    int64_t start = 0;
    unsigned runs = 0;
    for (int64_t at = 0; at < length && runs < MAP_RUNS;) {
        struct status st;
        int depth;
        if (node_map_status(n, at, length - at, &st, &depth) < 0 || st.bytes <= 0) {
            strbuf_printf(m->out, "%sno map from %lld on\n", m->prefix, (long long)at);
            return;
        }
        if (kind && strcmp(kind, kind_of(&st))) {
            print_run(m, start, at, kind);
            start = at;
            runs++;
        }
        kind = kind_of(&st);
        at += MIN(st.bytes, length - at);
        if (at >= length) {
            print_run(m, start, at, kind);
        }
    }
}

static void map_image(void *arg)
{
    const struct mapping *m = arg;
    struct error *err = NULL;
    struct blk *b = blk_open(m->w, "sim:image", NULL, sandbox_open_options(m->p), 0, &err);
    if (b) {
        walk(m, blk_node(b), blk_length(b));
        blk_unref(b);
    } else {
        strbuf_printf(m->out, "%sdoes not open: %s\n", m->prefix, err ? err->msg : "?");
    }
    error_free(err);
}

void sandbox_map(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                 const char *prefix, struct strbuf *out)
{
    struct mapping m = {.p = p, .prefix = prefix, .out = out};
    m.w = sandbox_world(sb, p, set, NULL, NULL);
    if (world_exec(m.w, map_image, &m) < 0) {
        strbuf_printf(out, "%sopening hangs\n", prefix);
    }
    world_free(m.w);
}
