/*
 * What the minimiser keeps to: classes of failures, and the stages that use them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "harness/campaign/explored.h"
#include "harness/campaign/repro.h"
#include "harness/campaign/stage_programs.h"
#include "harness/oracle/failure_class.h"
#include "harness/programs/shrink.h"
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
    assert_non_null(strstr(json.s, "image qcow2 1048576\\nsnapshot a\\ndiscard 0 1\\n"));
    assert_null(strstr(json.s, "Invalid argument"));
    strbuf_free(&json);
    program_free(&p);
    subject_free(s);
    store_close(c.store);
    process_free(c.process);
}

/* ---- where a program fails ---- */

static bool l2_fails(const char *plan, void *opaque)
{
    const char *at = plan ? strstr(plan, "label=l2_update,nth=") : NULL;
    return at && at[strlen("label=l2_update,nth=")] >= '2';
}

static bool always(const char *text, void *opaque)
{
    return true;
}

static void test_faults(void **state)
{
    char *plan = str_dup("error,label=l2_load,nth=3;error,errno=28,label=l2_update,nth=7,sticky");
    assert_true(shrink_faults(&plan, false, l2_fails, NULL, 100) < 100);
    assert_string_equal(plan, "error,errno=28,label=l2_update,nth=2");
    assert_int_equal(shrink_faults(&plan, false, always, NULL, 0), 0);
    assert_string_equal(plan, "error,errno=28,label=l2_update,nth=2");
    shrink_faults(&plan, false, always, NULL, 100);
    assert_string_equal(plan, "error,errno=28,label=l2_update");
    shrink_faults(&plan, true, always, NULL, 100);
    assert_null(plan);
}

static bool needs_fourth(const char *id, void *opaque)
{
    return strstr(id, "4:1") != NULL;
}

static void test_schedule(void **state)
{
    char *id = str_dup("1:2,4:1,9:3,17:0");
    assert_true(shrink_schedule(&id, needs_fourth, NULL, 100) < 100);
    assert_string_equal(id, "4:1");
    shrink_schedule(&id, always, NULL, 100);
    assert_string_equal(id, "-");
    assert_int_equal(shrink_schedule(&id, always, NULL, 100), 0);
    mem_free(id);
}

/*
 * An explorer with two failures: with a discard in the program any fault of nth 2 and more spoils
 * bytes behind a cut; else a flush that fails tells so at once.
 */
static bool two_kinds(void *opaque, const struct program *p, const struct explored *only,
                      const struct failure *alike, struct explored *first)
{
    static const char *const plans[] = {"error,nth=1;error,nth=4", "error,nth=2", "error,nth=1"};
    unsigned *asked = opaque;
    ++*asked;
    for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
        const char *plan = only ? only->fault : plans[i];
        char *why = NULL;
        bool cut = false;
        for (size_t k = 0; k < p->n_ops; k++) {
            const struct op *op = &p->ops[k];
            if (op->kind == OP_DISCARD && strpbrk(plan, "23456789")) {
                why = str_fmt("offset %lld: found 0x01, lawful: 0x00", (long long)op->offset);
                cut = true;
            } else if (op->kind == OP_FLUSH && !strcmp(plan, "error,nth=1")) {
                why = str_dup("operation 1 ends with success instead of the fault");
            }
        }
        if (why && failure_again(alike, why, cut)) {
            explored_set(first, NULL, plan, cut ? "c9!" : NULL, why);
        }
        mem_free(why);
        if (first->why || only) {
            break;
        }
    }
    return first->why;
}

static void test_finding(void **state)
{
    struct explored f = {0};
    struct program p;
    unsigned asked = 0;
    assert_int_equal(
        program_parse("image qcow2 1M\nflush\nwrite 0 64k 1\ndiscard 64k 64k\n", &p, NULL), 0);
    assert_true(two_kinds(&asked, &p, NULL, NULL, &f));
    assert_true(explored_shrink(two_kinds, &asked, &p, &f) > 4);
    assert_int_equal(p.n_ops, 1);
    assert_int_equal(p.ops[0].kind, OP_DISCARD);
    assert_string_equal(f.why, "offset 0: found 0x01, lawful: 0x00");
    assert_string_equal(f.fault, "error,nth=2");
    assert_string_equal(f.state, "c9!");
    /* In a campaign: no more than some of a stage's, and none when the first one ends it. */
    struct campaign c = {.shrunk = SHRINKS_A_STAGE};
    asked = 0;
    explored_shrink_in(&c, two_kinds, &asked, &p, &f);
    assert_int_equal(asked, 0);
    explored_free(&f);
    program_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_alike),
        cmocka_unit_test(test_keeps_to_the_first),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
