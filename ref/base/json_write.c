/*
 * JSON writer: ASCII only, in QEMU's two layouts (json.h).  A byte sequence that is not UTF-8
 * becomes U+FFFD.
 */
#include "ref/base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/utf8.h"

static void write_escaped(struct strbuf *out, int32_t c)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    const char *at = c > 0 && c < 0x80 ? strchr(plain, c) : NULL;

    if (at) {
        strbuf_putc(out, '\\');
        strbuf_putc(out, letter[at - plain]);
    } else if (c >= 0x20 && c < 0x7F) {
        strbuf_putc(out, (char)c);
    } else if (c < 0) {
        strbuf_puts(out, "\\uFFFD");
    } else if (c < 0x10000) {
        strbuf_printf(out, "\\u%04X", (unsigned)c);
    } else {
        c -= 0x10000;
        strbuf_printf(out, "\\u%04X\\u%04X", 0xD800u | (unsigned)c >> 10, 0xDC00u | (c & 0x3FF));
    }
}

static void write_string(struct strbuf *out, const char *s)
{
    const char *end = s + strlen(s);

    strbuf_putc(out, '"');
    while (s < end) {
        size_t n = utf8_len(s, end);
        write_escaped(out, utf8_decode(s, n));
        s += n;
    }
    strbuf_putc(out, '"');
}

static void write_value(struct strbuf *out, const struct value *v, bool pretty, int level);

static void new_line(struct strbuf *out, int level)
{
    strbuf_putc(out, '\n');
    for (int i = 0; i < level; i++) {
        strbuf_puts(out, "    ");
    }
}

/*
 * What stands before a member: a separator behind the one before, and in pretty form a line of its
 * own.
 */
static void write_separator(struct strbuf *out, bool first, bool pretty, int level)
{
    if (!first) {
        strbuf_puts(out, pretty ? "," : ", ");
    }
    if (pretty) {
        new_line(out, level);
    }
}

static void write_container(struct strbuf *out, const struct value *v, bool pretty, int level)
{
    bool is_dict = value_type(v) == VALUE_DICT, first = true;

    strbuf_putc(out, is_dict ? '{' : '[');
    if (is_dict) {
        struct dict_iter it;
        DICT_FOREACH (it, v) {
            write_separator(out, first, pretty, level + 1);
            write_string(out, it.key);
            strbuf_puts(out, ": ");
            write_value(out, it.value, pretty, level + 1);
            first = false;
        }
    } else {
        for (size_t i = 0; i < list_len(v); i++) {
            write_separator(out, first, pretty, level + 1);
            write_value(out, list_at(v, i), pretty, level + 1);
            first = false;
        }
    }
    if (pretty) {
        new_line(out, level);
    }
    strbuf_putc(out, is_dict ? '}' : ']');
}

static void write_value(struct strbuf *out, const struct value *v, bool pretty, int level)
{
    char text[40];

    switch (value_type(v)) {
    case VALUE_NULL:
        strbuf_puts(out, "null");
        break;
    case VALUE_BOOL:
        strbuf_puts(out, value_get_bool(v) ? "true" : "false");
        break;
    case VALUE_INT:
        snprintf(text, sizeof(text), "%" PRId64, value_get_int(v));
        strbuf_puts(out, text);
        break;
    case VALUE_UINT:
        snprintf(text, sizeof(text), "%" PRIu64, value_get_uint(v));
        strbuf_puts(out, text);
        break;
    case VALUE_DOUBLE:
        snprintf(text, sizeof(text), "%.17g", value_get_double(v));
        strbuf_puts(out, text);
        break;
    case VALUE_STRING:
        write_string(out, value_get_str(v));
        break;
    case VALUE_LIST:
    case VALUE_DICT:
        write_container(out, v, pretty, level);
        break;
    }
}

void json_write(struct strbuf *out, const struct value *v, bool pretty)
{
    write_value(out, v, pretty, 0);
}

char *json_text(const struct value *v, bool pretty)
{
    struct strbuf out = STRBUF_INIT;

    json_write(&out, v, pretty);
    return strbuf_take(&out);
}
