/*
 * qemu-img rebase: another backing file for an image.
 *
 * Safe mode first writes into the image what it reads from the old backing file and would not read
 * from the new one; unsafe mode (-u) changes only the name.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/block/graph.h"
#include "ref/block/open.h"
#include "ref/tools/img/img.h"

#define REBASE_BUF (2 * MiB)

struct rebase {
    struct tool *t;
    struct img_common o;
    const char *filename, *backing, *backing_fmt;
    unsigned flags, source_flags;
    bool unsafe, writethrough;
    struct blk *image, *old, *new; /* old, new: NULL when there is none */
    struct node *shared; /* the new backing file, when it is in the image's chain already */
    int64_t length, old_length, new_length;
    uint8_t *old_buf, *new_buf;
    struct img_progress progress;
};

static bool take_option(struct tool *t, void *request, int c)
{
    struct rebase *r = request;
    switch (c) {
    case 'F':
        r->backing_fmt = optarg;
        return true;
    case 'b':
        r->backing = optarg;
        return true;
    default:
        return r->unsafe = true;
    }
}

/* 0 to go on, else 1 + exit status. */
static int parse(struct rebase *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(r->t, argc, argv, ":hf:F:b:upt:T:qU", long_options, &r->o,
                                  take_option, r);
    if (ended) {
        return ended;
    }
    if (optind != argc - 1) {
        return 1 + img_usage_error(r->t, "Expecting one image file name");
    }
    if (!r->unsafe && !r->backing) {
        return 1 + img_usage_error(r->t, "Must specify backing file (-b) or use unsafe mode (-u)");
    }
    r->filename = argv[optind];
    return 0;
}

/* False after a message. */
static bool open_image(struct rebase *r)
{
    bool writethrough;
    r->flags = OPEN_RDWR | (r->unsafe ? OPEN_NO_BACKING : 0);
    if (!img_parse_cache(r->o.cache, &r->flags, &r->writethrough)) {
        tool_error(r->t, "Invalid cache option: %s", r->o.cache);
        return false;
    }
    if (!img_parse_cache(r->o.source_cache, &r->source_flags, &writethrough)) {
        tool_error(r->t, "Invalid source cache option: %s", r->o.source_cache);
        return false;
    }
    r->image = img_open(r->t, r->o.image_opts, r->filename, r->o.fmt, r->flags, r->writethrough,
                        r->o.quiet, false);
    return r->image != NULL;
}

/* ---- safe mode ---- */

static bool fail(struct rebase *r, struct error *err)
{
    tool_report(r->t, err);
    return false;
}

static bool open_old(struct rebase *r, struct node *n)
{
    struct error *err = NULL;
    struct node *below = node_backing_chain_next(node_skip_filters(n));
    if (!below) {
        return true;
    }
    r->old = blk_new(r->t->w, PERM_CONSISTENT_READ, PERM_ALL);
    if (blk_insert(r->old, below, &err) < 0) {
        error_prepend(&err, "Could not reuse old backing file '%s': ", below->filename);
        return fail(r, err);
    }
    r->old_length = blk_length(r->old);
    if (r->old_length < 0) {
        tool_error(r->t, "Could not get size of '%s': %s", below->filename,
                   strerror((int)-r->old_length));
        return false;
    }
    return true;
}

static struct blk *open_backing_file(struct rebase *r, const char *name, struct error **err)
{
    struct value *options = value_dict();
    if (r->backing_fmt) {
        dict_put_str(options, "driver", r->backing_fmt);
    }
    if (r->o.force_share) {
        dict_put_bool(options, "force-share", true);
    }
    return blk_open(r->t->w, name, NULL, options, r->source_flags, err);
}

/* The new backing file, by its name relative to the image; one that the image stands on already is
 * used as it is. */
static bool open_new(struct rebase *r, struct node *n)
{
    struct error *err = NULL;
    if (!r->backing || !*r->backing) {
        return true;
    }
    node_refresh_filename(n);
    char *full = full_backing_filename(n->filename, r->backing, &err);
    if (!full) {
        error_prepend(&err, "Could not resolve backing filename: ");
        return fail(r, err);
    }
    r->shared = graph_find_backing_file(n, full);
    if (r->shared) {
        r->new = blk_new(r->t->w, PERM_CONSISTENT_READ, PERM_ALL);
        if (blk_insert(r->new, r->shared, &err) < 0) {
            blk_unref(r->new);
            r->new = NULL;
        }
    } else {
        r->new = open_backing_file(r, full, &err);
    }
    mem_free(full);
    if (!r->new) {
        error_prepend(&err,
                      r->shared ? "Could not reuse backing file '%s': "
                                : "Could not open new backing file '%s': ",
                      r->backing);
        return fail(r, err);
    }
    r->new_length = blk_length(r->new);
    if (r->new_length < 0) {
        tool_error(r->t, "Could not get size of '%s': %s", r->backing,
                   strerror((int)-r->new_length));
        return false;
    }
    return true;
}

/* Reads a backing file (may be NULL), zeroes behind its end. */
static bool read_backing(struct rebase *r, struct blk *b, int64_t length, int64_t offset,
                         uint8_t *buf, int64_t bytes)
{
    int64_t n = b && offset < length ? MIN(bytes, length - offset) : 0;
    memset(buf + n, 0, (size_t)(bytes - n));
    int ret = n ? blk_pread(b, offset, buf, n) : 0;
    if (ret < 0) {
        tool_error(r->t, "error while reading from %s backing file", b == r->old ? "old" : "new");
        return false;
    }
    return true;
}

/*
 * Zeroes that stay when something gets below them: a format without zero clusters may have left
 * the range as it was, since it reads as zeroes now.
 */
static int write_zeroes(struct rebase *r, const uint8_t *zeroes, int64_t offset, int64_t bytes)
{
    int ret = blk_pwrite_zeroes(r->image, offset, bytes, 0, NULL);
    for (int64_t n; ret == 0 && bytes; offset += n, bytes -= n) {
        ret = node_is_allocated(node_skip_filters(blk_node(r->image)), offset, bytes, &n);
        ret = ret ? MIN(ret, 0) : blk_pwrite(r->image, offset, zeroes, n, 0);
    }
    return ret;
}

/* Writes the runs of sectors that differ. */
static bool write_differences(struct rebase *r, int64_t offset, int64_t bytes)
{
    bool old_is_zero = offset >= r->old_length;
    for (int64_t pos = 0, n; pos < bytes; pos += n) {
        bool differs = false, first = true;
        for (n = 0; pos + n < bytes; n += MIN(512, bytes - pos - n)) {
            size_t len = (size_t)MIN(512, bytes - pos - n);
            bool d = memcmp(r->old_buf + pos + n, r->new_buf + pos + n, len) != 0;
            if (!first && d != differs) {
                break;
            }
            differs = d;
            first = false;
        }
        if (!differs) {
            continue;
        }
        int ret = old_is_zero ? write_zeroes(r, r->old_buf + pos, offset + pos, n)
                              : blk_pwrite(r->image, offset + pos, r->old_buf + pos, n, 0);
        if (ret < 0) {
            tool_error(r->t, "Error while writing to COW image: %s", strerror(-ret));
            return false;
        }
    }
    return true;
}

/* Length of what need not be compared from offset on: 0 when it has to be, < 0 after a message; *n:
 * how far it goes. */
static int skip(struct rebase *r, int64_t offset, int64_t *n)
{
    int ret = node_is_allocated(node_skip_filters(blk_node(r->image)), offset, *n, n);
    if (ret < 0) {
        tool_error(r->t, "error while reading image metadata: %s", strerror(-ret));
        return ret;
    }
    if (ret > 0 || !r->shared || !r->old || offset >= r->old_length) {
        return ret;
    }
    /* What no layer above the new backing file has is read from it before and after. */
    int64_t more;
    *n = MIN(*n, r->old_length - offset);
    ret = node_is_allocated_above(blk_node(r->old), r->shared, false, offset, *n, &more);
    if (ret < 0) {
        tool_error(r->t, "error while reading image metadata: %s", strerror(-ret));
        return ret;
    }
    *n = MIN(*n, more);
    return ret == 0;
}

static bool copy_differences(struct rebase *r)
{
    /* Behind the ends of both backing files are zeroes before and after. */
    int64_t end = MIN(r->length, MAX(r->old_length, r->new_length));
    for (int64_t offset = 0, n; offset < end; offset += n) {
        n = MIN(end - offset, REBASE_BUF);
        int ret = skip(r, offset, &n);
        if (ret < 0) {
            return false;
        }
        if (ret > 0) {
            continue;
        }
        if (offset < r->old_length) {
            n = MIN(n, r->old_length - offset);
        }
        if (!read_backing(r, r->old, r->old_length, offset, r->old_buf, n) ||
            !read_backing(r, r->new, r->new_length, offset, r->new_buf, n) ||
            !write_differences(r, offset, n)) {
            return false;
        }
        img_progress(&r->progress, 100.0f * (float)(offset + n) / (float)r->length);
    }
    return true;
}

static bool safe(struct rebase *r, struct node *n)
{
    if (!open_old(r, n) || !open_new(r, n)) {
        return false;
    }
    r->length = blk_length(r->image);
    if (r->length < 0) {
        tool_error(r->t, "Could not get size of '%s': %s", r->filename, strerror((int)-r->length));
        return false;
    }
    r->old_buf = node_try_blockalign(n, REBASE_BUF);
    r->new_buf = node_try_blockalign(n, REBASE_BUF);
    if (!r->old_buf || !r->new_buf) {
        tool_error(r->t, "Out of memory for buffers of %lld bytes", REBASE_BUF);
        return false;
    }
    return copy_differences(r);
}

/* ---- */

static bool change_name(struct rebase *r, struct node *n)
{
    bool any = r->backing && *r->backing;
    int ret =
        node_change_backing_file(n, any ? r->backing : NULL, any ? r->backing_fmt : NULL, true);
    if (ret == 0) {
        return true;
    }
    const char *name = r->backing ? r->backing : "(null)";
    if (ret == -ENOSPC) {
        tool_error(r->t,
                   "Could not change the backing file to '%s': No space left in the file header",
                   name);
    } else if (ret == -EINVAL && any && !r->backing_fmt) {
        tool_error(r->t,
                   "Could not change the backing file to '%s': backing format must be specified",
                   name);
    } else {
        tool_error(r->t, "Could not change the backing file to '%s': %s", name, strerror(-ret));
    }
    return false;
}

static bool rebase(struct rebase *r)
{
    struct node *n = blk_node(r->image);
    if (r->backing_fmt && !driver_find(r->t->w, r->backing_fmt)) {
        tool_error(r->t, "Invalid format name: '%s'", r->backing_fmt);
        return false;
    }
    if (!r->unsafe && !safe(r, n)) {
        return false;
    }
    bool ok = change_name(r, n);
    img_progress(&r->progress, 100); /* of copying, whatever became of the name */
    return ok;
}

int img_rebase(struct tool *t, int argc, char **argv)
{
    struct rebase r = {.t = t, .o.cache = "writeback", .o.source_cache = "writeback"};
    int ended = parse(&r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    img_progress_start(&r.progress, t, r.o.progress && !r.o.quiet, 2);
    img_progress(&r.progress, 0);
    bool ok = open_image(&r) && rebase(&r);
    img_progress_end(&r.progress);
    if (r.new) {
        blk_unref(r.new);
    }
    if (r.old) {
        blk_unref(r.old);
    }
    if (r.image) {
        blk_unref(r.image);
    }
    mem_free(r.old_buf);
    mem_free(r.new_buf);
    return ok ? 0 : 1;
}
