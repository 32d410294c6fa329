/*
 * Exports for machines: results as JSON, and as JUnit XML for CI systems.
 *
 * Both hold only what the seed decides, in the order of their keys, so two runs can be compared
 * byte by byte.
 */
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "reports/store_int.h"

static void json_string(struct strbuf *out, const char *text)
{
    struct value *v = value_str(text);
    json_write(out, v, false);
    value_free(v);
}

/* One object a row: `names` are the columns' keys; NULL columns are left out, integers stay
 * numbers. */
static void json_rows(struct store *s, struct strbuf *out, const char *title, const char *sql)
{
    bool first = true;
    strbuf_printf(out, "  \"%s\": [", title);
    for (sqlite3_stmt *q = store_query(s, sql); store_next(s, q); first = false) {
        bool member = false;
        strbuf_puts(out, first ? "\n    {" : ",\n    {");
        for (int c = 0; c < sqlite3_column_count(q); c++) {
            if (sqlite3_column_type(q, c) == SQLITE_NULL) {
                continue;
            }
            strbuf_printf(out, "%s\"%s\": ", member ? ", " : "", sqlite3_column_name(q, c));
            if (sqlite3_column_type(q, c) == SQLITE_INTEGER) {
                strbuf_printf(out, "%lld", (long long)sqlite3_column_int64(q, c));
            } else {
                json_string(out, store_text(q, c));
            }
            member = true;
        }
        strbuf_putc(out, '}');
    }
    strbuf_puts(out, first ? "]" : "\n  ]");
}

void store_export_json(struct store *s, struct strbuf *out)
{
    strbuf_puts(out, "{\n");
    json_rows(s, out, "facts", "SELECT key, value FROM fact WHERE run = ?1 ORDER BY key");
    strbuf_puts(out, ",\n");
    json_rows(s, out, "results",
              "SELECT stage, subject, format, name, verdict, divergence, detail, repro FROM result"
              " WHERE run = ?1 ORDER BY stage, subject, format, name");
    strbuf_puts(out, ",\n");
    json_rows(s, out, "counts",
              "SELECT stage, subject, key, n FROM counter WHERE run = ?1"
              " ORDER BY stage, subject, key");
    if (s->broken) {
        strbuf_puts(out, ",\n  \"incomplete\": ");
        json_string(out, s->broken);
    }
    strbuf_puts(out, "\n}\n");
}

static void xml_text(struct strbuf *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            strbuf_puts(out, "&lt;");
            break;
        case '>':
            strbuf_puts(out, "&gt;");
            break;
        case '&':
            strbuf_puts(out, "&amp;");
            break;
        case '"':
            strbuf_puts(out, "&quot;");
            break;
        case '\n':
            strbuf_puts(out, "&#10;");
            break;
        default:
            strbuf_putc(out, *text);
        }
    }
}

static void xml_attribute(struct strbuf *out, const char *name, const char *text)
{
    strbuf_printf(out, " %s=\"", name);
    xml_text(out, text);
    strbuf_putc(out, '"');
}

/* Columns: stage, subject, format, name, verdict, detail, repro, divergence. */
static void junit_case(struct strbuf *out, sqlite3_stmt *q)
{
    const char *verdict = store_text(q, 4), *repro = store_text(q, 6);
    char *class = str_fmt("%s.%s.%s", store_text(q, 0), store_text(q, 1), store_text(q, 2));
    strbuf_puts(out, "    <testcase");
    xml_attribute(out, "classname", class);
    xml_attribute(out, "name", store_text(q, 3));
    mem_free(class);
    if (!strcmp(verdict, "pass")) {
        strbuf_puts(out, "/>\n");
        return;
    }
    const char *kind = !strcmp(verdict, "fail")            ? "failure"
                       : !strcmp(verdict, "subject-error") ? "error"
                                                           : "skipped";
    char *message = *store_text(q, 7)
                        ? str_fmt("explained by %s: %s", store_text(q, 7), store_text(q, 5))
                        : str_dup(store_text(q, 5));
    strbuf_printf(out, ">\n      <%s", kind);
    xml_attribute(out, "message", message);
    mem_free(message);
    strbuf_putc(out, '>');
    xml_text(out, repro);
    strbuf_printf(out, "</%s>\n    </testcase>\n", kind);
}

static void junit_suite(struct store *s, struct strbuf *out, const char *stage, const char *subject)
{
    sqlite3_stmt *q = store_query(s, "SELECT stage, subject, format, name, verdict, detail, repro,"
                                     " divergence FROM result WHERE run = ?1 AND stage = ?2 AND"
                                     " subject = ?3 ORDER BY format, name");
    if (q) {
        sqlite3_bind_text(q, 2, stage, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(q, 3, subject, -1, SQLITE_TRANSIENT);
    }
    while (store_next(s, q)) {
        junit_case(out, q);
    }
}

void store_export_junit(struct store *s, struct strbuf *out)
{
    const char *sql =
        "SELECT stage, subject, count(*), sum(verdict = 'fail'), sum(verdict = 'subject-error'),"
        " sum(verdict IN ('skip', 'divergence')) FROM result WHERE run = ?1"
        " GROUP BY stage, subject ORDER BY stage, subject";
    strbuf_puts(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (sqlite3_stmt *q = store_query(s, sql); store_next(s, q);) {
        char *name = str_fmt("%s on %s", store_text(q, 0), store_text(q, 1));
        strbuf_puts(out, "  <testsuite");
        xml_attribute(out, "name", name);
        strbuf_printf(out, " tests=\"%lld\" failures=\"%lld\" errors=\"%lld\" skipped=\"%lld\">\n",
                      (long long)sqlite3_column_int64(q, 2), (long long)sqlite3_column_int64(q, 3),
                      (long long)sqlite3_column_int64(q, 4), (long long)sqlite3_column_int64(q, 5));
        junit_suite(s, out, store_text(q, 0), store_text(q, 1));
        strbuf_puts(out, "  </testsuite>\n");
        mem_free(name);
    }
    if (s->broken) {
        strbuf_puts(out, "  <testsuite name=\"result store\" tests=\"1\" failures=\"1\">\n"
                         "    <testcase classname=\"store\" name=\"complete\">\n      <failure");
        xml_attribute(out, "message", s->broken);
        strbuf_puts(out, "/>\n    </testcase>\n  </testsuite>\n");
    }
    strbuf_puts(out, "</testsuites>\n");
}
