/*
 * Logs as text: what is printed reads back to the same disks, operations, stamps and notes; hostile
 * text is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "fault/crash.h"
#include "fault/logtext.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"

static void random_bytes(struct rng *r, uint8_t *buf, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t run = 1 + rng_below(r, rng_below(r, 3) ? 3 : 500);
        run = MIN(run, n - i);
        memset(buf + i, (int)rng_below(r, 4), run);
        i += run;
    }
}

static void random_log(struct rng *r, struct disk_pool *pool, struct disk_set *set,
                       struct disk_log *log)
{
    uint8_t buf[9000];
    size_t open[64], n_open = 0;
    set->n = 2;
    for (int i = 0; i < 2; i++) {
        set->disk[i] = disk_new(pool, 20000);
        random_bytes(r, buf, sizeof(buf));
        disk_write(set->disk[i], 300, buf, sizeof(buf));
    }
    for (int i = 0; i < 40; i++) {
        struct disk_op op = {.kind = (enum disk_op_kind)rng_below(r, 5),
                             .disk = (int)rng_below(r, 2),
                             .offset = (int64_t)rng_below(r, 30000),
                             .bytes = (int64_t)rng_below(r, sizeof(buf)),
                             .label = (enum label)rng_below(r, LABEL_COUNT),
                             .flags = rng_below(r, 4) ? 0 : DISK_OP_FUA};
        random_bytes(r, buf, sizeof(buf));
        open[n_open++] = disk_log_begin(log, &op, buf);
        while (n_open && rng_below(r, 3)) {
            size_t k = rng_below(r, n_open);
            (rng_below(r, 5) ? disk_log_end : disk_log_fail)(log, open[k]);
            open[k] = open[--n_open];
        }
        if (rng_below(r, 8) == 0) {
            disk_log_mark(log, "a mark of words");
        }
    }
}

static void same_op(struct disk_pool *pool, const struct disk_op *a, const struct disk_op *b)
{
    static uint8_t x[9000], y[9000];
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->issued, b->issued);
    assert_int_equal(a->completed, b->completed);
    assert_int_equal(a->label, b->label);
    if (a->kind == DISK_OP_WRITE) {
        disk_op_read(pool, a, 0, x, (size_t)a->bytes);
        disk_op_read(pool, b, 0, y, (size_t)b->bytes);
        assert_memory_equal(x, y, (size_t)a->bytes);
    }
}

static void test_round_trip(void **state)
{
    struct rng r;
    rng_seed(&r, 7);
    for (int round = 0; round < 20; round++) {
        struct disk_pool *pool = disk_pool_new(0);
        struct disk_log *log = disk_log_new(pool), *again = disk_log_new(pool);
        struct disk_set set, back;
        struct disk_note notes[] = {{1, "first"}, {9, "in the middle"}, {100000, "last"}}, *got;
        struct strbuf text = STRBUF_INIT;
        size_t n;
        random_log(&r, pool, &set, log);
        notes[2].stamp = disk_log_clock(log);
        strbuf_puts(&text, "write 0 4k 1\n");
        disk_log_print(&text, "#| ", &set, log, notes, 3);
        assert_int_equal(disk_log_scan(text.s, "#| ", &back, again, &got, &n, NULL), 0);
        assert_int_equal(disk_log_len(again), disk_log_len(log));
        for (size_t i = 0; i < disk_log_len(log); i++) {
            same_op(pool, disk_log_op(log, i), disk_log_op(again, i));
        }
        assert_int_equal(n, 3);
        for (size_t i = 0; i < n; i++) {
            assert_true(got[i].stamp >= notes[i].stamp && got[i].stamp <= notes[i].stamp + 1);
            assert_string_equal(got[i].text, notes[i].text);
        }
        assert_true(back.n == 2 && disk_equal(back.disk[0], set.disk[0]));
        assert_true(disk_equal(back.disk[1], set.disk[1]));
        disk_notes_free(got, n);
        strbuf_free(&text);
        disk_set_free(&set);
        disk_set_free(&back);
        disk_log_free(log);
        disk_log_free(again);
        disk_pool_free(pool);
    }
}

static void test_refused(void **state)
{
    static const char *const texts[] = {
        "disk 1 0\n",
        "disk 0 -5\n",
        "disk 0 99999999999999999999\n",
        "disk 0 10\n  8 010203\n",
        "disk 0 10\n  0 01020g\n",
        "disk 0 10\n  0 *11 01\n",
        "disk 0 99999\n  0 *99999 01\n",
        "disk 0 10\ndo write 1 0 5\n",
        "disk 0 10\ndo write 0 0 9223372036854775807\n",
        "disk 0 10\ndo write 0 0 99999999999\n",
        "disk 0 10\ndo write 0 0 5 shiny\n",
        "disk 0 10\ndo write 0 0 5\n  4 0102\n",
        "disk 0 10\ndo shred 0 0 5\n",
        "disk 0 10\ndo\n",
        "disk 0 10\nend 0\n",
        "disk 0 10\ndo flush 0 0 0\nend 0\n",
        "disk 0 10\ndo flush 0 0 0\ndisk 1 5\n",
        "disk 0 10\nwhat\n",
        "  0 01\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct disk_pool *pool = disk_pool_new(0);
        struct disk_log *log = disk_log_new(pool);
        struct disk_set set;
        struct disk_note *notes;
        struct error *err = NULL;
        size_t n;
        int ret = disk_log_scan(texts[i], "", &set, log, &notes, &n, &err);
        if (ret == 0) {
            print_error("accepted: %s", texts[i]);
        }
        assert_true(ret < 0);
        assert_non_null(err);
        error_free(err);
        disk_notes_free(notes, n);
        disk_set_free(&set);
        disk_log_free(log);
        disk_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
