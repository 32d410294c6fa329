/*
 * What every qemu-img command does the same way: options, opening, printing.
 */
#include "ref/tools/img/img.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/base/sizes.h"
#include "ref/block/snapshot.h"
#include "ref/engine/host.h"
#include "ref/tools/img/help.h"

int img_usage_error(struct tool *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = str_vfmt(fmt, ap);
    va_end(ap);
    tool_error(t, "%s", text);
    mem_free(text);
    world_report(t->w, REPORT_PLAIN, "Try 'qemu-img --help' for more information\n");
    return 1;
}

int img_getopt(struct tool *t, int argc, char **argv, const char *short_options,
               const struct option *long_options)
{
    opterr = 0;
    int c = getopt_long(argc, argv, short_options, long_options, NULL);
    if (c == ':') {
        img_usage_error(t, "missing argument for option '%s'", argv[optind - 1]);
    } else if (c == '?') {
        img_usage_error(t, "unrecognized option '%s'", argv[optind - 1]);
    }
    return c == ':' ? '?' : c;
}

enum taken { TAKEN, REFUSED, OTHER };

/* The options that mean the same in every command that has them. */
static enum taken take_common(struct tool *t, struct img_common *o, int c)
{
    switch (c) {
    case 'f':
        o->fmt = optarg;
        return TAKEN;
    case 't':
        o->cache = optarg;
        return TAKEN;
    case 'T':
        o->source_cache = optarg;
        return TAKEN;
    case 'p':
        o->progress = true;
        return TAKEN;
    case 'q':
        o->quiet = true;
        return TAKEN;
    case 'U':
        o->force_share = true;
        return TAKEN;
    case IMG_OPT_IMAGE_OPTS:
        o->image_opts = true;
        return TAKEN;
    case IMG_OPT_OUTPUT:
        return img_parse_output(t, optarg, &o->output) ? TAKEN : REFUSED;
    case IMG_OPT_OBJECT:
        return img_add_object(t, optarg) ? TAKEN : REFUSED;
    default:
        return OTHER;
    }
}

int img_parse_options(struct tool *t, int argc, char **argv, const char *short_options,
                      const struct option *long_options, struct img_common *o, img_take_fn *take,
                      void *request)
{
    for (;;) {
        int c;
        if (o->help_on_error) {
            opterr = 1;
            c = getopt_long(argc, argv, short_options + 1, long_options, NULL);
        } else {
            c = img_getopt(t, argc, argv, short_options, long_options);
        }
        if (c == -1) {
            return 0;
        }
        if (c == 'h' || (c == '?' && o->help_on_error)) {
            img_print_help(t);
            return 1;
        }
        if (c == '?') {
            return 2;
        }
        enum taken taken = take_common(t, o, c);
        if (taken == REFUSED || (taken == OTHER && !take(t, request, c))) {
            return 1 + (o->bad_value ? o->bad_value : 1);
        }
    }
}

bool img_parse_output(struct tool *t, const char *arg, enum img_output *out)
{
    if (!strcmp(arg, "human")) {
        *out = OUTPUT_HUMAN;
    } else if (!strcmp(arg, "json")) {
        *out = OUTPUT_JSON;
    } else {
        tool_error(t, "--output must be used with human or json as argument.");
        return false;
    }
    return true;
}

void img_warn_hex(struct tool *t, const char *text)
{
    if (size_has_hex_suffix(text)) {
        world_warn(t->w, "Using a multiplier suffix on hex numbers is deprecated: %s", text);
    }
}

void img_warn_hex_options(struct tool *t, const struct opt_desc *table, const char *options,
                          int times)
{
    struct value *d = options ? opts_parse(options, NULL, NULL) : NULL;
    for (int i = 0; d && i < times; i++) {
        for (const struct opt_desc *o = table; o->name; o++) {
            const char *given = o->type == OPT_SIZE ? dict_get_str(d, o->name) : NULL;
            if (given) {
                img_warn_hex(t, given);
            }
        }
    }
    value_free(d);
}

int64_t img_parse_size(struct tool *t, const char *text)
{
    uint64_t value;
    int ret = parse_size(text, NULL, 'B', &value);
    if (ret < 0) {
        return ret;
    }
    img_warn_hex(t, text);
    return value > INT64_MAX ? -ERANGE : (int64_t)value;
}

int64_t img_size_between(struct tool *t, const char *what, const char *text, int64_t min,
                         int64_t max)
{
    int64_t size = img_parse_size(t, text);
    if (size == -ERANGE || (size >= 0 && (size < min || size > max))) {
        tool_error(t, "Invalid %s specified. Must be between %lld and %lld.", what, (long long)min,
                   (long long)max);
        return -ERANGE;
    }
    return size >= 0 ? size : img_size_argument(t, what, text);
}

static const struct opt_desc snapshot_table[] = {
    {.name = "snapshot.id", .type = OPT_STRING},
    {.name = "snapshot.name", .type = OPT_STRING},
    {.name = NULL},
};

bool img_parse_snapshot(struct tool *t, const char *text, const char **id_or_name,
                        struct value **opts)
{
    struct error *err = NULL;
    if (strncmp(text, "snapshot.", 9)) {
        *id_or_name = text;
        return true;
    }
    value_free(*opts);
    *opts = tool_parse_options(t->w, text, NULL, &err);
    if (*opts && opts_validate(snapshot_table, *opts, &err) == 0) {
        return true;
    }
    tool_report(t, err);
    tool_error(t, "Failed in parsing snapshot param '%s'", text);
    return false;
}

bool img_load_snapshot(struct tool *t, struct blk *b, const char *id_or_name,
                       const struct value *opts)
{
    struct error *err = NULL;
    int ret = 0;
    if (opts) {
        ret = snapshot_load(blk_node(b), dict_get_str(opts, "snapshot.id"),
                            dict_get_str(opts, "snapshot.name"), &err);
    } else if (id_or_name) {
        ret = snapshot_load(blk_node(b), id_or_name, NULL, NULL); /* an id, else a name */
        ret = ret < 0 ? snapshot_load(blk_node(b), NULL, id_or_name, &err) : 0;
    }
    if (ret < 0) {
        error_prepend(&err, "Failed to load snapshot: ");
        tool_report(t, err);
    }
    return ret >= 0;
}

int64_t img_size_argument(struct tool *t, const char *what, const char *text)
{
    int64_t size = img_parse_size(t, text);
    if (size == -ERANGE) {
        tool_error(t, "Invalid %s specified. Must be between 0 and %lld.", what,
                   (long long)INT64_MAX);
    } else if (size < 0) {
        tool_error(t, "Invalid %s specified. You may use k, M, G, T, P or E suffixes for", what);
        tool_error(t, "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
    }
    return size;
}

bool img_add_object(struct tool *t, const char *text)
{
    struct error *err = NULL;
    if (tool_add_object(t, text, &err) < 0) {
        tool_report(t, err);
        return false;
    }
    return true;
}

bool img_parse_cache(const char *mode, unsigned *flags, bool *writethrough)
{
    return parse_cache_mode(mode, flags, writethrough);
}

struct blk *img_open_file(struct tool *t, struct value *options, const char *filename,
                          const char *fmt, unsigned flags, bool writethrough, bool quiet,
                          bool force_share)
{
    struct error *err = NULL;
    if (!options) {
        options = value_dict();
    }
    if (fmt) {
        dict_put_str(options, "driver", fmt);
    }
    if (force_share) {
        dict_put_bool(options, "force-share", true);
    }
    struct blk *b = blk_open(t->w, filename, NULL, options, flags, &err);
    if (!b) {
        error_prepend(&err, "Could not open '%s': ", filename);
        tool_report(t, err);
        return NULL;
    }
    blk_set_write_cache(b, !writethrough);
    return b;
}

static struct blk *open_options(struct tool *t, const char *text, unsigned flags, bool writethrough,
                                bool force_share)
{
    struct error *err = NULL;
    struct value *options =
        tool_parse_options(t->w, text, "file", &err); /* a lone word is a node's name */
    if (!options) {
        tool_report(t, err);
        return NULL;
    }
    if (force_share) {
        const char *given = dict_get_str(options, "force-share");
        if (given && strcmp(given, "on")) {
            tool_error(t, "--force-share/-U conflicts with image options");
            value_free(options);
            return NULL;
        }
        dict_put_str(options, "force-share", "on");
    }
    struct blk *b = blk_open(t->w, NULL, NULL, options, flags, &err);
    if (!b) {
        error_prepend(&err, "Could not open '%s': ", text);
        tool_report(t, err);
        return NULL;
    }
    blk_set_write_cache(b, !writethrough);
    return b;
}

struct blk *img_open(struct tool *t, bool image_opts, const char *filename, const char *fmt,
                     unsigned flags, bool writethrough, bool quiet, bool force_share)
{
    if (image_opts) {
        if (fmt) {
            tool_error(t, "--image-opts and --format are mutually exclusive");
            return NULL;
        }
        return open_options(t, filename, flags, writethrough, force_share);
    }
    return img_open_file(t, NULL, filename, fmt, flags, writethrough, quiet, force_share);
}

void img_print(bool quiet, const char *fmt, ...)
{
    va_list ap;
    if (quiet) {
        return;
    }
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

/* An option list must not start or end so that joining two would glue a ",," together. */
static bool joinable(const char *list)
{
    size_t len = strlen(list), commas = 0;
    if (!len || list[0] == ',') {
        return false;
    }
    while (commas < len && list[len - 1 - commas] == ',') {
        commas++;
    }
    return commas % 2 == 0;
}

bool img_add_options(struct tool *t, char **options, const char *arg)
{
    if (!joinable(arg)) {
        tool_error(t, "Invalid option list: %s", arg);
        return false;
    }
    char *joined = *options ? str_fmt("%s,%s", *options, arg) : str_dup(arg);
    mem_free(*options);
    *options = joined;
    return true;
}

/* Signal: where the work stands. */
static void report_progress(void *arg, int signo)
{
    const struct img_progress *p = arg;
    fprintf(stderr, "    (%3.2f/100%%)\n", p->current);
}

void img_progress_start(struct img_progress *p, struct tool *t, bool enabled, float min_step)
{
    *p = (struct img_progress){.t = t, .enabled = enabled, .min_step = min_step, .shown = -1};
    if (!enabled) {
        host_on_signal(t->w, SIGUSR1, report_progress, p);
    }
}

void img_progress(struct img_progress *p, float percent)
{
    p->current = percent;
    if (p->enabled && (percent - p->shown >= p->min_step || percent < p->shown || percent == 0 ||
                       percent == 100)) {
        p->shown = percent;
        printf("    (%3.2f/100%%)\r", percent);
        fflush(stdout);
    }
}

void img_progress_end(struct img_progress *p)
{
    if (p->enabled) {
        printf("\n");
        fflush(stdout);
    } else {
        host_on_signal(p->t->w, SIGUSR1, NULL, NULL);
    }
}
