/*
 * Mutations of qcow2 images that know the format: fields from the spec's tables, entries that point
 * into the image.
 */
#include <string.h>
#include "fuzz/fuzz_qcow2.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "specs/qcow2_layout.h"
#include "specs/runtime/spec.h"

static uint64_t interesting(struct rng *rng, uint64_t old, size_t len)
{
    static const uint64_t flags[] = {0, UINT64_C(1) << 63, UINT64_C(1) << 62, UINT64_C(3) << 62, 1};
    uint64_t flag = flags[rng_below(rng, ARRAY_SIZE(flags))];
    switch (rng_below(rng, 8)) {
    case 0:
        return flag | rng_below(rng, len + 4096) / 512 * 512;
    case 1:
        return flag | rng_below(rng, len + 4096);
    case 2:
        return old ^ flag;
    case 3:
        return old + 1 - 2 * rng_below(rng, 2);
    case 4:
        return UINT64_MAX >> rng_below(rng, 64);
    case 5:
        return UINT64_C(1) << rng_below(rng, 64);
    case 6:
        return old + 512;
    default:
        return rng_next(rng);
    }
}

/* A field of a structure that begins at data[at]. */
static void mutate_field(struct rng *rng, const char *structure, uint8_t *data, size_t at,
                         size_t len)
{
    const struct spec_structure *h = spec_structure_find(spec_qcow2(), structure);
    const struct spec_field *f = &h->fields[rng_below(rng, h->nr_fields)];
    for (unsigned tries = 0; tries < 8 && (f->bytes || f->width > 8); tries++) {
        f = &h->fields[rng_below(rng, h->nr_fields)]; /* numbers */
    }
    if (f->bytes || f->width == 0 || f->width > 8 || at + f->offset + f->width > len) {
        return;
    }
    data += at;
    uint64_t v = load_uint(data + f->offset, f->width, f->big_endian);
    switch (rng_below(rng, 4)) {
    case 0:
        v = f->min - rng_below(rng, 2);
        break;
    case 1:
        v = f->max + rng_below(rng, 2);
        break;
    default:
        v = interesting(rng, v, len);
        break;
    }
    store_uint(data + f->offset, f->width, f->big_endian, v);
}

/* Where the first snapshot's entry is; 0: there is none. */
static size_t snapshot_at(const uint8_t *data, size_t len)
{
    uint64_t at = len >= QCOW2_HEADER_V2_SIZE ? qcow2_header_get_snapshots_offset(data) : 0;
    return at < len ? (size_t)at : 0;
}

/* The first snapshot's entry, where there is one; else the header. */
static void mutate_snapshot(struct rng *rng, uint8_t *data, size_t len)
{
    size_t at = snapshot_at(data, len);
    mutate_field(rng, at ? "snapshot" : "header", data, at, len);
}

/* What programs trip over: just outside the lawful, far out in each size of number, twice as much.
 */
static uint64_t extreme(const struct spec_field *f, unsigned which, uint64_t old)
{
    const unsigned bits = f->width * 8;
    switch (which) {
    case 0:
        return f->min - 1;
    case 1:
        return f->max + 1;
    case 2:
        return UINT64_C(1) << (bits - 1);
    case 3:
        return UINT64_C(1) << (bits - 1 - bits / 8);
    case 4:
        return UINT64_C(1) << (bits / 2 + bits / 8);
    default:
        return old * 2;
    }
}

bool fuzz_extreme(const char *structure, unsigned n, uint8_t *data, size_t len)
{
    enum { EACH = 6 };
    const struct spec_structure *h = spec_structure_find(spec_qcow2(), structure);
    bool header = !strcmp(structure, "header");
    size_t at = header ? 0 : snapshot_at(data, len);
    if (n >= h->nr_fields * EACH) {
        return false;
    }
    const struct spec_field *f = &h->fields[n / EACH];
    bool number = !f->bytes && f->width > 0 && f->width <= 8;
    if (number && (header || at) && at + f->offset + f->width <= len) {
        uint8_t *p = data + at + f->offset;
        uint64_t old = load_uint(p, f->width, f->big_endian);
        store_uint(p, f->width, f->big_endian, extreme(f, n % EACH, old));
    }
    return true;
}

/* Nothing where something was: entries of tables, refcounts. */
static void clear(struct rng *rng, uint8_t *data, size_t len)
{
    size_t width = (size_t)1 << rng_below(rng, 4), at = rng_below(rng, len / width) * width;
    for (unsigned tries = 0; tries < 64 && data[at + width - 1] == 0; tries++) {
        at = rng_below(rng, len / width) * width;
    }
    memset(data + at, 0, width);
}

/* An aligned 8-byte word: most of them are entries of some table. */
static void mutate_entry(struct rng *rng, uint8_t *data, size_t len)
{
    size_t cluster = rng_below(rng, len / 512 + 1) * 512, at = cluster + rng_below(rng, 8) * 8;
    if (at + 8 <= len) {
        store_be64(data + at, interesting(rng, load_be64(data + at), len));
    }
}

/* An entry near the start of the table at `at`, one in use as long as there is any. */
static uint64_t in_use(struct rng *rng, const uint8_t *data, uint64_t at, size_t len)
{
    uint64_t place = at + rng_below(rng, 16) * 8;
    for (unsigned tries = 0; tries < 16 && at <= len && place + 8 <= len; tries++) {
        if (load_be64(data + place)) {
            return place;
        }
        place = at + rng_below(rng, 16) * 8;
    }
    return place;
}

/* Where the header leads: an entry of the L1 table, of the refcount table, or of an L2 table. */
static void mutate_mapping(struct rng *rng, uint8_t *data, size_t len)
{
    if (len < QCOW2_HEADER_V2_SIZE) {
        return;
    }
    uint64_t which = rng_below(rng, 4), limit = len;
    uint64_t at = in_use(rng, data,
                         MIN(which ? qcow2_header_get_l1_table_offset(data)
                                   : qcow2_header_get_refcount_table_offset(data),
                             limit),
                         len);
    if (which > 1 && at + 8 <= len) {
        at = in_use(rng, data, MIN(load_be64(data + at) & 0x00fffffffffffe00, limit), len);
    }
    if (at + 8 <= len) {
        store_be64(data + at, interesting(rng, load_be64(data + at), len));
    }
}

size_t fuzz_mutate(struct rng *rng, uint8_t *data, size_t len)
{
    for (uint64_t n = 1 + rng_below(rng, 4); n > 0 && len > 8; n--) {
        switch (rng_below(rng, 12)) {
        case 0:
        case 1:
            mutate_field(rng, "header", data, 0, len);
            break;
        case 3:
        case 9:
            mutate_snapshot(rng, data, len);
            break;
        case 2:
            data[rng_below(rng, len)] ^=
                rng_below(rng, 2) ? (uint8_t)(1u << rng_below(rng, 8)) : (uint8_t)rng_next(rng);
            break;
        case 8:
            clear(rng, data, len);
            break;
        case 10:
        case 11:
            mutate_mapping(rng, data, len);
            break;
        case 4:
            len = rng_below(rng, 8) ? len : rng_below(rng, len) + 1;
            break;
        default:
            mutate_entry(rng, data, len);
            break;
        }
    }
    return len;
}

static void add_word(struct strbuf *out, unsigned *n, unsigned width, uint64_t value)
{
    strbuf_printf(out, "w%u=\"", (*n)++);
    for (unsigned i = width; i-- > 0;) {
        strbuf_printf(out, "\\x%02x", (unsigned)(value >> (8 * i) & 0xff));
    }
    strbuf_puts(out, "\"\n");
}

void fuzz_dictionary(struct strbuf *out)
{
    unsigned n = 0;
    for (const struct spec_structure *s = spec_qcow2()->structures; s->name; s++) {
        for (size_t i = 0; i < s->nr_fields; i++) {
            const struct spec_field *f = &s->fields[i];
            for (const struct spec_value *v = f->values; v && v->name; v++) {
                add_word(out, &n, MIN(f->width, 8), v->value);
            }
            if (!f->bytes && f->min == f->max && f->min && f->width <= 8) {
                add_word(out, &n, f->width, f->min); /* a constant */
            }
        }
    }
    for (unsigned bit = 0; bit < 2; bit++) {
        add_word(out, &n, 8, UINT64_C(1) << (63 - bit));
    }
}
