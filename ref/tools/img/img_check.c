/*
 * qemu-img check.
 *
 * Exit status: 0 clean, 1 the check could not run, 2 corruptions, 3 leaks only, 63 the format has
 * no check.
 */
#include <errno.h>

#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "ref/tools/img/img.h"

struct check_request {
    struct img_common o;
    const char *filename;
    unsigned fix, flags;
    bool writethrough;
};

static bool parse_fix(struct tool *t, struct check_request *r, const char *word)
{
    if (!strcmp(word, "leaks")) {
        r->fix = FIX_LEAKS;
    } else if (!strcmp(word, "all")) {
        r->fix = FIX_LEAKS | FIX_ERRORS;
    } else {
        img_usage_error(t, "Unknown option value for -r (expecting 'leaks' or 'all'): %s", word);
        return false;
    }
    r->flags |= OPEN_RDWR;
    return true;
}

static bool take_option(struct tool *t, void *request, int c)
{
    return parse_fix(t, request, optarg);
}

static int parse(struct tool *t, struct check_request *r, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"format", required_argument, 0, 'f'},
        {"repair", required_argument, 0, 'r'},
        {"output", required_argument, 0, IMG_OPT_OUTPUT},
        {"object", required_argument, 0, IMG_OPT_OBJECT},
        {"image-opts", no_argument, 0, IMG_OPT_IMAGE_OPTS},
        {"force-share", no_argument, 0, 'U'},
        {0, 0, 0, 0},
    };
    int ended = img_parse_options(t, argc, argv, ":hf:r:T:qU", long_options, &r->o, take_option, r);
    if (ended) {
        return ended;
    }
    if (optind != argc - 1) {
        return 1 + img_usage_error(t, "Expecting one image file name");
    }
    r->filename = argv[optind];
    if (!img_parse_cache(r->o.source_cache, &r->flags, &r->writethrough)) {
        tool_error(t, "Invalid source cache option: %s", r->o.source_cache);
        return 2;
    }
    return 0;
}

static void print_json(const struct check_request *r, const char *format,
                       const struct check_result *res)
{
    const struct {
        const char *key;
        int64_t value;
        bool always;
    } members[] = {
        {"check-errors", res->check_errors, true},
        {"corruptions", res->corruptions, false},
        {"leaks", res->leaks, false},
        {"corruptions-fixed", res->corruptions_fixed, false},
        {"leaks-fixed", res->leaks_fixed, false},
        {"image-end-offset", res->image_end_offset, false},
        {"total-clusters", res->total_clusters, false},
        {"allocated-clusters", res->allocated_clusters, false},
        {"fragmented-clusters", res->fragmented_clusters, false},
        {"compressed-clusters", res->compressed_clusters, false},
    };
    struct value *d = value_dict();
    dict_put_str(d, "filename", r->filename);
    dict_put_str(d, "format", format);
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        if (members[i].always || members[i].value) {
            dict_put_int(d, members[i].key, members[i].value);
        }
    }
    char *text = json_text(d, true);
    printf("%s\n", text);
    mem_free(text);
    value_free(d);
}

static void print_human(bool quiet, const struct check_result *res)
{
    if (!res->corruptions && !res->leaks && !res->check_errors) {
        img_print(quiet, "No errors were found on the image.\n");
    } else {
        if (res->corruptions) {
            img_print(quiet,
                      "\n%d errors were found on the image.\n"
                      "Data may be corrupted, or further writes to the image may corrupt it.\n",
                      res->corruptions);
        }
        if (res->leaks) {
            img_print(quiet,
                      "\n%d leaked clusters were found on the image.\n"
                      "This means waste of disk space, but no harm to data.\n",
                      res->leaks);
        }
        if (res->check_errors) {
            img_print(quiet, "\n%d internal errors have occurred during the check.\n",
                      res->check_errors);
        }
    }
    if (res->total_clusters && res->allocated_clusters) {
        img_print(
            quiet,
            "%lld/%lld = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
            (long long)res->allocated_clusters, (long long)res->total_clusters,
            (double)res->allocated_clusters * 100.0 / (double)res->total_clusters,
            (double)res->fragmented_clusters * 100.0 / (double)res->allocated_clusters,
            (double)res->compressed_clusters * 100.0 / (double)res->allocated_clusters);
    }
    if (res->image_end_offset) {
        img_print(quiet, "Image end offset: %lld\n", (long long)res->image_end_offset);
    }
}

/* -ENOTSUP when the format has no check; other failures have been reported. */
static int check_once(struct tool *t, struct node *n, struct check_result *res, unsigned fix)
{
    int ret = node_check(n, res, fix);
    if (ret == -ENOTSUP) {
        tool_error(t, "This image format does not support checks");
    }
    return ret;
}

/* A repair may uncover what it hid: fixed images are checked again, and that result counts. */
static int repair_and_check(struct tool *t, const struct check_request *r, struct node *n,
                            struct check_result *res)
{
    int ret = check_once(t, n, res, r->fix);
    if (ret < 0 || (!res->corruptions_fixed && !res->leaks_fixed)) {
        return ret;
    }
    int corruptions_fixed = res->corruptions_fixed, leaks_fixed = res->leaks_fixed;
    bool before_repair = res->check_errors;
    if (r->o.output == OUTPUT_HUMAN) {
        img_print(
            r->o.quiet,
            "%sThe following inconsistencies were found and repaired:\n\n    %d leaked clusters\n"
            "    %d corruptions\n\n%s",
            "", leaks_fixed, corruptions_fixed,
            before_repair ? "" : "Double checking the fixed image now...\n");
    }
    ret = check_once(t, n, res, 0);
    res->corruptions_fixed = corruptions_fixed;
    res->leaks_fixed = leaks_fixed;
    return ret;
}

static int exit_status(const struct check_result *res)
{
    if (res->corruptions) {
        return 2;
    }
    return res->leaks ? 3 : 0;
}

int img_check(struct tool *t, int argc, char **argv)
{
    struct check_request r = {
        .o.output = OUTPUT_HUMAN, .o.source_cache = "writeback", .flags = OPEN_CHECK};
    struct check_result res;
    int ended = parse(t, &r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    struct blk *b = img_open(t, r.o.image_opts, r.filename, r.o.fmt, r.flags, r.writethrough,
                             r.o.quiet, r.o.force_share);
    if (!b) {
        return 1;
    }
    int status, ret = repair_and_check(t, &r, blk_node(b), &res);
    if (ret == -ENOTSUP) {
        status = 63;
    } else {
        if (ret == 0 && r.o.output == OUTPUT_HUMAN) {
            print_human(r.o.quiet, &res);
        } else if (ret == 0 && !r.o.quiet) {
            print_json(&r, blk_node(b)->drv->name, &res);
        }
        if (ret < 0 || res.check_errors) {
            if (ret < 0) {
                tool_error(t, "Check failed: %s", strerror(-ret));
            } else {
                tool_error(t, "Check failed");
            }
            status = 1;
        } else {
            status = exit_status(&res);
        }
    }
    blk_unref(b);
    return status;
}
