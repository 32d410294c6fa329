/*
 * qemu-img create.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/base/strbuf.h"
#include "ref/job/create.h"
#include "ref/tools/img/img.h"

/* `-o help`: the format's options, and those of the protocol when there is a name. */
int img_options_help(struct tool *t, const char *filename, const char *fmt)
{
    struct error *err = NULL;
    const struct block_driver *drv = driver_find(t->w, fmt), *protocol = NULL;
    if (!drv) {
        tool_error(t, "Unknown file format '%s'", fmt);
        return 1;
    }
    if (!drv->create_options) {
        tool_error(t, "Format driver '%s' does not support image creation", fmt);
        return 1;
    }
    if (filename) {
        protocol = driver_for_filename(t->w, filename, true, &err);
        if (!protocol) {
            tool_report(t, err);
            return 1;
        }
        if (!protocol->create_options) {
            tool_error(t, "Protocol driver '%s' does not support image creation", protocol->name);
            return 1;
        }
    }
    char *title = filename ? str_dup("Supported options:") : str_fmt("Supported %s options:", fmt);
    struct opt_desc *table = image_create_table(drv, protocol);
    struct strbuf text = STRBUF_INIT;
    opts_print_help(&text, table, title);
    fputs(text.s, stdout);
    if (!filename) {
        printf("\nThe protocol level may support further options.\n"
               "Specify the target filename to include those options.\n");
    }
    strbuf_free(&text);
    mem_free(table);
    mem_free(title);
    return 0;
}

struct create_request {
    struct img_common o;
    struct image_recipe recipe;
    char *options;
    const char *size_text;
};

static bool take_option(struct tool *t, void *request, int c)
{
    struct create_request *r = request;
    switch (c) {
    case 'F':
        r->recipe.backing_format = optarg;
        return true;
    case 'b':
        r->recipe.backing_file = optarg;
        return true;
    case 'u':
        r->recipe.flags |= OPEN_NO_BACKING;
        return true;
    default:
        return img_add_options(t, &r->options, optarg);
    }
}

/* 0 to go on, else 1 + exit status. */
static int parse(struct tool *t, struct create_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {0, 0, 0, 0},
    };
    int ended =
        img_parse_options(t, argc, argv, ":F:b:f:ho:qu", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    r->recipe.format = r->o.fmt;
    r->recipe.quiet = r->o.quiet;
    r->recipe.filename = optind < argc ? argv[optind++] : NULL;
    if (r->options && opts_has_help(r->options)) {
        return 1 + img_options_help(t, r->recipe.filename, r->recipe.format);
    }
    if (!r->recipe.filename) {
        return 1 + img_usage_error(t, "Expecting image file name");
    }
    r->size_text = optind < argc ? argv[optind++] : NULL;
    if (optind < argc) {
        return 1 + img_usage_error(t, "Unexpected argument: %s", argv[optind]);
    }
    return 0;
}

int img_create(struct tool *t, int argc, char **argv)
{
    struct create_request r = {.o.fmt = "raw", .recipe = {.size = -1}};
    struct error *err = NULL;
    int ended = parse(t, &r, argc, argv);
    int status = ended - 1;
    if (!ended) {
        status = 1;
        r.recipe.options = r.options;
        if (r.size_text) {
            r.recipe.size = img_size_argument(t, "image size", r.size_text);
        }
        const struct block_driver *drv = driver_find(t->w, r.recipe.format);
        if (drv && drv->create_options) {
            img_warn_hex_options(t, drv->create_options, r.options, 2);
        }
        if (!r.size_text || r.recipe.size >= 0) {
            struct job *j = create_job_from_recipe(t->w, NULL, &r.recipe, &err);
            status = !j || job_run(j, &err) < 0;
        }
        if (err) {
            error_prepend(&err, "%s: ", r.recipe.filename);
            tool_report(t, err);
        }
    }
    mem_free(r.options);
    return status;
}
