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
    struct img_common o;
    const char *filename, *out_fmt, *snapshot;
    struct value *snapshot_opts;
    char *options;
    int64_t size; /* -1: not given */
};

static bool take_option(struct tool *t, void *request, int c)
{
    struct measure_request *r = request;
    switch (c) {
    case 'l':
        return img_parse_snapshot(t, optarg, &r->snapshot, &r->snapshot_opts);
    case 'o':
        return img_add_options(t, &r->options, optarg);
    case 'O':
        r->out_fmt = optarg;
        return true;
    default:
        r->size = img_size_argument(t, "image size", optarg);
        return r->size >= 0;
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
    int ended =
        img_parse_options(t, argc, argv, ":hf:l:o:O:U", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    const char *wrong = NULL;
    if (argc - optind > 1) {
        wrong = "At most one filename argument is allowed.";
    } else if (argc == optind && (r->o.image_opts || r->o.fmt || r->snapshot || r->snapshot_opts)) {
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
    if (r->o.output == OUTPUT_JSON) {
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
        img_warn_hex_options(t, table, r->options, 1);
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
    struct measure_request r = {.out_fmt = "raw", .size = -1, .o.help_on_error = true};
    struct blk *b = NULL;
    int ended = parse(t, &r, argc, argv), status = ended ? ended - 1 : 1;
    if (!ended && r.filename) {
        b = img_open(t, r.o.image_opts, r.filename, r.o.fmt, 0, false, false, r.o.force_share);
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
