/*
 * Classes of failures.  See failure_class.h.
 */
#include "harness/oracle/failure_class.h"

#include <ctype.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static size_t word_len(const char *s)
{
    size_t n = 0;
    while (in_word(s[n])) {
        n++;
    }
    return n;
}

/* "0x1f", "4096", "64k", and hashes: digits a to f with a number among them. */
static bool is_number(const char *s, size_t len)
{
    size_t digits = strspn(s, "0123456789");
    bool size = digits > 0 && (digits == len || (digits + 1 == len && strchr("kMGT", s[digits])));
    bool prefixed = len > 2 && s[0] == '0' && s[1] == 'x';
    bool hash = len >= 4 && strspn(s, "0123456789abcdef") >= len && strcspn(s, "0123456789") < len;
    return size || prefixed || hash;
}

/* "RC-10", "L2-3": its number is a name. */
static size_t clause_len(const char *s)
{
    size_t n = isupper((unsigned char)*s) ? strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") : 0;
    size_t digits = n && s[n] == '-' ? strspn(s + n + 1, "0123456789") : 0;
    return digits && !in_word(s[n + 1 + digits]) ? n + 1 + digits : 0;
}

/* "0 leaks", not "offset 0: ...": is there any? */
static void put_number(struct strbuf *out, const char *s, size_t len)
{
    bool counts = s[len] == ' ' && isalpha((unsigned char)s[len + 1]);
    bool none = strspn(s, "0") == len;
    strbuf_puts(out, counts && none ? "no" : "#");
}

/* What stands behind the last slash of a file's name; the length of the whole name. */
static size_t put_path(struct strbuf *out, const char *s)
{
    size_t len = strcspn(s, " '\",:;()\n"), last = len;
    while (s[last - 1] != '/') {
        last--;
    }
    strbuf_add(out, s + last, len - last);
    return len;
}

static void put_plain(struct strbuf *out, const char *s, const char *end)
{
    char before = ' ';
    while (s < end) {
        size_t word = word_len(s), clause = clause_len(s), len = clause ? clause : MAX(word, 1);
        if (*s == '/' && strchr(" '\"=", before)) {
            len = put_path(out, s);
        } else if (word && !clause && is_number(s, word)) {
            put_number(out, s, word);
        } else {
            strbuf_add(out, s, len);
        }
        s += len;
        before = s[-1];
    }
}

/*
 * " at 3 (write 0 4096 1)", " at the end", " at create", as compare.c tells it; the length of that.
 * What the subject held is seen wherever somebody looks; how an operation ended is its own.
 */
static size_t put_place(struct strbuf *out, const char *text, const char *s)
{
    static const char *const seen[] = {"bytes at ", "map at ", "check at ", "info at "};
    const char *colon = strchr(s, ':'), *open = strstr(s, " (");
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++) {
        if (!strncmp(text, seen[i], strlen(seen[i]))) {
            return colon ? (size_t)(colon - s) : 0;
        }
    }
    size_t digits = strspn(s + 4, "0123456789");
    const char *close = open && digits && open == s + 4 + digits ? strchr(open, ')') : NULL;
    if (!close) {
        return 0;
    }
    strbuf_puts(out, " at ");
    strbuf_add(out, open + 2, word_len(open + 2));
    return (size_t)(close + 1 - s);
}

char *failure_class(const char *text)
{
    static const char clause[] = "spec checker: clause ", lawful[] = ", lawful: ";
    struct strbuf out = STRBUF_INIT;
    text = text ? text : "";
    const char *end = strstr(text, clause);
    if (end) {
        end += strlen(clause);
        end += strcspn(end, ": \n");
    } else {
        end = strstr(text, lawful);
    }
    end = end ? end : text + strlen(text);
    const char *at = strstr(text, " at ");
    const char *rest = text;
    if (at && at < end) {
        put_plain(&out, text, at);
        rest = at + put_place(&out, text, at);
    }
    put_plain(&out, rest, end);
    return out.s ? strbuf_take(&out) : str_dup("");
}

bool failure_alike(const char *a, const char *b)
{
    char *x = failure_class(a), *y = failure_class(b);
    bool alike = !strcmp(x, y);
    mem_free(x);
    mem_free(y);
    return alike;
}

bool failure_again(const struct failure *f, const char *why, bool cut)
{
    return !f || (f->cut == cut && failure_alike(f->why, why));
}
