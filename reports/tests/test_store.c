/* The result store: what goes in must show in every output, in one order, and nothing may be lost
 * silently. */
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
#include <sqlite3.h>
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "reports/store.h"

typedef void make_report(struct store *s, struct strbuf *out);

static char *text_of(struct store *s, make_report *make)
{
    struct strbuf out = STRBUF_INIT;
    make(s, &out);
    return strbuf_take(&out);
}

static void assert_shows(struct store *s, make_report *make, const char *what)
{
    char *text = text_of(s, make);
    if (!strstr(text, what)) {
        print_error("no '%s' in:\n%s\n", what, text);
    }
    assert_non_null(strstr(text, what));
    mem_free(text);
}

static void put(struct store *s, const char *stage, const char *subject, const char *name,
                enum verdict verdict)
{
    struct result r = {
        .stage = stage, .subject = subject, .format = "qcow2", .name = name, .verdict = verdict};
    if (verdict != VERDICT_PASS) {
        r.detail = verdict == VERDICT_SKIP ? "not installed" : "bytes differ at 65536";
    }
    if (verdict == VERDICT_FAIL || verdict == VERDICT_SUBJECT_ERROR) {
        r.repro = "# blkref repro read-qemu-77\n# stage read\nwrite 0 512\n";
    }
    r.divergence = verdict == VERDICT_DIVERGENCE ? "qemu-zero-tail" : NULL;
    assert_int_equal(store_result(s, &r), 0);
}

static struct store *fresh(void)
{
    struct store *s = store_open(NULL, NULL);
    assert_non_null(s);
    return s;
}

static void a_failure_shows_in_every_output(void **state)
{
    struct store *s = fresh();
    put(s, "read", "reference", "image-1", VERDICT_PASS);
    put(s, "read", "qemu", "image-1", VERDICT_PASS);
    assert_int_equal(store_failures(s), 0);
    put(s, "read", "qemu", "image-2", VERDICT_FAIL);
    assert_int_equal(store_failures(s), 1);

    assert_shows(s, store_scoreboard, "1 FAIL, 1 ok");
    assert_shows(s, store_scoreboard,
                 "FAIL read, qemu, qcow2: image-2\n    bytes differ at 65536\n");
    assert_shows(s, store_scoreboard, "again: blkref repro read-qemu-77\n");
    assert_shows(s, store_scoreboard,
                 "2 passed, 1 failed, 0 explained, 0 subject errors, 0 skipped");
    assert_shows(s, store_export_json,
                 "\"name\": \"image-2\", \"verdict\": \"fail\", \"detail\": \"bytes differ");
    assert_shows(s, store_export_junit,
                 "name=\"read on qemu\" tests=\"2\" failures=\"1\" errors=\"0\"");
    assert_shows(s, store_export_junit,
                 "<failure message=\"bytes differ at 65536\"># blkref repro");
    store_close(s);
}

static void other_verdicts_are_no_failures_but_show(void **state)
{
    struct store *s = fresh();
    put(s, "write", "qemu", "a", VERDICT_DIVERGENCE);
    put(s, "write", "qemu", "b", VERDICT_SUBJECT_ERROR);
    put(s, "fuzz", "reference", "c", VERDICT_SKIP);
    assert_int_equal(store_failures(s), 0);

    assert_shows(s, store_scoreboard, "1 error, 1 explained");
    assert_shows(s, store_scoreboard, "ERROR write, qemu, qcow2: b\n");
    assert_shows(s, store_scoreboard, "skipped fuzz, reference: 1: not installed\n");
    assert_shows(s, store_export_json,
                 "\"verdict\": \"divergence\", \"divergence\": \"qemu-zero-tail\"");
    assert_shows(s, store_export_json, "\"verdict\": \"subject-error\"");
    assert_shows(s, store_export_junit,
                 "<skipped message=\"explained by qemu-zero-tail: bytes differ");
    assert_shows(s, store_export_junit, "<error message=\"bytes differ at 65536\">");
    assert_shows(s, store_export_junit, "<skipped message=\"not installed\">");
    store_close(s);
}

static void results_are_ordered_and_without_time(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    char *text[2][2];
    for (int turn = 0; turn < 2; turn++) {
        struct store *s = fresh();
        for (int i = 0; i < 3; i++) {
            put(s, "read", "qemu", names[turn ? 2 - i : i], VERDICT_PASS);
        }
        store_count(s, "crash", "reference", "states", turn ? 3 : 4);
        store_count(s, "crash", "reference", "states", turn ? 4 : 3);
        store_fact(s, turn ? "version" : "seed", turn ? "1.0" : "7");
        store_fact(s, turn ? "seed" : "version", turn ? "7" : "1.0");
        store_timing(s, "read", "qemu", turn + 0.25);
        store_measure(s, "crash", "reference", "states/s", 5000 + turn);
        text[turn][0] = text_of(s, store_export_json);
        text[turn][1] = text_of(s, store_export_junit);
        store_close(s);
    }
    assert_string_equal(text[0][0], text[1][0]);
    assert_string_equal(text[0][1], text[1][1]);
    assert_non_null(strstr(
        text[0][0],
        "{\"stage\": \"crash\", \"subject\": \"reference\", \"key\": \"states\", \"n\": 7}"));
    assert_non_null(strstr(text[0][0], "{\"key\": \"seed\", \"value\": \"7\"}"));
    for (int i = 0; i < 4; i++) {
        mem_free(text[i / 2][i % 2]);
    }
}

static void a_name_used_twice_keeps_both_results(void **state)
{
    struct store *s = fresh();
    put(s, "read", "qemu", "a", VERDICT_FAIL);
    put(s, "read", "qemu", "a", VERDICT_PASS);
    put(s, "read", "qemu", "a", VERDICT_FAIL);
    assert_int_equal(store_failures(s), 2);
    assert_shows(s, store_export_json, "\"name\": \"a#2\", \"verdict\": \"pass\"");
    assert_shows(s, store_export_json, "\"name\": \"a#3\", \"verdict\": \"fail\"");
    store_close(s);
}

static void hostile_text_leaves_every_output_well_formed(void **state)
{
    struct store *s = fresh();
    struct result r = {.stage = "read",
                       .subject = "qe\"mu",
                       .format = NULL,
                       .name = "<a&b>\x01",
                       .verdict = VERDICT_FAIL,
                       .detail = "]]>\xff \xc3\xa9 \xc0\x80 \x1b[31m\n'x'",
                       .repro = "no head"};
    assert_int_equal(store_result(s, &r), 0);
    char *text = text_of(s, store_export_json);
    struct error *err = NULL;
    struct value *v = json_parse(text, &err);
    assert_non_null(v);
    struct value *row = list_at(dict_get(v, "results"), 0);
    assert_string_equal(dict_get_str(row, "name"), "<a&b>?");
    assert_string_equal(dict_get_str(row, "detail"), "]]>? \xc3\xa9 ? ?[31m\n'x'");
    assert_string_equal(dict_get_str(row, "format"), "-");
    value_free(v);
    mem_free(text);
    assert_shows(s, store_export_junit, "name=\"&lt;a&amp;b&gt;?\"");
    assert_shows(s, store_export_junit, "name=\"read on qe&quot;mu\"");
    assert_shows(s, store_export_junit, "?[31m&#10;'x'\">no head</failure>");
    assert_shows(s, store_scoreboard, "\n    'x'\n");
    store_close(s);
}

static void long_lists_are_cut_with_a_word(void **state)
{
    struct store *s = fresh();
    for (int i = 0; i < 103; i++) {
        char name[16];
        snprintf(name, sizeof(name), "p%03d", i);
        put(s, "programs", "qemu", name, VERDICT_FAIL);
    }
    assert_shows(s, store_scoreboard, "103 FAIL");
    assert_shows(s, store_scoreboard, "\n3 more are not listed here\n");
    store_close(s);
}

static void an_empty_campaign_says_so(void **state)
{
    struct store *s = fresh();
    assert_shows(s, store_scoreboard, "0 passed, 0 failed");
    assert_shows(s, store_export_json, "\"results\": []");
    assert_shows(s, store_export_junit, "<testsuites>\n</testsuites>\n");
    store_close(s);
    store_close(NULL);
}

/* ---- files ---- */

static char *scratch_path(void)
{
    char *path = str_dup("/tmp/blkref-store-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return path;
}

static void runs_in_one_file_are_apart(void **state)
{
    char *path = scratch_path();
    struct store *s = store_open(path, NULL);
    assert_non_null(s);
    put(s, "read", "qemu", "a", VERDICT_FAIL);
    store_close(s);
    s = store_open(path, NULL);
    assert_non_null(s);
    put(s, "read", "qemu", "a", VERDICT_PASS);
    assert_int_equal(store_failures(s), 0);
    assert_shows(s, store_scoreboard, "1 passed, 0 failed");
    assert_int_equal(store_commit(s), 0);

    sqlite3 *other;
    char **cells;
    int rows, columns;
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_get_table(other, "SELECT run, verdict FROM result ORDER BY run",
                                       &cells, &rows, &columns, NULL),
                     SQLITE_OK);
    assert_int_equal(rows, 2);
    assert_string_equal(cells[3], "fail");
    assert_string_equal(cells[5], "pass");
    sqlite3_free_table(cells);
    sqlite3_close(other);
    store_close(s);
    unlink(path);
    mem_free(path);
}

/* A campaign that is killed leaves its failures behind. */
static void a_failure_is_in_the_file_at_once(void **state)
{
    char *path = scratch_path();
    struct store *s = store_open(path, NULL);
    assert_non_null(s);
    put(s, "read", "qemu", "a", VERDICT_FAIL);

    sqlite3 *other;
    char **cells;
    int rows, columns;
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(
        sqlite3_get_table(other, "SELECT name FROM result", &cells, &rows, &columns, NULL),
        SQLITE_OK);
    assert_int_equal(rows, 1);
    sqlite3_free_table(cells);
    sqlite3_close(other);
    store_close(s);
    unlink(path);
    mem_free(path);
}

static void what_is_no_store_is_refused(void **state)
{
    struct error *err = NULL;
    char *path = scratch_path();
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 2000; i++) {
        fputs("not a database", f);
    }
    fclose(f);
    assert_null(store_open(path, &err));
    assert_non_null(strstr(err->msg, path));
    error_clear(&err);
    unlink(path);
    assert_null(store_open("/dev/null/dir/store", &err));
    assert_int_equal(err->code, EIO);
    error_clear(&err);

    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_null(store_open(path, &err));
    assert_non_null(strstr(err->msg, "version 99 is not known"));
    error_clear(&err);
    unlink(path);
    mem_free(path);
}

/* Another program empties the file under a campaign: that must not end as "no failure". */
static void a_lost_result_is_a_failure(void **state)
{
    char *path = scratch_path();
    struct store *s = store_open(path, NULL);
    assert_non_null(s);
    assert_int_equal(store_commit(s), 0);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE result", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);

    struct result r = {.stage = "read", .subject = "qemu", .name = "a", .verdict = VERDICT_FAIL};
    assert_int_equal(store_result(s, &r), -EIO);
    assert_int_equal(store_failures(s), 1);
    assert_shows(s, store_scoreboard, "FAIL results are incomplete: ");
    assert_shows(s, store_export_json, "\"incomplete\": ");
    assert_shows(s, store_export_junit, "failures=\"1\"");
    store_close(s);
    unlink(path);
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_shows_in_every_output),
        cmocka_unit_test(other_verdicts_are_no_failures_but_show),
        cmocka_unit_test(results_are_ordered_and_without_time),
        cmocka_unit_test(a_name_used_twice_keeps_both_results),
        cmocka_unit_test(hostile_text_leaves_every_output_well_formed),
        cmocka_unit_test(long_lists_are_cut_with_a_word),
        cmocka_unit_test(an_empty_campaign_says_so),
        cmocka_unit_test(runs_in_one_file_are_apart),
        cmocka_unit_test(a_failure_is_in_the_file_at_once),
        cmocka_unit_test(what_is_no_store_is_refused),
        cmocka_unit_test(a_lost_result_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
