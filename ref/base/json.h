/*
 * JSON reader and writer in QEMU's dialect: strings in double or single quotes, \' escape, full
 * 64-bit integers, ASCII-only output with \uXXXX escapes.  One value has at most 1024 levels, 2 Mi
 * tokens, 64 MiB.
 */
#ifndef BLKREF_BASE_JSON_H
#define BLKREF_BASE_JSON_H

#include "ref/base/error.h"
#include "ref/base/strbuf.h"
#include "ref/base/value.h"

/*
 * Exactly one value; NULL with err on bad input ("JSON parse error, ...", "Expecting a JSON
 * value"). A string holds \u0000 as the two bytes C0 80; the writer turns them back.
 */
struct value *json_parse(const char *text, struct error **err);

/*
 * Stream reader for monitors: finds the end of the first complete value in text[0..len).  Returns
 * the number of bytes it takes, 0 when more input is needed, -1 on a token that cannot start or
 * continue a value, or beyond a limit.
 */
long json_scan(const char *text, size_t len);

/*
 * Takes the first complete value, or the first error, off the front of text[0..len): returns the
 * bytes it took, 0 when more input is needed, and sets *v, or *v = NULL with err.  *skipping (false
 * at the start) carries from call to call that the reader looks for a place to resume behind a
 * stray byte, as QEMU's monitors do; bytes may be taken by that alone, with neither value nor
 * error.
 */
size_t json_next(const char *text, size_t len, bool *skipping, struct value **v,
                 struct error **err);

/*
 * Compact: `, ` and `: ` separators on one line.  Pretty: four-space indentation, one member a
 * line.
 */
void json_write(struct strbuf *out, const struct value *v, bool pretty);
char *json_text(const struct value *v, bool pretty);

#endif
