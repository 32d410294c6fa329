/*
 * qemu-img bitmap: actions on persistent dirty bitmaps, in the order of the command line.
 *
 * Leaves out: the bitmaps.  Where there are none, every action but `add` fails on the one it names,
 * as it must; all else is refused with the message for images that cannot store them, and the image
 * is not written to (a writer that does not know bitmaps would make them inconsistent).
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/block/image_info.h"
#include "ref/tools/img/img.h"

enum bitmap_action {
    ACTION_ADD,
    ACTION_REMOVE,
    ACTION_CLEAR,
    ACTION_ENABLE,
    ACTION_DISABLE,
    ACTION_MERGE
};
static const char *const action_names[] = {"add", "remove", "clear", "enable", "disable", "merge"};

#define MAX_ACTIONS 64

struct bitmap_request {
    struct img_common o;
    const char *filename, *bitmap, *source_file, *source_fmt;
    int64_t granularity;
    bool add, merge;
    int count;
    struct {
        enum bitmap_action action;
        const char *source; /* of a merge */
    } actions[MAX_ACTIONS];
};

static bool add_action(struct tool *t, struct bitmap_request *r, enum bitmap_action action,
                       const char *source)
{
    if (r->count == MAX_ACTIONS) {
        tool_error(t, "More than %d bitmap actions at once", MAX_ACTIONS);
        return false;
    }
    r->actions[r->count].action = action;
    r->actions[r->count++].source = source;
    r->add |= action == ACTION_ADD;
    r->merge |= action == ACTION_MERGE;
    return true;
}

/* One option; false when the command ends with status 1. */
static bool take_option(struct tool *t, void *request, int c)
{
    struct bitmap_request *r = request;
    switch (c) {
    case 'b':
        r->source_file = optarg;
        return true;
    case 'F':
        r->source_fmt = optarg;
        return true;
    case 'g':
        r->granularity = img_size_argument(t, "granularity", optarg);
        return r->granularity >= 0;
    case IMG_OPT_ADD:
        return add_action(t, r, ACTION_ADD, NULL);
    case IMG_OPT_REMOVE:
        return add_action(t, r, ACTION_REMOVE, NULL);
    case IMG_OPT_CLEAR:
        return add_action(t, r, ACTION_CLEAR, NULL);
    case IMG_OPT_ENABLE:
        return add_action(t, r, ACTION_ENABLE, NULL);
    case IMG_OPT_DISABLE:
        return add_action(t, r, ACTION_DISABLE, NULL);
    default:
        return add_action(t, r, ACTION_MERGE, optarg);
    }
}

/* 0 to go on, else 1 + exit status. */
static int parse(struct tool *t, struct bitmap_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"granularity", required_argument, 0, 'g'},
        {"source-file", required_argument, 0, 'b'},
        {"source-format", required_argument, 0, 'F'},
        {"add", no_argument, 0, IMG_OPT_ADD},
        {"remove", no_argument, 0, IMG_OPT_REMOVE},
        {"clear", no_argument, 0, IMG_OPT_CLEAR},
        {"enable", no_argument, 0, IMG_OPT_ENABLE},
        {"disable", no_argument, 0, IMG_OPT_DISABLE},
        {"merge", required_argument, 0, IMG_OPT_MERGE},
        {"granularity", required_argument, 0, 'g'},
        {"source-file", required_argument, 0, 'b'},
        {"source-format", required_argument, 0, 'F'},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(t, argc, argv, ":b:f:F:g:h", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    const char *wrong = NULL;
    if (!r->count) {
        wrong = "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge";
    } else if (r->granularity && !r->add) {
        wrong = "granularity only supported with --add";
    } else if (r->source_fmt && !r->source_file) {
        wrong = "-F only supported with -b";
    } else if (r->source_file && !r->merge) {
        wrong = "Merge bitmap source file only supported with --merge";
    } else if (optind != argc - 2) {
        wrong = "Expecting filename and bitmap name";
    }
    if (wrong) {
        tool_error(t, "%s", wrong);
        return 2;
    }
    r->filename = argv[optind];
    r->bitmap = argv[optind + 1];
    return 0;
}

static void refuse(struct tool *t, const struct bitmap_request *r, struct node *n)
{
    struct image_info info;
    enum bitmap_action first = r->actions[0].action;
    if (first != ACTION_ADD && (node_info(n, &info) < 0 || !info.bitmaps)) {
        tool_error(t, "Operation %s on bitmap %s failed: Dirty bitmap '%s' not found",
                   action_names[first], r->bitmap, r->bitmap);
        return;
    }
    tool_error(t,
               "Operation %s on bitmap %s failed: Can't store persistent bitmaps to %s: "
               "Operation not supported",
               action_names[first], r->bitmap, n->node_name);
}

int img_bitmap(struct tool *t, int argc, char **argv)
{
    struct bitmap_request r = {.count = 0};
    int ended = parse(t, &r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    struct blk *b = img_open(t, r.o.image_opts, r.filename, r.o.fmt, 0, false, false, false),
               *source = b;
    if (!b) {
        return 1;
    }
    if (r.source_file) {
        source = img_open(t, false, r.source_file, r.source_fmt, 0, false, false, false);
    }
    if (source) {
        refuse(t, &r, blk_node(b));
    }
    if (source && source != b) {
        blk_unref(source);
    }
    blk_unref(b);
    return 1;
}
