/*
 * Each stage that runs programs sees a planted defect, and nothing without one.
 *
 * Counts are small: what is judged is that the stage judges.  The stages read and write need QEMU's
 * programs; without them they must say that they were skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/campaign/campaign.h"
#include "harness/programs/image_kinds.h"
#include "ref/base/mem.h"

struct fixture {
    struct campaign c;
    char dir[64];
};

static bool begin(struct fixture *f, enum planted planted, bool qemu)
{
    static const char template[] = "/tmp/planted.XXXXXX";
    memset(f, 0, sizeof(*f));
    memcpy(f->dir, template, sizeof(template));
    signal(SIGPIPE, SIG_IGN);
    f->c = (struct campaign){.process = process_new(),
                             .seed = 3,
                             .count = 6,
                             .dir = mkdtemp(f->dir),
                             .build = "build",
                             .store = store_open(NULL, NULL),
                             .planted = planted};
    assert_non_null(f->c.store);
    struct subject **s = f->c.subjects;
    s[f->c.n_subjects++] =
        subject_ref_new(f->c.process, "reference", &profile_reference, NULL, PLANT_NONE);
    s[f->c.n_subjects++] =
        subject_ref_new(f->c.process, "optimized", &profile_optimized, NULL, planted);
    if (qemu) {
        char *dir = campaign_scratch(&f->c, "qemu");
        struct subject *q = subject_qemu_new("qemu", NULL, dir, NULL);
        mem_free(dir);
        f->c.n_subjects += q != NULL;
        s[2] = q;
        return q != NULL;
    }
    return true;
}

static void end(struct fixture *f)
{
    for (unsigned i = 0; i < f->c.n_subjects; i++) {
        subject_free(f->c.subjects[i]);
    }
    store_close(f->c.store);
    process_free(f->c.process);
    char *command = str_fmt("rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    mem_free(command);
}

static int64_t failures(int (*stage)(struct campaign *c, struct error **err), enum planted planted)
{
    struct fixture f;
    struct error *err = NULL;
    begin(&f, planted, false);
    assert_int_equal(stage(&f.c, &err), 0);
    int64_t n = store_failures(f.c.store);
    end(&f);
    return n;
}

static void test_programs(void **state)
{
    assert_int_equal(failures(stage_programs, PLANT_NONE), 0);
    assert_true(failures(stage_programs, PLANT_FLIP_BYTE) > 0);
    assert_true(failures(stage_programs, PLANT_LEAK_CLUSTER) > 0);
}

static void test_one_format(void **state)
{
    struct campaign c = {.format = NULL};
    assert_true(campaign_wants_image(&c, "image qed 1M"));
    c.format = "qcow2";
    assert_true(campaign_wants_image(&c, "image qcow2 1M cluster_size=4k"));
    assert_true(campaign_wants_image(&c, "image qcow2 1M encrypt.format=aes"));
    assert_false(campaign_wants_image(&c, "image qcow 1M"));
    c.format = "crypt";
    assert_true(campaign_wants_format(&c, "qcow2", "encrypt.format=aes"));
    assert_false(campaign_wants_format(&c, "qcow2", "compat=1.1"));
    assert_false(campaign_wants_format(&c, "qcow", "encrypt.format=aes"));
}

static void test_trace(void **state)
{
    assert_int_equal(failures(stage_trace, PLANT_NONE), 0);
    assert_true(failures(stage_trace, PLANT_FLIP_BYTE) > 0);
    assert_true(failures(stage_trace, PLANT_LEAK_CLUSTER) > 0);
}

/* Planted: the guest's disk is opened by its format's name, so nothing guards its first sector. */
static void test_probing(void **state)
{
    assert_int_equal(failures(stage_probing, PLANT_NONE), 0);
    assert_true(failures(stage_probing, PLANT_FLIP_BYTE) > 0);
}

/* One image is enough: through the stage's reproducer. */
static int one_image(const char *stage, const char *subject, enum planted planted, const char *text)
{
    struct fixture f;
    struct error *err = NULL;
    int ret = -1;
    if (begin(&f, planted, true)) {
        ret = stage_find(stage)->repro(&f.c, subject, text, &err);
    }
    error_clear(&err);
    end(&f);
    return ret;
}

static void test_read_and_write(void **state)
{
    static const char text[] =
        "image qcow2 1M cluster_size=4k\nwrite 0 64k 1\nsnapshot a\nzero 4k 8k\nflush\n";
    static const char *const stages[] = {"read", "write"};
    for (int i = 0; i < 2; i++) {
        int plain = one_image(stages[i], "optimized", PLANT_NONE, text);
        if (plain < 0) {
            skip();
        }
        assert_int_equal(plain, 0);
        assert_int_equal(one_image(stages[i], "optimized", PLANT_FLIP_BYTE, text), 1);
    }
    assert_int_equal(one_image("write", "optimized", PLANT_LEAK_CLUSTER, text), 1);
}

/* A disk that forgets flushes under an unmodified QEMU; one image is enough. */
static void test_qemu_crash(void **state)
{
    static const char text[] = "# crash: state none sector 512\nimage qcow2 1M "
                               "cluster_size=4k\nwrite 0 8k 1\nflush\nwrite 64k 4k 2\n";
    int plain = one_image("qemu-crash", "qemu", PLANT_NONE, text);
    if (plain < 0) {
        skip();
    }
    assert_int_equal(plain, 0);
    assert_int_equal(one_image("qemu-crash", "qemu", PLANT_DROP_FLUSH, text), 1);
}

static void test_skipped_without_qemu(void **state)
{
    struct fixture f;
    struct strbuf json = STRBUF_INIT;
    begin(&f, PLANT_NONE, false);
    assert_int_equal(stage_read(&f.c, NULL), 0);
    assert_int_equal(stage_qemu_crash(&f.c, NULL), 0);
    store_export_json(f.c.store, &json);
    assert_non_null(strstr(json.s, "skip"));
    strbuf_free(&json);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_format),
        cmocka_unit_test(test_programs),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_probing),
        cmocka_unit_test(test_read_and_write),
        cmocka_unit_test(test_qemu_crash),
        cmocka_unit_test(test_skipped_without_qemu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
