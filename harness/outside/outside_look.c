/*
 * Looking at a state through QEMU's programs.  See outside_look.h.
 */
#include "harness/outside/outside_look.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "harness/outside/outside_use.h"
#include "harness/sandbox/sandbox.h"
#include "ref/base/mem.h"
#include "ref/engine/world.h"
#include "specs/qcow2_layout.h"

#define MAX_SEEN  4096
#define MAX_GUEST (256LL << 20) /* longest disk that is read back */

/* A run of the guest's bytes: uniform, or as they are. */
struct run {
    int64_t offset, bytes;
    uint8_t value;
    uint8_t *raw; /* NULL: uniform */
};

/* What QEMU makes of one content. */
struct seen {
    uint64_t hash;
    char *wrong; /* it does not open, or the check complains; NULL: fine */
    bool used;   /* it was used further */
    char *later; /* what that breaks; NULL: nothing */
    int leaks;
    int64_t size;
    struct run *runs;
    size_t n_runs;
    struct unreadable unreadable;
};

struct outside_eye {
    struct outside_tools tools;
    struct process *process;
    struct sandbox *sandbox;
    struct seen *seen[MAX_SEEN]; /* by hash, the last one of each place */
    struct outside_eye_stats stats;
};

struct outside_eye *outside_eye_new(const char *programs, const char *dir, struct error **err)
{
    struct outside_eye *e = mem_zalloc(sizeof(*e));
    if (tools_open(&e->tools, programs, dir, err) < 0) {
        outside_eye_free(e);
        return NULL;
    }
    e->process = process_new();
    e->sandbox = sandbox_new(e->process, &profile_reference, PLANT_NONE);
    return e;
}

static void seen_free(struct seen *s)
{
    for (size_t i = 0; s && i < s->n_runs; i++) {
        mem_free(s->runs[i].raw);
    }
    if (s) {
        mem_free(s->runs);
        mem_free(s->unreadable.at);
        mem_free(s->wrong);
        mem_free(s->later);
        mem_free(s);
    }
}

void outside_eye_free(struct outside_eye *e)
{
    if (!e) {
        return;
    }
    for (size_t i = 0; i < MAX_SEEN; i++) {
        seen_free(e->seen[i]);
    }
    sandbox_free(e->sandbox);
    if (e->process) {
        process_free(e->process);
    }
    tools_close(&e->tools);
    mem_free(e);
}

struct outside_eye_stats outside_eye_stats(const struct outside_eye *e)
{
    return e->stats;
}

/* ---- what the check says ---- */

struct format_traits {
    const char *format;
    bool has_check;             /* qemu-img check knows it */
    bool has_repair;            /* check -r, too */
    enum sandbox_repair repair; /* what the first user after a cut does when the check complains */
};

/* The incompatible feature that lets refcounts be wrong until somebody writes (FEAT-1). */
static bool says_dirty(const struct disk_set *set)
{
    uint8_t header[QCOW2_HEADER_V3_SIZE];
    if (disk_size(set->disk[0]) < (int64_t)sizeof(header)) {
        return false;
    }
    disk_read(set->disk[0], 0, header, sizeof(header));
    return qcow2_header_get_version(header) >= 3 &&
           qcow2_header_get_incompatible_features(header) & 1;
}

static struct format_traits traits_of(const struct program *p, const struct disk_set *set)
{
    static const struct {
        const char *format;
        bool has_check, has_repair;
    } all[] = {
        {"qed", true, true},   {"vhdx", true, false},  {"parallels", true, true},
        {"vmdk", true, false}, {"vdi", true, false},   {"vpc", false, false},
        {"raw", false, false}, {"qcow", false, false},
    };
    struct format_traits t = {p->format, true, true, sandbox_repair_of(p)};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (!strcmp(all[i].format, p->format)) {
            t.has_check = all[i].has_check;
            t.has_repair = all[i].has_repair;
            return t;
        }
    }
    if (says_dirty(set)) {
        t.repair = REPAIR_BY_OPENING;
    }
    return t;
}

/* Complaints about crash states that do no harm, or whose harm shows when the image is used
 * further. */
static bool tolerated_line(const struct program *p, const char *line, size_t len)
{
    static const struct {
        const char *format, *words;
    } all[] = {
        {"vdi", "allocated blocks mismatch"},
        {"vmdk", "points after EOF"},
        /* The promise's behind_the_end: harmless as long as the refcounts are right. */
        {"qcow2", "counting reference for region exceeding the end of the file"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (!strcmp(p->format, all[i].format) &&
            memmem(line, len, all[i].words, strlen(all[i].words))) {
            return true;
        }
    }
    return false;
}

/* Is there an ERROR line, and is each of them tolerated? */
static bool tolerated(const struct program *p, const struct complaint *c)
{
    bool any = false;
    for (const char *at = c->text; at && (at = strstr(at, "ERROR"));) {
        size_t len = strcspn(at, "\n");
        any = true;
        if (!tolerated_line(p, at, len)) {
            return false;
        }
        at += len;
    }
    return any;
}

/* ---- what was read ---- */

static void add_run(struct seen *s, int64_t offset, int64_t bytes, const uint8_t *buf)
{
    bool uniform = bytes < 2 || !memcmp(buf, buf + 1, (size_t)bytes - 1);
    struct run *last = s->n_runs ? &s->runs[s->n_runs - 1] : NULL;
    if (uniform && last && !last->raw && last->value == buf[0] &&
        last->offset + last->bytes == offset) {
        last->bytes += bytes;
        return;
    }
    s->runs = mem_realloc(s->runs, (s->n_runs + 1) * sizeof(*s->runs));
    s->runs[s->n_runs++] =
        (struct run){offset, bytes, buf[0], uniform ? NULL : mem_dup(buf, (size_t)bytes)};
}

static void add_bytes(struct seen *s, int64_t offset, int64_t bytes, const uint8_t *buf)
{
    for (int64_t done = 0; done < bytes;) {
        int64_t n = MIN(bytes - done, (int64_t)ORACLE_SECTOR);
        add_run(s, offset + done, n, buf + done);
        done += n;
    }
}

static bool take_guest(struct outside_eye *e, struct seen *s)
{
    static const uint8_t zero[ORACLE_SECTOR];
    char *name = tools_file(&e->tools, TOOLS_GUEST);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    s->size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (s->size < 0 || s->size > MAX_GUEST) {
        s->wrong = str_fmt("size %lld", (long long)s->size);
    }
    for (int64_t at = 0; !s->wrong && at < s->size;) {
        int64_t data = lseek(fd, at, SEEK_DATA);
        data = data < 0 ? s->size : data;
        for (; at < data; at += MIN(data - at, (int64_t)ORACLE_SECTOR)) {
            add_run(s, at, MIN(data - at, (int64_t)ORACLE_SECTOR), zero);
        }
        int64_t n = MIN(s->size - at, (int64_t)TOOLS_PIECE);
        if (n > 0 && pread(fd, e->tools.buf, (size_t)n, at) != n) {
            s->wrong = str_dup("cannot be read back");
        } else if (n > 0) {
            add_bytes(s, at, n, e->tools.buf);
            at += n;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    mem_free(name);
    return !s->wrong;
}

/* ---- looking ---- */

static void check_state(struct outside_eye *e, const struct program *p, const struct disk_set *set,
                        const char *options, struct seen *s, bool *must)
{
    struct format_traits t = traits_of(p, set);
    struct complaint c = {0};
    if (t.has_check) {
        c = tools_check(&e->tools, options);
    }
    *must = c.wrong != NULL;
    if (c.wrong && t.repair != REPAIR_NONE) {
        complaint_free(&c);
        if (t.repair == REPAIR_BY_CHECK) {
            tools_repair(&e->tools, options);
        } else {
            tools_use(&e->tools, options, "flush", NULL);
        }
        c = tools_check(&e->tools, options);
    }
    s->leaks = c.leaks;
    if (c.wrong && !tolerated(p, &c)) {
        s->wrong = c.wrong;
        c.wrong = NULL;
    }
    complaint_free(&c);
}

static struct seen *look_at(struct outside_eye *e, const struct capture *c,
                            const struct disk_set *set, uint64_t hash, unsigned flags)
{
    struct seen *s = mem_zalloc(sizeof(*s));
    char *options = tools_options(&e->tools, c);
    bool must = false;
    s->hash = hash;
    e->stats.looked++;
    if (tools_write(&e->tools, c, set) < 0) {
        s->wrong = str_dup("the state cannot be written to its files");
    } else {
        check_state(e, c->rec.program, set, options, s, &must);
    }
    bool use = (must || flags & OUTSIDE_USE) && !(flags & OUTSIDE_NO_USE);
    s->wrong = s->wrong ? s->wrong : tools_read(&e->tools, options, &s->unreadable);
    if (!s->wrong && take_guest(e, s) && use) {
        bool mend = (must || s->leaks) && traits_of(c->rec.program, set).has_repair;
        s->used = true;
        s->later = outside_use_further(&e->tools, c, set, options, s->size, mend);
    }
    mem_free(options);
    return s;
}

/* ---- judging ---- */

static bool judge_runs(const struct seen *s, const struct oracle *o, enum oracle_view view,
                       uint8_t *buf, struct strbuf *why)
{
    for (size_t i = 0; i < s->n_runs; i++) {
        const struct run *r = &s->runs[i];
        if (!r->raw) {
            memset(buf, r->value, (size_t)MIN(r->bytes, (int64_t)TOOLS_PIECE));
        }
        for (int64_t done = 0; done < r->bytes;) {
            int64_t n = MIN(r->bytes - done, (int64_t)TOOLS_PIECE);
            const uint8_t *bytes = r->raw ? r->raw + done : buf;
            if (oracle_judge(o, view, r->offset + done, n, bytes, false, why) >= 0) {
                return false;
            }
            done += n;
        }
    }
    return true;
}

static bool judge_seen(struct outside_eye *e, const struct seen *s, const struct oracle *o,
                       enum oracle_view view, unsigned flags, struct strbuf *why)
{
    if (s->wrong) {
        strbuf_puts(why, s->wrong);
        return false;
    }
    if (flags & OUTSIDE_CLEAN && s->leaks) {
        strbuf_printf(why, "check: %d leaks on an undisturbed image", s->leaks);
        return false;
    }
    if (!oracle_size_lawful(o, view, s->size)) {
        strbuf_printf(why, "size %lld is not lawful", (long long)s->size);
        return false;
    }
    for (size_t i = 0; i < s->unreadable.n; i++) {
        if (!oracle_unreadable_lawful(o, view, s->unreadable.at[i], ORACLE_SECTOR)) {
            strbuf_printf(why, "offset %lld: unreadable", (long long)s->unreadable.at[i]);
            return false;
        }
    }
    if (!judge_runs(s, o, view, e->tools.buf, why)) {
        return false;
    }
    if (s->later) {
        strbuf_puts(why, s->later);
    }
    return !s->later;
}

static bool one_file(const struct capture *c)
{
    return !c->rec.program->backing && !strstr(c->rec.program->options, "data_file=");
}

static bool judge_by_reference(struct outside_eye *e, const struct capture *c,
                               const struct disk_set *set, const struct oracle *o,
                               enum oracle_view view, struct strbuf *why)
{
    struct looked l = {0};
    struct disk_set first = {.n = 1, .disk = {set->disk[0]}};
    unsigned look = LOOK_SPEC | (says_dirty(set) ? LOOK_REPAIR : 0);
    bool ok = sandbox_look(e->sandbox, c->rec.program, &first, o, view, look, &l);
    if (!ok) {
        strbuf_printf(why, "reference: %s", l.why.s ? l.why.s : "?");
    }
    strbuf_free(&l.why);
    return ok;
}

void outside_eye_map(struct outside_eye *e, const struct capture *c, const struct disk_set *set,
                     const char *prefix, struct strbuf *out)
{
    struct disk_set first = {.n = 1, .disk = {set->disk[0]}};
    if (one_file(c) && !strstr(c->rec.program->options, "subformat=")) {
        sandbox_map(e->sandbox, c->rec.program, &first, prefix, out);
    }
}

static uint64_t content_hash(const struct disk_set *set)
{
    uint64_t h = 0;
    for (int i = 0; i < set->n; i++) {
        h = h * 0x9e3779b97f4a7c15ULL + disk_hash(set->disk[i]) + 1;
    }
    return h;
}

bool outside_look(struct outside_eye *e, const struct capture *c, const struct disk_set *set,
                  const struct oracle *o, enum oracle_view view, unsigned flags, struct strbuf *why)
{
    uint64_t hash = content_hash(set);
    struct seen **place = &e->seen[hash % MAX_SEEN];
    if (*place && (*place)->hash == hash && ((*place)->used || !(flags & OUTSIDE_USE))) {
        e->stats.again++;
    } else {
        seen_free(*place);
        *place = look_at(e, c, set, hash, flags);
    }
    if (!judge_seen(e, *place, o, view, flags, why)) {
        return false;
    }
    return !(flags & OUTSIDE_REFERENCE) || strcmp(c->rec.program->format, "qcow2") ||
           !one_file(c) || judge_by_reference(e, c, set, o, view, why);
}
