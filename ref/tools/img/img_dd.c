/*
 * qemu-img dd: operands like dd's, image formats like convert's.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/block/open.h"
#include "ref/tools/img/img.h"

struct dd {
    struct tool *t;
    struct img_common o;
    const char *out_fmt, *in_name, *out_name;
    bool has_count;
    int64_t bs, count, skip; /* bytes; blocks */
    struct blk *in, *out;
    int64_t in_length, out_length;
    const struct block_driver *drv;
};

/* name=value; false after a message. */
static bool take_operand(struct dd *d, const char *operand)
{
    const char *equals = strchr(operand, '=');
    int len = equals ? (int)(equals - operand) : (int)strlen(operand);
    const char *value = equals ? equals + 1 : "";
    if (equals && len == 2 && !strncmp(operand, "if", 2)) {
        d->in_name = value;
    } else if (equals && len == 2 && !strncmp(operand, "of", 2)) {
        d->out_name = value;
    } else if (equals && len == 2 && !strncmp(operand, "bs", 2)) {
        d->bs = img_size_between(d->t, "bs", value, 1, INT32_MAX);
        return d->bs >= 0;
    } else if (equals && len == 5 && !strncmp(operand, "count", 5)) {
        d->count = img_size_argument(d->t, "count", value);
        d->has_count = true;
        return d->count >= 0;
    } else if (equals && len == 4 && !strncmp(operand, "skip", 4)) {
        d->skip = img_size_argument(d->t, "skip", value);
        return d->skip >= 0;
    } else {
        tool_error(d->t, "unrecognized operand %.*s", len, operand);
        return false;
    }
    return true;
}

static bool take_option(struct tool *t, void *request, int c)
{
    struct dd *d = request;
    d->out_fmt = optarg;
    return true;
}

/* 0 to go on, else 1 + exit status. */
static int parse(struct dd *d, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(d->t, argc, argv, ":hf:O:U", long_options, &d->o, take_option, d);
    if (ended) {
        return ended;
    }
    for (int i = optind; i < argc; i++) {
        if (!take_operand(d, argv[i])) {
            return 2;
        }
    }
    if (!d->in_name || !d->out_name) {
        tool_error(d->t, "Must specify both input and output files");
        return 2;
    }
    return 0;
}

static bool find_drivers(struct dd *d)
{
    struct error *err = NULL;
    d->drv = driver_find(d->t->w, d->out_fmt);
    if (!d->drv) {
        tool_error(d->t, "Unknown file format");
        return false;
    }
    const struct block_driver *protocol = driver_for_filename(d->t->w, d->out_name, true, &err);
    if (!protocol) {
        tool_report(d->t, err);
        return false;
    }
    const char *kind = !d->drv->create_options     ? "Format"
                       : !protocol->create_options ? "Protocol"
                                                   : NULL;
    if (kind) {
        tool_error(d->t, "%s driver '%s' does not support image creation", kind,
                   d->drv->create_options ? protocol->name : d->drv->name);
        return false;
    }
    return true;
}

/* The new image is as long as what is copied; count is applied before skip, as QEMU does. */
static void choose_lengths(struct dd *d)
{
    int64_t length = d->in_length;
    if (d->has_count && d->count <= INT64_MAX / d->bs && d->count * d->bs < length) {
        length = d->count * d->bs;
    }
    if (d->skip > INT64_MAX / d->bs || length < d->skip * d->bs) {
        d->out_length = 0;
    } else {
        d->out_length = length - d->skip * d->bs;
    }
    d->in_length = length;
}

static bool open_output(struct dd *d)
{
    struct error *err = NULL;
    struct value *opts = value_dict();
    dict_put(opts, "size", value_strf("%lld", (long long)d->out_length));
    int ret = image_create(d->t->w, d->drv, d->out_name, opts, &err);
    value_free(opts);
    if (ret < 0) {
        error_prepend(&err, "%s: error while creating output image: ", d->out_name);
        tool_report(d->t, err);
        return false;
    }
    d->out = img_open_file(d->t, NULL, d->out_name, d->out_fmt, OPEN_RDWR, false, false, false);
    return d->out != NULL;
}

static bool copy(struct dd *d, uint8_t *buf)
{
    for (int64_t in = d->skip * d->bs, out = 0, n; in < d->in_length; in += n, out += n) {
        n = MIN(d->bs, d->in_length - in);
        int ret = blk_pread(d->in, in, buf, n);
        if (ret < 0) {
            tool_error(d->t, "error while reading from input image file: %s", strerror(-ret));
            return false;
        }
        ret = blk_pwrite(d->out, out, buf, n, 0);
        if (ret < 0) {
            tool_error(d->t, "error while writing to output image file: %s", strerror(-ret));
            return false;
        }
    }
    return true;
}

static bool dd(struct dd *d)
{
    d->in =
        img_open(d->t, d->o.image_opts, d->in_name, d->o.fmt, 0, false, false, d->o.force_share);
    if (!d->in || !find_drivers(d)) {
        return false;
    }
    d->in_length = blk_length(d->in);
    if (d->in_length < 0) {
        tool_error(d->t, "Failed to get size for '%s'", d->in_name);
        return false;
    }
    choose_lengths(d);
    if (!open_output(d)) {
        return false;
    }
    if (d->skip > INT64_MAX / d->bs || d->in_length < d->skip * d->bs) {
        tool_error(d->t, "%s: cannot skip to specified offset", d->in_name);
        return true; /* and yet it ends well */
    }
    uint8_t *buf = node_try_blockalign(blk_node(d->in), (size_t)d->bs);
    if (!buf) {
        tool_error(d->t, "Out of memory for a buffer of %lld bytes", (long long)d->bs);
        return false;
    }
    bool ok = copy(d, buf);
    mem_free(buf);
    return ok;
}

int img_dd(struct tool *t, int argc, char **argv)
{
    struct dd d = {.t = t, .out_fmt = "raw", .bs = 512};
    int ended = parse(&d, argc, argv);
    if (ended) {
        return ended - 1;
    }
    bool ok = dd(&d);
    if (d.out) {
        blk_unref(d.out);
    }
    if (d.in) {
        blk_unref(d.in);
    }
    return ok ? 0 : 1;
}
