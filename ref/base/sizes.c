/*
 * Numbers in text.  The grammar of sizes is what QEMU 7.2 accepts on the command line: leading
 * blanks and "+" pass, "-" does not, a fraction needs a suffix that scales it, no exponents, no
 * hexadecimal fractions.
 */
#include "ref/base/sizes.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* log2 of the factor of a suffix, or -1. */
static int suffix_shift(char c)
{
    switch (c) {
    case 'b':
    case 'B':
        return 0;
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    case 't':
    case 'T':
        return 40;
    case 'p':
    case 'P':
        return 50;
    case 'e':
    case 'E':
        return 60;
    default:
        return -1;
    }
}

/*
 * Start of the digits (behind blanks and a plus sign), or NULL when there are none; *hex tells the
 * base.
 */
static const char *digits(const char *s, bool *hex)
{
    while (isspace((unsigned char)*s)) {
        s++;
    }
    s += *s == '+';
    *hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && isxdigit((unsigned char)s[2]);
    return isdigit((unsigned char)*s) ? s : NULL;
}

/* Reads ".ddd" as a fraction of 2^64; one that rounds to 1 counts as 0.  False on an exponent. */
static bool parse_fraction(const char **p, uint64_t *frac)
{
    const char *s = *p;
    const char *e = s + 1 + strspn(s + 1, "0123456789");

    if ((*e == 'e' || *e == 'E') && isdigit((unsigned char)e[1 + (e[1] == '+' || e[1] == '-')])) {
        return false;
    }
    double f = e == s + 1 ? 0 : strtod(s, NULL);
    *frac = f < 1 ? (uint64_t)(f * 0x1p64) : 0;
    *p = e;
    return true;
}

/* (whole + frac / 2^64) << shift, rounded half up. */
static int scale(uint64_t whole, uint64_t frac, int shift, uint64_t *out)
{
    unsigned __int128 part = ((unsigned __int128)frac << shift) + (1ULL << 63);
    uint64_t scaled;

    if (__builtin_mul_overflow(whole, 1ULL << shift, &scaled) ||
        __builtin_add_overflow(scaled, (uint64_t)(part >> 64), &scaled)) {
        return -ERANGE;
    }
    *out = scaled;
    return 0;
}

int parse_size(const char *s, const char **end, char default_suffix, uint64_t *out)
{
    bool hex;
    const char *p = digits(s, &hex);
    uint64_t whole, frac = 0;
    char *e;

    if (end) {
        *end = s;
    }
    if (!p) {
        return -EINVAL;
    }
    errno = 0;
    whole = strtoull(p, &e, hex ? 16 : 10);
    int ret = -errno;
    p = e;
    if (ret == 0) {
        if (*p == '.' && (hex || !parse_fraction(&p, &frac))) {
            return -EINVAL;
        }
        int shift = suffix_shift(*p);
        if (shift >= 0) {
            p++;
        } else {
            shift = suffix_shift(default_suffix);
        }
        assert(shift >= 0);
        if (frac && shift == 0) {
            return -EINVAL;
        }
        ret = scale(whole, frac, shift, out);
    }
    if (end) {
        *end = p;
    } else if (*p) {
        return -EINVAL;
    }
    return ret;
}

bool size_has_hex_suffix(const char *s)
{
    bool hex;
    const char *p = digits(s, &hex);

    if (!p || !hex) {
        return false;
    }
    p += 2 + strspn(p + 2, "0123456789abcdefABCDEF");
    return suffix_shift(*p) >= 0;
}

/* What strtoull() and strtoll() leave to check: no digits at all, overflow, text behind. */
static int finish(const char *s, const char *e, const char **end)
{
    if (end) {
        *end = e;
    }
    if (e == s || (!end && *e)) {
        return -EINVAL;
    }
    return errno == ERANGE ? -ERANGE : 0;
}

int parse_uint64(const char *s, const char **end, int base, uint64_t *out)
{
    char *e;

    errno = 0;
    uint64_t v = strtoull(s, &e, base);
    int ret = finish(s, e, end);
    if (ret == 0) {
        *out = v;
    }
    return ret;
}

int parse_int64(const char *s, const char **end, int base, int64_t *out)
{
    char *e;

    errno = 0;
    int64_t v = strtoll(s, &e, base);
    int ret = finish(s, e, end);
    if (ret == 0) {
        *out = v;
    }
    return ret;
}

bool parse_bool(const char *s, bool *out)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {
        {"on", true},   {"yes", true}, {"true", true},   {"y", true},
        {"off", false}, {"no", false}, {"false", false}, {"n", false},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(s, words[i].word) == 0) {
            *out = words[i].value;
            return true;
        }
    }
    return false;
}

void format_size(char buf[32], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double d = (double)bytes;
    int u = 0;

    /* The next unit starts at 1000, not 1024, so that three digits are enough. */
    while (d >= 1000 && u < 6) {
        d /= 1024;
        u++;
    }
    snprintf(buf, 32, "%.3g %s", d, units[u]);
}
