/*
 * Check and repair of parallels images.
 *
 * Models: the in-use mark; a damaged format extension; entries outside the file, before the data
 * area, not aligned to clusters, or naming a cluster twice (spec: "BAT"); bytes behind the last
 * cluster.  Repairing clears an entry that names nothing, gives the second user of a cluster a copy
 * of its own, and cuts the file behind the last cluster.  Leaves out: the extension's bitmap (it
 * counts as in use).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "ref/base/mem.h"
#include "ref/format/parallels/parallels.h"

struct check {
    struct parallels *s;
    struct check_result *res;
    unsigned fix;
    int64_t len;
};

/* Tells of a corruption; true when it is to be repaired. */
static bool corrupt(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool corrupt(struct check *c, const char *fmt, ...)
{
    bool fix = c->fix & FIX_ERRORS;
    va_list ap;
    va_start(ap, fmt);
    char *text = str_vfmt(fmt, ap);
    va_end(ap);
    world_report(c->s->n->w, REPORT_PLAIN, "%s %s\n", fix ? "Repairing" : "ERROR", text);
    mem_free(text);
    c->res->corruptions++;
    c->res->corruptions_fixed += fix;
    return fix;
}

/* An entry that names no cluster: the guest's bytes are lost either way. */
static bool entry_is_wrong(struct check *c, uint32_t i)
{
    const struct parallels *s = c->s;
    int64_t host = parallels_host(s, i);
    if (host >= c->len) {
        return corrupt(c, "cluster %" PRIu32 " is outside image", i);
    }
    if (host < s->data_start) {
        return corrupt(c, "cluster %" PRIu32 " is before the data area", i);
    }
    return (host - s->data_start) % s->cluster &&
           corrupt(c, "cluster %" PRIu32 " is not aligned to clusters", i);
}

struct use {
    int64_t host;
    uint32_t entry;
};

static int by_host(const void *a, const void *b)
{
    const struct use *x = a, *y = b;
    return x->host != y->host ? (x->host > y->host) - (x->host < y->host)
                              : (x->entry > y->entry) - (x->entry < y->entry);
}

/* The entry's cluster is copied behind the last one. */
static int copy_cluster(struct check *c, uint32_t i)
{
    struct parallels *s = c->s;
    int64_t from = parallels_host(s, i), to = s->data_end, n;
    int64_t piece = MIN(s->cluster, (int64_t)MiB);
    uint8_t *buf = mem_try_alloc((size_t)piece);
    int ret = !buf ? -ENOMEM : to / s->unit > UINT32_MAX ? -EFBIG : 0;
    for (int64_t at = 0; ret == 0 && at < s->cluster; at += n) {
        n = MIN(s->cluster - at, piece);
        ret = child_pread(s->n->file, from + at, buf, n, LABEL_CHECK_READ, NULL);
        ret = ret < 0 ? ret : child_pwrite(s->n->file, to + at, buf, n, LABEL_CHECK_WRITE, NULL);
    }
    mem_free(buf);
    /* The copy is there before anything refers to it. */
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    if (ret == 0) {
        parallels_set_host(s, i, to);
        s->data_end = to + s->cluster;
        c->len = MAX(c->len, s->data_end);
        ret = parallels_write_entry(s, i, LABEL_CHECK_WRITE, NULL);
    }
    return ret;
}

static int check_duplicates(struct check *c)
{
    struct parallels *s = c->s;
    size_t n = 0;
    for (uint32_t i = 0; i < s->loaded; i++) {
        n += parallels_host(s, i) != 0;
    }
    struct use *use = mem_try_array(n + 1, sizeof(*use));
    int ret = use ? 0 : -ENOMEM;
    n = 0;
    for (uint32_t i = 0; ret == 0 && i < s->loaded; i++) {
        if (parallels_host(s, i)) {
            use[n++] = (struct use){parallels_host(s, i), i};
        }
    }
    if (ret == 0) {
        qsort(use, n, sizeof(*use), by_host);
    }
    for (size_t k = 1; ret == 0 && k < n; k++) {
        if (use[k].host - use[k - 1].host < s->cluster &&
            corrupt(c, "cluster %" PRIu32 " is also used by cluster %" PRIu32, use[k].entry,
                    use[k - 1].entry)) {
            ret = copy_cluster(c, use[k].entry);
        }
    }
    mem_free(use);
    return ret;
}

static int check_entries(struct check *c)
{
    struct parallels *s = c->s;
    int ret = 0;
    for (uint32_t i = 0; ret == 0 && i < s->loaded; i++) {
        if (parallels_host(s, i) && entry_is_wrong(c, i)) {
            parallels_set_host(s, i, 0);
            ret = parallels_write_entry(s, i, LABEL_CHECK_WRITE, NULL);
        }
    }
    parallels_find_end(s);
    return ret < 0 ? ret : check_duplicates(c);
}

static int check_leak(struct check *c)
{
    struct parallels *s = c->s;
    int64_t end = MAX(s->data_end, s->data_start), leaked = c->len - end;
    if (leaked <= 0) {
        return 0;
    }
    bool fix = c->fix & FIX_LEAKS;
    int64_t count = DIV_ROUND_UP(leaked, s->cluster);
    world_report(s->n->w, REPORT_PLAIN, "%s space leaked at the end of the image %" PRId64 "\n",
                 fix ? "Repairing" : "ERROR", leaked);
    c->res->leaks += (int)MIN(count, (int64_t)INT32_MAX);
    if (!fix) {
        return 0;
    }
    /* What was repaired above is stable before the file is cut. */
    int ret = child_flush(s->n->file, NULL);
    ret = ret < 0 ? ret : child_truncate(s->n->file, end, true, PREALLOC_OFF, 0, NULL);
    c->res->leaks_fixed += ret == 0 ? (int)MIN(count, (int64_t)INT32_MAX) : 0;
    return ret;
}

static void statistics(struct check *c)
{
    const struct parallels *s = c->s;
    int64_t previous = 0;
    c->res->total_clusters = s->entries;
    for (uint32_t i = 0; i < s->loaded; i++) {
        int64_t host = parallels_host(s, i);
        if (host) {
            c->res->allocated_clusters++;
            c->res->fragmented_clusters += previous && previous + s->cluster != host;
            previous = host;
        }
    }
    c->res->image_end_offset = MAX(s->data_end, s->data_start);
}

static int check_unclean(struct check *c)
{
    struct parallels *s = c->s;
    if (s->unclean && corrupt(c, "image was not closed correctly")) {
        /* Goes last: until then the image is not in order. */
        parallels_header_set_in_use(s->meta, 0);
        s->unclean = s->marked = false;
        return 1;
    }
    return 0;
}

/* An extension that cannot be understood is dropped. */
static int check_ext(struct check *c)
{
    struct parallels *s = c->s;
    struct error *err = NULL;
    int ret = s->has_ext ? parallels_read_ext(s, &err) : 0;
    if (ret == -EINVAL && corrupt(c, "format extension: %s", err->msg)) {
        parallels_header_set_ext_off(s->meta, 0);
        ret = parallels_write_header(s, LABEL_EXT_UPDATE, NULL);
        s->has_ext = ret < 0;
    }
    error_free(err);
    return ret == -EINVAL ? 0 : ret;
}

static int check_locked(struct parallels *s, struct check_result *res, unsigned fix)
{
    struct check c = {.s = s, .res = res, .fix = fix, .len = child_length(s->n->file)};
    if (c.len < 0) {
        res->check_errors++;
        return (int)c.len;
    }
    int ret = parallels_write_back(s, NULL); /* the file is judged, and changed entry by entry */
    int clear = ret < 0 ? 0 : check_unclean(&c);
    ret = ret < 0 ? ret : check_ext(&c);
    ret = ret < 0 ? ret : check_entries(&c);
    ret = ret < 0 ? ret : check_leak(&c);
    if (ret == 0 && clear) {
        ret = child_flush(s->n->file, NULL);
        ret = ret < 0 ? ret : parallels_write_header(s, LABEL_DIRTY_FLAG_CLEAR, NULL);
    }
    if (ret < 0) {
        res->check_errors++;
        return ret;
    }
    statistics(&c);
    s->stale_end = MAX(s->stale_end, c.len);
    return 0;
}

int parallels_check(struct node *n, struct check_result *res, unsigned fix)
{
    struct parallels *s = parallels_state(n);
    co_lock(n->w, &s->lock);
    int ret = check_locked(s, res, fix);
    co_unlock(n->w, &s->lock);
    return ret;
}
