/*
 * flush, discard, truncate, alloc, map, length, info.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/block/image_info.h"
#include "ref/engine/clock.h"
#include "ref/tools/io/io.h"

int io_cmd_flush(struct io_session *s, int argc, char **argv)
{
    const char *tag = NULL;
    bool restart = true;
    int c;
    while ((c = io_getopt(argc, argv, "L:", &restart)) != -1) {
        if (c != 'L') {
            return io_usage("flush");
        }
        tag = io_tag(s, optarg);
    }
    return optind == argc ? blk_flush(s->blk, tag) : io_usage("flush");
}

int io_cmd_discard(struct io_session *s, int argc, char **argv)
{
    struct io_report report = {.machine = false};
    const char *tag = NULL;
    bool restart = true;
    int c;
    while ((c = io_getopt(argc, argv, "CL:q", &restart)) != -1) {
        switch (c) {
        case 'C':
            report.machine = true;
            break;
        case 'L':
            tag = io_tag(s, optarg);
            break;
        case 'q':
            report.quiet = true;
            break;
        default:
            return io_usage("discard");
        }
    }
    if (optind != argc - 2) {
        return io_usage("discard");
    }
    int64_t offset = io_parse_number(s, argv[optind]);
    int64_t bytes = offset < 0 ? -1 : io_parse_number(s, argv[optind + 1]);
    if (bytes < 0) {
        return -EINVAL;
    }
    if (bytes > IO_MAX_BYTES) {
        printf("length cannot exceed %lld, given %s\n", IO_MAX_BYTES, argv[optind + 1]);
        return -EINVAL;
    }
    report.start = clock_now(s->w, CLOCK_REAL);
    int ret = blk_discard(s->blk, offset, bytes, tag);
    if (ret < 0) {
        printf("discard failed: %s\n", strerror(-ret));
        return ret;
    }
    io_report_done(s, &report, "discard", offset, bytes, bytes, 1);
    return 0;
}

static int parse_prealloc(struct io_session *s, const char *name, enum prealloc *out)
{
    for (int i = 0; prealloc_names[i]; i++) {
        if (!strcmp(prealloc_names[i], name)) {
            *out = (enum prealloc)i;
            return 0;
        }
    }
    world_report(s->w, REPORT_ERROR, "Invalid preallocation mode '%s'", name);
    return -EINVAL;
}

int io_cmd_truncate(struct io_session *s, int argc, char **argv)
{
    enum prealloc prealloc = PREALLOC_OFF;
    struct error *err = NULL;
    bool restart = true;
    int c;
    while ((c = io_getopt(argc, argv, "m:", &restart)) != -1) {
        if (c != 'm') {
            return io_usage("truncate");
        }
        if (parse_prealloc(s, optarg, &prealloc) < 0) {
            return -EINVAL;
        }
    }
    if (optind >= argc) {
        return io_usage("truncate");
    }
    int64_t size = io_parse_number(s, argv[optind]);
    if (size < 0) {
        return -EINVAL;
    }
    int ret = blk_truncate(s->blk, size, false, prealloc, 0, &err);
    if (ret < 0) {
        world_report_error(s->w, err);
    }
    return ret;
}

int io_cmd_alloc(struct io_session *s, int argc, char **argv)
{
    int64_t offset = io_parse_number(s, argv[1]), count = 512, allocated = 0;
    if (offset < 0) {
        return -EINVAL;
    }
    if (argc == 3) {
        count = io_parse_number(s, argv[2]);
        if (count < 0) {
            return -EINVAL;
        }
    }
    int64_t length = blk_length(s->blk);
    if (length < 0) {
        printf("is_allocated failed: %s\n", strerror((int)-length));
        return (int)length;
    }
    int64_t end = MIN(length, count > INT64_MAX - offset ? INT64_MAX : offset + count);
    int64_t pos = offset;
    while (pos < end) {
        int64_t n;
        int ret = node_is_allocated(blk_node(s->blk), pos, end - pos, &n);
        if (ret < 0) {
            printf("is_allocated failed: %s\n", strerror(-ret));
            return ret;
        }
        if (!n) {
            break;
        }
        allocated += ret ? n : 0;
        pos += n;
    }
    char text[40];
    io_size_text(text, (double)offset);
    printf("%lld/%lld bytes allocated at offset %s\n", (long long)allocated,
           (long long)(MAX(pos, offset) - offset), text);
    return 0;
}

/* One run of equal allocation from pos: its length, or < 0. */
static int64_t allocation_run(struct node *n, int64_t pos, int64_t end, int *allocated)
{
    int64_t total = 0, bytes;
    *allocated = -1;
    while (pos + total < end) {
        int ret = node_is_allocated(n, pos + total, end - pos - total, &bytes);
        if (ret < 0) {
            return ret;
        }
        if ((*allocated >= 0 && ret != *allocated) || !bytes) {
            break;
        }
        *allocated = ret;
        total += bytes;
    }
    return total;
}

int io_cmd_map(struct io_session *s, int argc, char **argv)
{
    int64_t length = blk_length(s->blk), pos = 0;
    if (length < 0) {
        world_report(s->w, REPORT_ERROR, "Failed to query image length: %s",
                     strerror((int)-length));
        return (int)length;
    }
    while (pos < length) {
        char size[40], at[40];
        int allocated;
        int64_t n = allocation_run(blk_node(s->blk), pos, length, &allocated);
        if (n < 0) {
            world_report(s->w, REPORT_ERROR, "Failed to get allocation status: %s",
                         strerror((int)-n));
            return (int)n;
        }
        if (!n) {
            world_report(s->w, REPORT_ERROR, "Unexpected end of image");
            return -EIO;
        }
        io_size_text(size, (double)n);
        io_size_text(at, (double)pos);
        printf("%s (0x%llx) bytes %s allocated at offset %s (0x%llx)\n", size,
               (unsigned long long)n, allocated ? "   " : "not", at, (unsigned long long)pos);
        pos += n;
    }
    return 0;
}

int io_cmd_length(struct io_session *s, int argc, char **argv)
{
    char text[40];
    int64_t length = blk_length(s->blk);
    if (length < 0) {
        printf("getlength: %s\n", strerror((int)-length));
        return (int)length;
    }
    io_size_text(text, (double)length);
    printf("%s\n", text);
    return 0;
}

int io_cmd_info(struct io_session *s, int argc, char **argv)
{
    struct node *n = blk_node(s->blk);
    struct error *err = NULL;
    struct image_info info = {.cluster_size = 0};
    if (blk_length(s->blk) == -ENOMEDIUM) {
        return -ENOMEDIUM; /* found corrupt: nothing is known of it any more */
    }
    printf("format name: %s\n", n->drv->name);
    if (n->drv->protocol) {
        printf("format name: %s\n", n->drv->protocol);
    }
    int ret = node_info(n, &info);
    if (ret < 0) {
        return ret;
    }
    char cluster[40], vm_state[40];
    io_size_text(cluster, info.cluster_size);
    io_size_text(vm_state, (double)info.vm_state_offset);
    printf("cluster size: %s\nvm state offset: %s\n", cluster, vm_state);

    struct value *specific = n->drv->specific_info ? n->drv->specific_info(n, &err) : NULL;
    if (err) {
        world_report_error(s->w, err);
        return -EIO;
    }
    if (specific) {
        struct strbuf text = STRBUF_INIT;
        image_info_specific_text(&text, specific, 0);
        printf("Format specific information:\n%s", text.len ? text.s : "");
        strbuf_free(&text);
        value_free(specific);
    }
    return 0;
}
