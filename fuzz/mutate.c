/*
 * Mutations that know the formats: fields from the specs' tables, entries of tables that point into
 * the image, checksums made right again.
 */
#include <string.h>
#include "fuzz/seeds_int.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

enum { SECTOR = 512, NEAR = 16 };

/* A number that programs trip over, in steps of `unit` bytes where it is a place. */
static uint64_t interesting(struct rng *rng, uint64_t old, unsigned width, unsigned unit,
                            int64_t size)
{
    const unsigned bits = width * 8;
    const uint64_t flags[] = {0, UINT64_C(1) << (bits - 1), UINT64_C(1) << (bits - 2),
                              UINT64_C(3) << (bits - 2), 1};
    uint64_t flag = flags[rng_below(rng, ARRAY_SIZE(flags))];
    uint64_t step = unit ? unit : 1, end = (uint64_t)size + 4096;
    switch (rng_below(rng, 9)) {
    case 0:
        return flag | rng_below(rng, end) / SECTOR * SECTOR / step;
    case 1:
        return flag | rng_below(rng, end) / step;
    case 2:
        return old ^ flag;
    case 3:
        return old + 1 - 2 * rng_below(rng, 2);
    case 4:
        return UINT64_MAX >> rng_below(rng, 64);
    case 5:
        return UINT64_C(1) << rng_below(rng, bits);
    case 6:
        return old + (step < SECTOR ? SECTOR : SECTOR / step + 1);
    case 7:
        return UINT64_MAX - rng_below(rng, 4);
    default:
        return rng_next(rng);
    }
}

static bool is_number(const struct spec_field *f)
{
    return !f->bytes && f->width > 0 && f->width <= 8;
}

static void put_field(struct disk *d, const struct fuzz_place *p, const struct spec_field *f,
                      uint64_t v)
{
    if (p->at + f->offset + f->width <= disk_size(d)) {
        fuzz_put(d, p->at + f->offset, f->width, f->big_endian, v);
    }
}

static void mutate_field(struct rng *rng, const struct fuzz_format *format, struct disk *d,
                         const struct fuzz_layout *l)
{
    const struct fuzz_place *p = &l->place[rng_below(rng, MAX(l->places, 1))];
    const struct spec_structure *s =
        l->places ? spec_structure_find(format->spec(), p->structure) : NULL;
    if (!s) {
        return;
    }
    const struct spec_field *f = &s->fields[rng_below(rng, s->nr_fields)];
    for (unsigned tries = 0; tries < 8 && !is_number(f); tries++) {
        f = &s->fields[rng_below(rng, s->nr_fields)];
    }
    if (!is_number(f)) {
        return;
    }
    uint64_t v = fuzz_get(d, p->at + f->offset, f->width, f->big_endian);
    switch (rng_below(rng, 4)) {
    case 0:
        v = f->min - rng_below(rng, 2);
        break;
    case 1:
        v = f->max + rng_below(rng, 2);
        break;
    default:
        v = interesting(rng, v, f->width, rng_below(rng, 2) ? 1 : SECTOR, disk_size(d));
        break;
    }
    put_field(d, p, f, v);
}

/* ---- each number at its extremes ---- */

enum { EXTREMES = 6 };

/* Just outside the lawful, far out in each size of number, twice as much. */
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

bool fuzz_extreme(const struct fuzz_format *format, unsigned n, struct disk *d)
{
    struct fuzz_layout l = {0};
    format->layout(d, &l);
    for (unsigned i = 0; i < l.places; i++) {
        const struct spec_structure *s = spec_structure_find(format->spec(), l.place[i].structure);
        for (size_t k = 0; s && k < s->nr_fields; k++) {
            const struct spec_field *f = &s->fields[k];
            if (!is_number(f)) {
                continue;
            }
            if (n < EXTREMES) {
                uint64_t old = fuzz_get(d, l.place[i].at + f->offset, f->width, f->big_endian);
                put_field(d, &l.place[i], f, extreme(f, n, old));
                if (format->seal) {
                    format->seal(d);
                }
                return true;
            }
            n -= EXTREMES;
        }
    }
    return false;
}

/* ---- what is no field ---- */

/* A sector that holds something; the first ones more often: headers are there. */
static int64_t some_sector(struct rng *rng, const struct fuzz_seed *s, const struct disk *d)
{
    if (s->n_sectors == 0 || rng_below(rng, 16) == 0) {
        return (int64_t)rng_below(rng, (uint64_t)disk_size(d) / SECTOR + 1) * SECTOR;
    }
    size_t few = rng_below(rng, 2) ? MIN(s->n_sectors, 8) : s->n_sectors;
    return (int64_t)s->sectors[rng_below(rng, few)] * SECTOR;
}

static void flip_bits(struct rng *rng, struct disk *d, int64_t sector)
{
    int64_t at = sector + (int64_t)rng_below(rng, SECTOR);
    uint8_t byte = (uint8_t)fuzz_get(d, at, 1, false);
    byte ^= rng_below(rng, 2) ? (uint8_t)(1u << rng_below(rng, 8)) : (uint8_t)rng_next(rng);
    if (at < disk_size(d)) {
        disk_write(d, at, &byte, 1);
    }
}

/* Nothing where something was: entries of tables, refcounts. */
static void clear(struct rng *rng, struct disk *d, int64_t sector)
{
    unsigned width = 1u << rng_below(rng, 4);
    for (unsigned tries = 0; tries < 64; tries++) {
        int64_t at = sector + (int64_t)rng_below(rng, SECTOR / width) * width;
        if (fuzz_get(d, at, width, true)) {
            fuzz_put(d, at, width, true, 0);
            return;
        }
    }
}

static void mutate_word(struct rng *rng, struct disk *d, int64_t sector)
{
    unsigned width = rng_below(rng, 2) ? 8 : 4;
    bool big = rng_below(rng, 2);
    int64_t at = sector + (int64_t)rng_below(rng, 8) * width;
    if (at + width <= disk_size(d)) {
        uint64_t old = fuzz_get(d, at, width, big);
        fuzz_put(d, at, width, big, interesting(rng, old, width, 1, disk_size(d)));
    }
}

/* An entry near the start of the table, one in use as long as there is any. */
static int64_t entry(struct rng *rng, const struct disk *d, const struct fuzz_table *t)
{
    int64_t at = t->at;
    for (unsigned tries = 0; tries < NEAR; tries++) {
        at = t->at + (int64_t)rng_below(rng, MIN(t->n, NEAR)) * t->width;
        if (fuzz_get(d, at, t->width, t->big_endian)) {
            break;
        }
    }
    return at;
}

/* Another place, or that of another entry. */
static void mutate_entry(struct rng *rng, struct disk *d, const struct fuzz_layout *l)
{
    if (!l->tables) {
        return;
    }
    const struct fuzz_table *t = &l->table[rng_below(rng, l->tables)];
    int64_t at = entry(rng, d, t);
    if (at + t->width > disk_size(d)) {
        return;
    }
    uint64_t v = fuzz_get(d, at, t->width, t->big_endian);
    if (rng_below(rng, 4) == 0) {
        at = t->at + (int64_t)rng_below(rng, MIN(t->n, NEAR)) * t->width;
    } else {
        v = interesting(rng, v, t->width, t->unit, disk_size(d));
    }
    fuzz_put(d, at, t->width, t->big_endian, v);
}

static void mutate_once(struct rng *rng, const struct fuzz_format *f, const struct fuzz_seed *seed,
                        struct disk *d)
{
    struct fuzz_layout l = {0};
    f->layout(d, &l);
    switch (rng_below(rng, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        mutate_field(rng, f, d, &l);
        break;
    case 4:
    case 5:
    case 6:
        mutate_entry(rng, d, &l);
        break;
    case 7:
        flip_bits(rng, d, some_sector(rng, seed, d));
        break;
    case 8:
        clear(rng, d, some_sector(rng, seed, d));
        break;
    case 9:
        if (rng_below(rng, 6) == 0) {
            disk_truncate(d, (int64_t)rng_below(rng, (uint64_t)disk_size(d) + 1));
        }
        break;
    default:
        mutate_word(rng, d, some_sector(rng, seed, d));
        break;
    }
}

void fuzz_mutate(struct rng *rng, const struct fuzz_format *f, const struct fuzz_seed *seed,
                 struct disk *d)
{
    for (uint64_t n = 1 + rng_below(rng, 4); n > 0; n--) {
        mutate_once(rng, f, seed, d);
    }
    if (f->seal && rng_below(rng, 8)) {
        f->seal(d);
    }
}

/* ---- AFL++'s dictionary ---- */

static void add_word(struct strbuf *out, unsigned *n, const struct spec_field *f, uint64_t value)
{
    uint8_t raw[8];
    unsigned width = MIN(f->width, 8);
    store_uint(raw, width, f->big_endian, value);
    strbuf_printf(out, "w%u=\"", (*n)++);
    for (unsigned i = 0; i < width; i++) {
        strbuf_printf(out, "\\x%02x", raw[i]);
    }
    strbuf_puts(out, "\"\n");
}

void fuzz_dictionary(const struct fuzz_format *format, struct strbuf *out)
{
    static const struct spec_field top = {.width = 8, .big_endian = true};
    unsigned n = 0;
    for (const struct spec_structure *s = format->spec()->structures; s->name; s++) {
        for (size_t i = 0; i < s->nr_fields; i++) {
            const struct spec_field *f = &s->fields[i];
            for (const struct spec_value *v = f->values; v && v->name; v++) {
                add_word(out, &n, f, v->value);
            }
            if (is_number(f) && f->min == f->max && f->min) {
                add_word(out, &n, f, f->min); /* a constant */
            }
        }
    }
    for (unsigned bit = 0; bit < 2; bit++) {
        add_word(out, &n, &top, UINT64_C(1) << (63 - bit));
    }
}
