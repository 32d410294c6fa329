/*
 * What the store's files share: the handle, queries over the current run, text made fit for output.
 */
#ifndef BLKREF_REPORTS_STORE_INT_H
#define BLKREF_REPORTS_STORE_INT_H

#include <sqlite3.h>
#include <stdbool.h>
#include "ref/base/strbuf.h"
#include "reports/store.h"

#define STORE_VERSION 1 /* PRAGMA user_version of the files */

struct store {
    sqlite3 *db;
    sqlite3_int64 run;
    sqlite3_stmt *add_result, *add_count, *add_measure, *add_fact;
    unsigned pending; /* rows since the last commit */
    char *broken;     /* the first thing that could not be stored, or NULL */
};

/* Prepared with ?1 = this run; NULL after a failure, which is remembered in s->broken. */
sqlite3_stmt *store_query(struct store *s, const char *sql);
/* True while there is a row; finalizes q (and takes NULL) when there is none. */
bool store_next(struct store *s, sqlite3_stmt *q);
/* A column's text, "" for NULL; valid until the next step. */
const char *store_text(sqlite3_stmt *q, int column);
/*
 * A store's file, to be read only; nothing of it changes.  run 0: the newest.  NULL with err when
 * it is none, or holds no such run.  The functions that store must not be called on it.
 */
struct store *store_open_read(const char *path, int64_t run, struct error **err);
/* A fact of the run, NULL when it is not there; mem_free(). */
char *store_read_fact(struct store *s, const char *key);
/* Every line of text, four columns in. */
void store_indented(struct strbuf *out, const char *text);
/* The command in a reproducer's first line ("# blkref repro ID"); mem_free(); NULL when it has
 * none. */
char *store_repro_command(const char *repro);

#endif
