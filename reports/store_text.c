/*
 * The scoreboard: what a terminal shows after a campaign.
 *
 * A table of stages and subjects in the order in which they ran, one line of totals, then every
 * result that somebody must look at.  Leaves out: colours and the terminal's width.
 */
#include <stdio.h>
#include "ref/base/mem.h"
#include "reports/store_int.h"

#define LISTED  100 /* findings told in full; the report has the rest */
#define COLUMNS 64

struct tally {
    long long pass, fail, divergence, error, skip;
};

struct names {
    char *name[COLUMNS];
    unsigned n;
};

static void names_load(struct store *s, struct names *out, const char *sql)
{
    out->n = 0;
    for (sqlite3_stmt *q = store_query(s, sql); store_next(s, q);) {
        if (out->n < COLUMNS) {
            out->name[out->n++] = str_dup(store_text(q, 0));
        }
    }
}

static void names_free(struct names *n)
{
    for (unsigned i = 0; i < n->n; i++) {
        mem_free(n->name[i]);
    }
}

static bool read_tally(sqlite3_stmt *q, int column, struct tally *t)
{
    long long *to[] = {&t->pass, &t->fail, &t->divergence, &t->error, &t->skip};
    long long sum = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(to); i++) {
        *to[i] = sqlite3_column_int64(q, column + (int)i);
        sum += *to[i];
    }
    return sum > 0;
}

#define TALLY                                                                                      \
    "coalesce(sum(verdict = 'pass'), 0), coalesce(sum(verdict = 'fail'), 0),"                      \
    "coalesce(sum(verdict = 'divergence'), 0), coalesce(sum(verdict = 'subject-error'), 0),"       \
    "coalesce(sum(verdict = 'skip'), 0) FROM result WHERE run = ?1 "

static void tally_text(struct strbuf *out, const struct tally *t)
{
    const struct {
        long long n;
        const char *word;
    } parts[] = {{t->fail, "FAIL"},
                 {t->error, "error"},
                 {t->pass, "ok"},
                 {t->divergence, "explained"},
                 {t->skip, "skip"}};
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        if (parts[i].n) {
            strbuf_printf(out, "%s%lld %s", out->len ? ", " : "", parts[i].n, parts[i].word);
        }
    }
    if (!out->len) {
        strbuf_puts(out, "-");
    }
}

static char *cell(struct store *s, const char *stage, const char *subject)
{
    struct strbuf text = STRBUF_INIT;
    struct tally t = {0};
    sqlite3_stmt *q = store_query(s, "SELECT " TALLY "AND stage = ?2 AND subject = ?3");
    if (q) {
        sqlite3_bind_text(q, 2, stage, -1, SQLITE_STATIC);
        sqlite3_bind_text(q, 3, subject, -1, SQLITE_STATIC);
    }
    while (store_next(s, q)) {
        read_tally(q, 0, &t);
    }
    tally_text(&text, &t);
    return strbuf_take(&text);
}

/* Cells [row][column], row 0 and column 0 being the names; every column as wide as its widest. */
static void print_table(struct strbuf *out, char **cells, unsigned rows, unsigned columns)
{
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned c = 0; c < columns; c++) {
            const char *text = cells[r * columns + c];
            size_t width = 0;
            for (unsigned i = 0; i < rows; i++) {
                width = MAX(width, strlen(cells[i * columns + c]));
            }
            if (c + 1 < columns) {
                strbuf_printf(out, "%-*s  ", (int)width, text);
            } else {
                strbuf_printf(out, "%s\n", text);
            }
        }
    }
}

static void scoreboard_table(struct store *s, struct strbuf *out)
{
    struct names stages, subjects;
    names_load(s, &stages,
               "SELECT stage FROM result WHERE run = ?1 GROUP BY stage ORDER BY min(seq)");
    names_load(s, &subjects,
               "SELECT subject FROM result WHERE run = ?1 GROUP BY subject ORDER BY min(seq)");
    unsigned rows = stages.n + 1, columns = subjects.n + 1;
    char **cells = mem_array((size_t)rows * columns, sizeof(*cells));
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned c = 0; c < columns; c++) {
            cells[r * columns + c] = r && c ? cell(s, stages.name[r - 1], subjects.name[c - 1])
                                     : r    ? str_dup(stages.name[r - 1])
                                     : c    ? str_dup(subjects.name[c - 1])
                                            : str_dup("stage");
        }
    }
    print_table(out, cells, rows, columns);
    for (size_t i = 0; i < (size_t)rows * columns; i++) {
        mem_free(cells[i]);
    }
    mem_free(cells);
    names_free(&stages);
    names_free(&subjects);
}

static void totals(struct store *s, struct strbuf *out)
{
    struct tally t = {0};
    for (sqlite3_stmt *q = store_query(s, "SELECT " TALLY); store_next(s, q);) {
        read_tally(q, 0, &t);
    }
    strbuf_printf(out,
                  "\n%lld passed, %lld failed, %lld explained, %lld subject errors, %lld skipped\n",
                  t.pass, t.fail, t.divergence, t.error, t.skip);
}

void store_indented(struct strbuf *out, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        strbuf_puts(out, "    ");
        strbuf_add(out, text, n);
        strbuf_putc(out, '\n');
        text += text[n] ? n + 1 : n;
    }
}

static void findings(struct store *s, struct strbuf *out, const char *verdict, const char *word)
{
    sqlite3_stmt *q =
        store_query(s, "SELECT stage, subject, format, name, detail, repro FROM result"
                       " WHERE run = ?1 AND verdict = ?2 ORDER BY stage, subject, format, name");
    if (q) {
        sqlite3_bind_text(q, 2, verdict, -1, SQLITE_STATIC);
    }
    unsigned n = 0;
    for (; store_next(s, q); n++) {
        if (n >= LISTED) {
            continue;
        }
        char *command = store_repro_command(store_text(q, 5));
        strbuf_printf(out, "\n%s %s, %s, %s: %s\n", word, store_text(q, 0), store_text(q, 1),
                      store_text(q, 2), store_text(q, 3));
        store_indented(out, store_text(q, 4));
        if (command) {
            strbuf_printf(out, "    again: %s\n", command);
        }
        mem_free(command);
    }
    if (n > LISTED) {
        strbuf_printf(out, "\n%u more are not listed here\n", n - LISTED);
    }
}

static void skips(struct store *s, struct strbuf *out)
{
    const char *sql = "SELECT stage, subject, count(*), detail FROM result WHERE run = ?1 AND"
                      " verdict = 'skip' GROUP BY stage, subject, detail ORDER BY 1, 2, 4";
    for (sqlite3_stmt *q = store_query(s, sql); store_next(s, q);) {
        const char *why = store_text(q, 3);
        strbuf_printf(out, "skipped %s, %s: %lld: %s\n", store_text(q, 0), store_text(q, 1),
                      (long long)sqlite3_column_int64(q, 2), *why ? why : "no reason given");
    }
}

void store_scoreboard(struct store *s, struct strbuf *out)
{
    scoreboard_table(s, out);
    totals(s, out);
    skips(s, out);
    findings(s, out, "subject-error", "ERROR");
    findings(s, out, "fail", "FAIL");
    if (s->broken) {
        strbuf_printf(out, "\nFAIL results are incomplete: %s\n", s->broken);
    }
}
