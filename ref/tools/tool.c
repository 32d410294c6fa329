/*
 * The frame of every program: process, world, driver list, exit status.
 */
#include "ref/tools/tool.h"

#include <stdlib.h>
#include "fault/fiu.h"
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/block/driver.h"
#include "ref/tools/drivers.h"
#include "ref/tools/release.h"

struct frame {
    struct tool *tool;
    void (*body)(struct tool *t);
};

static void run_body(void *arg)
{
    struct frame *f = arg;
    f->body(f->tool);
}

/* Converting images is the one command where reading and writing at the same time pays for the
 * threads. */
static enum io_backend default_backend(const char *name, int argc, char **argv)
{
    return argc > 1 && !strcmp(name, "qemu-img") && !strcmp(argv[1], "convert") ? IO_THREADS
                                                                                : IO_SYNC;
}

static bool choose_backend(struct world_config *cfg, enum io_backend otherwise)
{
    static const char *const names[] = {"sync", "threads", "io_uring"};
    static const enum io_backend kinds[] = {IO_SYNC, IO_THREADS, IO_URING};
    const char *aio = getenv("BLKREF_AIO");
    cfg->io_set = true;
    cfg->io = otherwise;
    if (!aio) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(aio, names[i])) {
            cfg->io = kinds[i];
            return true;
        }
    }
    fprintf(stderr, "BLKREF_AIO: '%s' is none of sync, threads, io_uring\n", aio);
    return false;
}

static bool choose_profile(struct world_config *cfg)
{
    const char *profile = getenv("BLKREF_PROFILE");
    if (!profile || !strcmp(profile, profile_optimized.name)) {
        cfg->profile = &profile_optimized;
        return true;
    }
    if (!strcmp(profile, profile_reference.name)) {
        cfg->profile = &profile_reference;
        return true;
    }
    fprintf(stderr, "BLKREF_PROFILE: '%s' is neither reference nor optimized\n", profile);
    return false;
}

int tool_run(const char *name, int argc, char **argv, void (*body)(struct tool *t))
{
    struct tool tool = {.name = name, .argv0 = argv[0], .argc = argc, .argv = argv};
    struct world_config cfg = {
        .prog_name = name, .random_seed = true, .exit_on_fatal = true, .leak_as_qemu = true};
    if (!choose_backend(&cfg, default_backend(name, argc, argv)) || !choose_profile(&cfg)) {
        return 1;
    }
    if (!release_current()) {
        fprintf(stderr, "BLKREF_RELEASE: release '%s' is unknown\n", getenv("BLKREF_RELEASE"));
        return 1;
    }
    cfg.plain_data_files = release_current()->plain_data_files;
    struct process *process = process_new();
    tool.w = world_new(process, &cfg);
    list_init(&tool.objects);
    block_set_drivers(tool.w, &all_drivers);
    struct fault_fiu fiu = {0};
    if (fault_fiu_install(&fiu, false)) {
        block_set_fiu(tool.w, &fiu);
    }

    struct frame frame = {&tool, body};
    if (world_exec(tool.w, run_body, &frame) < 0) {
        fprintf(stderr, "%s: nothing can go on: a request waits for one that never comes\n", name);
        tool.status = 1;
    } else {
        world_settle(tool.w);
    }
    fflush(stdout);
    world_free(tool.w);
    fault_fiu_uninstall(&fiu);
    process_free(process);
    return tool.status;
}

void tool_error(struct tool *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = str_vfmt(fmt, ap);
    va_end(ap);
    world_report(t->w, REPORT_ERROR, "%s", text);
    mem_free(text);
}

struct value *tool_parse_options(struct world *w, const char *text, const char *implied_key,
                                 struct error **err)
{
    struct value *notes = value_list(), *options = opts_parse_noting(text, implied_key, notes, err);
    for (size_t i = 0; options && i < list_len(notes); i++) {
        world_report(w, REPORT_WARNING, "%s", value_get_str(list_at(notes, i)));
    }
    value_free(notes);
    return options;
}

void tool_report(struct tool *t, struct error *err)
{
    world_report_error(t->w, err);
}
