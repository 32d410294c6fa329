/*
 * Which difference a comparison tells: the first, but one of maps only when there is no other.
 *
 * The subject is the reference with some of its operations replaced by liars.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "harness/oracle/compare.h"
#include "ref/base/mem.h"
#include "ref/engine/world.h"

static const char program_text[] =
    "image qcow2 1M\nwrite 0 64k 1\nflush\nwrite 64k 64k 2\nreopen\n";

/* All of the disk is data, as a driver tells that knows nothing of its blocks. */
static int map_lies(struct subject *s, struct extent **out, struct error **err)
{
    int n = 0;
    struct extent e = {.bytes = 1024 * KiB, .data = true, .present = true};
    *out = NULL;
    extents_add(out, &n, &e);
    return n;
}

static int reopen_fails(struct subject *s, const struct op *op, struct error **err)
{
    return op->kind == OP_REOPEN ? -EIO : 0;
}

static int sees_nothing(struct subject *s, const struct shadow *sh, struct error **err)
{
    return 0;
}

static int finds_leaks(struct subject *s, struct subject_check *out, struct error **err)
{
    *out = (struct subject_check){.leaks = 1};
    return 0;
}

/* Runs the program with what `lies` has in the place of the reference's; detail by mem_free(). */
static char *told(const struct subject_ops *lies)
{
    struct process *process = process_new();
    struct subject *s[2];
    struct program p;
    struct finding f;
    for (int i = 0; i < 2; i++) {
        s[i] = subject_ref_new(process, "reference", &profile_reference, NULL, PLANT_NONE);
    }
    struct subject_ops ops = *s[1]->ops;
    ops.map = lies->map ? lies->map : ops.map;
    ops.apply = lies->apply ? lies->apply : ops.apply;
    ops.verify = lies->verify ? lies->verify : ops.verify;
    ops.check = lies->check ? lies->check : ops.check;
    s[1]->ops = &ops;
    assert_int_equal(program_parse(program_text, &p, NULL), 0);
    bool bad = compare_run(s[0], s[1], &p, &f);
    char *detail = bad ? str_dup(f.detail) : NULL;
    finding_free(&f);
    program_free(&p);
    subject_free(s[0]);
    subject_free(s[1]);
    process_free(process);
    return detail;
}

static void tells(const struct subject_ops *lies, const char *start)
{
    char *detail = told(lies);
    assert_non_null(detail);
    assert_memory_equal(detail, start, strlen(start));
    mem_free(detail);
}

static void test_maps_come_last(void **state)
{
    struct subject_ops lies = {.map = NULL};
    assert_null(told(&lies));
    lies.map = map_lies;
    tells(&lies, "map at 2 (flush): 0+1048576:dp0, reference 0+65536:dp0");
    lies.check = finds_leaks;
    tells(&lies, "check at the end: reference: 0 corruptions, 1 leaked clusters");
    lies.apply = reopen_fails;
    lies.verify = sees_nothing;
    tells(&lies, "status at 4 (reopen): EIO, reference ok");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_maps_come_last)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
