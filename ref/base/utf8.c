/*
 * UTF-8: one sequence at a time.
 */
#include "ref/base/utf8.h"

size_t utf8_len(const char *s, const char *end)
{
    unsigned char c = (unsigned char)*s;
    size_t want = c < 0xC0 || c >= 0xFE ? 1
                  : c < 0xE0            ? 2
                  : c < 0xF0            ? 3
                  : c < 0xF8            ? 4
                  : c < 0xFC            ? 5
                                        : 6;
    size_t n = 1;

    while (n < want && s + n < end && ((unsigned char)s[n] & 0xC0) == 0x80) {
        n++;
    }
    return n;
}

bool utf8_is_character(uint32_t c)
{
    return c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF) && (c < 0xFDD0 || c > 0xFDEF) &&
           (c & 0xFFFE) != 0xFFFE;
}

int32_t utf8_decode(const char *s, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *u = (const unsigned char *)s;

    if (n == 1) {
        return u[0] < 0x80 ? u[0] : -1;
    }
    size_t want = u[0] < 0xC0 ? 0 : u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : u[0] < 0xF8 ? 4 : 0;
    if (n != want) {
        return -1;
    }
    uint32_t c = u[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        c = c << 6 | (u[i] & 0x3F);
    }
    if ((c < least[n] && !(n == 2 && c == 0)) || !utf8_is_character(c)) {
        return -1;
    }
    return (int32_t)c;
}

void utf8_encode(struct strbuf *out, uint32_t c)
{
    if (c > 0 && c < 0x80) {
        strbuf_putc(out, (char)c);
    } else if (c < 0x800) {
        strbuf_putc(out, (char)(0xC0 | c >> 6));
        strbuf_putc(out, (char)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000) {
        strbuf_putc(out, (char)(0xE0 | c >> 12));
        strbuf_putc(out, (char)(0x80 | (c >> 6 & 0x3F)));
        strbuf_putc(out, (char)(0x80 | (c & 0x3F)));
    } else {
        strbuf_putc(out, (char)(0xF0 | c >> 18));
        strbuf_putc(out, (char)(0x80 | (c >> 12 & 0x3F)));
        strbuf_putc(out, (char)(0x80 | (c >> 6 & 0x3F)));
        strbuf_putc(out, (char)(0x80 | (c & 0x3F)));
    }
}
