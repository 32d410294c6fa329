/* The gate: only what fails now and did not fail before may close it, and nothing that was not
 * judged may open it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "reports/gate.h"
#include "reports/store.h"

struct files {
    char old[40], now[40];
    struct store *before, *after;
};

static struct store *store_at(char *path, const char *seed)
{
    strcpy(path, "/tmp/blkref-gate-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct store *s = store_open(path, NULL);
    assert_non_null(s);
    store_fact(s, "seed", seed);
    store_fact(s, "count", "8");
    return s;
}

static struct files planted(const char *seed)
{
    struct files f;
    f.before = store_at(f.old, "1");
    f.after = store_at(f.now, seed);
    store_fact(f.before, "stages", "programs");
    store_fact(f.after, "stages", "programs");
    return f;
}

static void put_format(struct store *s, const char *stage, const char *format, const char *name,
                       enum verdict verdict)
{
    struct result r = {.stage = stage,
                       .subject = "qemu",
                       .format = format,
                       .name = name,
                       .verdict = verdict,
                       .detail = "bytes differ at 65536",
                       .repro = "# blkref repro programs-qemu-77\nwrite 0 512\n"};
    assert_int_equal(store_result(s, &r), 0);
}

static void put(struct store *s, const char *name, enum verdict verdict)
{
    put_format(s, "programs", "qcow2", name, verdict);
}

static struct gate closed(struct files *f)
{
    struct gate g;
    struct gate_options o = {.baseline = f->old, .current = f->now};
    store_close(f->before);
    store_close(f->after);
    assert_int_equal(gate_compare(&o, &g, NULL), 0);
    unlink(f->old);
    unlink(f->now);
    return g;
}

static void assert_counts(const struct gate *g, size_t new, size_t known, size_t gone,
                          size_t unknown, size_t errors)
{
    assert_int_equal(g->count[GATE_NEW], new);
    assert_int_equal(g->count[GATE_KNOWN], known);
    assert_int_equal(g->count[GATE_GONE], gone);
    assert_int_equal(g->count[GATE_UNKNOWN], unknown);
    assert_int_equal(g->count[GATE_ERROR], errors);
}

static void equal_runs_pass(void **state)
{
    struct files f = planted("1");
    put(f.before, "a", VERDICT_FAIL);
    put(f.after, "a", VERDICT_FAIL);
    put(f.before, "b", VERDICT_PASS);
    put(f.after, "b", VERDICT_PASS);
    struct gate g = closed(&f);
    assert_counts(&g, 0, 1, 0, 0, 0);
    assert_int_equal(g.compared, 2);
    gate_free(&g);
}

/* Whatever it was before, unless it failed. */
static void what_fails_now_only_is_new(void **state)
{
    struct files f = planted("1");
    put(f.before, "a", VERDICT_PASS);
    put(f.before, "b", VERDICT_DIVERGENCE);
    put(f.before, "c", VERDICT_SUBJECT_ERROR);
    put(f.before, "d", VERDICT_SKIP);
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        put(f.after, names[i], VERDICT_FAIL);
    }
    struct gate g = closed(&f);
    assert_counts(&g, 5, 0, 0, 0, 0);
    gate_free(&g);
}

static void each_part_of_the_key_tells_results_apart(void **state)
{
    struct files f = planted("1");
    put_format(f.before, "programs", "qcow2", "a", VERDICT_FAIL);
    put_format(f.after, "programs", "raw", "a", VERDICT_FAIL);
    put_format(f.after, "programs", "qcow2", "a#2", VERDICT_FAIL);
    put_format(f.after, "crash", "qcow2", "a", VERDICT_FAIL);
    struct gate g = closed(&f);
    assert_counts(&g, 3, 0, 1, 0, 0);
    gate_free(&g);
}

static void what_fails_no_more_is_told(void **state)
{
    struct files f = planted("1");
    put(f.before, "a", VERDICT_FAIL);
    put(f.before, "b", VERDICT_FAIL);
    put(f.before, "c", VERDICT_FAIL); /* its name is there no more, but its stage is */
    put(f.after, "a", VERDICT_PASS);
    put(f.after, "b", VERDICT_DIVERGENCE);
    struct gate g = closed(&f);
    assert_counts(&g, 0, 0, 3, 0, 0);
    struct strbuf text = STRBUF_INIT;
    gate_text(&g, &text);
    assert_non_null(strstr(text.s, "gone programs, qemu, qcow2: c\n"));
    assert_non_null(strstr(text.s, "\n2 results: 0 new failures, 0 known, 3 gone,"));
    strbuf_free(&text);
    gate_free(&g);
}

/* A failure is not gone because nobody looked. */
static void what_was_not_judged_is_not_gone(void **state)
{
    struct files f = planted("1");
    put(f.before, "a", VERDICT_FAIL);
    put(f.before, "b", VERDICT_FAIL);
    put_format(f.before, "crash", "qcow2", "c", VERDICT_FAIL);
    put_format(f.before, "read", "qcow2", "d", VERDICT_PASS);
    put(f.after, "a", VERDICT_SKIP);
    put(f.after, "b", VERDICT_SUBJECT_ERROR);
    struct gate g = closed(&f);
    assert_counts(&g, 0, 0, 0, 3, 1);
    assert_int_equal(g.count[GATE_MISSING], 2);
    struct strbuf text = STRBUF_INIT;
    gate_text(&g, &text);
    assert_non_null(strstr(text.s, "not run crash, qemu\nnot run read, qemu\n"));
    assert_non_null(strstr(text.s, "subject error programs, qemu, qcow2: b\n    bytes differ"));
    strbuf_free(&text);
    gate_free(&g);
}

static void new_failures_show_with_the_way_to_them(void **state)
{
    struct files f = planted("1");
    put(f.after, "a", VERDICT_FAIL);
    struct gate g = closed(&f);
    struct strbuf text = STRBUF_INIT, json = STRBUF_INIT;
    gate_text(&g, &text);
    assert_non_null(strstr(text.s, "NEW programs, qemu, qcow2: a\n    bytes differ at 65536\n"
                                   "    again: blkref repro programs-qemu-77\n"));
    gate_json(&g, &json);
    struct value *v = json_parse(json.s, NULL);
    assert_non_null(v);
    assert_int_equal(list_len(dict_get(v, "new")), 1);
    assert_int_equal(list_len(dict_get(v, "gone")), 0);
    struct value *row = list_at(dict_get(v, "new"), 0);
    assert_string_equal(dict_get_str(row, "name"), "a");
    assert_string_equal(dict_get_str(row, "again"), "blkref repro programs-qemu-77");
    value_free(v);
    strbuf_free(&text);
    strbuf_free(&json);
    gate_free(&g);
}

static void other_seeds_are_refused_unless_allowed(void **state)
{
    struct files f = planted("2");
    struct gate g;
    struct error *err = NULL;
    put(f.after, "a", VERDICT_FAIL);
    store_close(f.before);
    store_close(f.after);
    struct gate_options o = {.baseline = f.old, .current = f.now};
    assert_int_equal(gate_compare(&o, &g, &err), -EINVAL);
    assert_non_null(strstr(err->msg, "the baseline's seed is 1, this run's is 2"));
    error_clear(&err);
    gate_free(&g);
    o.allow_different = true;
    assert_int_equal(gate_compare(&o, &g, NULL), 0);
    assert_int_equal(g.count[GATE_NEW], 1);
    gate_free(&g);
    unlink(f.old);
    unlink(f.now);
}

static void a_run_that_did_not_end_is_refused(void **state)
{
    struct files f;
    struct gate g;
    struct error *err = NULL;
    f.before = store_at(f.old, "1");
    f.after = store_at(f.now, "1");
    store_close(f.before);
    store_close(f.after);
    struct gate_options o = {.baseline = f.old, .current = f.now, .allow_different = true};
    assert_int_equal(gate_compare(&o, &g, &err), -EINVAL);
    assert_non_null(strstr(err->msg, "did not run to its end"));
    error_clear(&err);
    gate_free(&g);
    unlink(f.old);
    unlink(f.now);
}

/* The campaign writes into the baseline's own file: a run behind it. */
static void one_file_may_hold_both_runs(void **state)
{
    char path[40];
    struct gate g;
    struct error *err = NULL;
    struct store *s = store_at(path, "1");
    store_fact(s, "stages", "programs");
    store_close(s);
    char *seed = NULL;
    int64_t run = gate_run_of(path, "seed", &seed, NULL);
    assert_true(run > 0);
    assert_string_equal(seed, "1");
    mem_free(seed);
    struct gate_options o = {.baseline = path, .current = path, .baseline_run = run};
    assert_int_equal(gate_compare(&o, &g, &err), -EINVAL);
    assert_non_null(strstr(err->msg, "the same run"));
    error_clear(&err);
    gate_free(&g);

    s = store_open(path, NULL);
    store_fact(s, "seed", "1");
    store_fact(s, "count", "8");
    store_fact(s, "stages", "programs");
    put(s, "a", VERDICT_FAIL);
    store_close(s);
    assert_int_equal(gate_compare(&o, &g, NULL), 0);
    assert_int_equal(g.count[GATE_NEW], 1);
    gate_free(&g);
    unlink(path);
}

static void what_is_no_store_is_refused(void **state)
{
    char path[40] = "/tmp/blkref-gate-XXXXXX";
    struct error *err = NULL;
    int fd = mkstemp(path);
    assert_true(gate_run_of(path, NULL, NULL, &err) < 0); /* an empty file is an empty database */
    assert_non_null(strstr(err->msg, "holds no results"));
    error_clear(&err);
    assert_int_equal(write(fd, "this is no database, and long enough to be seen as none", 55), 55);
    close(fd);
    assert_true(gate_run_of(path, NULL, NULL, &err) < 0);
    assert_non_null(strstr(err->msg, path));
    error_clear(&err);
    unlink(path);
    assert_true(gate_run_of(path, NULL, NULL, &err) < 0);
    error_clear(&err);
    assert_int_not_equal(access(path, F_OK), 0); /* looking makes no file */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_runs_pass),
        cmocka_unit_test(what_fails_now_only_is_new),
        cmocka_unit_test(each_part_of_the_key_tells_results_apart),
        cmocka_unit_test(what_fails_no_more_is_told),
        cmocka_unit_test(what_was_not_judged_is_not_gone),
        cmocka_unit_test(new_failures_show_with_the_way_to_them),
        cmocka_unit_test(other_seeds_are_refused_unless_allowed),
        cmocka_unit_test(a_run_that_did_not_end_is_refused),
        cmocka_unit_test(one_file_may_hold_both_runs),
        cmocka_unit_test(what_is_no_store_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
