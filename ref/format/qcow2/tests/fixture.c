/*
 * The fixture of qcow2 tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/format/qcow2/tests/fixture.h"
#include "ref/protocol/sim_image.h"
#include "specs/runtime/qcow2_check.h"

static const struct driver_entry entries[] = {
    {.drv = &driver_sim},
    {.drv = &driver_raw},
    {.drv = &driver_qcow2},
    {.drv = NULL},
};

struct call {
    struct qt *t;
    void (*fn)(struct qt *t);
};

static void collect(void *opaque, enum report_kind kind, const char *text)
{
    struct qt *t = opaque;
    strbuf_puts(&t->r.out, text);
}

static void enter(void *arg)
{
    struct call *c = arg;
    for (int i = 0; i < 4; i++) {
        rig_disk(&c->t->r, i, 0);
    }
    c->fn(c->t);
}

void qt_run(const struct profile *profile, uint64_t seed, void (*fn)(struct qt *t), void *arg)
{
    qt_run_policy(profile, seed, 0, fn, arg);
}

void qt_run_policy(const struct profile *profile, uint64_t seed, unsigned policy,
                   void (*fn)(struct qt *t), void *arg)
{
    struct qt t = {.r = {.process = process_new()}, .profile = profile, .seed = seed, .arg = arg};
    struct world_config cfg = {.profile = profile,
                               .report = collect,
                               .report_opaque = &t,
                               .simulated_time = true,
                               .io = IO_SYNC,
                               .io_set = true,
                               .seed = seed + 1,
                               .deny_names_in_images = policy & QT_DENY_NAMES,
                               .leak_as_qemu = policy & QT_LEAK};
    if (seed) {
        sched_seeded_init(&t.sched, seed, 300);
        cfg.policy = &t.sched.base;
    }
    t.r.w = world_new(t.r.process, &cfg);
    t.r.drivers.entries = entries;
    block_set_drivers(t.r.w, &t.r.drivers);
    t.r.pool = disk_pool_new(0);
    t.r.log = disk_log_new(t.r.pool);
    fault_plan_init(&t.r.plan);
    struct call c = {&t, fn};
    assert_int_equal(world_exec(t.r.w, enter, &c), 0);
    world_settle(t.r.w);
    assert_int_equal(world_live(t.r.w), 0);
    world_free(t.r.w);
    process_free(t.r.process);
    for (int i = 0; i < RIG_DISKS; i++) {
        disk_free(t.r.disk[i]);
    }
    disk_log_free(t.r.log);
    disk_pool_free(t.r.pool);
    fault_plan_destroy(&t.r.plan);
    strbuf_free(&t.r.out);
}

void qt_create(struct qt *t, int i, const char *options)
{
    char name[] = "sim:d0";
    struct error *err = NULL;
    struct value *o = opts_parse(options, NULL, &err);
    name[5] = (char)('0' + i);
    int ret = o ? image_create(t->r.w, &driver_qcow2, name, o, &err) : -1;
    if (err) {
        print_error("create: %s\n", err->msg);
    }
    assert_int_equal(ret, 0);
    value_free(o);
}

struct blk *qt_open(struct qt *t, int i, const char *options)
{
    char name[] = "sim:d0", text[256];
    name[5] = (char)('0' + i);
    snprintf(text, sizeof(text), "driver=qcow2%s%s", options ? "," : "", options ? options : "");
    return rig_open(&t->r, name, text, QT_RW);
}

void qt_judge(struct disk *d, bool allow_leaks, const char *what)
{
    struct spec_image image = sim_image(d);
    struct spec_report r = {0};
    assert_int_equal(spec_qcow2_check(&image, NULL, NULL, &r), 0);
    uint64_t bad = r.count[SPEC_CORRUPTION] + (allow_leaks ? 0 : r.count[SPEC_LEAK]);
    for (size_t i = 0; bad && i < r.nr_findings && i < 5; i++) {
        print_error("%s: %s %s\n", what, r.findings[i].clause, r.findings[i].message);
    }
    assert_int_equal(bad, 0);
}
