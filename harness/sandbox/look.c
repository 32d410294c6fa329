/*
 * Looking at what a cut or a fault left: open, check, read what is allocated, judge.  See
 * sandbox.h.
 *
 * The driver's own check and the spec checker are two readings of the format: the driver's runs on
 * every state; the spec checker decides whether what was found is lawful by the promise, and judges
 * for itself where asked to.
 */
#include "harness/sandbox/promise.h"
#include "harness/sandbox/sandbox_int.h"

#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/protocol/sim_image.h"
#include "specs/runtime/checkers.h"

struct view {
    struct sandbox *sb;
    struct world *w;
    const struct program *p;
    const struct disk_set *set;
    const struct oracle *o;
    enum oracle_view view;
    unsigned look;
    struct looked *out;
};

static bool wrong(struct view *v, const char *what)
{
    v->out->ok = false;
    strbuf_puts(&v->out->why, what);
    return false;
}

/* The disk that the spec checker judges: where extents have files of their own, the extent's; NULL:
 * flat ones have no structure, and what was made damaged breaks its clauses from the start. */
static struct disk *judged(const struct view *v)
{
    const char *o = v->p->options;
    bool apart = strstr(o, "=twoGbMaxExtentSparse") || strstr(o, "made=cowd");
    bool flat = strstr(o, "=monolithicFlat") || strstr(o, "=twoGbMaxExtentFlat");
    bool damaged = strstr(o, "made=shared") || strstr(o, "made=extension");
    return flat || damaged ? NULL : v->set->disk[apart];
}

/* True when the image has nothing that the promise does not allow; nothing at all where no cut
 * happened. */
static bool spec_judge(struct view *v)
{
    const struct spec_limits limits = {.clusters = 1 << 20, .work = 1 << 28};
    struct spec_image image = sim_image(judged(v));
    struct spec_report *r = mem_alloc(sizeof(*r));
    const char *clause = NULL;
    spec_report_init(r);
    int ret = spec_checker_find(v->p->format)->check(&image, &limits, r, &clause);
    bool ok = ret == 0 && !clause;
    bool leaks = r->count[SPEC_LEAK] && !promise_leaks(v->p);
    if (ok && v->look & LOOK_CLEAN && (r->count[SPEC_CORRUPTION] || leaks)) {
        ok = false;
        clause = r->nr_findings ? r->findings[0].clause : "?";
    }
    if (!ok) {
        v->out->ok = false;
        strbuf_printf(&v->out->why, "spec checker: clause %s", clause ? clause : "(walk failed)");
        for (unsigned i = 0; i < r->nr_findings; i++) {
            const struct spec_finding *f = &r->findings[i];
            if (!clause || !strcmp(f->clause, clause)) {
                strbuf_printf(&v->out->why, ": %s (at %llu)", f->message,
                              (unsigned long long)f->offset);
                break;
            }
        }
    }
    mem_free(r);
    return ok;
}

static bool has_spec(const struct view *v)
{
    return spec_checker_find(v->p->format) && judged(v);
}

static bool check_image(struct view *v, struct blk *b)
{
    struct check_result *res = &v->out->check;
    int ret = node_check(blk_node(b), res, 0);
    if (v->look & LOOK_UNCHECKED) {
        return true;
    }
    if (ret == -ENOTSUP) {
        return !has_spec(v) || spec_judge(v);
    }
    if (ret < 0 || res->check_errors) {
        return wrong(v, "check fails");
    }
    bool leaks = v->look & LOOK_CLEAN && res->leaks && !promise_leaks(v->p);
    bool clean = !res->corruptions && !leaks;
    if (clean && !(v->look & LOOK_SPEC)) {
        return true;
    }
    if (v->look & LOOK_CLEAN && !clean) {
        strbuf_printf(&v->out->why, "check finds %d corruptions, %d leaks on an undisturbed image",
                      res->corruptions, res->leaks);
        return v->out->ok = false;
    }
    return !has_spec(v) || spec_judge(v);
}

static bool judge(struct view *v, int64_t offset, int64_t bytes, const uint8_t *buf, bool backing)
{
    if (oracle_judge(v->o, v->view, offset, bytes, buf, backing, &v->out->why) < 0) {
        return true;
    }
    return v->out->ok = false;
}

static bool read_range(struct view *v, struct blk *b, int64_t offset, int64_t bytes)
{
    while (bytes > 0) {
        int64_t len = MIN(bytes, (int64_t)SANDBOX_BUF);
        int ret = blk_pread(b, offset, v->sb->buf, len);
        if (v->sb->planted == PLANT_FLIP_BYTE) {
            v->sb->buf[len / 2] ^= 0x80;
        }
        v->out->bytes_read += len;
        if (ret < 0) {
            return oracle_unreadable_lawful(v->o, v->view, offset, len) ||
                   wrong(v, "lawful data is unreadable");
        }
        if (!judge(v, offset, len, v->sb->buf, false)) {
            return false;
        }
        offset += len;
        bytes -= len;
    }
    return true;
}

/* Nothing here in this layer: the backing file shows, which is as long as the image was at first.
 */
static bool judge_hole(struct view *v, int64_t offset, int64_t bytes)
{
    int64_t covered = v->p->backing ? MIN(MAX(v->p->size - offset, 0), bytes) : 0;
    return (covered == 0 || judge(v, offset, covered, NULL, true)) &&
           (covered == bytes || judge(v, offset + covered, bytes - covered, NULL, false));
}

static bool read_image(struct view *v, struct blk *b)
{
    int64_t length = blk_length(b);
    if (!oracle_size_lawful(v->o, v->view, length)) {
        strbuf_printf(&v->out->why, "size %lld is not lawful", (long long)length);
        return v->out->ok = false;
    }
    for (int64_t at = 0; at < length;) {
        struct status st;
        int ret = node_block_status(blk_node(b), false, at, length - at, &st);
        if (ret < 0 && oracle_unreadable_lawful(v->o, v->view, at, MIN(length - at, 512))) {
            at += MIN(length - at, 512); /* a silent fault hit what was written here */
            continue;
        }
        if (ret < 0 || st.bytes <= 0) {
            return wrong(v, "block status fails");
        }
        st.bytes = MIN(st.bytes, length - at);
        bool ok;
        if (st.flags & STATUS_ZERO) {
            ok = judge(v, at, st.bytes, NULL, false);
        } else if (st.flags & STATUS_ALLOCATED) {
            ok = read_range(v, b, at, st.bytes);
        } else if (v->o->committed) {
            ok = read_range(v, b, at, st.bytes);
        } else {
            ok = judge_hole(v, at, st.bytes);
        }
        if (!ok) {
            return false;
        }
        at += st.bytes;
    }
    return true;
}

static struct blk *open_state(struct view *v, unsigned flags)
{
    struct error *err = NULL;
    struct blk *b = blk_open(v->w, "sim:image", NULL, sandbox_open_options(v->p), flags, &err);
    if (!b) {
        v->out->ok = false;
        strbuf_printf(&v->out->why, "does not open: %s", err ? err->msg : "?");
    }
    error_free(err);
    v->out->opened |= b != NULL;
    return b;
}

static void look_once(struct view *v, unsigned flags)
{
    struct blk *b = open_state(v, flags);
    if (!b) {
        return;
    }
    if (check_image(v, b)) {
        read_image(v, b);
    }
    blk_unref(b);
}

/* Opens for writing what a cut left, as who uses it next has to, before anybody only reads it. */
static void repair(struct view *v, enum sandbox_repair how)
{
    struct check_result res = {0};
    unsigned check = how == REPAIR_BY_CHECK ? OPEN_CHECK : 0;
    struct blk *b = open_state(v, OPEN_RDWR | OPEN_RESIZE | check);
    if (b && check && node_check(blk_node(b), &res, FIX_LEAKS | FIX_ERRORS) < 0) {
        wrong(v, "cannot be repaired");
    }
    blk_unref(b);
}

static void look_all(void *arg)
{
    struct view *v = arg;
    enum sandbox_repair how = sandbox_repair_of(v->p);
    if (how != REPAIR_NONE && v->view == ORACLE_CRASH) {
        /* What the cut left, and below what the repair made of it. */
        if (!(v->look & LOOK_SPEC) || !has_spec(v) || spec_judge(v)) {
            repair(v, how);
        }
    }
    if (v->out->ok) {
        look_once(v, 0);
    }
    if (v->out->ok && v->look & LOOK_REPAIR) {
        look_once(v, OPEN_RDWR | OPEN_RESIZE);
    }
}

bool sandbox_look(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                  const struct oracle *o, enum oracle_view view, unsigned look, struct looked *out)
{
    struct disk_set copy = {0};
    struct view v = {.sb = sb, .p = p, .set = set, .o = o, .view = view, .look = look, .out = out};
    strbuf_reset(&out->why);
    out->ok = true;
    out->opened = out->hung = false;
    out->check = (struct check_result){0};
    if (look & LOOK_REPAIR || sandbox_repair_of(p) != REPAIR_NONE) {
        copy = disk_set_clone(set);
        v.set = &copy;
    }
    v.w = sandbox_world(sb, p, v.set, NULL, NULL);
    if (world_exec(v.w, look_all, &v) < 0) {
        out->hung = true;
        wrong(&v, "opening or reading hangs");
    }
    world_free(v.w);
    disk_set_free(&copy);
    return out->ok;
}
