/*
 * What the minimiser keeps to: classes of failures, and the stages that use them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "harness/failure_class.h"
#include "harness/repro.h"
#include "harness/stage_programs.h"
#include "ref/base/mem.h"

static void test_classes(void **state)
{
    static const char *const classes[][2] = {
        {"spec checker: clause RC-10: refcount is too small (at 4096)",
         "spec checker: clause RC-10"},
        {"reference: spec checker: clause L2-3: x", "reference: spec checker: clause L2-3"},
        {"offset 65536: found 0x07, lawful: 0x01 0x02", "offset #: found #"},
        {"offset 0: found backing, lawful: 0x00", "offset #: found backing"},
        {"check finds 3 corruptions, 0 leaks on an undisturbed image",
         "check finds # corruptions, no leaks on an undisturbed image"},
        {"operation 3 ends with Input/output error instead of success",
         "operation # ends with Input/output error instead of success"},
        {"status at 2 (writec 0 1): EINVAL, reference success",
         "status at writec: EINVAL, reference success"},
        {"oracle at 12 (amend compat=0.10): the range ends behind the image",
         "oracle at amend: the range ends behind the image"},
        {"map at 3 (flush): 0+4k data, reference nothing", "map: #+# data, reference nothing"},
        {"map at the end: 0+65536 data, reference nothing", "map: #+# data, reference nothing"},
        {"does not open: Could not open '/dev/shm/blkref.aX3/0/image': qcow2: No such file",
         "does not open: Could not open 'image': qcow2: No such file"},
        {"write 0 512 1 beside others: No space left on device",
         "write # # # beside others: No space left on device"},
        {"dies: Segmentation fault", "dies: Segmentation fault"},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        char *got = failure_class(classes[i][0]);
        assert_string_equal(got, classes[i][1]);
        mem_free(got);
    }
}

static void test_alike(void **state)
{
    assert_true(failure_alike("offset 512: found 0x07, lawful: 0x01",
                              "offset 0: found 0xff, lawful: "
                              "0x00 0x03"));
    assert_false(failure_alike("check finds 1 corruptions, 0 leaks", "check finds 0 corruptions, 1 "
                                                                     "leaks"));
    assert_false(failure_alike("spec checker: clause RC-10: x", "spec checker: clause RC-11: x"));
    assert_false(failure_alike("status at 1 (writec 0 1): EINVAL, reference success",
                               "status at 1 (writec 0 1): EIO, reference success"));
    assert_true(failure_alike(NULL, ""));
    struct failure cut = {"offset 512: found 0x07, lawful: ", true};
    assert_true(failure_again(&cut, "offset 0: found 0x00, lawful: ", true));
    assert_false(failure_again(&cut, "offset 0: found 0x00, lawful: ", false));
    assert_true(failure_again(NULL, "anything", false));
}

/*
 * Two failures planted in one program: a discard behind a snapshot damages refcounts, which shows
 * at the end; a compressed write of less than a cluster is refused.  The second is seen first,
 * unless it lies behind 64k.
 */
static bool two_failures(struct campaign *c, struct subject *s, const struct program *p,
                         struct finding *out)
{
    bool shared = false;
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < p->n_ops; i++) {
        const struct op *op = &p->ops[i];
        if (op->kind == OP_WRITE_COMPRESSED && op->offset < 64 * KiB) {
            out->kind = DIFF_CHECK;
            out->detail = str_fmt("check at %zu (writec %lld %lld 1): %s: Invalid argument", i + 1,
                                  (long long)op->offset, (long long)op->bytes, s->name);
            return true;
        }
        shared |= op->kind == OP_SNAPSHOT;
        if (shared && op->kind == OP_DISCARD) {
            out->kind = DIFF_CHECK;
            out->detail = str_fmt("check at the end: %s: %lld corruptions, 0 leaked clusters",
                                  s->name, (long long)op->bytes);
        }
    }
    return out->detail;
}

static void test_keeps_to_the_first(void **state)
{
    struct campaign c = {.store = store_open(NULL, NULL), .process = process_new()};
    struct subject *s =
        subject_ref_new(c.process, "reference", &profile_reference, NULL, PLANT_NONE);
    struct strbuf json = STRBUF_INIT;
    struct program p;
    c.subjects[c.n_subjects++] = s;
    assert_int_equal(program_parse("image qcow2 1M\nwrite 0 64k 1\nwritec 128k 64k 2\nsnapshot a\n"
                                   "zero 0 4k\ndiscard 64k 128k\nwritec 256k 64k 3\nflush\n",
                                   &p, NULL),
                     0);
    program_judge(&c, "programs", s, "two", &p, two_failures);
    store_export_json(c.store, &json);
    /* The same with other numbers; nothing that is not needed; and never the other one. */
    assert_non_null(strstr(json.s, "check at the end: reference: 1 corruptions"));
    assert_non_null(strstr(json.s, "image qcow2 1048576\\nsnapshot a\\ndiscard 0 1\\n\""));
    assert_null(strstr(json.s, "Invalid argument"));
    strbuf_free(&json);
    program_free(&p);
    subject_free(s);
    store_close(c.store);
    process_free(c.process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_keeps_to_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
