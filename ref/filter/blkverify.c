/*
 * blkverify: sends every request to two images and stops when they disagree.
 *
 * Models: reads and writes and flushes go to `test` and to `raw`; results and contents read must be
 * the same, else a message says where, and the program ends (world_fatal(); where a program does
 * not want that, the request fails with EIO).  Writes of zeroes are written as data by the layer
 * above. Leaves out: discard (its outcome is nobody's promise, so it is not passed on), and a test
 * that is longer than raw: that cannot be compared, and is refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/filter/filter.h"

struct blkverify_state {
    struct child *test;
};

static const struct opt_desc blkverify_options[] = {
    {.name = "x-raw", .type = OPT_STRING, .help = "[internal use only, will be removed]"},
    {.name = "x-image", .type = OPT_STRING, .help = "[internal use only, will be removed]"},
    {.name = NULL},
};

/* "blkverify:RAW:TEST"; without the prefix the whole name is the test image. */
static int blkverify_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    static const char prefix[] = "blkverify:";
    if (strncmp(filename, prefix, strlen(prefix))) {
        dict_put_str(opts, "x-image", filename);
        return 0;
    }
    const char *raw = filename + strlen(prefix);
    const char *colon = strchr(raw, ':');
    if (!colon) {
        return error_set(err, EINVAL, "blkverify requires raw copy and original image path");
    }
    char *path = str_ndup(raw, (size_t)(colon - raw));
    dict_put_str(opts, "x-raw", path);
    mem_free(path);
    dict_put_str(opts, "x-image", colon + 1);
    return 0;
}

static int open_children(struct node *n, const struct value *mine, struct value *opts,
                         struct error **err)
{
    struct blkverify_state *s = n->state;
    if (!open_child(n, dict_get_str(mine, "x-raw"), opts, "raw", ROLE_FILTERED | ROLE_PRIMARY,
                    false, err)) {
        return -EINVAL;
    }
    s->test = open_child(n, dict_get_str(mine, "x-image"), opts, "test", ROLE_DATA, false, err);
    if (!s->test) {
        return -EINVAL;
    }
    int64_t raw_len = child_length(n->file), test_len = child_length(s->test);
    if (raw_len < 0 || test_len < 0) {
        return error_set_errno(err, (int)-MIN(raw_len, test_len), "Could not get image size");
    }
    if (test_len > raw_len) {
        return error_set(err, EINVAL,
                         "blkverify cannot compare a test image of %" PRId64
                         " bytes with a raw image of %" PRId64 " bytes",
                         test_len, raw_len);
    }
    return 0;
}

static int blkverify_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct value *mine = opts_take(blkverify_options, opts);
    int ret = open_children(n, mine, opts, err);
    value_free(mine);
    n->write_flags = REQ_UNCHANGED;
    n->zero_flags = REQ_UNCHANGED;
    return ret;
}

/* What QEMU ends with: message, then exit status 1. */
static int disagree(struct node *n, const struct request *r, const char *what)
{
    world_report(n->w, REPORT_PLAIN, "blkverify: %s offset=%" PRId64 " bytes=%" PRId64 " %s\n",
                 r->op == REQ_WRITE ? "write" : "read", r->offset, r->bytes, what);
    world_fatal(n->w);
    return -EIO;
}

/* Results of test and raw. */
static int compare_results(struct node *n, const struct request *r, int test, int raw)
{
    char what[64];
    if (test == raw) {
        return test;
    }
    snprintf(what, sizeof(what), "return value mismatch %d != %d", test, raw);
    return disagree(n, r, what);
}

static int compare_contents(struct node *n, const struct request *r, const struct iov *raw)
{
    struct iov part;
    char what[64];
    iov_init(&part);
    iov_add_slice(&part, r->iov, r->iov_off, (size_t)r->bytes);
    int64_t at = iov_compare(&part, raw);
    iov_destroy(&part);
    if (at < 0) {
        return 0;
    }
    snprintf(what, sizeof(what), "contents mismatch at offset %" PRId64, r->offset + at);
    return disagree(n, r, what);
}

static int blkverify_read(struct node *n, const struct request *r)
{
    struct blkverify_state *s = n->state;
    size_t bytes = (size_t)r->bytes;
    void *buf = node_try_blockalign(n->file->node, bytes);
    struct iov q;
    if (!buf) {
        return -ENOMEM;
    }
    iov_single(&q, buf, bytes);
    int test =
        child_preadv(s->test, r->offset, r->bytes, r->iov, r->iov_off, r->flags, LABEL_NONE, r);
    int raw = child_preadv(n->file, r->offset, r->bytes, &q, 0, r->flags, LABEL_NONE, r);
    int ret = compare_results(n, r, test, raw);
    if (ret == 0) {
        ret = compare_contents(n, r, &q);
    }
    mem_free(buf);
    return ret;
}

static int blkverify_write(struct node *n, const struct request *r)
{
    struct blkverify_state *s = n->state;
    int test =
        child_pwritev(s->test, r->offset, r->bytes, r->iov, r->iov_off, r->flags, LABEL_NONE, r);
    int raw =
        child_pwritev(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags, LABEL_NONE, r);
    return compare_results(n, r, test, raw);
}

/* Only what is under test; the raw copy need not survive a power cut. */
static int blkverify_flush(struct node *n, const struct request *r)
{
    struct blkverify_state *s = n->state;
    return child_flush(s->test, r);
}

static int64_t blkverify_length(struct node *n)
{
    struct blkverify_state *s = n->state;
    return child_length(s->test);
}

static int64_t blkverify_allocated_size(struct node *n)
{
    return -ENOTSUP;
}

static void blkverify_refresh_filename(struct node *n)
{
    struct blkverify_state *s = n->state;
    const char *raw = n->file->node->exact_filename, *test = s->test->node->exact_filename;
    bool plain = raw && *raw && test && *test;
    mem_free(n->exact_filename);
    n->exact_filename = plain ? str_fmt("blkverify:%s:%s", raw, test) : str_dup("");
}

/* A relative name in either image would have no place to start from. */
static char *blkverify_dirname(struct node *n, struct error **err)
{
    error_set(err, ENOTSUP, "Cannot generate a base directory for blkverify nodes");
    return NULL;
}

const struct block_driver driver_blkverify = {
    .name = "blkverify",
    .protocol = "blkverify",
    .kind = DRIVER_PROTOCOL, /* named like one, and messages call it one */
    .state_size = sizeof(struct blkverify_state),
    .open_options = blkverify_options,
    .parse_filename = blkverify_parse_filename,
    .open = blkverify_open,
    .read = blkverify_read,
    .write = blkverify_write,
    .flush = blkverify_flush,
    .length = blkverify_length,
    .allocated_size = blkverify_allocated_size,
    .refresh_filename = blkverify_refresh_filename,
    .dirname = blkverify_dirname,
};
