/*
 * The result store: what a campaign found, in SQLite.
 *
 * Results are facts without time or place: the same seed gives the same rows, in the same order, on
 * every build; `json` (store_export_json) prints just these.  Timings stand in a table of their
 * own.  Knows nothing of how a result came about.
 */
#ifndef BLKREF_REPORTS_STORE_H
#define BLKREF_REPORTS_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "ref/base/error.h"

struct store;

enum verdict {
    VERDICT_PASS,
    VERDICT_FAIL,          /* an unexplained difference or a broken promise */
    VERDICT_DIVERGENCE,    /* explained by an entry of the divergence list */
    VERDICT_SUBJECT_ERROR, /* the subject itself misbehaved: neither pass nor divergence */
    VERDICT_SKIP,          /* detail says why */
};
extern const char *const verdict_names[];

struct result {
    const char *stage, *subject, *format;
    const char
        *name; /* unique within stage, subject and format; a second one gets "#2" behind it */
    enum verdict verdict;
    const char *detail;     /* what differs, or why skipped; NULL */
    const char *repro;      /* reproducer text, NULL when it passed */
    const char *divergence; /* id of the matching entry, or NULL */
};

/*
 * path NULL: in memory.  A new run each time; earlier runs of the file stay.  NULL with err.
 * Text is cleaned when stored: bytes that are no UTF-8 and control characters become "?", so every
 * output is well-formed. The functions return 0 or -EIO; what could not be stored is told by
 * store_failures() and by every report, so a caller may leave the return value alone without losing
 * a failure.
 */
struct store *store_open(const char *path, struct error **err);
void store_close(struct store *s); /* NULL is fine */
/* What was stored so far is in the file, for another program to read. */
int store_commit(struct store *s);
/* Facts of the run: seed, version, subjects ("subject.qemu" = "7.2.22"). */
int store_fact(struct store *s, const char *key, const char *value);
int store_result(struct store *s, const struct result *r);
/*
 * Counters: (stage, subject, key) += n, e.g. "programs", "states".  They are results: the same seed
 * gives the same. The report knows these keys: "label:NAME" I/Os that carried a label;
 * "fault:LABEL:FAULT" faults that fired there ("fault:l2_load:EIO"), both of qcow2;
 * "label:FORMAT:NAME" and "fault:FORMAT:LABEL:FAULT" of another format; "epoch:N" distinct crash
 * states with the cut behind N completed flushes ("epoch:N+": N or more).  n may be 0: known, never
 * reached.
 */
int store_count(struct store *s, const char *stage, const char *subject, const char *key,
                int64_t n);
/* What depends on the machine and the hour (states a second, executions in a minute); never part of
 * the results. */
int store_measure(struct store *s, const char *stage, const char *subject, const char *key,
                  double value);
/* store_measure() of "seconds": wall time of a stage on a subject, for ratios in the report.  Times
 * add up. */
int store_timing(struct store *s, const char *stage, const char *subject, double seconds);
/* Nothing was lost so far. */
bool store_complete(const struct store *s);
/* VERDICT_FAIL in this run; and at least 1 when anything could not be stored. */
int64_t store_failures(struct store *s);

struct strbuf;
/* Terminal scoreboard: stages x subjects with passed/failed/explained counts, then each failure
 * with its repro command. */
void store_scoreboard(struct store *s, struct strbuf *out);
/* Facts, results and counters of this run, one a line, in the order of their keys.  Measures are
 * left out. */
void store_export_json(struct store *s, struct strbuf *out);
/*
 * JUnit XML: a suite for each stage and subject.  A failure is <failure>, a subject's own error is
 * <error>, what was skipped or explained is <skipped> with the reason.
 */
void store_export_junit(struct store *s, struct strbuf *out);

#endif
