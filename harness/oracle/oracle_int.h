/*
 * What the oracle's files share: sets of contents and runs.
 */
#ifndef BLKREF_HARNESS_ORACLE_INT_H
#define BLKREF_HARNESS_ORACLE_INT_H

#include "harness/oracle/oracle.h"

#define FAR_END INT64_MAX

void lawful_add_byte(struct lawful *l, uint8_t v);
static inline bool lawful_has_byte(const struct lawful *l, uint8_t v)
{
    return l->byte[v >> 6] >> (v & 63) & 1;
}
void lawful_add(struct lawful *to, const struct lawful *from);
struct lawful lawful_only(uint8_t v);
/* Judges bytes of one set; the first wrong one's offset, or -1. */
int64_t lawful_judge(const struct lawful *l, int64_t offset, int64_t bytes, const uint8_t *buf,
                     struct strbuf *why);

/* Runs [first, end) of a range that begins and ends with a run; made so where it did not. */
struct oracle_span {
    size_t first, end;
};
struct oracle_span oracle_span(struct oracle *o, int64_t start, int64_t end);
size_t oracle_run_at(const struct oracle *o, int64_t offset);
void oracle_unsettle(struct oracle *o, int64_t start, int64_t end);
struct oracle_snapshot *oracle_snapshot_named(struct oracle *o, const char *name);
/* What the promise lets an unfinished change leave, besides old and new. */
void oracle_side_effects(const struct oracle *o, const struct op *op, struct oracle_run *r);

#endif
