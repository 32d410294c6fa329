/*
 * The result store in SQLite: schema, writing.
 *
 * One file holds many runs; every row names its run.  Rows are committed by the hundred, and
 * at once behind a failure and a measure (the end of a stage), so that a campaign which was killed
 * leaves what it found.  Leaves out: what is made of the rows (store_text.c, store_export.c,
 * html.py).
 */
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/base/utf8.h"
#include "reports/store_int.h"

#define ROWS_A_COMMIT 100

const char *const verdict_names[] = {
    [VERDICT_PASS] = "pass",
    [VERDICT_FAIL] = "fail",
    [VERDICT_DIVERGENCE] = "divergence",
    [VERDICT_SUBJECT_ERROR] = "subject-error",
    [VERDICT_SKIP] = "skip",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY);"
    "CREATE TABLE IF NOT EXISTS fact (run INTEGER, key TEXT, value TEXT, PRIMARY KEY (run, key));"
    "CREATE TABLE IF NOT EXISTS result (run INTEGER, seq INTEGER PRIMARY KEY, stage TEXT,"
    "  subject TEXT, format TEXT, name TEXT, verdict TEXT, detail TEXT, repro TEXT,"
    "  divergence TEXT, UNIQUE (run, stage, subject, format, name));"
    "CREATE TABLE IF NOT EXISTS counter (run INTEGER, stage TEXT, subject TEXT, key TEXT, n "
    "INTEGER,"
    "  PRIMARY KEY (run, stage, subject, key));"
    "CREATE TABLE IF NOT EXISTS measure (run INTEGER, stage TEXT, subject TEXT, key TEXT,"
    "  value REAL, PRIMARY KEY (run, stage, subject, key));"
    "PRAGMA user_version = 1;";

static int broken(struct store *s, const char *what)
{
    if (!s->broken) {
        s->broken = str_fmt("%s: %s", what, sqlite3_errmsg(s->db));
    }
    return -EIO;
}

static int run_sql(struct store *s, const char *sql)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : broken(s, "result store");
}

static sqlite3_stmt *prepare(struct store *s, const char *sql)
{
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) != SQLITE_OK) {
        broken(s, "result store");
    }
    return q;
}

static int64_t single_number(struct store *s, const char *sql)
{
    sqlite3_stmt *q = prepare(s, sql);
    int64_t n = q && sqlite3_step(q) == SQLITE_ROW ? sqlite3_column_int64(q, 0) : -1;
    sqlite3_finalize(q);
    return n;
}

static void start_run(struct store *s)
{
    int64_t version = single_number(s, "PRAGMA user_version");
    if (version != 0 && version != STORE_VERSION) {
        s->broken = str_fmt("result store: version %d is not known", (int)version);
        return;
    }
    /* A store can be made again by a campaign: no need to wait for the platters. */
    if (run_sql(s, "PRAGMA synchronous = OFF") < 0 || run_sql(s, "BEGIN IMMEDIATE") < 0 ||
        run_sql(s, schema) < 0 || run_sql(s, "INSERT INTO run DEFAULT VALUES") < 0) {
        return;
    }
    s->run = sqlite3_last_insert_rowid(s->db);
    s->add_fact = prepare(s, "INSERT OR REPLACE INTO fact VALUES (?1, ?2, ?3)");
    s->add_result = prepare(
        s,
        "INSERT INTO result (run, stage, subject, format, name, verdict, detail, repro, divergence)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    s->add_count = prepare(s, "INSERT INTO counter VALUES (?1, ?2, ?3, ?4, ?5)"
                              " ON CONFLICT DO UPDATE SET n = n + excluded.n");
    s->add_measure = prepare(s, "INSERT INTO measure VALUES (?1, ?2, ?3, ?4, ?5)"
                                " ON CONFLICT DO UPDATE SET value = value + excluded.value");
}

struct store *store_open(const char *path, struct error **err)
{
    struct store *s = mem_zalloc(sizeof(*s));
    if (sqlite3_open(path ? path : ":memory:", &s->db) != SQLITE_OK) {
        broken(s, "cannot open it");
    } else {
        start_run(s);
    }
    if (s->broken) {
        error_set(err, EIO, "%s: %s", path ? path : "results in memory", s->broken);
        store_close(s);
        return NULL;
    }
    return s;
}

int store_commit(struct store *s)
{
    s->pending = 0;
    return run_sql(s, "COMMIT") < 0 || run_sql(s, "BEGIN") < 0 ? -EIO : 0;
}

void store_close(struct store *s)
{
    if (!s) {
        return;
    }
    sqlite3_finalize(s->add_fact);
    sqlite3_finalize(s->add_result);
    sqlite3_finalize(s->add_count);
    sqlite3_finalize(s->add_measure);
    if (s->db && !sqlite3_get_autocommit(s->db)) {
        sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    }
    sqlite3_close(s->db);
    mem_free(s->broken);
    mem_free(s);
}

/* XML cannot say control characters at all, and a subject may print anything. */
static char *cleaned(const char *text)
{
    struct strbuf out = STRBUF_INIT;
    const char *end = text + strlen(text);
    while (text < end) {
        size_t n = utf8_len(text, end);
        int32_t c = utf8_decode(text, n);
        if (c == '\n' || c == '\t' || (c >= ' ' && c < 0x7f) || c >= 0xa0) {
            if (utf8_is_character((uint32_t)c)) {
                strbuf_add(&out, text, n);
                text += n;
                continue;
            }
        }
        strbuf_putc(&out, '?');
        text += n;
    }
    return strbuf_take(&out);
}

static void bind_text(sqlite3_stmt *q, int at, const char *text)
{
    if (text) {
        sqlite3_bind_text(q, at, cleaned(text), -1, mem_free);
    } else {
        sqlite3_bind_null(q, at);
    }
}

/* Runs an insert; > 0 when its key is there already. */
static int insert(struct store *s, sqlite3_stmt *q)
{
    sqlite3_bind_int64(q, 1, s->run);
    int ret = sqlite3_step(q);
    sqlite3_reset(q);
    if (ret == SQLITE_CONSTRAINT) {
        return 1;
    }
    if (ret != SQLITE_DONE) {
        return broken(s, "a row could not be stored");
    }
    return ++s->pending >= ROWS_A_COMMIT ? store_commit(s) : 0;
}

int store_fact(struct store *s, const char *key, const char *value)
{
    bind_text(s->add_fact, 2, key);
    bind_text(s->add_fact, 3, value ? value : "");
    return insert(s, s->add_fact);
}

int store_result(struct store *s, const struct result *r)
{
    sqlite3_stmt *q = s->add_result;
    bind_text(q, 2, r->stage);
    bind_text(q, 3, r->subject);
    bind_text(q, 4, r->format ? r->format : "-");
    bind_text(q, 5, r->name);
    bind_text(q, 6, verdict_names[r->verdict]);
    bind_text(q, 7, r->detail);
    bind_text(q, 8, r->repro);
    bind_text(q, 9, r->divergence);
    int ret = insert(s, q);
    for (unsigned n = 2; ret > 0; n++) {
        char *name = str_fmt("%s#%u", r->name, n);
        bind_text(q, 5, name);
        mem_free(name);
        ret = insert(s, q);
    }
    return ret == 0 && r->verdict == VERDICT_FAIL ? store_commit(s) : ret;
}

int store_count(struct store *s, const char *stage, const char *subject, const char *key, int64_t n)
{
    bind_text(s->add_count, 2, stage);
    bind_text(s->add_count, 3, subject);
    bind_text(s->add_count, 4, key);
    sqlite3_bind_int64(s->add_count, 5, n);
    return insert(s, s->add_count);
}

int store_measure(struct store *s, const char *stage, const char *subject, const char *key,
                  double value)
{
    bind_text(s->add_measure, 2, stage);
    bind_text(s->add_measure, 3, subject);
    bind_text(s->add_measure, 4, key);
    sqlite3_bind_double(s->add_measure, 5, value);
    int ret = insert(s, s->add_measure);
    return ret < 0 ? ret : store_commit(s);
}

int store_timing(struct store *s, const char *stage, const char *subject, double seconds)
{
    return store_measure(s, stage, subject, "seconds", seconds);
}

bool store_complete(const struct store *s)
{
    return !s->broken;
}

int64_t store_failures(struct store *s)
{
    sqlite3_stmt *q =
        store_query(s, "SELECT count(*) FROM result WHERE run = ?1 AND verdict = 'fail'");
    int64_t n = 0;
    while (store_next(s, q)) {
        n = sqlite3_column_int64(q, 0);
    }
    return s->broken && !n ? 1 : n;
}

/* ---- for the files that read ---- */

sqlite3_stmt *store_query(struct store *s, const char *sql)
{
    sqlite3_stmt *q = prepare(s, sql);
    if (q) {
        sqlite3_bind_int64(q, 1, s->run);
    }
    return q;
}

bool store_next(struct store *s, sqlite3_stmt *q)
{
    int ret = q ? sqlite3_step(q) : SQLITE_DONE;
    if (ret == SQLITE_ROW) {
        return true;
    }
    if (ret != SQLITE_DONE) {
        broken(s, "the store could not be read");
    }
    sqlite3_finalize(q);
    return false;
}

const char *store_text(sqlite3_stmt *q, int column)
{
    const char *text = (const char *)sqlite3_column_text(q, column);
    return text ? text : "";
}

char *store_repro_command(const char *repro)
{
    static const char head[] = "# blkref repro ";
    if (strncmp(repro, head, strlen(head))) {
        return NULL;
    }
    return str_ndup(repro + 2, strcspn(repro + 2, "\n"));
}
