/*
 * qemu-img snapshot.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/base/strbuf.h"
#include "ref/block/image_info.h"
#include "ref/block/snapshot.h"
#include "ref/engine/clock.h"
#include "ref/tools/img/img.h"

struct snapshot_request {
    struct img_common o;
    const char *filename, *name;
    int action; /* 'l', 'a', 'c', 'd'; 0: none was given */
};

static bool set_action(struct tool *t, struct snapshot_request *r, int action)
{
    if (r->action) {
        img_usage_error(t, "Cannot mix '-l', '-a', '-c', '-d'");
        return false;
    }
    r->action = action;
    r->name = action == 'l' ? NULL : optarg;
    return true;
}

static bool take_option(struct tool *t, void *request, int c)
{
    return set_action(t, request, c);
}

static int parse(struct tool *t, struct snapshot_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {0, 0, 0, 0},
    };
    int ended =
        img_parse_options(t, argc, argv, ":la:c:d:hqU", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    if (optind != argc - 1) {
        return 1 + img_usage_error(t, "Expecting one image file name");
    }
    r->filename = argv[optind];
    return 0;
}

static int list(struct tool *t, struct node *n)
{
    struct snapshot_info *table;
    int count = snapshot_list(n, &table);
    if (count <= 0) {
        return 0;
    }
    struct strbuf text = STRBUF_INIT;
    strbuf_puts(&text, "Snapshot list:\n");
    snapshot_text(&text, NULL);
    strbuf_putc(&text, '\n');
    for (int i = 0; i < count; i++) {
        snapshot_text(&text, &table[i]);
        strbuf_putc(&text, '\n');
    }
    fputs(text.s, stdout);
    strbuf_free(&text);
    mem_free(table);
    return 0;
}

static int create(struct tool *t, struct node *n, const char *name)
{
    struct snapshot_info sn = {.icount = 0};
    int64_t now = clock_now(t->w, CLOCK_HOST);
    snprintf(sn.name, sizeof(sn.name), "%s", name);
    sn.date_sec = (uint64_t)(now / 1000000000);
    sn.date_nsec = (uint32_t)(now % 1000000000 / 1000 * 1000);
    int ret = snapshot_create(n, &sn);
    if (ret < 0) {
        tool_error(t, "Could not create snapshot '%s': %d (%s)", name, ret, strerror(-ret));
    }
    return ret;
}

static int apply(struct tool *t, struct node *n, const char *name)
{
    struct error *err = NULL;
    int ret = snapshot_goto(n, name, &err);
    if (ret < 0) {
        error_prepend(&err, "Could not apply snapshot '%s': ", name);
        tool_report(t, err);
    }
    return ret;
}

static int delete (struct tool *t, struct node *n, const char *name)
{
    struct error *err = NULL;
    struct snapshot_info sn;
    if (snapshot_find(n, &sn, name) <= 0) {
        tool_error(t, "Could not delete snapshot '%s': snapshot not found", name);
        return -ENOENT;
    }
    int ret = snapshot_delete(n, sn.id, sn.name, &err);
    if (ret < 0) {
        error_prepend(&err, "Could not delete snapshot '%s': ", name);
        tool_report(t, err);
    }
    return ret;
}

int img_snapshot(struct tool *t, int argc, char **argv)
{
    struct snapshot_request r = {.action = 0};
    int ended = parse(t, &r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    unsigned flags = OPEN_UNMAP | (r.action != 'l' ? OPEN_RDWR : 0); /* also when there is none */
    struct blk *b =
        img_open(t, r.o.image_opts, r.filename, NULL, flags, false, r.o.quiet, r.o.force_share);
    if (!b) {
        return 1;
    }
    struct node *n = blk_node(b);
    int ret = 0;
    switch (r.action) {
    case 'l':
        ret = list(t, n);
        break;
    case 'c':
        ret = create(t, n, r.name);
        break;
    case 'a':
        ret = apply(t, n, r.name);
        break;
    case 'd':
        ret = delete (t, n, r.name);
        break;
    }
    blk_unref(b);
    return ret < 0;
}
