/*
 * Worlds: profiles, randomness, reports, the pointer of the layer above.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ref/base/strbuf.h"
#include "ref/engine/host.h"
#include "ref/engine/world.h"

static void test_profiles(void **state)
{
    struct process *p = process_new();
    struct world *w = world_new(p, &(struct world_config){0});
    struct world *o = world_new(p, &(struct world_config){
                                       .profile = &profile_optimized,
                                       .deny_names_in_images = true,
                                   });

    assert_ptr_equal(world_profile(w), &profile_reference);
    assert_false(world_denies_names(w));
    assert_ptr_equal(world_profile(o), &profile_optimized);
    assert_true(world_denies_names(o));
    assert_true(profile_optimized.metadata_cache && !profile_reference.metadata_cache);
    assert_int_equal(profile_reference.io, IO_SYNC);
    world_free(w);
    world_free(o);
    process_free(p);
}

static void test_randomness_follows_seed(void **state)
{
    struct process *p = process_new();
    uint8_t u[4][16];

    for (int i = 0; i < 4; i++) {
        struct world *w =
            world_new(p, &(struct world_config){.seed = i / 2, .random_seed = i == 3});

        world_uuid(w, u[i]);
        assert_int_equal(u[i][6] >> 4, 4);
        assert_int_equal(u[i][8] >> 6, 2);
        world_free(w);
    }
    assert_memory_equal(u[0], u[1], 16);
    assert_memory_not_equal(u[1], u[2], 16);
    assert_memory_not_equal(u[2], u[3], 16);
    process_free(p);
}

static void collect(void *opaque, enum report_kind kind, const char *text)
{
    strbuf_printf(opaque, "%d:%s|", kind, text);
}

static void test_reports_go_to_sink(void **state)
{
    struct process *p = process_new();
    struct strbuf log = STRBUF_INIT;
    struct world *w =
        world_new(p, &(struct world_config){.report = collect, .report_opaque = &log});
    struct error *err = NULL;

    error_set(&err, 5, "broken %d", 7);
    error_hint(&err, "Mend it.\n");
    world_report_error(w, err);
    world_warn(w, "beware of %s", "dogs");
    world_report(w, REPORT_STDOUT, "plain\n");
    assert_string_equal(log.s, "0:broken 7|3:Mend it.\n|1:beware of dogs|4:plain\n|");
    world_free(w);
    process_free(p);
    strbuf_free(&log);
}

/* Standard error is written at once, standard output when its buffer is flushed, as QEMU's tools
 * do. */
static void test_default_sink(void **state)
{
    struct process *p = process_new();
    struct world *w = world_new(p, &(struct world_config){.prog_name = "prog"});
    struct world *anon = world_new(p, &(struct world_config){0});
    FILE *tmp = tmpfile();
    int out = dup(1), err = dup(2);
    char buf[200] = "";

    fflush(stdout);
    dup2(fileno(tmp), 1);
    dup2(fileno(tmp), 2);
    world_report(w, REPORT_STDOUT, "one\n");
    world_report(w, REPORT_ERROR, "two");
    world_report(w, REPORT_STDOUT, "three\n");
    world_warn(w, "four");
    world_report(w, REPORT_INFO, "five");
    world_report(w, REPORT_PLAIN, "six\n");
    world_report(anon, REPORT_ERROR, "seven");
    fflush(stdout);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    assert_true(pread(fileno(tmp), buf, sizeof(buf) - 1, 0) > 0);
    assert_string_equal(
        buf, "prog: two\nprog: warning: four\nprog: info: five\nsix\nseven\none\nthree\n");
    fclose(tmp);
    world_free(w);
    world_free(anon);
    process_free(p);
}

struct block {
    struct world *w;
    int freed;
    int fd;
};

static void destroy(void *opaque)
{
    struct block *b = opaque;

    assert_int_equal(host_close(b->w, b->fd), 0); /* outside coroutines: in place */
    b->freed++;
}

static void test_block_pointer(void **state)
{
    struct process *p = process_new();
    struct block b = {.w = world_new(p, &(struct world_config){.profile = &profile_optimized})};

    assert_null(world_block(b.w));
    b.fd = host_open(b.w, "/dev/null", O_RDONLY, 0);
    assert_true(b.fd >= 0);
    world_set_block(b.w, &b, destroy);
    assert_ptr_equal(world_block(b.w), &b);
    world_free(b.w);
    assert_int_equal(b.freed, 1);
    process_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles),           cmocka_unit_test(test_randomness_follows_seed),
        cmocka_unit_test(test_reports_go_to_sink), cmocka_unit_test(test_default_sink),
        cmocka_unit_test(test_block_pointer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
