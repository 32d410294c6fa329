/*
 * qemu-img compare.
 *
 * Exit status: 0 equal, 1 different, 2 an image could not be opened, 3 allocation status, 4 data
 * could not be read.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/tools/img/img.h"

#define COMPARE_BUF (2 * MiB)

struct compare_request {
    struct img_common o;
    const char *names[2], *formats[2];
    unsigned flags;
    bool strict, writethrough;
};

static bool take_option(struct tool *t, void *request, int c)
{
    struct compare_request *r = request;
    if (c == 's') {
        r->strict = true;
    } else {
        r->formats[1] = optarg;
    }
    return true;
}

static int parse(struct tool *t, struct compare_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {0, 0, 0, 0},
    };
    int ended =
        img_parse_options(t, argc, argv, ":hf:F:T:pqsU", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    if (optind != argc - 2) {
        return 1 + img_usage_error(t, "Expecting two image file names");
    }
    r->formats[0] = r->o.fmt;
    r->names[0] = argv[optind];
    r->names[1] = argv[optind + 1];
    return 0;
}

struct comparison {
    struct tool *t;
    const struct compare_request *r;
    struct blk *b[2];
    int64_t length[2], total; /* total: the longer one */
    uint8_t *buf[2];
    struct img_progress progress;
};

static int read_part(struct comparison *c, int i, int64_t offset, int64_t bytes)
{
    int ret = blk_pread(c->b[i], offset, c->buf[i], bytes);
    if (ret < 0) {
        tool_error(c->t, "Error while reading offset %lld of %s: %s", (long long)offset,
                   c->r->names[i], strerror(-ret));
        return 4;
    }
    return 0;
}

static int mismatch(struct comparison *c, int64_t offset)
{
    img_print(c->r->o.quiet, "Content mismatch at offset %lld!\n", (long long)offset);
    return 1;
}

/* Sector in which the buffers differ, or the first that is not zero; -1 when there is none. */
static int64_t first_difference(const uint8_t *a, const uint8_t *b, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 512) {
        size_t n = (size_t)MIN(512, bytes - i);
        if (b ? memcmp(a + i, b + i, n) : !buf_is_zero(a + i, n)) {
            return i;
        }
    }
    return -1;
}

/* One image has data where the other one reads as zeroes. */
static int check_empty(struct comparison *c, int i, int64_t offset, int64_t bytes)
{
    for (int64_t n; bytes; offset += n, bytes -= n) {
        n = MIN(bytes, COMPARE_BUF);
        int ret = read_part(c, i, offset, n);
        if (ret) {
            return ret;
        }
        int64_t at = first_difference(c->buf[i], NULL, n);
        if (at >= 0) {
            return mismatch(c, offset + at);
        }
    }
    return 0;
}

static int get_status(struct comparison *c, int i, int64_t offset, int64_t bytes, struct status *st)
{
    int ret = node_block_status_above(blk_node(c->b[i]), NULL, true, offset, bytes, st, NULL);
    if (ret < 0) {
        tool_error(c->t, "Sector allocation test failed for %s", c->r->names[i]);
        return 3;
    }
    return 0;
}

static int compare_both(struct comparison *c, int64_t offset, int64_t *bytes,
                        const struct status st[2])
{
    bool zero[2], allocated[2];
    for (int i = 0; i < 2; i++) {
        zero[i] = st[i].flags & STATUS_ZERO;
        allocated[i] = st[i].flags & STATUS_ALLOCATED;
    }
    if (c->r->strict && (st[0].flags & ~(unsigned)(STATUS_RAW | STATUS_COMPRESSED)) !=
                            (st[1].flags & ~(unsigned)(STATUS_RAW | STATUS_COMPRESSED))) {
        img_print(c->r->o.quiet, "Strict mode: Offset %lld block status mismatch!\n",
                  (long long)offset);
        return 1;
    }
    if (zero[0] && zero[1]) {
        return 0;
    }
    if (zero[0] == zero[1] || (allocated[0] && allocated[1] && !zero[0] && !zero[1])) {
        *bytes = MIN(*bytes, COMPARE_BUF);
        int ret = read_part(c, 0, offset, *bytes);
        if (!ret) {
            ret = read_part(c, 1, offset, *bytes);
        }
        if (ret) {
            return ret;
        }
        int64_t at = first_difference(c->buf[0], c->buf[1], *bytes);
        return at < 0 ? 0 : mismatch(c, offset + at);
    }
    return check_empty(c, zero[0] ? 1 : 0, offset, *bytes);
}

static int compare_common(struct comparison *c)
{
    int64_t end = MIN(c->length[0], c->length[1]);
    for (int64_t offset = 0, bytes; offset < end; offset += bytes) {
        struct status st[2];
        int ret = get_status(c, 0, offset, end - offset, &st[0]);
        if (!ret) {
            ret = get_status(c, 1, offset, end - offset, &st[1]);
        }
        if (ret) {
            return ret;
        }
        bytes = MIN(st[0].bytes, st[1].bytes);
        ret = compare_both(c, offset, &bytes, st);
        if (ret) {
            return ret;
        }
        img_progress(&c->progress, 100.0f * (float)(offset + bytes) / (float)c->total);
    }
    return 0;
}

/* What the longer image has beyond the shorter one must be zeroes. */
static int compare_rest(struct comparison *c)
{
    int longer = c->length[1] > c->length[0];
    int64_t offset = MIN(c->length[0], c->length[1]);
    if (c->length[0] == c->length[1]) {
        return 0;
    }
    img_print(c->r->o.quiet, "Warning: Image size mismatch!\n");
    while (offset < c->total) {
        struct status st;
        int ret = get_status(c, longer, offset, c->total - offset, &st);
        if (!ret && (st.flags & STATUS_ALLOCATED) && !(st.flags & STATUS_ZERO)) {
            ret = check_empty(c, longer, offset, st.bytes);
        }
        if (ret) {
            return ret;
        }
        offset += st.bytes;
        img_progress(&c->progress, 100.0f * (float)offset / (float)c->total);
    }
    return 0;
}

static int compare(struct comparison *c)
{
    int ret;
    for (int i = 0; i < 2; i++) {
        c->length[i] = blk_length(c->b[i]);
        if (c->length[i] < 0) {
            tool_error(c->t, "Can't get size of %s: %s", c->r->names[i],
                       strerror((int)-c->length[i]));
            return 4;
        }
    }
    c->total = MAX(c->length[0], c->length[1]);
    img_progress(&c->progress, 0);
    if (c->r->strict && c->length[0] != c->length[1]) {
        img_print(c->r->o.quiet, "Strict mode: Image size mismatch!\n");
        ret = 1;
    } else {
        ret = compare_common(c);
        if (!ret) {
            ret = compare_rest(c);
        }
        if (!ret) {
            img_print(c->r->o.quiet, "Images are identical.\n");
        }
    }
    return ret;
}

/* 0, or the exit status after a message. */
static int open_both(struct comparison *c)
{
    const struct compare_request *r = c->r;
    for (int i = 0; i < 2; i++) {
        c->b[i] = img_open(c->t, r->o.image_opts, r->names[i], r->formats[i], r->flags,
                           r->writethrough, r->o.quiet, r->o.force_share);
        if (!c->b[i]) {
            return 2;
        }
    }
    for (int i = 0; i < 2; i++) {
        c->buf[i] = node_try_blockalign(blk_node(c->b[i]), COMPARE_BUF);
        if (!c->buf[i]) {
            tool_error(c->t, "Out of memory for a buffer of %lld bytes", COMPARE_BUF);
            return 4;
        }
    }
    return 0;
}

int img_compare(struct tool *t, int argc, char **argv)
{
    struct compare_request r = {.o.source_cache = "writeback", .o.bad_value = 2};
    int status = 2, ended = parse(t, &r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    struct comparison c = {.t = t, .r = &r};
    img_progress_start(&c.progress, t, r.o.progress && !r.o.quiet, 2);
    if (img_parse_cache(r.o.source_cache, &r.flags, &r.writethrough)) {
        status = open_both(&c);
        status = status ? status : compare(&c);
    } else {
        tool_error(t, "Invalid source cache option: %s", r.o.source_cache);
    }
    img_progress_end(&c.progress);
    for (int i = 0; i < 2; i++) {
        mem_free(c.buf[i]);
        if (c.b[i]) {
            blk_unref(c.b[i]);
        }
    }
    return status;
}
