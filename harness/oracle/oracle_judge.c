/*
 * Whether bytes, a size or an unreadable range are lawful.  See oracle.h.
 */
#include "harness/oracle/oracle_int.h"

#include <string.h>
#include "ref/base/mem.h"

static void lawful_text(struct strbuf *out, const struct lawful *l)
{
    const char *sep = "";
    for (unsigned v = 0; v < 256; v++) {
        if (lawful_has_byte(l, (uint8_t)v)) {
            strbuf_printf(out, "%s0x%02x", sep, v);
            sep = ", ";
        }
    }
    strbuf_printf(out, "%s%s", l->backing ? sep : "", l->backing ? "backing" : "");
}

bool oracle_size_lawful(const struct oracle *o, enum oracle_view view, int64_t size)
{
    bool found = o->any_size || (view == ORACLE_LIVE && (size == o->size || o->size_open));
    for (unsigned i = 0; view == ORACLE_CRASH && i < o->n_sizes; i++) {
        found |= o->sizes[i] == size;
    }
    return found;
}

void oracle_backing_fill(uint8_t *buf, int64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        buf[i] = (uint8_t)(0xb0 + (((uint64_t)offset + i) >> 9) % 13);
    }
}

static bool all_equal(const uint8_t *buf, size_t len)
{
    return len < 2 || !memcmp(buf, buf + 1, len - 1);
}

/* One content, inside one sector. */
static bool piece_lawful(const struct lawful *l, int64_t offset, const uint8_t *buf, size_t len)
{
    uint8_t pattern[ORACLE_SECTOR];
    if (l->any || (lawful_has_byte(l, buf[0]) && all_equal(buf, len))) {
        return true;
    }
    if (!l->backing) {
        return false;
    }
    oracle_backing_fill(pattern, offset, len);
    return !memcmp(pattern, buf, len);
}

static bool unread_lawful(const struct lawful *l, bool backing)
{
    return l->any || (backing ? l->backing : lawful_has_byte(l, 0));
}

static void explain(struct strbuf *why, const struct lawful *l, int64_t offset, const uint8_t *buf,
                    bool backing)
{
    if (!why) {
        return;
    }
    strbuf_printf(why, "offset %lld: found ", (long long)offset);
    if (buf) {
        strbuf_printf(why, "0x%02x", *buf);
    } else {
        strbuf_puts(why, backing ? "backing" : "0x00");
    }
    strbuf_puts(why, ", lawful: ");
    lawful_text(why, l);
}

int64_t lawful_judge(const struct lawful *l, int64_t offset, int64_t bytes, const uint8_t *buf,
                     struct strbuf *why)
{
    if (l->any || (lawful_has_byte(l, buf[0]) && all_equal(buf, (size_t)bytes))) {
        return -1;
    }
    for (int64_t done = 0; done < bytes;) {
        int64_t at = offset + done;
        int64_t len = MIN(bytes - done, ORACLE_SECTOR - at % ORACLE_SECTOR);
        if (!piece_lawful(l, at, buf + done, (size_t)len)) {
            explain(why, l, at, buf + done, false);
            return at;
        }
        done += len;
    }
    return -1;
}

int64_t oracle_judge(const struct oracle *o, enum oracle_view view, int64_t offset, int64_t bytes,
                     const uint8_t *buf, bool backing, struct strbuf *why)
{
    int64_t end = offset + bytes, at = offset;
    for (size_t i = oracle_run_at(o, offset); at < end; i++) {
        const struct oracle_run *r = &o->runs[i];
        const struct lawful *l = view == ORACLE_LIVE ? &r->live : &r->crash;
        int64_t stop = MIN(end, r->end);
        if (!buf && !unread_lawful(l, backing)) {
            explain(why, l, at, NULL, backing);
            return at;
        }
        int64_t bad = buf ? lawful_judge(l, at, stop - at, buf + (at - offset), why) : -1;
        if (bad >= 0) {
            return bad;
        }
        at = stop;
    }
    return -1;
}

bool oracle_unreadable_lawful(const struct oracle *o, enum oracle_view view, int64_t offset,
                              int64_t bytes)
{
    for (size_t i = oracle_run_at(o, offset); i < o->n_runs && o->runs[i].start < offset + bytes;
         i++) {
        if (!(view == ORACLE_LIVE ? &o->runs[i].live : &o->runs[i].crash)->any) {
            return false;
        }
    }
    return true;
}
