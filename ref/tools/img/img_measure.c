/*
 * qemu-img measure: how large the file of a new image will get.
 */
#include <errno.h>

#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/block/open.h"
#include "ref/tools/img/img.h"

struct measure_request {
    const char *filename, *fmt, *out_fmt, *snapshot;
    struct value *snapshot_opts;
    char *options;
    enum img_output output;
    int64_t size; /* -1: not given */
    bool image_opts, force_share;
};

static bool take_option(struct tool *t, struct measure_request *r, int c)
{
    switch (c) {
    case 'f':
        r->fmt = optarg;
        return true;
    case 'l':
        return img_parse_snapshot(t, optarg, &r->snapshot, &r->snapshot_opts);
    case 'o':
        return img_add_options(t, &r->options, optarg);
    case 'O':
        r->out_fmt = optarg;
        return true;
    case 'U':
        return r->force_share = true;
    case IMG_OPT_IMAGE_OPTS:
        return r->image_opts = true;
    case IMG_OPT_OUTPUT:
        return img_parse_output(t, optarg, &r->output);
    case IMG_OPT_SIZE:
        r->size = img_size_argument(t, "image size", optarg);
        return r->size >= 0;
    default:
        return img_add_object(t, optarg);
    }
}

/* 0 to go on, else 1 + exit status. */
static int parse(struct tool *t, struct measure_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"output", required_argument, 0, IMG_OPT_OUTPUT},
        {"size", required_argument, 0, IMG_OPT_SIZE},
        {"force-share", no_argument, 0, 'U'},
        {0, 0, 0, 0},
    };
    int c;
    while ((c = img_getopt(t, argc, argv, ":hf:l:o:O:U", long_options)) != -1) {
        if (c == 'h') {
            return 1;
        }
        if (c == '?' || !take_option(t, r, c)) {
            return 2;
        }
    }
    const char *wrong = NULL;
    if (argc - optind > 1) {
        wrong = "At most one filename argument is allowed.";
    } else if (argc == optind && (r->image_opts || r->fmt || r->snapshot || r->snapshot_opts)) {
        wrong = "--image-opts, -f, and -l require a filename argument.";
    } else if (argc == optind && r->size < 0) {
        wrong = "Either --size N or one filename must be specified.";
    } else if (argc > optind && r->size >= 0) {
        wrong = "--size N cannot be used together with a filename.";
    }
    if (wrong) {
        tool_error(t, "%s", wrong);
        return 2;
    }
    r->filename = argc > optind ? argv[optind] : NULL;
    return 0;
}

static void print(const struct measure_request *r, const struct value *v)
{
    if (r->output == OUTPUT_JSON) {
        char *text = json_text(v, true);
        printf("%s\n", text);
        mem_free(text);
        return;
    }
    printf("required size: %lld\n", (long long)dict_get_int(v, "required", 0));
    printf("fully allocated size: %lld\n", (long long)dict_get_int(v, "fully-allocated", 0));
    if (dict_has(v, "bitmaps")) {
        printf("bitmaps size: %lld\n", (long long)dict_get_int(v, "bitmaps", 0));
    }
}

/* Options of the image to be made; NULL after messages. */
static struct value *create_options(struct tool *t, const struct measure_request *r,
                                    const struct block_driver *drv)
{
    struct error *err = NULL;
    const struct block_driver *protocol = driver_find(t->w, "file");
    struct opt_desc *table = image_create_table(drv, protocol);
    struct value *opts = NULL;
    if (r->options && opts_validate_text(table, r->options, &err) < 0) {
        tool_report(t, err);
        tool_error(t, "Invalid options for file format '%s'", r->out_fmt);
    } else {
        opts = r->options ? opts_parse(r->options, NULL, &err) : value_dict();
        if (!opts) {
            tool_report(t, err);
        } else if (r->size >= 0) {
            dict_put(opts, "size", value_strf("%lld", (long long)r->size));
        }
    }
    mem_free(table);
    return opts;
}

static int measure(struct tool *t, const struct measure_request *r, struct blk *b)
{
    struct error *err = NULL;
    const struct block_driver *drv = driver_find(t->w, r->out_fmt);
    if (!drv) {
        tool_error(t, "Unknown file format '%s'", r->out_fmt);
        return 1;
    }
    if (!drv->create_options) {
        tool_error(t, "Format driver '%s' does not support image creation", drv->name);
        return 1;
    }
    struct value *opts = create_options(t, r, drv);
    if (!opts) {
        return 1;
    }
    struct value *v = NULL;
    if (drv->measure) {
        v = drv->measure(t->w, opts, b ? blk_node(b) : NULL, &err);
    } else {
        error_set(&err, ENOTSUP, "Block driver '%s' does not support size measurement", drv->name);
    }
    value_free(opts);
    if (!v) {
        tool_report(t, err);
        return 1;
    }
    print(r, v);
    value_free(v);
    return 0;
}

int img_measure(struct tool *t, int argc, char **argv)
{
    struct measure_request r = {.out_fmt = "raw", .size = -1};
    struct blk *b = NULL;
    int ended = parse(t, &r, argc, argv), status = ended ? ended - 1 : 1;
    if (!ended && r.filename) {
        b = img_open(t, r.image_opts, r.filename, r.fmt, 0, false, false, r.force_share);
    }
    if (!ended && (!r.filename || b) &&
        (!b || img_load_snapshot(t, b, r.snapshot, r.snapshot_opts))) {
        status = measure(t, &r, b);
    }
    if (b) {
        blk_unref(b);
    }
    value_free(r.snapshot_opts);
    mem_free(r.options);
    return status;
}
