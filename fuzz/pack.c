/*
 * Images as bytes for AFL++ and as text for reproducers: what is zero is left out.
 *
 * Packed: size of the file (8 bytes, little-endian), number of sectors (4), their numbers (4 each),
 * their contents (512 bytes each).  Any bytes are an image: what is missing is zero.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fuzz/fuzz_image.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

enum { SECTOR = 512, HEAD = 12, LINE = 32, RAW_MAX = 1 << 20 };

static bool is_zero(const uint8_t *p, size_t n)
{
    return !p[0] && !memcmp(p, p + 1, n - 1);
}

/* The next piece of `piece` bytes from *at on that is not all zero; false behind the last. */
static bool next_piece(const struct disk *d, int64_t *at, uint8_t *buf, int64_t piece)
{
    int64_t size = disk_size(d), n;
    while (*at < size) {
        if (disk_block_status(d, *at, size - *at, &n) == DISK_HOLE) {
            *at += ROUND_UP(n, piece); /* holes are whole pages */
            continue;
        }
        disk_read(d, *at, buf, (size_t)piece);
        if (!is_zero(buf, (size_t)piece)) {
            return true;
        }
        *at += piece;
    }
    return false;
}

size_t fuzz_pack(const struct disk *d, uint8_t **out)
{
    uint8_t buf[SECTOR], *p;
    size_t n = 0;
    for (int64_t at = 0; next_piece(d, &at, buf, SECTOR); at += SECTOR) {
        n++;
    }
    *out = p = mem_alloc(HEAD + n * (SECTOR + 4));
    store_le64(p, (uint64_t)disk_size(d));
    store_le32(p + 8, (uint32_t)n);
    size_t i = 0;
    for (int64_t at = 0; next_piece(d, &at, buf, SECTOR); at += SECTOR, i++) {
        store_le32(p + HEAD + i * 4, (uint32_t)(at / SECTOR));
        memcpy(p + HEAD + n * 4 + i * SECTOR, buf, SECTOR);
    }
    return HEAD + n * (SECTOR + 4);
}

struct disk *fuzz_unpack(struct disk_pool *pool, const uint8_t *data, size_t len)
{
    uint64_t size = len >= HEAD ? load_le64(data) : 0;
    size_t most = len >= HEAD ? (len - HEAD) / 4 : 0, n = len >= HEAD ? load_le32(data + 8) : 0;
    n = MIN(n, most);
    size = MIN(size, (uint64_t)FUZZ_MAX_IMAGE);
    struct disk *d = disk_new(pool, (int64_t)size);
    for (size_t i = 0; i < n; i++) {
        uint64_t to = (uint64_t)load_le32(data + HEAD + i * 4) * SECTOR;
        size_t from = HEAD + n * 4 + i * SECTOR;
        if (from < len && to < size) {
            disk_write(d, (int64_t)to, data + from,
                       MIN(MIN(len - from, (size_t)SECTOR), (size_t)(size - to)));
        }
    }
    return d;
}

#define HEX "# fuzz: hex"

void fuzz_print(const struct fuzz_format *f, const struct disk *d, struct strbuf *out)
{
    uint8_t buf[LINE];
    strbuf_printf(out, HEX " %s %lld\n", f->name, (long long)disk_size(d));
    for (int64_t at = 0; next_piece(d, &at, buf, LINE); at += LINE) {
        strbuf_printf(out, "%lld ", (long long)at);
        for (size_t i = 0; i < LINE; i++) {
            strbuf_printf(out, "%02x", buf[i]);
        }
        strbuf_puts(out, "\n");
    }
}

/* Bytes in hex up to the end of the line, or of the text. */
static size_t decode(const char *hex, uint8_t *out, size_t max, bool one_line)
{
    size_t n = 0;
    unsigned v;
    while (n < max && isxdigit((unsigned char)hex[0]) && sscanf(hex, "%2x", &v) == 1 && hex[1]) {
        out[n++] = (uint8_t)v;
        hex += 2;
        hex += one_line ? 0 : strspn(hex, "\n\r");
    }
    return n;
}

/* All bytes in a row. */
static struct disk *parse_old(struct disk_pool *pool, const char *text)
{
    uint8_t *data = mem_alloc(RAW_MAX);
    size_t len = decode(text, data, RAW_MAX, false);
    struct disk *d = disk_new(pool, 0);
    disk_write(d, 0, data, len);
    mem_free(data);
    return d;
}

struct disk *fuzz_parse(struct disk_pool *pool, const char *text, const struct fuzz_format **f,
                        struct error **err)
{
    char name[32] = "";
    long long size = 0, at;
    const char *p = strstr(text, HEX);
    if (!p) {
        error_set(err, EINVAL, "no image in the reproducer: '" HEX " FORMAT SIZE'");
        return NULL;
    }
    p += strlen(HEX);
    if (*p == '\n') {
        *f = &fuzz_formats[0];
        return parse_old(pool, p + 1);
    }
    sscanf(p, " %31s %lld", name, &size);
    *f = fuzz_format_find(name);
    if (!*f || size < 0 || size > FUZZ_MAX_IMAGE) {
        error_set(err, EINVAL, "the image in the reproducer has no known format, or size: '%s'",
                  name);
        return NULL;
    }
    struct disk *d = disk_new(pool, size);
    while ((p = strchr(p, '\n')) && sscanf(++p, "%lld", &at) == 1 && at >= 0 && at < size) {
        uint8_t buf[LINE];
        size_t n = decode(p + strcspn(p, " \n") + 1, buf, LINE, true);
        disk_write(d, at, buf, MIN(n, (size_t)(size - at)));
    }
    return d;
}
