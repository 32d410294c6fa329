/*
 * JSON reader and writer in QEMU's dialect: strings in double or single quotes, \' escape, full 64-bit
 * integers, nesting limited to 1024, ASCII-only output with \uXXXX escapes.
 */
#ifndef BLKREF_BASE_JSON_H
#define BLKREF_BASE_JSON_H

#include "ref/base/error.h"
#include "ref/base/strbuf.h"
#include "ref/base/value.h"

/* One complete value; NULL with err on bad input ("Invalid JSON syntax", "JSON parse error, ..."). */
struct value *json_parse(const char *text, struct error **err);

/*
 * Stream reader for monitors: finds the end of the first complete value in text[0..len).  Returns the
 * number of bytes it takes, 0 when more input is needed, -1 on a token that cannot start or continue a value.
 */
long json_scan(const char *text, size_t len);

/* Compact: `, ` and `: ` separators on one line.  Pretty: four-space indentation, one member a line. */
void json_write(struct strbuf *out, const struct value *v, bool pretty);
char *json_text(const struct value *v, bool pretty);

#endif
