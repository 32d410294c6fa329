/*
 * Base64: decoding only.  See base64.h.
 */
#include "ref/base/base64.h"

#include <errno.h>
#include "ref/base/mem.h"

/* Value of a digit, 0 for padding, -1 for line ends, -2 for what must not be there. */
static int rank(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    switch (c) {
    case '+':
        return 62;
    case '/':
        return 63;
    case '=':
        return 0;
    case '\n':
    case '\r':
        return -1;
    default:
        return -2;
    }
}

uint8_t *base64_decode(const char *text, size_t text_len, size_t *len, struct error **err)
{
    uint8_t *out = mem_alloc(text_len / 4 * 3 + 1);
    char group[4];
    unsigned n = 0;
    *len = 0;
    for (size_t i = 0; i < text_len; i++) {
        int r = rank(text[i]);
        if (r == -2) {
            mem_free(out);
            error_set(err, EINVAL, "Base64 data contains invalid characters");
            return NULL;
        }
        if (r == -1) {
            continue;
        }
        group[n++] = text[i];
        if (n == 4) {
            uint32_t v = (uint32_t)rank(group[0]) << 18 | (uint32_t)rank(group[1]) << 12 |
                         (uint32_t)rank(group[2]) << 6 | (uint32_t)rank(group[3]);
            out[(*len)++] = (uint8_t)(v >> 16);
            if (group[2] != '=') {
                out[(*len)++] = (uint8_t)(v >> 8);
            }
            if (group[3] != '=') {
                out[(*len)++] = (uint8_t)v;
            }
            n = 0;
        }
    }
    out[*len] = 0;
    return out;
}
