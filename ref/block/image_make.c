/*
 * Creating an image from a recipe: options are merged and checked, the backing file is looked at,
 * then it is made.
 */
#include "ref/block/image_make.h"

#include <errno.h>
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/base/sizes.h"
#include "ref/base/strbuf.h"
#include "ref/block/io.h"

static int find_drivers(struct world *w, const struct image_recipe *r,
                        const struct block_driver **drv, const struct block_driver **protocol,
                        struct error **err)
{
    *drv = driver_find(w, r->format);
    if (!*drv) {
        return error_set(err, EINVAL, "Unknown file format '%s'", r->format);
    }
    *protocol = driver_for_filename(w, r->filename, true, err);
    if (!*protocol) {
        return -EINVAL;
    }
    if (!(*drv)->create_options) {
        return error_set(err, EINVAL, "Format driver '%s' does not support image creation",
                         (*drv)->name);
    }
    return 0;
}

/* -o text, size, -b and -F become one dict; NULL with err. */
static struct value *merge_options(struct world *w, const struct image_recipe *r,
                                   const struct block_driver *drv, const struct opt_desc *table,
                                   struct error **err)
{
    struct value *opts = r->options ? opts_parse(r->options, NULL, err) : value_dict();
    if (!opts) {
        return NULL;
    }
    if (r->options && opts_validate_text(table, r->options, err) < 0) {
        goto fail;
    }
    if (dict_has(opts, "size") && r->size >= 0) {
        error_set(err, EINVAL, "The image size must be specified only once");
        goto fail;
    }
    if (r->size >= 0) {
        dict_put(opts, "size", value_strf("%lld", (long long)r->size));
    }
    if (r->backing_file) {
        if (!opts_find(table, "backing_file")) {
            error_set(err, EINVAL, "Backing file not supported for file format '%s'", r->format);
            goto fail;
        }
        dict_put_str(opts, "backing_file", r->backing_file);
    }
    if (r->backing_format) {
        if (!opts_find(table, "backing_fmt")) {
            error_set(err, EINVAL, "Backing file format not supported for file format '%s'",
                      r->format);
            goto fail;
        }
        dict_put_str(opts, "backing_fmt", r->backing_format);
    }
    return opts;
fail:
    value_free(opts);
    return NULL;
}

/* Opens the backing file for its size and format; *size stays -1 when nothing asks for it. */
static int look_at_backing(struct world *w, const struct image_recipe *r, struct value *opts,
                           const char *name, const char *format, struct error **err)
{
    struct value *options = value_dict();
    struct error *local = NULL;
    char *full = full_backing_filename(r->filename, name, &local);
    if (!full) {
        value_free(options);
        error_propagate(err, local);
        return -EINVAL;
    }
    if (format) {
        dict_put_str(options, "driver", format);
    }
    dict_put_bool(options, "force-share", true);
    struct node *n = node_open(w, full, NULL, options, OPEN_NO_IO, &local);
    mem_free(full);
    if (!n) {
        error_hint(&local, "Could not open backing image.\n");
        error_propagate(err, local);
        return -EINVAL;
    }
    int ret = 0;
    if (!format) {
        ret = error_set(err, EINVAL, "Backing file specified without backing format");
        error_hint(err, "Detected format of %s.", n->drv->name);
    } else if (!dict_has(opts, "size")) {
        int64_t size = node_length(n);
        if (size < 0) {
            ret = error_set_errno(err, (int)-size, "Could not get size of '%s'", name);
        } else {
            dict_put(opts, "size", value_strf("%lld", (long long)size));
        }
    }
    node_unref(n);
    return ret;
}

static int settle_backing(struct world *w, const struct image_recipe *r, struct value *opts,
                          struct error **err)
{
    const char *name = dict_get_str(opts, "backing_file"),
               *format = dict_get_str(opts, "backing_fmt");
    if (!name) {
        return 0;
    }
    if (!*name) {
        return error_set(err, EINVAL, "Expected backing file name, got empty string");
    }
    if (!strcmp(name, r->filename)) {
        return error_set(
            err, EINVAL,
            "Error: Trying to create an image with the same filename as the backing file");
    }
    if (!(r->flags & OPEN_NO_BACKING)) {
        return look_at_backing(w, r, opts, name, format, err);
    }
    return format ? 0 : error_set(err, EINVAL, "Backing file specified without backing format");
}

/* A value as the "Formatting" line shows it: numbers in bytes, commas doubled. */
static void print_value(struct strbuf *line, const struct opt_desc *d, const char *text)
{
    uint64_t number;
    if (d->type == OPT_SIZE && parse_size(text, NULL, 'B', &number) == 0) {
        strbuf_printf(line, "%llu", (unsigned long long)number);
        return;
    }
    if (d->type == OPT_NUMBER && parse_uint64(text, NULL, 0, &number) == 0) {
        strbuf_printf(line, "%lld", (long long)number);
        return;
    }
    for (; *text; text++) {
        strbuf_putc(line, *text);
        if (*text == ',') {
            strbuf_putc(line, ',');
        }
    }
}

static void print_formatting(struct world *w, const struct image_recipe *r,
                             const struct opt_desc *table, const struct value *opts)
{
    struct strbuf line = STRBUF_INIT;
    for (const struct opt_desc *d = table; d->name; d++) {
        const char *text = dict_get_str(opts, d->name);
        if (!text) {
            text = d->def;
        }
        if (text) {
            strbuf_printf(&line, " %s=", d->name);
            print_value(&line, d, text);
        }
    }
    world_report(w, REPORT_STDOUT, "Formatting '%s', fmt=%s%s\n", r->filename, r->format,
                 line.len ? line.s : "");
    world_flush_stdout(w); /* a failure is told behind this line */
    strbuf_free(&line);
}

int image_make(struct world *w, const struct image_recipe *r, struct error **err)
{
    const struct block_driver *drv = NULL, *protocol = NULL;
    struct error *local = NULL;
    int ret = find_drivers(w, r, &drv, &protocol, err);
    if (ret < 0) {
        return ret;
    }
    struct opt_desc *table = image_create_table(drv, protocol);
    struct value *opts = merge_options(w, r, drv, table, err);
    if (!opts) {
        mem_free(table);
        return -EINVAL;
    }
    ret = image_create_check(w, drv, r->filename, opts, err);
    if (ret == 0) {
        ret = settle_backing(w, r, opts, err);
    }
    if (ret == 0 && opts_find(table, "size") && !dict_has(opts, "size")) {
        ret = error_set(err, EINVAL, "Image creation needs a size parameter");
    }
    if (ret < 0) {
        goto out;
    }
    if (!r->quiet) {
        print_formatting(w, r, table, opts);
    }
    bool has_cluster_size = opts_find(table, "cluster_size");
    ret = image_create(w, drv, r->filename, opts, &local);
    if (ret == -EFBIG) {
        error_clear(&local);
        error_set(&local, EFBIG, "The image size is too large for file format '%s'%s", r->format,
                  has_cluster_size ? " (try using a larger cluster size)" : "");
    }
    error_propagate(err, local);
out:
    value_free(opts);
    mem_free(table);
    return ret;
}
