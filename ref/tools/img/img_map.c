/*
 * qemu-img map: where the guest's data comes from, as a table of host ranges or as JSON.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/tools/img/img.h"

struct map_request {
    struct img_common o;
    const char *filename;
    int64_t start, max; /* -1: to the end */
};

struct map_entry {
    int64_t start, length, offset;
    bool data, zero, present, has_offset;
    int depth;
    struct node *file;
};

static bool take_option(struct tool *t, void *request, int c)
{
    struct map_request *r = request;
    int64_t *size = c == 's' ? &r->start : &r->max;
    *size = img_size_argument(t, c == 's' ? "start offset" : "max length", optarg);
    return *size >= 0;
}

static int parse(struct tool *t, struct map_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"format", required_argument, 0, 'f'},
        {"output", required_argument, 0, IMG_OPT_OUTPUT},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {"start-offset", required_argument, 0, 's'},
        {"max-length", required_argument, 0, 'l'},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(t, argc, argv, ":f:s:l:hU", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    if (optind != argc - 1) {
        return 1 + img_usage_error(t, "Expecting one image file name");
    }
    r->filename = argv[optind];
    return 0;
}

/* The entry at `start`, looking at most `bytes` far. */
static int get_entry(struct node *n, int64_t start, int64_t bytes, struct map_entry *e)
{
    struct status st;
    int depth = 0;
    int ret = node_map_status(n, start, bytes, &st, &depth);
    if (ret < 0) {
        return ret;
    }
    *e = (struct map_entry){
        .start = start,
        .length = st.bytes,
        .data = st.flags & STATUS_DATA,
        .zero = st.flags & STATUS_ZERO,
        .present = st.flags & STATUS_ALLOCATED,
        .offset = st.map,
        .has_offset = st.flags & STATUS_OFFSET_VALID,
        .depth = depth,
        .file = st.flags & STATUS_OFFSET_VALID ? st.file : NULL,
    };
    return 0;
}

static bool follows(const struct map_entry *a, const struct map_entry *b)
{
    return a->length && a->zero == b->zero && a->data == b->data && a->present == b->present &&
           a->depth == b->depth && a->has_offset == b->has_offset && a->file == b->file &&
           (!a->has_offset || a->offset + a->length == b->offset);
}

static int print_human(struct tool *t, const struct map_entry *e)
{
    if (e->data && !e->zero) {
        if (!e->has_offset) {
            tool_error(t, "File contains external, encrypted or compressed clusters.");
            return -1;
        }
        node_refresh_filename(e->file);
        printf("%#-16llx%#-16llx%#-16llx%s\n", (unsigned long long)e->start,
               (unsigned long long)e->length, (unsigned long long)e->offset, e->file->filename);
    }
    return 0;
}

static void print_json(const struct map_entry *e, const struct map_entry *next)
{
    printf("{ \"start\": %lld, \"length\": %lld, \"depth\": %d, \"present\": %s, \"zero\": %s, "
           "\"data\": %s",
           (long long)e->start, (long long)e->length, e->depth, e->present ? "true" : "false",
           e->zero ? "true" : "false", e->data ? "true" : "false");
    if (e->has_offset) {
        printf(", \"offset\": %lld", (long long)e->offset);
    }
    printf("}%s", next ? ",\n" : "");
}

static int print_entry(struct tool *t, enum img_output output, const struct map_entry *e,
                       const struct map_entry *next)
{
    if (output == OUTPUT_HUMAN) {
        return print_human(t, e);
    }
    print_json(e, next);
    return 0;
}

static int walk(struct tool *t, const struct map_request *r, struct blk *b)
{
    struct map_entry current = {.length = 0}, next;
    int64_t length = blk_length(b);
    if (length < 0) {
        tool_error(t, "Failed to get size for '%s'", r->filename);
        return 1;
    }
    if (r->max >= 0) {
        length = MIN(r->start > INT64_MAX - r->max ? INT64_MAX : r->start + r->max, length);
    }
    if (r->o.output == OUTPUT_HUMAN) {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    } else {
        printf("[");
    }
    for (int64_t pos = r->start; pos < length; pos += next.length) {
        int ret = get_entry(blk_node(b), pos, length - pos, &next);
        if (ret < 0) {
            tool_error(t, "Could not read file metadata: %s", strerror(-ret));
            return 1;
        }
        if (follows(&current, &next)) {
            current.length += next.length;
            continue;
        }
        if (current.length && print_entry(t, r->o.output, &current, &next) < 0) {
            return 1;
        }
        current = next;
    }
    /* Nothing to look at is one empty entry. */
    current.start = current.length ? current.start : r->start;
    if (print_entry(t, r->o.output, &current, NULL) < 0) {
        return 1;
    }
    if (r->o.output == OUTPUT_JSON) {
        printf("]\n");
    }
    return 0;
}

int img_map(struct tool *t, int argc, char **argv)
{
    struct map_request r = {.o.output = OUTPUT_HUMAN, .max = -1};
    int ended = parse(t, &r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    struct blk *b =
        img_open(t, r.o.image_opts, r.filename, r.o.fmt, 0, false, false, r.o.force_share);
    if (!b) {
        return 1;
    }
    int status = walk(t, &r, b);
    blk_unref(b);
    return status;
}
