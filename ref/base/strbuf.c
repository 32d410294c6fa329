/*
 * A growing string: appends that double the room.
 */
#include "ref/base/strbuf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include "ref/base/mem.h"

/* Makes room for `more` bytes and the NUL. */
static void reserve(struct strbuf *b, size_t more)
{
    size_t need = b->len + more + 1;

    if (need > b->cap) {
        size_t cap = MAX(need, b->cap * 2);
        b->cap = MAX(cap, (size_t)32);
        b->s = mem_realloc(b->s, b->cap);
    }
}

void strbuf_add(struct strbuf *b, const void *data, size_t len)
{
    reserve(b, len);
    if (len) {
        memcpy(b->s + b->len, data, len);
    }
    b->len += len;
    b->s[b->len] = '\0';
}

void strbuf_puts(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_putc(struct strbuf *b, char c)
{
    strbuf_add(b, &c, 1);
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *text = str_vfmt(fmt, ap);
    va_end(ap);
    strbuf_puts(b, text);
    mem_free(text);
}

void strbuf_reset(struct strbuf *b)
{
    b->len = 0;
    if (b->s) {
        b->s[0] = '\0';
    }
}

void strbuf_free(struct strbuf *b)
{
    mem_free(b->s);
    *b = (struct strbuf)STRBUF_INIT;
}

char *strbuf_take(struct strbuf *b)
{
    char *s = b->s ? b->s : str_dup("");

    *b = (struct strbuf)STRBUF_INIT;
    return s;
}
