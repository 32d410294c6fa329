/*
 * qemu-img commit.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/block/graph.h"
#include "ref/block/open.h"
#include "ref/job/commit.h"
#include "ref/tools/img/img.h"

struct commit_request {
    struct img_common o;
    const char *filename, *base;
    int64_t rate;
    unsigned flags;
    bool drop, writethrough;
    struct img_progress progress;
};

static bool take_option(struct tool *t, void *request, int c)
{
    struct commit_request *r = request;
    switch (c) {
    case 'b':
        r->base = optarg;
        return r->drop = true; /* what is between would be wrong after emptying the top */
    case 'd':
        return r->drop = true;
    default:
        r->rate = img_size_argument(t, "rate limit", optarg);
        return r->rate >= 0;
    }
}

static int parse(struct tool *t, struct commit_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {0, 0, 0, 0},
    };
    int ended =
        img_parse_options(t, argc, argv, ":f:ht:b:dpqr:", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    if (optind != argc - 1) {
        return 1 + img_usage_error(t, "Expecting one image file name");
    }
    r->filename = argv[optind];
    return 0;
}

static int run(struct tool *t, struct commit_request *r, struct node *top, struct node *base)
{
    struct error *err = NULL;
    struct commit c;
    struct commit_options o = {.speed = r->rate, .after = r->drop ? COMMIT_KEEP : COMMIT_EMPTY};
    struct job *j = commit_job_new(&c, NULL, top, base, &o, &err);
    int ret = j ? img_run_job(j, &r->progress, &err) : -EPERM;
    if (j && ret < 0 && !c.copied) {
        error_clear(&err);
        error_set(&err, -ret, "Block job failed: %s", strerror(-ret));
    }
    if (ret < 0) {
        tool_report(t, err);
        return 1;
    }
    return 0;
}

static int commit(struct tool *t, struct commit_request *r, struct blk *b)
{
    struct node *top = node_skip_filters(blk_node(b)), *base;
    img_progress(&r->progress, 0);
    if (r->base) {
        base = graph_find_backing_image(top, r->base);
        if (!base) {
            tool_error(t, "Did not find '%s' in the backing chain of '%s'", r->base, r->filename);
            return 1;
        }
        base = commit_target(graph_find_overlay(top, base));
    } else {
        base = commit_target(top);
        if (!base) {
            tool_error(t, "Image does not have a backing file");
            return 1;
        }
    }
    return run(t, r, top, base);
}

int img_commit(struct tool *t, int argc, char **argv)
{
    struct commit_request r = {.o.cache = "writeback", .flags = OPEN_RDWR | OPEN_UNMAP};
    int ended = parse(t, &r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    if (!img_parse_cache(r.o.cache, &r.flags, &r.writethrough)) {
        tool_error(t, "Invalid cache option: %s", r.o.cache);
        return 1;
    }
    struct blk *b =
        img_open(t, r.o.image_opts, r.filename, r.o.fmt, r.flags, r.writethrough, r.o.quiet, false);
    if (!b) {
        return 1;
    }
    img_progress_start(&r.progress, t, r.o.progress && !r.o.quiet, 1);
    int status = commit(t, &r, b);
    img_progress_end(&r.progress);
    if (status == 0) {
        img_print(r.o.quiet, "Image committed.\n");
    }
    blk_unref(b);
    return status;
}
