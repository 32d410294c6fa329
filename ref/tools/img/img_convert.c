/*
 * qemu-img convert: options, opening the sources, making and opening the target; the copying is
 * ref/job/copy.c's.
 *
 * Leaves out: persistent bitmaps.  --bitmaps is refused before anything is made, unless there are
 * none to be copied.
 */
#include <errno.h>
#include <stdlib.h>

#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/block/image_info.h"
#include "ref/block/open.h"
#include "ref/job/copy.h"
#include "ref/tools/img/img.h"

#define MAX_SPARSE (16 * MiB)

struct convert {
    struct tool *t;
    struct img_common o;
    const char *out_fmt, *out_name, *backing, *backing_fmt, *snapshot;
    char *options;
    struct value *snapshot_opts;
    char **names;
    int64_t rate;
    bool target_image_opts, no_create, target_is_zero, bitmaps, skip_broken, sparse_given,
        workers_given;
    struct value *create; /* options of the new image */
    const struct block_driver *drv;
    unsigned source_flags;
    struct img_progress progress;
    struct copy copy;
};

/* ---- options ---- */

static bool parse_sparse(struct convert *v, const char *text)
{
    int64_t size = img_size_argument(v->t, "buffer size for sparse output", text);
    if (size < 0) {
        return false;
    }
    if (size % 512 || size > MAX_SPARSE) {
        tool_error(v->t,
                   "Invalid buffer size for sparse output specified. Valid sizes are multiples of "
                   "%d up to %d. "
                   "Select 0 to disable sparse detection (fully allocates output).",
                   512, (int)MAX_SPARSE);
        return false;
    }
    v->copy.min_sparse = size;
    v->copy.fill = size == 0;
    return true;
}

static bool parse_workers(struct convert *v, const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 0);
    if (errno || end == text || *end || n < 1 || n > COPY_MAX_WORKERS) {
        tool_error(v->t,
                   "Invalid number of coroutines. Allowed number of coroutines is between 1 and %d",
                   COPY_MAX_WORKERS);
        return false;
    }
    v->copy.workers = (int)n;
    return true;
}

/* Options with an argument, or a check. */
static bool take_value(struct convert *v, int c)
{
    switch (c) {
    case 'O':
        v->out_fmt = optarg;
        return true;
    case 'B':
        v->backing = optarg;
        return true;
    case 'F':
        v->backing_fmt = optarg;
        return true;
    case 'o':
        return img_add_options(v->t, &v->options, optarg);
    case 'l':
        return img_parse_snapshot(v->t, optarg, &v->snapshot, &v->snapshot_opts);
    case 'S':
        v->sparse_given = true;
        return parse_sparse(v, optarg);
    case 'm':
        return parse_workers(v, optarg);
    default:
        v->rate = img_size_argument(v->t, "rate limit", optarg);
        return v->rate >= 0;
    }
}

static bool take_switch(struct convert *v, int c)
{
    switch (c) {
    case 'C':
        return v->copy.copy_range = true;
    case 'c':
        return v->copy.compressed = true;
    case 'n':
        return v->no_create = true;
    case 'W':
        v->copy.in_order = false;
        return true;
    case IMG_OPT_SALVAGE:
        return v->copy.salvage = true;
    case IMG_OPT_TARGET_IMAGE_OPTS:
        return v->target_image_opts = true;
    case IMG_OPT_TARGET_IS_ZERO:
        return v->target_is_zero = true;
    case IMG_OPT_BITMAPS:
        return v->bitmaps = true;
    case IMG_OPT_SKIP_BROKEN:
        return v->skip_broken = true;
    default:
        return false;
    }
}

/* Which options do not go together; NULL: fine. */
static const char *conflict(const struct convert *v)
{
    if (v->skip_broken && !v->bitmaps) {
        return "Use of --skip-broken-bitmaps requires --bitmaps";
    }
    if (v->copy.copy_range && v->copy.compressed) {
        return "Cannot enable copy offloading when -c is used";
    }
    if (v->copy.copy_range && v->sparse_given) {
        return "Cannot enable copy offloading when -S is used";
    }
    if (v->copy.copy_range && v->copy.salvage) {
        return "Cannot use copy offloading in salvaging mode";
    }
    if (v->no_create && v->options) {
        return "-o has no effect when skipping image creation";
    }
    if (v->target_image_opts && !v->no_create) {
        return "--target-image-opts requires use of -n flag";
    }
    if (v->target_is_zero && !v->no_create) {
        return "--target-is-zero requires use of -n flag";
    }
    return NULL;
}

static bool take_option(struct tool *t, void *request, int c)
{
    return take_switch(request, c) || take_value(request, c);
}

/* 0 to go on, else 1 + exit status. */
static int parse(struct convert *v, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"source-image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {"target-image-opts", no_argument, 0, IMG_OPT_TARGET_IMAGE_OPTS},
        {"salvage", no_argument, 0, IMG_OPT_SALVAGE},
        {"target-is-zero", no_argument, 0, IMG_OPT_TARGET_IS_ZERO},
        {"bitmaps", no_argument, 0, IMG_OPT_BITMAPS},
        {"skip-broken-bitmaps", no_argument, 0, IMG_OPT_SKIP_BROKEN},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(v->t, argc, argv, ":hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:", long_options,
                                  &v->o, take_option, v);
    if (ended) {
        return ended;
    }
    if (!v->out_fmt && !v->target_image_opts) {
        v->out_fmt = "raw";
    }
    const char *wrong = conflict(v);
    if (wrong) {
        tool_error(v->t, "%s", wrong);
        return 2;
    }
    if (v->copy.copy_range) {
        v->copy.min_sparse = 0; /* data that nobody looks at is not searched for zeroes either */
    }
    v->copy.n_sources = argc - optind - 1;
    v->out_name = v->copy.n_sources > 0 ? argv[argc - 1] : NULL; /* one name is a source */
    if (v->options && opts_has_help(v->options)) {
        return 1 + img_options_help(v->t, v->out_name, v->out_fmt);
    }
    if (v->copy.n_sources < 1) {
        tool_error(v->t, "Must specify image file name");
        return 2;
    }
    v->names = argv + optind;
    bool writethrough; /* of what is only read */
    if (!img_parse_cache(v->o.source_cache, &v->source_flags, &writethrough)) {
        tool_error(v->t, "Invalid source cache option: %s", v->o.source_cache);
        return 2;
    }
    return 0;
}

/* ---- sources ---- */

static bool open_sources(struct convert *v)
{
    struct tool *t = v->t;
    /* Nobody may write to a source (not even we, were it the target too), unless -U. */
    unsigned flags = v->source_flags | (v->o.force_share ? 0 : OPEN_NO_SHARE);
    v->copy.sources = mem_array((size_t)v->copy.n_sources, sizeof(*v->copy.sources));
    for (int i = 0; i < v->copy.n_sources; i++) {
        struct copy_source *s = &v->copy.sources[i];
        s->b = img_open(t, v->o.image_opts, v->names[i], v->o.fmt, flags, false, v->o.quiet,
                        v->o.force_share);
        if (!s->b) {
            return false;
        }
        s->start = v->copy.total;
        s->bytes = blk_length(s->b);
        if (s->bytes < 0) {
            tool_error(t, "Could not get size of %s: %s", v->names[i], strerror((int)-s->bytes));
            return false;
        }
        s->bytes = ROUND_UP(s->bytes, 512);
        if (s->bytes > INT64_MAX - v->copy.total) {
            tool_error(t, "The source images are too large together");
            return false;
        }
        v->copy.total += s->bytes;
    }
    return true;
}

static bool load_snapshot(struct convert *v)
{
    if (v->snapshot && !v->snapshot_opts && v->copy.n_sources > 1) {
        tool_error(v->t, "No support for concatenating multiple snapshot");
        return false;
    }
    return img_load_snapshot(v->t, v->copy.sources[0].b, v->snapshot, v->snapshot_opts);
}

/* ---- target ---- */

static bool fail(struct convert *v, struct error *err)
{
    tool_report(v->t, err);
    return false;
}

/* Options of the new image from -o, -B, -F and the sources' size. */
static bool collect_create_options(struct convert *v, const struct opt_desc *table)
{
    struct error *err = NULL;
    if (v->options && opts_validate_text(table, v->options, &err) < 0) {
        return fail(v, err);
    }
    img_warn_hex_options(v->t, table, v->options, 2);
    v->create = v->options ? opts_parse(v->options, NULL, &err) : value_dict();
    if (!v->create) {
        return fail(v, err);
    }
    dict_put(v->create, "size", value_strf("%lld", (long long)v->copy.total));
    if (v->backing) {
        if (!opts_find(table, "backing_file")) {
            tool_error(v->t, "Backing file not supported for file format '%s'", v->out_fmt);
            return false;
        }
        dict_put_str(v->create, "backing_file", v->backing);
    }
    if (v->backing_fmt) {
        if (!opts_find(table, "backing_fmt")) {
            tool_error(v->t, "Backing file format not supported for file format '%s'", v->out_fmt);
            return false;
        }
        dict_put_str(v->create, "backing_fmt", v->backing_fmt);
    }
    return true;
}

static bool prepare_create(struct convert *v)
{
    struct error *err = NULL;
    struct tool *t = v->t;
    v->drv = driver_find(t->w, v->out_fmt);
    if (!v->drv) {
        tool_error(t, "Unknown file format '%s'", v->out_fmt);
        return false;
    }
    const struct block_driver *protocol = driver_for_filename(t->w, v->out_name, true, &err);
    if (!protocol) {
        return fail(v, err);
    }
    if (!v->drv->create_options) {
        tool_error(t, "Format driver '%s' does not support image creation", v->drv->name);
        return false;
    }
    if (!protocol->create_options && !protocol->create) {
        tool_error(t, "Protocol driver '%s' does not support image creation", protocol->name);
        return false;
    }
    struct opt_desc *table = image_create_table(v->drv, protocol);
    bool ok = collect_create_options(v, table);
    mem_free(table);
    if (!ok) {
        return false;
    }
    v->backing = dict_get_str(v->create, "backing_file");
    if (v->backing && v->copy.n_sources > 1) {
        tool_error(t, "Having a backing file for the target makes no sense when concatenating "
                      "multiple input images");
        return false;
    }
    if (v->backing && !dict_get_str(v->create, "backing_fmt")) {
        tool_error(t, "Use of backing file requires explicit backing format");
        return false;
    }
    return true;
}

/* Compressed images cannot be encrypted or preallocated, and the format must be able to. */
static bool check_compression(struct convert *v)
{
    const char *prealloc = v->create ? dict_get_str(v->create, "preallocation") : NULL;
    const char *encryption = v->create ? dict_get_str(v->create, "encryption") : NULL;
    const char *wrong = NULL;
    if (!v->drv->write_compressed) {
        wrong = "Compression not supported for this file format";
    } else if ((encryption && !strcmp(encryption, "on")) ||
               (v->create && dict_has(v->create, "encrypt.format"))) {
        wrong = "Compression and encryption not supported at the same time";
    } else if (prealloc && strcmp(prealloc, "off")) {
        wrong = "Compression and preallocation not supported at the same time";
    }
    if (wrong) {
        tool_error(v->t, "%s", wrong);
    }
    return !wrong;
}

/* What the new image needs to be opened: the key it was just encrypted with. */
static struct value *target_options(const struct convert *v)
{
    static const char *const keys[] = {"key-secret", "encrypt.key-secret", "encrypt.format"};
    struct value *options = value_dict();
    for (size_t i = 0; v->create && i < ARRAY_SIZE(keys); i++) {
        const char *text = dict_get_str(v->create, keys[i]);
        if (text) {
            dict_put_str(options, keys[i], text);
        }
    }
    return options;
}

static bool create_target(struct convert *v)
{
    struct error *err = NULL;
    struct value *opts = value_clone(v->create);
    int ret = image_create(v->t->w, v->drv, v->out_name, opts, &err);
    value_free(opts);
    if (ret < 0) {
        error_prepend(&err, "%s: error while converting %s: ", v->out_name, v->out_fmt);
        return fail(v, err);
    }
    return true;
}

static bool open_target(struct convert *v)
{
    unsigned flags = OPEN_RDWR | OPEN_UNMAP;
    bool writethrough;
    if (!v->no_create && !create_target(v)) {
        return false;
    }
    if (!img_parse_cache(v->o.cache, &flags, &writethrough)) {
        tool_error(v->t, "Invalid cache option: %s", v->o.cache);
        return false;
    }
    if (v->no_create) {
        v->copy.target = img_open(v->t, v->target_image_opts, v->out_name, v->out_fmt, flags,
                                  writethrough, v->o.quiet, false);
    } else {
        v->copy.target = img_open_file(v->t, target_options(v), v->out_name, v->out_fmt, flags,
                                       writethrough, v->o.quiet, false);
    }
    if (!v->copy.target) {
        return false;
    }
    v->drv = blk_node(v->copy.target)->drv;
    return !v->copy.compressed || !v->no_create || check_compression(v);
}

/* What the copy engine has to know of the target. */
static bool look_at_target(struct convert *v)
{
    struct node *n = blk_node(v->copy.target);
    struct child *cow = node_cow_child(node_skip_filters(n));
    int64_t length = blk_length(v->copy.target);
    struct image_info info;
    if (length < 0 || (v->no_create && length < v->copy.total)) {
        if (length < 0) {
            tool_error(v->t, "unable to get output image length: %s", strerror((int)-length));
        } else {
            tool_error(v->t, "output file is smaller than input file");
        }
        return false;
    }
    v->copy.zero_init = v->no_create ? v->target_is_zero : node_has_zero_init(n);
    if (cow) {
        v->copy.zero_init = false;
        struct child *below = node_cow_child(node_skip_filters(blk_node(v->copy.sources[0].b)));
        v->copy.overlay = v->backing != NULL;
        v->copy.base = v->backing && below ? below->node : NULL;
        v->copy.backing_bytes = MAX(node_length(cow->node), 0);
    }
    int ret = node_info(n, &info);
    v->copy.compressed = v->copy.compressed || (ret == 0 && info.needs_compressed_writes);
    if (!v->copy.compressed) {
        return true;
    }
    if (ret < 0) {
        tool_error(v->t, "could not get block driver info");
        return false;
    }
    v->copy.cluster = info.cluster_size;
    if (info.cluster_size <= 0 || !IS_POW2(info.cluster_size) || info.cluster_size > COPY_BUFFER) {
        tool_error(v->t, "invalid cluster size");
        return false;
    }
    return true;
}

/* ---- */

/* A conversion reads and writes everything once: others' data stays in the host's cache instead. */
static void keep_cache_clean(struct convert *v)
{
    const char *wish = getenv("BLKREF_PAGE_CACHE");
    if (wish && !strcmp(wish, "keep")) {
        return;
    }
    node_use_once(blk_node(v->copy.target));
    for (int i = 0; i < v->copy.n_sources; i++) {
        node_use_once(blk_node(v->copy.sources[i].b));
    }
}

static bool copy(struct convert *v)
{
    keep_cache_clean(v);
    struct error *err = NULL;
    v->copy.quiet = v->o.quiet;
    struct job *j = copy_job_new(&v->copy, NULL, v->rate, &err);
    int ret = j ? img_run_job(j, &v->progress, &err) : -EINVAL;
    return ret == 0 ? true : fail(v, err);
}

/* What a driver keeps back is in the files before success is told; closing could not tell. */
static bool flush(struct convert *v)
{
    int ret = blk_flush(v->copy.target, NULL);
    if (ret < 0) {
        tool_error(v->t, "error while flushing the target: %s", strerror(-ret));
    }
    return ret == 0;
}

/* False after a message: no such thing in one of the formats, or there are bitmaps, which we cannot
 * copy. */
static bool check_bitmaps(struct convert *v)
{
    struct node *source = blk_node(v->copy.sources[0].b);
    struct image_info info;
    if (strcmp(source->drv->name, "qcow2")) {
        tool_error(v->t, "Source lacks bitmap support");
    } else if (v->drv && strcmp(v->drv->name, "qcow2")) {
        tool_error(v->t, "Format driver '%s' does not support bitmaps", v->drv->name);
    } else if (node_info(source, &info) == 0 && info.bitmaps) {
        tool_error(v->t, "Copying persistent bitmaps (--bitmaps) is not supported: '%s' has %u",
                   v->names[0], info.bitmaps);
    } else {
        return true;
    }
    return false;
}

static int convert(struct convert *v)
{
    if (!open_sources(v) || !load_snapshot(v) || (!v->no_create && !prepare_create(v))) {
        return 1;
    }
    if (v->backing && v->copy.n_sources > 1) {
        tool_error(v->t, "Having a backing file for the target makes no sense when concatenating "
                         "multiple input images");
        return 1;
    }
    if (v->target_is_zero && v->backing) {
        tool_error(v->t,
                   "Cannot use --target-is-zero when the destination image has a backing file");
        img_progress(&v->progress, 100);
        return 0; /* as QEMU 7.2 does */
    }
    if (v->copy.compressed && !v->no_create && !check_compression(v)) {
        return 1;
    }
    if (v->bitmaps && !check_bitmaps(v)) {
        return 1;
    }
    return open_target(v) && look_at_target(v) && copy(v) && flush(v) ? 0 : 1;
}

int img_convert(struct tool *t, int argc, char **argv)
{
    struct convert v = {
        .t = t,
        .o.cache = "unsafe",
        .o.source_cache = "writeback",
        .copy = {.w = t->w, .min_sparse = 4 * KiB, .in_order = true, .workers = 8},
    };
    int ended = parse(&v, argc, argv), status = ended - 1;
    if (!ended) {
        img_progress_start(&v.progress, t, v.o.progress && !v.o.quiet, 1);
        img_progress(&v.progress, 0);
        status = convert(&v);
        img_progress_end(&v.progress);
    }
    if (v.copy.target) {
        blk_unref(v.copy.target);
    }
    for (int i = 0; v.copy.sources && i < v.copy.n_sources; i++) {
        if (v.copy.sources[i].b) {
            blk_unref(v.copy.sources[i].b);
        }
    }
    mem_free(v.copy.sources);
    mem_free(v.options);
    value_free(v.snapshot_opts);
    value_free(v.create);
    return status;
}
