/*
 * qemu-img resize.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/tools/img/img.h"

struct resize_request {
    struct img_common o;
    const char *filename, *size_text;
    int sign; /* -1, 0 (absolute), +1 */
    int64_t size;
    enum prealloc prealloc;
    bool shrink;
};

/* "+1M", "-1M" or "1M"; messages as for the option "size". */
static int parse_new_size(struct tool *t, struct resize_request *r, const char *text)
{
    static const struct opt_desc table[] = {{.name = "size", .type = OPT_SIZE}, {.name = NULL}};
    struct error *err = NULL;
    uint64_t size = 0;
    if (*text == '+' || *text == '-') {
        r->sign = *text == '+' ? 1 : -1;
        text++;
    }
    struct value *opts = value_dict();
    dict_put_str(opts, "size", text);
    int ret = opts_get_size(table, opts, "size", &size, &err);
    value_free(opts);
    if (ret < 0) {
        tool_report(t, err);
        return 2;
    }
    img_warn_hex(t, text);
    r->size = size > INT64_MAX ? -1 : (int64_t)size;
    return 0;
}

static bool parse_prealloc(struct tool *t, struct resize_request *r, const char *name)
{
    for (int i = 0; prealloc_names[i]; i++) {
        if (!strcmp(prealloc_names[i], name)) {
            r->prealloc = (enum prealloc)i;
            return true;
        }
    }
    tool_error(t, "Invalid preallocation mode '%s'", name);
    return false;
}

static bool take_option(struct tool *t, void *request, int c)
{
    struct resize_request *r = request;
    if (c == IMG_OPT_SHRINK) {
        return r->shrink = true;
    }
    return parse_prealloc(t, r, optarg);
}

static int parse(struct tool *t, struct resize_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"preallocation", required_argument, 0, IMG_OPT_PREALLOCATION},
        {"shrink", no_argument, 0, IMG_OPT_SHRINK},
        {0, 0, 0, 0},
    };
    /* The size comes last and may start with '-': it is taken off before options are looked for. */
    if (argc < 3) {
        return 1 + img_usage_error(t, "Not enough arguments");
    }
    r->size_text = argv[--argc];
    int ended = img_parse_options(t, argc, argv, ":f:hq", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    if (optind != argc - 1) {
        return 1 + img_usage_error(t, "Expecting image file name and size");
    }
    r->filename = argv[optind];
    return parse_new_size(t, r, r->size_text);
}

/* The size asked for, or < 0 after a message. */
static int64_t target_size(struct tool *t, const struct resize_request *r, int64_t current)
{
    int64_t size = r->size;
    if (size >= 0 && r->sign) {
        size = r->sign > 0 && size > INT64_MAX - current ? -1 : current + r->sign * size;
    }
    if (size <= 0) {
        tool_error(t, "New image size must be positive");
        return -EINVAL;
    }
    if (size <= current && r->prealloc != PREALLOC_OFF) {
        tool_error(t, "Preallocation can only be used for growing images");
        return -EINVAL;
    }
    if (size < current && !r->shrink) {
        tool_error(t, "Use the --shrink option to perform a shrink operation.");
        world_warn(t->w, "Shrinking an image will delete all data beyond the shrunken image's end. "
                         "Before performing "
                         "such an operation, make sure there is no important data there.");
        return -EINVAL;
    }
    return size;
}

int img_resize(struct tool *t, int argc, char **argv)
{
    struct resize_request r = {.prealloc = PREALLOC_OFF};
    struct error *err = NULL;
    int ended = parse(t, &r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    struct blk *b = img_open(t, r.o.image_opts, r.filename, r.o.fmt, OPEN_RDWR | OPEN_RESIZE, false,
                             r.o.quiet, false);
    if (!b) {
        return 1;
    }
    int status = 1;
    int64_t current = blk_length(b);
    if (current < 0) {
        tool_error(t, "Failed to get size for '%s'", r.filename);
        goto out;
    }
    int64_t size = target_size(t, &r, current);
    if (size < 0) {
        goto out;
    }
    if (blk_resize(b, size, false, r.prealloc, &err) < 0) {
        tool_report(t, err);
        goto out;
    }
    img_print(r.o.quiet, "Image resized.\n");
    status = 0;
out:
    blk_unref(b);
    return status;
}
