/*
 * A growing string.  Always NUL-terminated once anything was added; `s` may be NULL while empty.
 */
#ifndef BLKREF_BASE_STRBUF_H
#define BLKREF_BASE_STRBUF_H

#include <stddef.h>

struct strbuf {
    char *s;
    size_t len;
    size_t cap;
};

#define STRBUF_INIT                                                                                \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

void strbuf_add(struct strbuf *b, const void *data, size_t len);
void strbuf_puts(struct strbuf *b, const char *s);
void strbuf_putc(struct strbuf *b, char c);
void strbuf_printf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_reset(struct strbuf *b); /* empty, keeps memory */
void strbuf_free(struct strbuf *b);
/* Hands the string over (never NULL) and empties the buffer. */
char *strbuf_take(struct strbuf *b);

#endif
