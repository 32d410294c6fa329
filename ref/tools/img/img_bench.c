/*
 * qemu-img bench: many equal requests, some at once, and how long they took.
 *
 * A coroutine for each request in parallel; every so many writes a flush, before which the queue is
 * drained (or not).
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "ref/base/mem.h"
#include "ref/block/open.h"
#include "ref/engine/clock.h"
#include "ref/tools/img/img.h"

struct bench {
    struct tool *t;
    struct img_common o;
    const char *filename;
    unsigned flags;
    bool write, drain, writethrough;
    int count, depth, pattern, flush_interval;
    int64_t offset, bs, step;
    struct blk *b;
    int64_t length;
    uint8_t *buf;
    /* run time */
    int left, sent, in_flight, workers, ret;
    bool flushing;
    struct waitq changed;
};

/* A whole number from 0 to max; false after "Invalid WHAT specified". */
static bool parse_number(struct bench *k, const char *what, int max, int *out)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(optarg, &end, 0);
    if (errno || end == optarg || *end || strchr(optarg, '-') || n > (unsigned long)max) {
        tool_error(k->t, "Invalid %s specified", what);
        return false;
    }
    *out = (int)n;
    return true;
}

static bool parse_bytes(struct bench *k, const char *what, int64_t max, int64_t *out)
{
    *out = max == INT64_MAX ? img_size_argument(k->t, what, optarg)
                            : img_size_between(k->t, what, optarg, 0, max);
    return *out >= 0;
}

static bool set_aio(struct bench *k, const char *mode)
{
    if (!parse_aio_mode(mode, &k->flags)) {
        tool_error(k->t, "Invalid aio option: %s", mode);
        return false;
    }
    return true;
}

static bool take_switch(struct bench *k, int c)
{
    switch (c) {
    case 'i':
        return set_aio(k, optarg);
    case 'n':
        return set_aio(k, "native");
    case 'w':
        return k->write = true;
    default:
        k->drain = false;
        return true;
    }
}

static bool take_number(struct bench *k, int c)
{
    switch (c) {
    case 'c':
        return parse_number(k, "request count", INT_MAX, &k->count);
    case 'd':
        return parse_number(k, "queue depth", INT_MAX, &k->depth);
    case 'o':
        return parse_bytes(k, "offset", INT64_MAX, &k->offset);
    case 's':
        return parse_bytes(k, "buffer size", INT_MAX, &k->bs);
    case 'S':
        return parse_bytes(k, "step_size", INT_MAX, &k->step);
    case IMG_OPT_PATTERN:
        return parse_number(k, "pattern byte", 0xff, &k->pattern);
    default:
        return parse_number(k, "flush interval", INT_MAX, &k->flush_interval);
    }
}

static bool check(struct bench *k)
{
    struct tool *t = k->t;
    k->flags |= k->write ? OPEN_RDWR : 0;
    if (!k->write && k->flush_interval) {
        tool_error(t, "--flush-interval is only available in write tests");
    } else if (k->flush_interval && k->flush_interval < k->depth) {
        tool_error(t, "Flush interval can't be smaller than depth");
    } else if (!k->depth) {
        tool_error(t, "Invalid queue depth specified");
    } else {
        return true;
    }
    return false;
}

static bool take_option(struct tool *t, void *request, int c)
{
    return strchr("inw", c) || c == IMG_OPT_NO_DRAIN ? take_switch(request, c)
                                                     : take_number(request, c);
}

/* 0 to go on, else 1 + exit status. */
static int parse(struct bench *k, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"flush-interval", required_argument, 0, IMG_OPT_FLUSH_INTERVAL},
        {"pattern", required_argument, 0, IMG_OPT_PATTERN},
        {"no-drain", no_argument, 0, IMG_OPT_NO_DRAIN},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(k->t, argc, argv, ":hc:d:f:ni:o:qs:S:t:wU", long_options, &k->o,
                                  take_option, k);
    if (ended) {
        return ended;
    }
    if (!img_parse_cache(k->o.cache, &k->flags, &k->writethrough)) {
        tool_error(k->t, "Invalid cache mode");
        return 2;
    }
    if (optind != argc - 1) {
        return 1 + img_usage_error(k->t, "Expecting one image file name");
    }
    k->filename = argv[optind];
    k->step = k->step ? k->step : k->bs;
    return check(k) ? 0 : 2;
}

/* The flush before the next request: alone when draining, else beside the others. */
static void flush(struct bench *k)
{
    k->flushing = k->drain;
    while (k->drain && k->in_flight && k->ret == 0) {
        waitq_wait(k->t->w, &k->changed);
    }
    int ret = blk_flush(k->b, NULL);
    k->ret = k->ret ? k->ret : ret;
    k->flushing = false;
    waitq_wake_all(k->t->w, &k->changed);
}

static void send(struct bench *k)
{
    int64_t offset = k->offset;
    struct iov q;
    k->left--;
    k->sent++;
    k->offset += k->step;
    if (k->length) {
        k->offset %= k->length;
    }
    k->in_flight++;
    iov_single(&q, k->buf, (size_t)k->bs);
    int ret = k->write ? blk_pwritev(k->b, offset, k->bs, &q, 0, NULL)
                       : blk_preadv(k->b, offset, k->bs, &q, 0, NULL);
    k->in_flight--;
    k->ret = k->ret ? k->ret : ret;
    waitq_wake_all(k->t->w, &k->changed);
}

static void worker(void *arg)
{
    struct bench *k = arg;
    while (k->left && k->ret == 0) {
        if (k->flushing) {
            waitq_wait(k->t->w, &k->changed);
            continue;
        }
        bool due = k->flush_interval && k->sent && k->sent % k->flush_interval == 0;
        if (due && k->drain) {
            flush(k);
        }
        if (k->left && k->ret == 0) {
            send(k);
        }
        if (due && !k->drain) {
            flush(k);
        }
    }
    k->workers--;
    waitq_wake_all(k->t->w, &k->changed);
}

static bool run(struct bench *k)
{
    printf("Sending %d %s requests, %lld bytes each, %d in parallel (starting at offset %lld, step "
           "size %lld)\n",
           k->count, k->write ? "write" : "read", (long long)k->bs, k->depth, (long long)k->offset,
           (long long)k->step);
    if (k->flush_interval) {
        printf("Sending flush every %d requests\n", k->flush_interval);
    }
    int64_t begin = clock_now(k->t->w, CLOCK_REAL);
    k->left = k->count;
    k->workers = MIN(k->depth, k->count);
    for (int i = k->workers; i > 0; i--) {
        co_spawn(k->t->w, "bench", worker, k);
    }
    while (k->workers) {
        waitq_wait(k->t->w, &k->changed);
    }
    if (k->ret < 0) {
        tool_error(k->t, "Failed request: %s", strerror(-k->ret));
        return false;
    }
    printf("Run completed in %3.3f seconds.\n",
           (double)(clock_now(k->t->w, CLOCK_REAL) - begin) / 1e9);
    return true;
}

static bool bench(struct bench *k)
{
    k->b = img_open(k->t, k->o.image_opts, k->filename, k->o.fmt, k->flags, k->writethrough,
                    k->o.quiet, k->o.force_share);
    if (!k->b) {
        return false;
    }
    k->length = blk_length(k->b);
    if (k->length < 0) {
        tool_error(k->t, "Failed to get size for '%s'", k->filename);
        return false;
    }
    k->buf = node_try_blockalign(blk_node(k->b), (size_t)MAX(k->bs, 1));
    if (!k->buf) {
        tool_error(k->t, "Out of memory for a buffer of %lld bytes", (long long)k->bs);
        return false;
    }
    memset(k->buf, k->pattern, (size_t)k->bs);
    return run(k);
}

int img_bench(struct tool *t, int argc, char **argv)
{
    struct bench k = {
        .t = t, .count = 75000, .depth = 64, .bs = 4096, .drain = true, .o.cache = "writeback"};
    int ended = parse(&k, argc, argv);
    if (ended) {
        return ended - 1;
    }
    bool ok = bench(&k);
    mem_free(k.buf);
    if (k.b) {
        blk_unref(k.b);
    }
    return ok ? 0 : 1;
}
