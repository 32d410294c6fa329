/*
 * JSON reader in QEMU's dialect (json.h).
 *
 * The reader first finds the end of a value by counting brackets, as a monitor has to, then builds
 * it with a stack of its own, so that hostile nesting cannot exhaust a coroutine's stack.  Tokens
 * are read twice; nothing is stored in between.
 */
#include "ref/base/json.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/utf8.h"

#define MAX_DEPTH  1024
#define MAX_TOKENS (2u << 20)
#define MAX_BYTES  (64u << 20) /* of one value, without blanks */

/* ---- tokens ---- */

enum token_type {
    TOKEN_PUNCT, /* one of {}[]:, */
    TOKEN_INT,
    TOKEN_FLOAT,
    TOKEN_KEYWORD,
    TOKEN_STRING,
    TOKEN_STRAY, /* up to and including the byte that fits nowhere */
    TOKEN_MORE,  /* the input ends inside the token and may go on */
    TOKEN_END,
};

struct token {
    enum token_type type;
    const char *s;
    size_t len;
};

struct input {
    const char *p, *end;
    bool final; /* nothing will follow `end` */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/*
 * Where a string token ends: behind its closing quote, or behind the byte that is not allowed in
 * it.
 */
static enum token_type scan_string(const char *s, const char *end, const char **stop)
{
    const char *p = s + 1;

    for (; p < end; p++) {
        bool escaped = *p == '\\';
        if (escaped && ++p == end) {
            break;
        }
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c >= 0xFE) {
            *stop = p + 1;
            return TOKEN_STRAY;
        }
        if (*p == *s && !escaped) {
            *stop = p + 1;
            return TOKEN_STRING;
        }
    }
    *stop = p;
    return TOKEN_MORE;
}

/* At least one digit at *p; false leaves *p at the byte that is none. */
static bool scan_digits(const char **p, const char *end)
{
    const char *s = *p;

    while (*p < end && is_digit(**p)) {
        (*p)++;
    }
    return *p > s;
}

/*
 * -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?, but no exponent directly behind a zero:
 * QEMU reads "0e5" as 0 and e, though RFC 8259 allows it.
 */
static enum token_type scan_number(const char *s, const char *end, const char **stop)
{
    const char *p = s + (*s == '-');
    enum token_type type = TOKEN_INT;
    bool zero = p < end && *p == '0';
    bool ok = scan_digits(&p, end);

    if (ok && zero && p > s + (*s == '-') + 1) {
        *stop = s + (*s == '-') + 2; /* "01": the digit behind the zero is stray */
        return TOKEN_STRAY;
    }
    if (ok && p < end && *p == '.') {
        type = TOKEN_FLOAT;
        p++;
        ok = scan_digits(&p, end);
    }
    bool lone_zero = zero && type == TOKEN_INT;
    if (ok && !lone_zero && p < end && (*p == 'e' || *p == 'E')) {
        type = TOKEN_FLOAT;
        p++;
        p += p < end && (*p == '+' || *p == '-');
        ok = scan_digits(&p, end);
    }
    if (!ok && p < end) {
        *stop = p + 1;
        return TOKEN_STRAY;
    }
    *stop = p;
    return ok ? type : TOKEN_MORE;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Takes one token off the input. */
static struct token next_token(struct input *in)
{
    while (in->p < in->end && is_blank(*in->p)) {
        in->p++;
    }
    struct token t = {TOKEN_END, in->p, 0};
    if (in->p == in->end) {
        return t;
    }
    const char *stop = in->p + 1;
    bool open_ended = false; /* more bytes could lengthen a token that is complete */
    char c = *in->p;
    if (strchr("{}[]:,", c) && c) {
        t.type = TOKEN_PUNCT;
    } else if (c == '"' || c == '\'') {
        t.type = scan_string(in->p, in->end, &stop);
    } else if (is_digit(c) || c == '-') {
        t.type = scan_number(in->p, in->end, &stop);
        open_ended = t.type != TOKEN_STRAY;
    } else if (c >= 'a' && c <= 'z') {
        while (stop < in->end && *stop >= 'a' && *stop <= 'z') {
            stop++;
        }
        t.type = TOKEN_KEYWORD;
        open_ended = true;
    } else {
        t.type = TOKEN_STRAY;
    }
    if (!in->final && open_ended && stop == in->end) {
        t.type = TOKEN_MORE;
    }
    if (in->final && t.type == TOKEN_MORE) {
        t.type = TOKEN_STRAY;
    }
    t.len = (size_t)(stop - in->p);
    in->p = stop;
    return t;
}

/* ---- where a value ends ---- */

enum extent { EXTENT_NONE, EXTENT_MORE, EXTENT_GROUP, EXTENT_STRAY, EXTENT_LIMIT };

/*
 * Tokens that belong together: a scalar, or everything from a bracket until brackets of either kind
 * balance or one of them closes too often.  *last is the token that ended it; *limit names a limit
 * it went over.
 */
static enum extent find_extent(struct input *in, struct token *last, const char **limit)
{
    int braces = 0, brackets = 0;
    size_t tokens = 0, bytes = 0;

    for (bool first = true;; first = false) {
        struct token t = *last = next_token(in);
        if (t.type == TOKEN_END) {
            return first ? EXTENT_NONE : in->final ? EXTENT_GROUP : EXTENT_MORE;
        }
        bytes += t.len;
        tokens++;
        *limit = bytes > MAX_BYTES ? "token size" : tokens > MAX_TOKENS ? "token count" : NULL;
        if (t.type == TOKEN_STRAY) {
            return EXTENT_STRAY;
        }
        if (t.type == TOKEN_MORE && !*limit) {
            return EXTENT_MORE;
        }
        if (t.type == TOKEN_PUNCT) {
            braces += (*t.s == '{') - (*t.s == '}');
            brackets += (*t.s == '[') - (*t.s == ']');
        }
        if (!*limit && braces + brackets > MAX_DEPTH) {
            *limit = "nesting depth";
        }
        if (*limit) {
            return EXTENT_LIMIT;
        }
        if (braces < 0 || brackets < 0 || (braces == 0 && brackets == 0)) {
            return EXTENT_GROUP;
        }
    }
}

/* ---- scalars ---- */

/* Four hexadecimal digits at s, or -1. */
static int32_t hex4(const char *s, const char *end)
{
    int32_t v = 0;

    for (int i = 0; i < 4; i++) {
        char c = s + i < end ? s[i] : '\0';
        int d = is_digit(c)            ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) {
            return -1;
        }
        v = v * 16 + d;
    }
    return v;
}

static bool is_high(int32_t c)
{
    return c >= 0xD800 && c <= 0xDBFF;
}
static bool is_low(int32_t c)
{
    return c >= 0xDC00 && c <= 0xDFFF;
}

/*
 * \uXXXX, or a surrogate pair of two, at s (on the backslash); the closing quote stands before
 * `end`.
 */
static size_t unescape_u(struct strbuf *out, const char *s, const char *end, struct error **err)
{
    int32_t c = hex4(s + 2, end);
    size_t n = 6;

    if (is_high(c) && end - s > 7 && s[6] == '\\' && s[7] == 'u') {
        int32_t low = hex4(s + 8, end);
        if (is_low(low)) {
            c = 0x10000 + ((c & 0x3FF) << 10 | (low & 0x3FF));
            n = 12;
        }
    }
    if (c < 0 || !utf8_is_character((uint32_t)c)) {
        error_set(err, EINVAL, "JSON parse error, %.*s is not a valid Unicode character",
                  (int)MIN(n, (size_t)(end - s)), s);
        return 0;
    }
    utf8_encode(out, (uint32_t)c);
    return n;
}

/* One escape at s; returns its length, 0 with err. */
static size_t unescape(struct strbuf *out, const char *s, const char *end, struct error **err)
{
    static const char from[] = "\"'\\/bfnrt", to[] = "\"'\\/\b\f\n\r\t";

    if (s[1] == 'u') {
        return unescape_u(out, s, end, err);
    }
    const char *at = strchr(from, s[1]);
    if (!at) {
        error_set(err, EINVAL, "JSON parse error, invalid escape sequence in string");
        return 0;
    }
    strbuf_putc(out, to[at - from]);
    return 2;
}

static struct value *parse_string(struct token t, struct error **err)
{
    const char *p = t.s + 1, *end = t.s + t.len;
    struct strbuf out = STRBUF_INIT;
    bool ok = true;

    while (ok && p < end - 1) {
        size_t n = utf8_len(p, end);
        if (*p == '\\') {
            n = unescape(&out, p, end, err);
            ok = n > 0;
        } else if (utf8_decode(p, n) < 0) {
            error_set(err, EINVAL, "JSON parse error, invalid UTF-8 sequence in string");
            ok = false;
        } else {
            strbuf_add(&out, p, n);
        }
        p += n;
    }
    struct value *v = ok ? value_str(out.s ? out.s : "") : NULL;
    strbuf_free(&out);
    return v;
}

/* int64, else uint64, else double. */
static struct value *parse_number(struct token t)
{
    char *text = str_ndup(t.s, t.len);
    struct value *v = NULL;

    if (t.type == TOKEN_INT) {
        errno = 0;
        int64_t i = strtoll(text, NULL, 10);
        if (errno == 0) {
            v = value_int(i);
        } else if (*text != '-') {
            errno = 0;
            uint64_t u = strtoull(text, NULL, 10);
            v = errno == 0 ? value_uint(u) : NULL;
        }
    }
    if (!v) {
        v = value_double(strtod(text, NULL));
    }
    mem_free(text);
    return v;
}

static struct value *parse_keyword(struct token t, struct error **err)
{
    if (t.len == 4 && memcmp(t.s, "true", 4) == 0) {
        return value_bool(true);
    }
    if (t.len == 5 && memcmp(t.s, "false", 5) == 0) {
        return value_bool(false);
    }
    if (t.len == 4 && memcmp(t.s, "null", 4) == 0) {
        return value_null();
    }
    error_set(err, EINVAL, "JSON parse error, invalid keyword '%.*s'", (int)t.len, t.s);
    return NULL;
}

/* ---- values ---- */

/* An open container: a list, or a dict that waits for a key or for the value of `key`. */
struct frame {
    struct value *container;
    struct value *key; /* a string, or NULL */
};

struct builder {
    struct input in;
    struct frame *stack;
    size_t depth, cap;
};

static struct value *syntax_error(struct error **err, const char *what)
{
    error_set(err, EINVAL, "JSON parse error, %s", what);
    return NULL;
}

static void push(struct builder *b, struct value *container)
{
    if (b->depth == b->cap) {
        b->cap = MAX((size_t)8, b->cap * 2);
        b->stack = mem_realloc(b->stack, b->cap * sizeof(*b->stack));
    }
    b->stack[b->depth++] = (struct frame){container, NULL};
}

static bool is_punct(struct token t, char c)
{
    return t.type == TOKEN_PUNCT && *t.s == c;
}

/*
 * Reads up to the next value that is complete in itself: a scalar or an empty container.  Opens the
 * containers on the way.  NULL with err.
 */
static struct value *read_value(struct builder *b, struct error **err)
{
    for (;;) {
        struct token t = next_token(&b->in);
        switch (t.type) {
        case TOKEN_STRING:
            return parse_string(t, err);
        case TOKEN_INT:
        case TOKEN_FLOAT:
            return parse_number(t);
        case TOKEN_KEYWORD:
            return parse_keyword(t, err);
        case TOKEN_PUNCT:
            break;
        default:
            return syntax_error(err, "premature EOI");
        }
        if (*t.s != '{' && *t.s != '[') {
            return syntax_error(err, "expecting value");
        }
        struct value *container = *t.s == '{' ? value_dict() : value_list();
        struct input ahead = b->in;
        if (is_punct(next_token(&ahead), *t.s == '{' ? '}' : ']')) {
            b->in = ahead;
            return container;
        }
        push(b, container);
    }
}

/* Puts v into the innermost container; sets *err when it does not fit there. */
static bool place(struct frame *top, struct value *v, struct error **err)
{
    if (value_type(top->container) == VALUE_LIST) {
        list_append(top->container, v);
    } else if (!top->key && value_type(v) != VALUE_STRING) {
        value_free(v);
        syntax_error(err, "key is not a string in object");
        return false;
    } else if (!top->key) {
        top->key = v;
    } else if (dict_has(top->container, value_get_str(top->key))) {
        value_free(v);
        syntax_error(err, "duplicate key");
        return false;
    } else {
        dict_put(top->container, value_get_str(top->key), v);
        value_free(top->key);
        top->key = NULL;
        return true;
    }
    return true;
}

/*
 * Puts v where it belongs and closes every container that ends behind it.  Returns the outermost
 * value when all are closed; NULL otherwise, with *failed when err was set.
 */
static struct value *finish_value(struct builder *b, struct value *v, bool *failed,
                                  struct error **err)
{
    while (b->depth > 0) {
        struct frame *top = &b->stack[b->depth - 1];
        bool is_dict = value_type(top->container) == VALUE_DICT;
        *failed = true;
        if (!place(top, v, err)) {
            return NULL;
        }
        struct token t = next_token(&b->in);
        if (t.type == TOKEN_END) {
            return syntax_error(err, "premature EOI");
        }
        *failed = false;
        if (is_dict && top->key) {
            if (is_punct(t, ':')) {
                return NULL;
            }
            *failed = true;
            return syntax_error(err, "missing : in object pair");
        }
        if (is_punct(t, ',')) {
            return NULL;
        }
        if (!is_punct(t, is_dict ? '}' : ']')) {
            *failed = true;
            return syntax_error(err, is_dict ? "expected separator in dict"
                                             : "expected separator in list");
        }
        v = top->container;
        b->depth--;
    }
    return v;
}

/* The value that the tokens of one extent make; NULL with err. */
static struct value *build(const char *text, const char *end, struct error **err)
{
    struct builder b = {.in = {text, end, true}};
    struct value *whole = NULL;
    bool failed = false;

    while (!whole && !failed) {
        struct value *v = read_value(&b, err);
        if (!v) {
            break;
        }
        whole = finish_value(&b, v, &failed, err);
    }
    while (b.depth > 0) {
        b.depth--;
        value_free(b.stack[b.depth].container);
        value_free(b.stack[b.depth].key);
    }
    mem_free(b.stack);
    return whole;
}

/* Takes one value or error off the input; EXTENT_NONE and EXTENT_MORE take nothing. */
static enum extent take(struct input *in, struct value **v, struct error **err)
{
    const char *start = in->p;
    struct token last;
    const char *limit;
    enum extent x = find_extent(in, &last, &limit);

    *v = NULL;
    switch (x) {
    case EXTENT_GROUP:
        *v = build(start, in->p, err);
        break;
    case EXTENT_STRAY:
        error_set(err, EINVAL, "JSON parse error, stray '%.*s'", (int)last.len, last.s);
        break;
    case EXTENT_LIMIT:
        error_set(err, EINVAL, "JSON %s limit exceeded", limit);
        break;
    default:
        in->p = start;
    }
    return x;
}

struct value *json_parse(const char *text, struct error **err)
{
    struct input in = {text, text + strlen(text), true};
    struct value *v, *second;

    if (take(&in, &v, err) == EXTENT_NONE) {
        error_set(err, EINVAL, "Expecting a JSON value");
        return NULL;
    }
    if (v && take(&in, &second, NULL) != EXTENT_NONE) {
        value_free(v);
        value_free(second);
        error_set(err, EINVAL, "Expecting at most one JSON value");
        return NULL;
    }
    return v;
}

long json_scan(const char *text, size_t len)
{
    struct input in = {text, text + len, false};
    struct token last;
    const char *limit;

    switch (find_extent(&in, &last, &limit)) {
    case EXTENT_GROUP:
        return (long)(in.p - text);
    case EXTENT_STRAY:
    case EXTENT_LIMIT:
        return -1;
    default:
        return 0;
    }
}

/*
 * Behind a stray byte everything is skipped up to a bracket, separator, line end or byte that fits
 * nowhere.
 */
static bool ends_skipping(char c)
{
    unsigned char u = (unsigned char)c;

    return (c && strchr("{}[]:,", c)) || (u < 0x20 && c != '\t') || u >= 0xFE;
}

size_t json_next(const char *text, size_t len, bool *skipping, struct value **v, struct error **err)
{
    struct input in = {text, text + len, false};

    *v = NULL;
    while (*skipping && in.p < in.end) {
        if (ends_skipping(*in.p)) {
            *skipping = false;
        } else {
            in.p++;
        }
    }
    if (in.p < in.end) {
        *skipping = take(&in, v, err) == EXTENT_STRAY;
    }
    return (size_t)(in.p - text);
}
