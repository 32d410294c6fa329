/*
 * Amending qcow2 images: what changes, what stays, what is refused and how; guest data and
 * snapshots survive each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/block/image_info.h"
#include "ref/block/snapshot.h"
#include "ref/format/qcow2/tests/fixture.h"

#define SIZE (512 * KiB)

struct amend_case {
    const char *create, *amend;
    const char *error;      /* NULL: works */
    unsigned version, bits; /* afterwards */
    bool snapshot;
};

static const struct amend_case cases[] = {
    {"size=512k,cluster_size=4k", "compat=0.10", NULL, 2, 16, false},
    {"size=512k,cluster_size=4k", "compat=v2", NULL, 2, 16, true},
    {"size=512k,cluster_size=4k,compat=v2", "compat=v3", NULL, 3, 16, true},
    {"size=512k,cluster_size=4k,compat=v2", "compat=v3,refcount_bits=2", NULL, 3, 2, true},
    {"size=512k,cluster_size=4k", "refcount_bits=1", NULL, 3, 1, false},
    {"size=512k,cluster_size=512", "refcount_bits=64", NULL, 3, 64, true},
    {"size=512k,cluster_size=512,refcount_bits=1", "refcount_bits=64,lazy_refcounts=on", NULL, 3,
     64, false},
    {"size=512k,cluster_size=4k,refcount_bits=8", "compat=v2,refcount_bits=16", NULL, 2, 16, false},
    {"size=512k,cluster_size=4k,lazy_refcounts=on", "lazy_refcounts=off", NULL, 3, 16, true},
    {"size=512k,cluster_size=4k", "size=64M", NULL, 3, 16, true},
    {"size=512k,extended_l2=on", "refcount_bits=32", NULL, 3, 32, true},
    {"size=512k", "refcount_bits=1",
     "Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x40000 has a refcount "
     "of 2",
     3, 16, true},
    {"size=512k", "refcount_bits=3",
     "Refcount width must be a power of two and may not exceed 64 bits", 3, 16, false},
    {"size=512k", "compat=0.42", "Unknown compatibility level 0.42", 3, 16, false},
    {"size=512k", "size=1000", "The new size must be a multiple of 512", 3, 16, false},
    {"size=512k,refcount_bits=8", "compat=v2", "compat=0.10 requires refcount_bits=16", 3, 8,
     false},
    {"size=512k", "compat=v2,refcount_bits=8",
     "Refcount widths other than 16 bits require compatibility level 1.1 or above "
     "(use compat=1.1 or greater)",
     3, 16, false},
    {"size=512k,compat=v2", "lazy_refcounts=on",
     "Lazy refcounts only supported with compatibility level 1.1 and above (use "
     "compat=1.1 or greater)",
     2, 16, false},
    {"size=512k", "backing_file=x", "Cannot amend the backing file", 3, 16, false},
    {"size=512k", "data_file=x",
     "data-file can only be set for images that use an external data file", 3, 16, false},
    {"size=512k", "data_file_raw=on", "data-file-raw cannot be set on existing images", 3, 16,
     false},
    {"size=512k,extended_l2=on", "compat=v2",
     "Cannot downgrade an image with incompatible features 0x10 set", 3, 16, false},
    {"size=512k", "encrypt.state=active", "Can't amend encryption options - encryption not present",
     3, 16, false},
};

static void content(struct blk *b)
{
    rig_check(b, 0, 100 * KiB, 1);
    rig_check(b, 100 * KiB, 28 * KiB, 0);
    rig_check(b, 128 * KiB, 100 * KiB, 2);
    rig_check(b, 228 * KiB, SIZE - 228 * KiB, 0);
}

static void steps(struct node *n, int64_t done, int64_t total, void *opaque)
{
    assert_true(done >= 0 && done <= total);
    ++*(int *)opaque;
}

static void one_case(struct qt *t)
{
    const struct amend_case *c = t->arg;
    struct error *err = NULL;
    struct snapshot_info sn = {.name = "s"};
    struct check_result res;
    int calls = 0;
    qt_create(t, 0, c->create);
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 128 * KiB, 1), 0);
    assert_int_equal(rig_fill(b, 128 * KiB, 100 * KiB, 2), 0);
    assert_int_equal(blk_pwrite_zeroes(b, 100 * KiB, 28 * KiB, 0, NULL), 0);
    assert_int_equal(c->snapshot ? snapshot_create(blk_node(b), &sn) : 0, 0);
    struct value *o = opts_parse(c->amend, NULL, NULL);
    int ret = driver_qcow2.amend(blk_node(b), o, steps, &calls, false, &err);
    value_free(o);
    assert_int_equal(ret < 0, c->error != NULL);
    if (c->error) {
        rig_expect(&err, c->error);
    }
    content(b);
    blk_unref(b);
    b = qt_open(t, 0, NULL);
    struct qcow2 *s = qcow2_state(blk_node(b));
    assert_int_equal(s->version, c->version);
    assert_int_equal(s->refcount_bits, c->bits);
    content(b);
    if (c->snapshot) {
        assert_int_equal(rig_fill(b, 0, 300 * KiB, 9), 0);
        assert_int_equal(
            c->version > 2 || blk_length(b) == SIZE ? snapshot_goto(blk_node(b), "s", NULL) : 0, 0);
        content(b);
    }
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    assert_int_equal(res.corruptions + res.leaks + res.check_errors, 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, c->amend);
}

static void test_cases(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        qt_run(i % 2 ? &profile_optimized : &profile_reference, 0, one_case, (void *)&cases[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
