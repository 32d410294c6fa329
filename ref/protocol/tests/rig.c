/*
 * The rig of driver tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "ref/protocol/tests/rig.h"

struct call {
    struct rig *r;
    void (*fn)(struct rig *r);
};

static void collect(void *opaque, enum report_kind kind, const char *text)
{
    struct rig *r = opaque;
    strbuf_puts(&r->out, text);
}

static void enter(void *arg)
{
    struct call *c = arg;
    c->fn(c->r);
}

static void run(const struct block_driver *const *drivers, const struct profile *profile,
                void (*fn)(struct rig *r), bool deny)
{
    struct rig r = {.process = process_new()};
    struct world_config cfg = {.profile = profile,
                               .io = IO_SYNC,
                               .io_set = true,
                               .report = collect,
                               .report_opaque = &r,
                               .simulated_time = true,
                               .seed = 1,
                               .deny_names_in_images = deny};
    struct call c = {&r, fn};

    r.w = world_new(r.process, &cfg);
    for (size_t i = 0; drivers[i]; i++) {
        assert_true(i + 1 < ARRAY_SIZE(r.entries));
        r.entries[i].drv = drivers[i];
    }
    r.drivers.entries = r.entries;
    block_set_drivers(r.w, &r.drivers);
    r.pool = disk_pool_new(0);
    r.log = disk_log_new(r.pool);
    fault_plan_init(&r.plan);

    assert_int_equal(world_exec(r.w, enter, &c), 0);
    world_settle(r.w);
    assert_int_equal(world_live(r.w), 0);
    world_free(r.w);
    process_free(r.process);
    for (int i = 0; i < RIG_DISKS; i++) {
        disk_free(r.disk[i]);
    }
    disk_log_free(r.log);
    disk_pool_free(r.pool);
    fault_plan_destroy(&r.plan);
    strbuf_free(&r.out);
}

void rig_run(const struct block_driver *const *drivers, void (*fn)(struct rig *r))
{
    run(drivers, &profile_reference, fn, false);
}

void rig_run_profile(const struct block_driver *const *drivers, const struct profile *profile,
                     void (*fn)(struct rig *r))
{
    run(drivers, profile, fn, false);
}

void rig_run_denying(const struct block_driver *const *drivers, void (*fn)(struct rig *r))
{
    run(drivers, &profile_reference, fn, true);
}

void rig_disk(struct rig *r, int i, int64_t size)
{
    char name[8];
    assert_null(r->disk[i]);
    r->disk[i] = disk_new(r->pool, size);
    struct sim_disk d = {.disk = r->disk[i], .log = r->log, .index = i, .plan = &r->plan};
    snprintf(name, sizeof(name), "d%d", i);
    sim_register(r->w, name, &d);
}

static struct blk *try_open(struct rig *r, const char *filename, const char *options,
                            unsigned flags, struct error **err)
{
    struct value *opts = NULL;
    if (options) {
        struct error *parse = NULL;
        opts = opts_parse(options, NULL, &parse);
        assert_null(parse);
    }
    return blk_open(r->w, filename, NULL, opts, flags, err);
}

struct blk *rig_open(struct rig *r, const char *filename, const char *options, unsigned flags)
{
    struct error *err = NULL;
    struct blk *b = try_open(r, filename, options, flags, &err);
    if (err) {
        print_error("open: %s\n", err->msg);
    }
    assert_null(err);
    assert_non_null(b);
    return b;
}

void rig_expect(struct error **err, const char *msg)
{
    assert_non_null(*err);
    assert_string_equal((*err)->msg, msg);
    error_clear(err);
}

void rig_open_fails(struct rig *r, const char *filename, const char *options, unsigned flags,
                    const char *msg)
{
    struct error *err = NULL;
    assert_null(try_open(r, filename, options, flags, &err));
    rig_expect(&err, msg);
}

int rig_fill(struct blk *b, int64_t offset, int64_t bytes, uint8_t value)
{
    uint8_t *buf = mem_alloc((size_t)bytes);
    memset(buf, value, (size_t)bytes);
    int ret = blk_pwrite(b, offset, buf, bytes, 0);
    mem_free(buf);
    return ret;
}

void rig_check(struct blk *b, int64_t offset, int64_t bytes, uint8_t value)
{
    uint8_t *buf = mem_alloc((size_t)bytes);
    memset(buf, ~value, (size_t)bytes);
    assert_int_equal(blk_pread(b, offset, buf, bytes), 0);
    for (int64_t i = 0; i < bytes; i++) {
        assert_int_equal(buf[i], value);
    }
    mem_free(buf);
}

void rig_program(struct rig *r, const char *options, int64_t bytes, int64_t most, int writes,
                 uint64_t seed)
{
    uint8_t *shadow = mem_zalloc((size_t)bytes), *buf = mem_zalloc((size_t)bytes);
    struct blk *b = NULL;
    assert_true(writes % 16 != 0); /* the image is open at the end */
    for (int i = 0; i < writes; i++) {
        if (!b) {
            b = rig_open(r, "sim:d0", options, OPEN_RDWR | OPEN_RESIZE);
        }
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        int64_t at = (int64_t)(seed >> 33) % (bytes - most) / 512 * 512;
        int64_t len = ((int64_t)(seed >> 20) % most / 512 + 1) * 512;
        memset(shadow + at, i + 1, (size_t)len);
        assert_int_equal(rig_fill(b, at, len, (uint8_t)(i + 1)), 0);
        if (i % 16 == 15) {
            blk_unref(b);
            b = NULL;
        }
    }
    assert_int_equal(blk_pread(b, 0, buf, bytes), 0);
    assert_memory_equal(buf, shadow, bytes);
    blk_unref(b);
    mem_free(shadow);
    mem_free(buf);
}

int rig_count(const struct rig *r, enum disk_op_kind kind)
{
    int n = 0;
    for (size_t i = 0; i < disk_log_len(r->log); i++) {
        n += disk_log_op(r->log, i)->kind == kind;
    }
    return n;
}
