/* The report's files: a failing result shows in each of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"
#include "reports/report.h"

static char *contents(const char *dir, const char *name)
{
    struct strbuf text = STRBUF_INIT;
    char *path = str_fmt("%s/%s", dir, name), part[4096];
    FILE *f = fopen(path, "r");
    size_t n;
    assert_non_null(f);
    while ((n = fread(part, 1, sizeof(part), f)) > 0) {
        strbuf_add(&text, part, n);
    }
    fclose(f);
    unlink(path);
    mem_free(path);
    return strbuf_take(&text);
}

static void a_failure_shows_in_every_file(void **state)
{
    static const char *const files[] = {"results.json", "junit.xml", "index.html"};
    char top[] = "/tmp/blkref-report-XXXXXX";
    struct error *err = NULL;
    assert_non_null(mkdtemp(top));
    char *path = str_fmt("%s/store", top), *dir = str_fmt("%s/report", top);
    struct store *s = store_open(path, NULL);
    struct result r = {.stage = "crash",
                       .subject = "reference",
                       .format = "qcow2",
                       .name = "state-17",
                       .verdict = VERDICT_FAIL,
                       .detail = "flushed data is gone",
                       .repro = "# blkref repro crash-1\nflush\n"};
    store_result(s, &r);
    assert_int_equal(report_write(s, path, dir, &err), 0);
    assert_int_equal(report_write(s, path, dir, &err), 0);
    for (int i = 0; i < 3; i++) {
        char *text = contents(dir, files[i]);
        assert_non_null(strstr(text, "flushed data is gone"));
        assert_non_null(strstr(text, "blkref repro crash-1"));
        mem_free(text);
    }
    store_close(s);
    unlink(path);
    rmdir(dir);
    rmdir(top);
    mem_free(path);
    mem_free(dir);
}

static void a_folder_that_cannot_be_made_is_an_error(void **state)
{
    struct error *err = NULL;
    struct store *s = store_open(NULL, NULL);
    assert_true(report_write(s, "store", "/dev/null/report", &err) < 0);
    assert_string_equal(err->msg, "/dev/null/report: Not a directory");
    error_free(err);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_shows_in_every_file),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
