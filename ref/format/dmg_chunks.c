/*
 * dmg: from the resource fork or the property list to the list of chunks.
 *
 * Models: items of a resource fork; data elements of a property list, found as text, not as XML;
 * tables and chunks as QEMU takes them.  Memory is bounded by the bytes there are in the file.
 */
#include <errno.h>
#include <inttypes.h>

#include "ref/base/bytes.h"
#include "ref/block/io.h"
#include "ref/format/dmg.h"

static bool is_packed(uint32_t type)
{
    return type == DMG_CHUNK_ZLIB || type == DMG_CHUNK_BZIP2;
}

/* Can it be read?  Says so, once an image, when not. */
static bool is_readable(struct node *n, uint32_t type)
{
    struct dmg *s = n->state;
    switch (type) {
    case DMG_CHUNK_ZERO:
    case DMG_CHUNK_RAW:
    case DMG_CHUNK_IGNORE:
    case DMG_CHUNK_ZLIB:
    case DMG_CHUNK_BZIP2:
        return true;
    case DMG_CHUNK_COMMENT:
    case DMG_CHUNK_END:
        return false;
    case DMG_CHUNK_LZFSE:
        if (!s->warned_lzfse) {
            world_report(n->w, REPORT_WARNING,
                         "dmg-lzfse module is missing, accessing lzfse compressed blocks "
                         "will result in I/O errors");
        }
        s->warned_lzfse = true;
        return false;
    default:
        if (!s->warned_unknown) {
            world_report(n->w, REPORT_WARNING,
                         "Image contains chunks of unknown type %" PRIx32
                         ", accessing them will result in I/O "
                         "errors",
                         type);
        }
        s->warned_unknown = true;
        return false;
    }
}

static int check_chunk(struct node *n, const struct dmg_chunk *c)
{
    const struct dmg *s = n->state;
    if ((c->type == DMG_CHUNK_RAW || is_packed(c->type)) && c->sectors > DMG_MAX_CHUNK_SECTORS) {
        world_report(n->w, REPORT_ERROR,
                     "sector count %" PRIu64 " for chunk %zu is larger than max (%d)", c->sectors,
                     s->n_chunks, DMG_MAX_CHUNK_SECTORS);
        return -EINVAL;
    }
    if (c->length > DMG_MAX_CHUNK_BYTES) {
        world_report(n->w, REPORT_ERROR, "length %" PRIu64 " for chunk %zu is larger than max (%d)",
                     c->length, s->n_chunks, DMG_MAX_CHUNK_BYTES);
        return -EINVAL;
    }
    return 0;
}

static int append(struct dmg *s, const struct dmg_chunk *c)
{
    if (s->n_chunks == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        struct dmg_chunk *chunks = mem_try_realloc(s->chunks, room * sizeof(*chunks));
        if (!chunks) {
            return -ENOMEM;
        }
        s->chunks = chunks;
        s->room = room;
    }
    s->chunks[s->n_chunks++] = *c;
    return 0;
}

/* One item: a table, or something else that is passed over.  Sums wrap, as they do in QEMU. */
static int add_table(struct node *n, const uint8_t *p, size_t size)
{
    struct dmg *s = n->state;
    if (size < DMG_TABLE_SIZE || dmg_table_get_magic(p) != DMG_MISH) {
        return 0;
    }
    uint64_t base = s->data_offset + dmg_table_get_data_offset(p),
             first = dmg_table_get_first_sector(p);
    int ret = 0;
    for (size_t at = DMG_TABLE_SIZE; ret == 0 && size - at >= DMG_CHUNK_SIZE;
         at += DMG_CHUNK_SIZE) {
        struct dmg_chunk c = {.type = dmg_chunk_get_type(p + at),
                              .sector = first + dmg_chunk_get_sector(p + at),
                              .sectors = dmg_chunk_get_sectors(p + at),
                              .offset = base + dmg_chunk_get_offset(p + at),
                              .length = dmg_chunk_get_length(p + at)};
        if (is_readable(n, c.type)) {
            ret = check_chunk(n, &c);
            ret = ret == 0 ? append(s, &c) : ret;
        }
    }
    return ret;
}

int dmg_read_resource_fork(struct node *n, uint64_t offset, uint64_t length, struct error **err)
{
    uint8_t h[DMG_RESOURCE_HEADER_SIZE], size[4];
    int ret = child_pread(n->file, (int64_t)offset, h, sizeof(h), LABEL_NONE, NULL);
    if (ret < 0) {
        return ret;
    }
    uint64_t skip = dmg_resource_header_get_data_offset(h),
             left = dmg_resource_header_get_data_length(h);
    if (skip > length || left == 0 || left > length - skip) {
        return -EINVAL;
    }
    offset += skip;
    while (ret == 0 && left > 0) {
        ret = left < sizeof(size)
                  ? -EINVAL
                  : child_pread(n->file, (int64_t)offset, size, sizeof(size), LABEL_NONE, NULL);
        if (ret < 0) {
            return ret;
        }
        uint32_t bytes = load_uint(size, sizeof(size), true);
        if (bytes == 0 || bytes > left - sizeof(size)) {
            return -EINVAL;
        }
        uint8_t *item = mem_try_alloc(bytes);
        ret = item ? child_pread(n->file, (int64_t)(offset + sizeof(size)), item, bytes, LABEL_NONE,
                                 NULL)
                   : -ENOMEM;
        ret = ret < 0 ? ret : add_table(n, item, bytes);
        mem_free(item);
        offset += sizeof(size) + bytes;
        left -= sizeof(size) + bytes;
    }
    return ret;
}

static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* In place: groups of four, other characters passed over, the padding of a group shortens it. Bytes
 * made. */
static size_t base64_decode(char *text, size_t len)
{
    size_t made = 0;
    uint32_t group = 0;
    int have = 0, pad = 0;
    for (size_t i = 0; i < len; i++) {
        int v = base64_value(text[i]);
        if (v < 0 && text[i] != '=') {
            continue;
        }
        pad = text[i] == '=' ? pad + 1 : 0;
        group = group << 6 | (uint32_t)(v < 0 ? 0 : v);
        if (++have == 4) {
            for (int b = 0; b < 3 - MIN(pad, 2); b++) {
                text[made++] = (char)(group >> (16 - 8 * b));
            }
            have = 0;
        }
    }
    return made;
}

int dmg_read_plist(struct node *n, uint64_t offset, uint64_t length, struct error **err)
{
    if (length > DMG_MAX_PLIST_BYTES) {
        return -EINVAL;
    }
    char *text = mem_try_alloc(length + 1);
    int ret = text ? child_pread(n->file, (int64_t)offset, text, (int64_t)length, LABEL_NONE, NULL)
                   : -ENOMEM;
    char *at = text;
    if (ret >= 0) {
        text[length] = '\0';
        ret = 0;
    }
    while (ret == 0 && (at = strstr(at, "<data>"))) {
        at += strlen("<data>");
        char *end = strstr(at, "</data>");
        ret = end ? add_table(n, (uint8_t *)at, base64_decode(at, (size_t)(end - at))) : -EINVAL;
        at = end;
    }
    mem_free(text);
    return ret;
}
