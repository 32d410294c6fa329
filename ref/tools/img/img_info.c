/*
 * qemu-img info.
 */
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "ref/block/image_info.h"
#include "ref/tools/img/img.h"
#include "ref/tools/release.h"

struct info_request {
    struct img_common o;
    const char *filename;
    bool chain;
};

static bool take_option(struct tool *t, void *request, int c)
{
    struct info_request *r = request;
    return r->chain = true;
}

static int parse(struct tool *t, struct info_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"format", required_argument, 0, 'f'},
        {"output", required_argument, 0, IMG_OPT_OUTPUT},
        {"backing-chain", no_argument, 0, IMG_OPT_BACKING_CHAIN},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(t, argc, argv, ":hf:U", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    if (optind != argc - 1) {
        return 1 + img_usage_error(t, "Expecting one image file name");
    }
    r->filename = argv[optind];
    return 0;
}

static bool already_seen(const struct value *seen, const char *name)
{
    return dict_has(seen, name);
}

/*
 * A list of image_info() values from the top down; each image of the chain is opened alone, so that
 * a damaged backing file does not hide what stands above it.  NULL after a message.
 */
static struct value *collect(struct tool *t, const struct info_request *r)
{
    struct value *list = value_list(), *seen = value_dict();
    char *filename = str_dup(r->filename), *fmt = str_dup(r->o.fmt);
    bool image_opts = r->o.image_opts;
    unsigned flags = OPEN_NO_BACKING | OPEN_NO_IO |
                     (release_current()->info_opens_data_file ? 0 : OPEN_NO_DATA_FILE);
    while (filename) {
        struct error *err = NULL;
        if (already_seen(seen, filename)) {
            tool_error(t, "Backing file '%s' creates an infinite loop.", filename);
            goto fail;
        }
        dict_put_bool(seen, filename, true);
        struct blk *b =
            img_open(t, image_opts, filename, fmt, flags, false, false, r->o.force_share);
        if (!b) {
            goto fail;
        }
        struct value *info = image_info(blk_node(b), &err);
        blk_unref(b);
        if (!info) {
            tool_report(t, err);
            goto fail;
        }
        list_append(list, info);
        mem_free(filename);
        mem_free(fmt);
        image_opts = false;
        filename = r->chain ? str_dup(dict_get_str(info, "full-backing-filename")) : NULL;
        fmt = filename ? str_dup(dict_get_str(info, "backing-filename-format")) : NULL;
    }
    value_free(seen);
    return list;
fail:
    value_free(seen);
    value_free(list);
    mem_free(filename);
    mem_free(fmt);
    return NULL;
}

static void print(const struct info_request *r, const struct value *list)
{
    struct strbuf text = STRBUF_INIT;
    if (r->o.output == OUTPUT_JSON) {
        json_write(&text, r->chain ? list : list_at(list, 0), true);
        strbuf_putc(&text, '\n');
    } else {
        for (size_t i = 0; i < list_len(list); i++) {
            strbuf_puts(&text, i ? "\n" : "");
            image_info_text(&text, list_at(list, i));
        }
    }
    fputs(text.s, stdout);
    strbuf_free(&text);
}

int img_info(struct tool *t, int argc, char **argv)
{
    struct info_request r = {.o.output = OUTPUT_HUMAN};
    int ended = parse(t, &r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    struct value *list = collect(t, &r);
    if (!list) {
        return 1;
    }
    print(&r, list);
    value_free(list);
    return 0;
}
