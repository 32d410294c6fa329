/*
 * The result store: what a campaign found, in SQLite.
 *
 * Results are facts without time or place: the same seed gives the same rows, in the same order, on every build; `json`
 * (store_export_json) prints just these.  Timings stand in a table of their own.  Knows nothing of how a result came about.
 */
#ifndef BLKREF_REPORTS_STORE_H
#define BLKREF_REPORTS_STORE_H

#include <stdint.h>
#include "ref/base/error.h"

struct store;

enum verdict {
    VERDICT_PASS,
    VERDICT_FAIL,             /* an unexplained difference or a broken promise */
    VERDICT_DIVERGENCE,       /* explained by an entry of the divergence list */
    VERDICT_SUBJECT_ERROR,    /* the subject itself misbehaved: neither pass nor divergence */
    VERDICT_SKIP,             /* detail says why */
};
extern const char *const verdict_names[];

struct result {
    const char *stage, *subject, *format;
    const char *name;          /* unique within stage, subject and format */
    enum verdict verdict;
    const char *detail;        /* what differs, or why skipped; NULL */
    const char *repro;         /* reproducer text, NULL when it passed */
    const char *divergence;    /* id of the matching entry, or NULL */
};

/* path NULL: in memory.  A new run each time; earlier runs of the file stay.  NULL with err. */
struct store *store_open(const char *path, struct error **err);
void store_close(struct store *s);
/* Facts of the run: seed, version, subjects ("subject.qemu" = "7.2.22"). */
int store_fact(struct store *s, const char *key, const char *value);
int store_result(struct store *s, const struct result *r);
/* Counters: (stage, subject, key) += n, e.g. crash states, distinct states, programs, labels reached, faults fired. */
int store_count(struct store *s, const char *stage, const char *subject, const char *key, int64_t n);
/* Wall times in seconds, for ratios in the report; never part of the results. */
int store_timing(struct store *s, const char *stage, const char *subject, double seconds);
int64_t store_failures(struct store *s);      /* VERDICT_FAIL in this run */

struct strbuf;
/* Terminal scoreboard: stages x subjects with passed/failed/explained counts, then each failure with its repro command. */
void store_scoreboard(struct store *s, struct strbuf *out);
void store_export_json(struct store *s, struct strbuf *out);
void store_export_junit(struct store *s, struct strbuf *out);

#endif
