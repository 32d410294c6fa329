/*
 * qemu-img amend.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/base/strbuf.h"
#include "ref/job/amend.h"
#include "ref/tools/img/img.h"

struct amend_request {
    struct img_common o;
    const char *filename;
    char *options;
    unsigned flags;
    bool force, writethrough;
};

static bool take_option(struct tool *t, void *request, int c)
{
    struct amend_request *r = request;
    if (c == IMG_OPT_FORCE) {
        return r->force = true;
    }
    return img_add_options(t, &r->options, optarg);
}

static int parse(struct tool *t, struct amend_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force", no_argument, 0, IMG_OPT_FORCE},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(t, argc, argv, ":ho:f:t:pq", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    if (!r->options) {
        return 1 + img_usage_error(t, "Must specify options (-o)");
    }
    return 0;
}

static int print_help(struct tool *t, const struct block_driver *drv)
{
    struct strbuf text = STRBUF_INIT;
    if (!drv->amend_options) {
        tool_error(t, "Format driver '%s' does not support option amendment", drv->name);
        return 1;
    }
    char *title = str_fmt("Amend options for '%s':", drv->name);
    opts_print_help(&text, drv->amend_options, title);
    fputs(text.s, stdout);
    strbuf_free(&text);
    mem_free(title);
    return 0;
}

static int help_for_format(struct tool *t, const char *fmt)
{
    const struct block_driver *drv = driver_find(t->w, fmt);
    if (!drv) {
        tool_error(t, "Unknown file format '%s'", fmt);
        return 1;
    }
    return print_help(t, drv);
}

static int amend(struct tool *t, struct amend_request *r, struct node *n,
                 struct img_progress *progress)
{
    const struct block_driver *drv = n->drv;
    struct error *err = NULL;
    if (opts_has_help(r->options)) {
        return print_help(t, drv);
    }
    if (!drv->amend_options) {
        tool_error(t, "Format driver '%s' does not support option amendment", drv->name);
        return 1;
    }
    if (opts_validate_text(drv->amend_options, r->options, &err) < 0) {
        struct error *creation = NULL;
        if (drv->create_options &&
            opts_validate_text(drv->create_options, r->options, &creation) == 0) {
            error_hint(&err, "This option is only supported for image creation\n");
        }
        error_clear(&creation);
        tool_report(t, err);
        return 1;
    }
    img_warn_hex_options(t, drv->amend_options, r->options, 1);
    struct value *opts = opts_parse(r->options, NULL, &err);
    img_progress(progress, 0);
    struct job *j = amend_job_flat(NULL, n, opts, r->force, &err);
    int ret = j ? img_run_job(j, progress, &err) : -EINVAL;
    if (ret < 0) {
        tool_report(t, err);
    }
    return ret < 0;
}

/* With the options parsed; exit status. */
static int open_and_amend(struct tool *t, struct amend_request *r, struct img_progress *progress)
{
    if (r->o.fmt && opts_has_help(r->options)) {
        return help_for_format(t, r->o.fmt);
    }
    if (!r->filename) {
        tool_error(t, "Expecting one image file name"); /* no hint, as QEMU */
        return 1;
    }
    if (!img_parse_cache(r->o.cache, &r->flags, &r->writethrough)) {
        tool_error(t, "Invalid cache option: %s", r->o.cache);
        return 1;
    }
    struct blk *b = img_open(t, r->o.image_opts, r->filename, r->o.fmt, r->flags, r->writethrough,
                             r->o.quiet, false);
    if (!b) {
        return 1;
    }
    int status = amend(t, r, blk_node(b), progress);
    blk_unref(b);
    return status;
}

int img_amend(struct tool *t, int argc, char **argv)
{
    struct amend_request r = {.o.cache = "writeback", .flags = OPEN_RDWR | OPEN_RESIZE};
    struct img_progress progress;
    int ended = parse(t, &r, argc, argv), status = ended - 1;
    if (!ended) {
        r.filename = optind == argc - 1 ? argv[optind] : NULL;
        img_progress_start(&progress, t, r.o.progress && !r.o.quiet, 1);
        status = open_and_amend(t, &r, &progress);
        img_progress_end(&progress);
    }
    mem_free(r.options);
    return status;
}
