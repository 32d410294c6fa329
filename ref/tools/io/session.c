/*
 * open, close, reopen.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/tools/io/io.h"

int io_open_file(struct io_session *s, const char *name, unsigned flags, bool writethrough,
                 bool force_share, struct value *options)
{
    struct error *err = NULL;
    if (s->blk) {
        world_report(s->w, REPORT_ERROR, "file open already, try 'help close'");
        value_free(options);
        return -EBUSY;
    }
    if (!options) {
        options = value_dict();
    }
    if (force_share) {
        const char *given = dict_get_str(options, "force-share");
        if (given && strcmp(given, "on")) {
            world_report(s->w, REPORT_ERROR, "-U conflicts with image options");
            value_free(options);
            return -EINVAL;
        }
        dict_put_bool(options, "force-share", true);
    }
    s->blk = blk_open(s->w, name, NULL, options, flags, &err);
    if (!s->blk) {
        int code = err->code;
        error_prepend(&err, "can't open%s%s: ", name ? " device " : "", name ? name : "");
        world_report_error(s->w, err);
        return -code;
    }
    blk_set_write_cache(s->blk, !writethrough);
    return 0;
}

int io_cmd_close(struct io_session *s, int argc, char **argv)
{
    io_wait_idle(s);
    blk_unref(s->blk);
    s->blk = NULL;
    return 0;
}

static int bad_mode(struct io_session *s, const char *what, const char *mode)
{
    world_report(s->w, REPORT_ERROR, "Invalid %s option: %s", what, mode);
    return -EINVAL;
}

/* Adds "a=b,..." of `open -o` or `reopen -o` to *options. */
static int add_options(struct io_session *s, const char *text, struct value **options)
{
    struct error *err = NULL;
    struct value *more = tool_parse_options(s->w, text, NULL, &err);
    if (!more) {
        world_report_error(s->w, err);
        return -EINVAL;
    }
    if (!*options) {
        *options = value_dict();
    }
    dict_join(*options, more, true);
    value_free(more);
    return 0;
}

/* As add_options(); not where the program runs with --image-opts: what names a file is options
 * then. */
static int add_open_options(struct io_session *s, const char *text, struct value **options)
{
    if (s->image_opts) {
        printf("--image-opts and 'open -o' are mutually exclusive\n");
        return -EINVAL;
    }
    return add_options(s, text, options);
}

static int open_image_opts(struct io_session *s, const char *text, unsigned flags,
                           bool writethrough, bool force_share)
{
    struct error *err = NULL;
    struct value *options = tool_parse_options(s->w, text, NULL, &err);
    if (!options) {
        world_report_error(s->w, err);
        return -EINVAL;
    }
    return io_open_file(s, NULL, flags, writethrough, force_share, options);
}

int io_cmd_open(struct io_session *s, int argc, char **argv)
{
    unsigned flags = OPEN_UNMAP;
    bool writethrough = true, read_only = false, force_share = false, restart = true;
    struct value *options = NULL;
    int c, ret = 0;
    while (ret == 0 && (c = io_getopt(argc, argv, "snCro:ki:t:d:U", &restart)) != -1) {
        switch (c) {
        case 's':
            flags |= OPEN_SNAPSHOT;
            break;
        case 'n':
            flags |= OPEN_NO_CACHE;
            writethrough = false;
            break;
        case 'C':
            flags |= OPEN_COPY_ON_READ;
            break;
        case 'r':
            read_only = true;
            break;
        case 'k':
            flags |= OPEN_NATIVE_AIO;
            break;
        case 't':
            ret =
                parse_cache_mode(optarg, &flags, &writethrough) ? 0 : bad_mode(s, "cache", optarg);
            break;
        case 'd':
            ret = parse_discard_mode(optarg, &flags) ? 0 : bad_mode(s, "discard", optarg);
            break;
        case 'i':
            ret = parse_aio_mode(optarg, &flags) ? 0 : bad_mode(s, "aio", optarg);
            break;
        case 'o':
            ret = add_open_options(s, optarg, &options);
            break;
        case 'U':
            force_share = true;
            break;
        default:
            ret = io_usage("open");
        }
    }
    if (ret == 0 && optind < argc - 1) {
        ret = io_usage("open");
    }
    if (ret < 0) {
        value_free(options);
        return ret;
    }
    if (!read_only) {
        flags |= OPEN_RDWR;
    }
    if (s->image_opts && optind < argc) {
        return open_image_opts(s, argv[optind], flags, writethrough, force_share);
    }
    return io_open_file(s, optind < argc ? argv[optind] : NULL, flags, writethrough, force_share,
                        options);
}

struct reopen_request {
    unsigned flags;
    bool has_access, read_only, has_cache, writethrough;
    struct value *options;
};

static int parse_reopen(struct io_session *s, struct reopen_request *r, int argc, char **argv)
{
    bool restart = true;
    int c;
    while ((c = io_getopt(argc, argv, "c:o:rw", &restart)) != -1) {
        switch (c) {
        case 'c':
            if (!parse_cache_mode(optarg, &r->flags, &r->writethrough)) {
                return bad_mode(s, "cache", optarg);
            }
            r->has_cache = true;
            break;
        case 'o':
            if (add_options(s, optarg, &r->options) < 0) {
                return -EINVAL;
            }
            break;
        case 'r':
        case 'w':
            if (r->has_access) {
                world_report(s->w, REPORT_ERROR, "Only one -r/-w option may be given");
                return -EINVAL;
            }
            r->has_access = true;
            r->read_only = c == 'r';
            break;
        default:
            return io_usage("reopen");
        }
    }
    return optind == argc ? 0 : io_usage("reopen");
}

/* Switches of the command line become options; a clash with -o is refused. */
static int merge_switches(struct io_session *s, struct reopen_request *r)
{
    if (r->has_access) {
        if (dict_has(r->options, "read-only")) {
            world_report(s->w, REPORT_ERROR, "Cannot set both -r/-w and 'read-only'");
            return -EINVAL;
        }
        dict_put_bool(r->options, "read-only", r->read_only);
    }
    if (r->has_cache) {
        if (dict_has(r->options, "cache.direct") || dict_has(r->options, "cache.no-flush")) {
            world_report(s->w, REPORT_ERROR, "Cannot set both -c and the cache options");
            return -EINVAL;
        }
        dict_put_bool(r->options, "cache.direct", r->flags & OPEN_NO_CACHE);
        dict_put_bool(r->options, "cache.no-flush", r->flags & OPEN_NO_FLUSH);
    }
    return 0;
}

static int do_reopen(struct io_session *s, struct reopen_request *r)
{
    struct error *err = NULL;
    struct child *root = blk_root(s->blk);
    if (r->has_cache && r->writethrough == blk_write_cache(s->blk) && blk_name(s->blk)[0]) {
        world_report(s->w, REPORT_ERROR, "Cannot change cache.writeback: Device attached");
        return -EINVAL;
    }
    io_wait_idle(s);
    /* Write permissions are taken anew by the next command that needs them. */
    if (r->has_access && r->read_only) {
        blk_set_perm(s->blk, root->perm & ~(PERM_WRITE | PERM_WRITE_UNCHANGED | PERM_RESIZE),
                     root->shared, NULL);
    }
    struct value *options = r->options;
    r->options = NULL;
    int ret = node_reopen(blk_node(s->blk), options, true, &err);
    if (ret < 0) {
        world_report_error(s->w, err);
        return ret;
    }
    if (r->has_cache) {
        blk_set_write_cache(s->blk, !r->writethrough);
    }
    return 0;
}

int io_cmd_reopen(struct io_session *s, int argc, char **argv)
{
    struct reopen_request r = {.options = value_dict()};
    int ret = parse_reopen(s, &r, argc, argv);
    if (ret == 0) {
        ret = merge_switches(s, &r);
    }
    if (ret == 0) {
        ret = do_reopen(s, &r);
    }
    value_free(r.options);
    return ret;
}
