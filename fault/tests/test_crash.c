/*
 * Crash states: the litmus cases of docs/disk-model.md, ids, and the enumerator against a naive
 * one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fault/crash.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"

/* ---- a small lab: one disk of a few sectors, each shown as the letter it is filled with ('.':
 * zeroes) ---- */

#define S 512

struct lab {
    struct disk_pool *pool;
    struct disk_set base;
    struct disk_log *log;
    struct crash_bounds bounds;
    char states[8192]; /* distinct outcomes, sorted, separated by blanks */
    size_t n_states;
    bool tell_cuts; /* outcomes as "marks:content" */
};

static void lab_open(struct lab *l, const char *content)
{
    uint8_t sector[S];

    *l = (struct lab){.pool = disk_pool_new(0), .bounds = crash_bounds_default};
    l->base.n = 1;
    l->base.disk[0] = disk_new(l->pool, 0);
    l->log = disk_log_new(l->pool);
    for (int i = 0; content[i]; i++) {
        memset(sector, content[i] == '.' ? 0 : content[i], S);
        disk_write(l->base.disk[0], i * S, sector, S);
    }
}

static void lab_close(struct lab *l)
{
    disk_log_free(l->log);
    disk_set_free(&l->base);
    assert_int_equal(disk_pool_used(l->pool), 0);
    disk_pool_free(l->pool);
}

/* Issues a write of `text` (a letter a sector) at sector `at`. */
static size_t issue(struct lab *l, enum label label, unsigned flags, int at, const char *text)
{
    size_t n = strlen(text);
    uint8_t *buf = mem_alloc(n * S);
    struct disk_op op = {.kind = DISK_OP_WRITE,
                         .flags = flags,
                         .label = label,
                         .offset = at * S,
                         .bytes = (int64_t)n * S};

    for (size_t i = 0; i < n; i++) {
        memset(buf + i * S, text[i], S);
    }
    size_t i = disk_log_begin(l->log, &op, buf);
    mem_free(buf);
    return i;
}

static void write_at(struct lab *l, enum label label, unsigned flags, int at, const char *text)
{
    disk_log_end(l->log, issue(l, label, flags, at, text));
}

static void data(struct lab *l, int at, const char *text)
{
    write_at(l, LABEL_WRITE_AIO, 0, at, text);
}
static void meta(struct lab *l, int at, const char *text)
{
    write_at(l, LABEL_L2_UPDATE, 0, at, text);
}

static size_t issue_op(struct lab *l, enum disk_op_kind kind, int64_t offset, int64_t bytes)
{
    struct disk_op op = {
        .kind = kind, .label = LABEL_NONE, .offset = offset * S, .bytes = bytes * S};
    return disk_log_begin(l->log, &op, NULL);
}

static void op(struct lab *l, enum disk_op_kind kind, int64_t offset, int64_t bytes)
{
    disk_log_end(l->log, issue_op(l, kind, offset, bytes));
}

static void flush(struct lab *l)
{
    op(l, DISK_OP_FLUSH, 0, 0);
}

static void show(const struct disk *d, char *out)
{
    uint8_t sector[S];
    int64_t n = disk_size(d) / S;

    assert_true(n < 64);
    for (int64_t i = 0; i < n; i++) {
        disk_read(d, i * S, sector, S);
        for (int k = 1; k < S; k++) {
            assert_int_equal(sector[k], sector[0]);
        }
        out[i] = sector[0] ? (char)sector[0] : '.';
    }
    strcpy(out + n, n ? "" : "-");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The distinct outcomes over all cuts (or, with tell_cuts, for each number of marks). */
static const char *outcomes(struct lab *l)
{
    struct crash_iter *it = crash_iter_new(&l->base, l->log, &l->bounds);
    struct crash_state s;
    char(*seen)[80] = mem_array(4096, sizeof(*seen)), text[80], *out = l->states;
    size_t n = 0;

    while (crash_iter_next(it, &s)) {
        char *p = text + (l->tell_cuts ? sprintf(text, "%zu:", s.marks) : 0);
        show(s.set->disk[0], p);
        assert_true(n < 4096);
        strcpy(seen[n++], text);
    }
    crash_iter_free(it);
    qsort(seen, n, sizeof(*seen), by_text);
    *out = '\0';
    l->n_states = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(seen[i], seen[i - 1])) {
            out += sprintf(out, "%s%s", l->n_states ? " " : "", seen[i]);
            l->n_states++;
        }
    }
    mem_free(seen);
    return l->states;
}

/* ---- litmus cases (names as in docs/disk-model.md) ---- */

static void litmus_nothing_is_durable_without_a_flush(void **state)
{
    struct lab l;
    lab_open(&l, "ab");
    data(&l, 0, "X");
    data(&l, 1, "Y");
    assert_string_equal(outcomes(&l), "XY Xb aY ab");
    lab_close(&l);
}

static void litmus_flush_orders(void **state)
{
    struct lab l;
    lab_open(&l, "ab");
    data(&l, 0, "X");
    flush(&l);
    data(&l, 1, "Y");
    assert_string_equal(outcomes(&l), "XY Xb ab"); /* never aY */
    lab_close(&l);
}

static void litmus_flush_covers_only_what_completed_before_it(void **state)
{
    struct lab l;
    lab_open(&l, "ab");
    size_t w = issue(&l, LABEL_WRITE_AIO, 0, 0, "X");
    flush(&l);
    disk_log_end(l.log, w);
    data(&l, 1, "Y");
    assert_string_equal(outcomes(&l), "XY Xb aY ab");
    lab_close(&l);
}

static void litmus_flush_in_flight_promises_nothing(void **state)
{
    struct lab l;
    lab_open(&l, "ab");
    data(&l, 0, "X");
    issue_op(&l, DISK_OP_FLUSH, 0, 0);
    data(&l, 1, "Y");
    assert_string_equal(outcomes(&l), "XY Xb aY ab");
    lab_close(&l);
}

static void litmus_failed_flush_promises_nothing(void **state)
{
    struct lab l;
    lab_open(&l, "ab");
    data(&l, 0, "X");
    disk_log_fail(l.log, issue_op(&l, DISK_OP_FLUSH, 0, 0));
    data(&l, 1, "Y");
    assert_string_equal(outcomes(&l), "XY Xb aY ab");
    lab_close(&l);
}

static void litmus_fua_is_durable_alone(void **state)
{
    struct lab l;
    lab_open(&l, "abc");
    data(&l, 0, "X");
    write_at(&l, LABEL_WRITE_AIO, DISK_OP_FUA, 1, "Y");
    data(&l, 2, "Z");
    /* Z implies Y, nothing implies X. */
    assert_string_equal(outcomes(&l), "XYZ XYc Xbc aYZ aYc abc");
    lab_close(&l);
}

static void litmus_overlap_in_order(void **state)
{
    struct lab l;
    lab_open(&l, "a");
    data(&l, 0, "X");
    data(&l, 0, "Y");
    assert_string_equal(outcomes(&l), "X Y a");
    lab_close(&l);

    /* Parts: the earlier write never wins where both are there. */
    lab_open(&l, "ab");
    data(&l, 0, "XX");
    data(&l, 1, "Y");
    assert_string_equal(outcomes(&l), "XX XY aY ab");
    lab_close(&l);
}

static void litmus_overlap_in_flight_together(void **state)
{
    struct lab l;
    lab_open(&l, "abc");
    size_t x = issue(&l, LABEL_WRITE_AIO, 0, 0, "XX"), y = issue(&l, LABEL_WRITE_AIO, 0, 1, "YY");
    disk_log_end(l.log, x);
    disk_log_end(l.log, y);
    assert_string_equal(outcomes(&l), "XXY XXc XYY aYY abc");
    flush(&l);
    data(&l, 0, "Z");
    /* The flush settles it: the log's order (completion) from then on. */
    assert_string_equal(outcomes(&l), "XXY XXc XYY ZYY aYY abc");
    lab_close(&l);
}

static void litmus_durable_over_pending(void **state)
{
    struct lab l;
    lab_open(&l, "ab");
    data(&l, 0, "XX");
    write_at(&l, LABEL_WRITE_AIO, DISK_OP_FUA, 0, "F");
    issue(&l, LABEL_WRITE_AIO, 0, 1, "Z");
    /* After the FUA write completed (Z shows it), sector 0 is F, whether or not XX arrives. */
    assert_string_equal(outcomes(&l), "FX FZ Fb XX ab");
    lab_close(&l);
}

static void litmus_a_flush_settles_the_order_of_what_it_covers(void **state)
{
    struct lab l;
    lab_open(&l, "ab");
    issue(&l, LABEL_WRITE_AIO, 0, 0, "XX"); /* stays in flight */
    size_t a = issue(&l, LABEL_WRITE_AIO, 0, 0, "AA"), b = issue(&l, LABEL_WRITE_AIO, 0, 0, "B");
    disk_log_end(l.log, a);
    disk_log_end(l.log, b);
    flush(&l);
    disk_log_mark(l.log, "flushed");
    l.tell_cuts = true;
    const char *all = outcomes(&l), *after = strstr(all, "1:");
    assert_string_equal(after, "1:BA 1:BX 1:XX"); /* XX before, between, behind; never A over B */
    lab_close(&l);
}

static void litmus_truncate_before_durable_write(void **state)
{
    struct lab l;
    lab_open(&l, "abc");
    op(&l, DISK_OP_TRUNCATE, 1, 0);
    write_at(&l, LABEL_WRITE_AIO, DISK_OP_FUA, 2, "Y");
    disk_log_mark(l.log, "written");
    l.tell_cuts = true;
    assert_string_equal(strstr(outcomes(&l), "1:"), "1:a.Y 1:abY");
    lab_close(&l);
}

static void litmus_tearing_over_another_pending_write(void **state)
{
    struct lab l;
    lab_open(&l, "abc");
    data(&l, 0, "XYZ");
    meta(&l, 0, "abc"); /* back to what is durable, yet it can tear */
    assert_string_equal(outcomes(&l), "XYZ XYc Xbc aYZ aYc abZ abc");
    lab_close(&l);
}

static void litmus_metadata_tears_at_sectors(void **state)
{
    struct lab l;
    lab_open(&l, "abcd");
    meta(&l, 0, "WXYZ");
    assert_string_equal(outcomes(&l), "WXYZ WXYd WXcZ WXcd WbYZ Wbcd aXYZ abYZ abcZ abcd");
    lab_close(&l);

    lab_open(&l, "abcd");
    data(&l, 0, "WXYZ");
    assert_string_equal(outcomes(&l), "WXYZ abcd"); /* guest data is judged by sector instead */
    lab_close(&l);

    lab_open(&l, "abcd");
    meta(&l, 0, "WXYZ");
    l.bounds.sector = 1024;
    assert_string_equal(outcomes(&l), "WXYZ WXcd abYZ abcd");
    lab_close(&l);
}

static void litmus_tearing_leaves_out_unchanged_sectors(void **state)
{
    struct lab l;
    lab_open(&l, "abcd");
    meta(&l, 0, "abXd");
    assert_string_equal(outcomes(&l), "abXd abcd");
    struct crash_iter *it = crash_iter_new(&l.base, l.log, &l.bounds);
    struct crash_state s;
    while (crash_iter_next(it, &s)) {
    }
    assert_int_equal(crash_iter_stats(it).states, 2); /* there, absent: no tear was built */
    crash_iter_free(it);
    lab_close(&l);
}

static void litmus_growing_write(void **state)
{
    struct lab l;
    lab_open(&l, "a");
    data(&l, 2, "X");
    assert_string_equal(outcomes(&l), "a a.. a.X"); /* the new size may arrive without the data */
    lab_close(&l);
}

static void litmus_truncate(void **state)
{
    struct lab l;
    lab_open(&l, "abc");
    op(&l, DISK_OP_TRUNCATE, 1, 0);
    data(&l, 1, "X");
    /* A write after a truncate is not cut off by it. */
    assert_string_equal(outcomes(&l), "a a. aX aXc abc");
    lab_close(&l);
}

static void litmus_discard_and_zeroes(void **state)
{
    struct lab l;
    lab_open(&l, "abc");
    op(&l, DISK_OP_DISCARD, 0, 1);
    op(&l, DISK_OP_ZERO, 2, 1);
    flush(&l);
    data(&l, 1, "X");
    assert_string_equal(outcomes(&l), ".X. .b. .bc ab. abc");
    lab_close(&l);
}

static void litmus_failed_write(void **state)
{
    struct lab l;
    lab_open(&l, "ab");
    disk_log_fail(l.log, issue(&l, LABEL_WRITE_AIO, 0, 0, "X"));
    l.tell_cuts = true;
    disk_log_mark(l.log, "failed");
    flush(&l);
    disk_log_mark(l.log, "flushed");
    data(&l, 1, "Y");
    /* Until the next flush it may have arrived, afterwards it has not. */
    assert_string_equal(outcomes(&l), "0:Xb 0:ab 1:Xb 1:ab 2:aY 2:ab");
    lab_close(&l);
}

static void litmus_marks_tell_what_was_promised(void **state)
{
    struct lab l;
    lab_open(&l, "a");
    l.tell_cuts = true;
    data(&l, 0, "X");
    flush(&l);
    disk_log_mark(l.log, "flush acknowledged");
    assert_string_equal(outcomes(&l), "0:X 0:a 1:X");
    lab_close(&l);
}

static void litmus_flush_is_of_one_disk(void **state)
{
    struct lab l;
    struct crash_state s;
    uint8_t one[2];
    bool seen[4] = {false};

    lab_open(&l, "a");
    l.base.n = 2;
    l.base.disk[1] = disk_new(l.pool, S);
    for (int d = 0; d < 2; d++) {
        disk_log_add(
            l.log,
            &(struct disk_op){.kind = DISK_OP_WRITE, .disk = d, .label = LABEL_NONE, .bytes = 1},
            "X");
    }
    disk_log_add(l.log, &(struct disk_op){.kind = DISK_OP_FLUSH, .disk = 1, .label = LABEL_NONE},
                 NULL);
    disk_log_mark(l.log, "flushed");
    struct crash_iter *it = crash_iter_new(&l.base, l.log, &l.bounds);
    while (crash_iter_next(it, &s)) {
        disk_read(s.set->disk[0], 0, one, 1);
        disk_read(s.set->disk[1], 0, one + 1, 1);
        if (s.marks) {
            seen[(one[0] == 'X') * 2 + (one[1] == 'X')] = true;
        }
    }
    assert_false(seen[0] || seen[2]);
    assert_true(seen[1] && seen[3]);
    crash_iter_free(it);
    lab_close(&l);
}

/* ---- bounds ---- */

static void test_drops_and_keeps_beyond_exhaustive(void **state)
{
    struct lab l;
    lab_open(&l, "abcde");
    for (int i = 0; i < 5; i++) {
        data(&l, i, "X");
    }
    l.bounds.exhaustive = 4;
    l.bounds.drops = 1;
    l.bounds.samples = 0;
    assert_string_equal(outcomes(&l),
                        "XXXXX XXXXe XXXdX XXcXX XbXXX Xbcde aXXXX aXcde abXde abcXe abcdX abcde");
    l.bounds.samples = 500;
    outcomes(&l);
    assert_int_equal(l.n_states, 32);
    l.bounds.exhaustive = 5;
    l.bounds.samples = 0;
    outcomes(&l);
    assert_int_equal(l.n_states, 32);
    l.bounds.max_states = 7;
    outcomes(&l);
    assert_int_equal(l.n_states, 7);
    lab_close(&l);
}

static void test_same_seed_same_states(void **state)
{
    struct lab l;
    uint64_t sums[3] = {0};

    lab_open(&l, "");
    for (int i = 0; i < 30; i++) {
        data(&l, i, "X");
    }
    l.bounds.drops = 0;
    for (int i = 0; i < 3; i++) {
        struct crash_state s;
        l.bounds.seed = i == 2 ? 99 : 7;
        struct crash_iter *it = crash_iter_new(&l.base, l.log, &l.bounds);
        while (crash_iter_next(it, &s)) {
            sums[i] = hash_u64(sums[i] + s.hash);
        }
        crash_iter_free(it);
    }
    assert_int_equal(sums[0], sums[1]);
    assert_int_not_equal(sums[0], sums[2]);
    lab_close(&l);
}

/* ---- random logs: every state is rebuilt from its id; and the naive enumerator agrees ---- */

static void random_log(struct lab *l, struct rng *r, int n)
{
    size_t open[8], n_open = 0;

    for (int i = 0; i < n; i++) {
        char text[4] = "";
        int at = (int)rng_below(r, 4), len = 1 + (int)rng_below(r, 2);
        for (int k = 0; k < len; k++) {
            text[k] = (char)('A' + 2 * i + k);
        }
        size_t id = 0;
        switch (rng_below(r, 8)) {
        case 0:
            id = issue_op(l, DISK_OP_FLUSH, 0, 0);
            break;
        case 1:
            id = issue_op(l, DISK_OP_ZERO, at, len);
            break;
        case 2:
            id = issue_op(l, DISK_OP_TRUNCATE, at, 0);
            break;
        case 3:
            id = issue(l, LABEL_WRITE_AIO, DISK_OP_FUA, at, text);
            break;
        case 4:
            disk_log_mark(l->log, "m");
            continue;
        default:
            id = issue(l, LABEL_WRITE_AIO, 0, at, text);
        }
        open[n_open++] = id;
        while (n_open > 0 && (n_open > 2 || rng_below(r, 2))) {
            size_t k = rng_below(r, n_open);
            if (rng_below(r, 12) == 0) {
                disk_log_fail(l->log, open[k]);
            } else {
                disk_log_end(l->log, open[k]);
            }
            open[k] = open[--n_open];
        }
    }
}

static void test_ids_rebuild_every_state(void **state)
{
    struct rng r;
    uint64_t rebuilt = 0;

    rng_seed(&r, 5);
    for (int round = 0; round < 60; round++) {
        struct lab l;
        struct crash_state s;
        struct strbuf id = STRBUF_INIT, text = STRBUF_INIT;

        lab_open(&l, "abcd");
        random_log(&l, &r, 8);
        meta(&l, 0, "wxyz");
        l.bounds.every_stamp = round % 2;
        l.bounds.exhaustive = round % 3 ? 8 : 2;
        struct crash_iter *it = crash_iter_new(&l.base, l.log, &l.bounds);
        while (crash_iter_next(it, &s)) {
            struct disk_set again = {0};
            struct error *err = NULL;
            strbuf_reset(&id);
            strbuf_reset(&text);
            crash_iter_id(it, &id);
            crash_iter_describe(it, &text);
            assert_true(text.len > 0);
            assert_int_equal(crash_state_build(&l.base, l.log, S, id.s, &again, &err), 0);
            assert_true(disk_equal(again.disk[0], s.set->disk[0]));
            disk_set_free(&again);
            rebuilt++;
        }
        crash_iter_free(it);
        strbuf_free(&id);
        strbuf_free(&text);
        lab_close(&l);
    }
    assert_true(rebuilt > 1000);
}

static void test_id_texts(void **state)
{
    struct lab l;
    struct crash_state s;
    struct strbuf all = STRBUF_INIT, id = STRBUF_INIT;

    lab_open(&l, "abcd");
    meta(&l, 0, "WX");
    data(&l, 2, "Y");
    data(&l, 3, "Z");
    disk_log_begin(l.log, &(struct disk_op){.kind = DISK_OP_FLUSH, .label = LABEL_NONE}, NULL);
    struct crash_iter *it = crash_iter_new(&l.base, l.log, &l.bounds);
    while (crash_iter_next(it, &s)) {
        strbuf_reset(&id);
        crash_iter_id(it, &id);
        strbuf_printf(&all, "%s ", id.s);
        if (!strcmp(id.s, "c8!0p1")) {
            struct strbuf text = STRBUF_INIT;
            crash_iter_describe(it, &text);
            assert_string_equal(
                text.s,
                "power cut at stamp 8 of 8, after 0 marks, 3 ops pending\n"
                "op 0: write disk 0 offset 0 bytes 1024 (l2_update): only sectors before 1\n"
                "op 1: write disk 0 offset 1024 bytes 512 (write_aio): absent\n"
                "op 2: write disk 0 offset 1536 bytes 512 (write_aio): absent\n");
            strbuf_free(&text);
        }
    }
    assert_string_equal(
        all.s, "c8 c8:0p1 c8:0s1 c8:-0 c8:-1 c8:0p1,-1 c8:0s1,-1 c8!2 c8:-2 c8:0p1,-2 c8:0s1,-2 "
               "c8!1 c8!0 c8!0p1 c8!0s1 c8! ");
    crash_iter_free(it);
    strbuf_free(&all);
    strbuf_free(&id);
    lab_close(&l);
}

static void test_samples_tear_several_ops(void **state)
{
    struct lab l;
    lab_open(&l, "abcd");
    meta(&l, 0, "WX");
    meta(&l, 2, "YZ");
    assert_non_null(strstr(outcomes(&l), "WbYd"));
    l.bounds.samples = 0;
    assert_null(strstr(outcomes(&l), "WbYd"));
    lab_close(&l);
}

static void test_ids_that_are_wrong(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "c",
        "c0",
        "c99",
        "c5x",
        "c5:9",
        "c5:-",
        "c5:0p",
        "c5:0q1",
        "c5:0p99999",
        "c5:0>1",
        "c5:0,",
        "c5:-0x",
        "c5:0z",
        "c-1",
        "c5:+0",
        "c5!-",
        "c18446744073709551616",
        "c5:0p-1",
    };
    struct lab l;

    lab_open(&l, "abcd");
    meta(&l, 0, "WX");
    meta(&l, 2, "YZ");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct disk_set out = {0};
        struct error *err = NULL;
        assert_int_equal(crash_state_build(&l.base, l.log, S, bad[i], &out, &err), -EINVAL);
        assert_non_null(err);
        error_free(err);
    }
    struct disk_set out;
    char text[80];
    assert_int_equal(crash_state_build(&l.base, l.log, S, "c5!0s1", &out, NULL), 0);
    show(out.disk[0], text);
    assert_string_equal(text, "aXcd");
    disk_set_free(&out);
    lab_close(&l);
}

/* ---- the naive enumerator: the model once more, by brute force over subsets and permutations ----
 */

struct naive {
    struct lab *l;
    uint64_t t;
    size_t ops[16], n; /* candidates: issued before t, with content */
    bool durable[16];
    uint64_t *hashes;
    size_t n_hashes;
};

static bool before(const struct disk_op *a, const struct disk_op *b)
{
    return a->completed < b->issued;
}

static bool naive_durable(const struct naive *v, const struct disk_op *o, bool *gone)
{
    bool flushed = false;

    for (size_t i = 0; i < disk_log_len(v->l->log); i++) {
        const struct disk_op *f = disk_log_op(v->l->log, i);
        flushed |= f->kind == DISK_OP_FLUSH && !(f->flags & DISK_OP_FAILED) &&
                   f->completed < v->t && before(o, f);
    }
    *gone = (o->flags & DISK_OP_FAILED) && flushed;
    return !(o->flags & DISK_OP_FAILED) &&
           (flushed || ((o->flags & DISK_OP_FUA) && o->completed < v->t));
}

static bool naive_overlap(const struct disk_op *a, const struct disk_op *b)
{
    int64_t ea = a->kind == DISK_OP_TRUNCATE ? INT64_MAX : a->offset + a->bytes;
    int64_t eb = b->kind == DISK_OP_TRUNCATE ? INT64_MAX : b->offset + b->bytes;
    return a->offset < eb && b->offset < ea;
}

/* May the ops be applied in this order? */
static bool naive_order_ok(const struct naive *v, const size_t *perm)
{
    for (size_t i = 0; i < v->n; i++) {
        for (size_t j = i + 1; j < v->n; j++) {
            const struct disk_op *x = disk_log_op(v->l->log, v->ops[perm[i]]);
            const struct disk_op *y = disk_log_op(v->l->log, v->ops[perm[j]]);
            if (!naive_overlap(x, y)) {
                continue;
            }
            if (before(y, x)) {
                return false;
            }
            if (v->durable[perm[i]] && v->durable[perm[j]] && x->completed > y->completed) {
                return false;
            }
        }
    }
    return true;
}

static void naive_add(struct naive *v, const size_t *perm, unsigned subset, unsigned size_only)
{
    struct disk *d = disk_clone(v->l->base.disk[0]);

    for (size_t i = 0; i < v->n; i++) {
        const struct disk_op *o = disk_log_op(v->l->log, v->ops[perm[i]]);
        if (v->durable[perm[i]] || (subset >> perm[i] & 1)) {
            if (size_only == perm[i] + 1) {
                disk_truncate(d, MAX(disk_size(d), o->offset + o->bytes));
            } else {
                disk_op_apply(d, o);
            }
        }
    }
    uint64_t h = disk_hash(d);
    disk_free(d);
    for (size_t i = 0; i < v->n_hashes; i++) {
        if (v->hashes[i] == h) {
            return;
        }
    }
    v->hashes[v->n_hashes++] = h;
}

static void naive_permute(struct naive *v, size_t *perm, size_t k, const bool *extends)
{
    if (k == v->n) {
        if (!naive_order_ok(v, perm)) {
            return;
        }
        for (unsigned subset = 0; subset < 1u << v->n; subset++) {
            naive_add(v, perm, subset, 0);
            for (size_t i = 0; i < v->n; i++) {
                if (extends[i] && (subset >> i & 1) && !v->durable[i]) {
                    naive_add(v, perm, subset, (unsigned)i + 1);
                }
            }
        }
        return;
    }
    for (size_t i = k; i < v->n; i++) {
        size_t tmp = perm[k];
        perm[k] = perm[i];
        perm[i] = tmp;
        naive_permute(v, perm, k + 1, extends);
        tmp = perm[k];
        perm[k] = perm[i];
        perm[i] = tmp;
    }
}

/* All states at cut t, by hash; false when the log is too long for this method. */
static bool naive_cut(struct naive *v)
{
    size_t perm[16];
    bool extends[16] = {false};

    v->n = v->n_hashes = 0;
    for (size_t i = 0; i < disk_log_len(v->l->log); i++) {
        const struct disk_op *o = disk_log_op(v->l->log, i);
        bool gone, durable = naive_durable(v, o, &gone);
        if (o->issued >= v->t || o->kind == DISK_OP_FLUSH || o->kind == DISK_OP_MARK || gone) {
            continue;
        }
        if (v->n == 7) {
            return false;
        }
        perm[v->n] = v->n;
        v->durable[v->n] = durable;
        v->ops[v->n++] = i;
    }
    /* "Size only" of an op that does not grow the disk is the op being absent: no new state. */
    for (size_t i = 0; i < v->n; i++) {
        const struct disk_op *o = disk_log_op(v->l->log, v->ops[i]);
        extends[i] = o->kind == DISK_OP_WRITE || o->kind == DISK_OP_ZERO;
    }
    naive_permute(v, perm, 0, extends);
    return true;
}

static bool contains(const uint64_t *set, size_t n, uint64_t h)
{
    for (size_t i = 0; i < n; i++) {
        if (set[i] == h) {
            return true;
        }
    }
    return false;
}

/* Hashes of the enumerator's states at each cut must be the naive set. */
static void compare_cut(struct lab *l, struct naive *v)
{
    /* A log that ends at v->t is a cut at v->t: enumerate with every_stamp and pick by cut. */
    struct crash_iter *it = crash_iter_new(&l->base, l->log, &l->bounds);
    struct crash_state s;
    uint64_t *upto = mem_array(100000, sizeof(*upto));
    size_t n = 0;

    while (crash_iter_next(it, &s)) {
        struct disk *d = s.set->disk[0];
        if (s.cut == v->t) {
            /* Everything found is allowed. */
            assert_true(contains(v->hashes, v->n_hashes, disk_hash(d)));
        }
        if (s.cut <= v->t && n < 100000) {
            upto[n++] = disk_hash(d);
        }
    }
    crash_iter_free(it);
    for (size_t i = 0; i < v->n_hashes; i++) {
        assert_true(contains(upto, n, v->hashes[i])); /* everything allowed is found */
    }
    mem_free(upto);
}

static void test_against_brute_force(void **state)
{
    struct rng r;
    int compared = 0;

    rng_seed(&r, 11);
    for (int round = 0; round < 120; round++) {
        struct lab l;
        struct naive v = {.l = &l, .hashes = mem_array(100000, sizeof(uint64_t))};

        /* Half of the disks are so small that writes grow them. */
        lab_open(&l, round % 2 ? "ab" : "abcdef");
        random_log(&l, &r, 7);
        l.bounds.every_stamp = true;
        l.bounds.orders = 12;
        v.t = 1 + rng_below(&r, disk_log_clock(l.log));
        if (naive_cut(&v)) {
            compare_cut(&l, &v);
            compared++;
        }
        mem_free(v.hashes);
        lab_close(&l);
    }
    assert_true(compared > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(litmus_nothing_is_durable_without_a_flush),
        cmocka_unit_test(litmus_flush_orders),
        cmocka_unit_test(litmus_flush_covers_only_what_completed_before_it),
        cmocka_unit_test(litmus_flush_in_flight_promises_nothing),
        cmocka_unit_test(litmus_failed_flush_promises_nothing),
        cmocka_unit_test(litmus_fua_is_durable_alone),
        cmocka_unit_test(litmus_overlap_in_order),
        cmocka_unit_test(litmus_overlap_in_flight_together),
        cmocka_unit_test(litmus_durable_over_pending),
        cmocka_unit_test(litmus_a_flush_settles_the_order_of_what_it_covers),
        cmocka_unit_test(litmus_truncate_before_durable_write),
        cmocka_unit_test(litmus_tearing_over_another_pending_write),
        cmocka_unit_test(litmus_metadata_tears_at_sectors),
        cmocka_unit_test(litmus_tearing_leaves_out_unchanged_sectors),
        cmocka_unit_test(litmus_growing_write),
        cmocka_unit_test(litmus_truncate),
        cmocka_unit_test(litmus_discard_and_zeroes),
        cmocka_unit_test(litmus_failed_write),
        cmocka_unit_test(litmus_marks_tell_what_was_promised),
        cmocka_unit_test(litmus_flush_is_of_one_disk),
        cmocka_unit_test(test_drops_and_keeps_beyond_exhaustive),
        cmocka_unit_test(test_same_seed_same_states),
        cmocka_unit_test(test_ids_rebuild_every_state),
        cmocka_unit_test(test_id_texts),
        cmocka_unit_test(test_samples_tear_several_ops),
        cmocka_unit_test(test_ids_that_are_wrong),
        cmocka_unit_test(test_against_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
