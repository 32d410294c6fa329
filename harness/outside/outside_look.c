/*
 * Looking at a state through QEMU's programs.  See outside_look.h.
 */
#include "harness/outside/outside_look.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "harness/sandbox/sandbox.h"
#include "harness/subject/forkserver.h"
#include "harness/subject/pipe.h"
#include "ref/base/iov.h"
#include "ref/base/mem.h"
#include "ref/engine/world.h"

#define PIECE       (256 * 1024)
#define OUT_NAME    "guest.raw"
#define BEFORE_NAME "before.raw"
#define MAX_SEEN    4096
#define MAX_GUEST   (256LL << 20) /* longest disk that is read back */

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
    int64_t *unreadable; /* offsets that could not be read */
    size_t n_unreadable;
};

struct outside_eye {
    char *dir, *img_name, *io_name;
    struct forkserver *img, *io;
    struct process *process;
    struct sandbox *sandbox;
    struct seen *seen[MAX_SEEN]; /* by hash, the last one of each place */
    uint8_t *buf;
    struct outside_eye_stats stats;
};

struct outside_eye *outside_eye_new(const char *programs, const char *dir, struct error **err)
{
    struct outside_eye *e = mem_zalloc(sizeof(*e));
    e->dir = str_dup(dir);
    e->img_name = programs ? str_fmt("%s/qemu-img", programs) : str_dup("qemu-img");
    e->io_name = programs ? str_fmt("%s/qemu-io", programs) : str_dup("qemu-io");
    e->buf = mem_alloc(PIECE);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        error_set_errno(err, errno, "%s", dir);
        outside_eye_free(e);
        return NULL;
    }
    e->img = forkserver_new(e->img_name, NULL);
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
        mem_free(s->unreadable);
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
    forkserver_free(e->img);
    forkserver_free(e->io);
    sandbox_free(e->sandbox);
    if (e->process) {
        process_free(e->process);
    }
    mem_free(e->buf);
    mem_free(e->img_name);
    mem_free(e->io_name);
    mem_free(e->dir);
    mem_free(e);
}

struct outside_eye_stats outside_eye_stats(const struct outside_eye *e)
{
    return e->stats;
}

/* ---- the state as files ---- */

static char *file_name(const struct outside_eye *e, const char *name)
{
    return str_fmt("%s/%s", e->dir, name);
}

static int write_range(struct outside_eye *e, int fd, const struct disk *d, int64_t at, int64_t n)
{
    while (n > 0) {
        size_t len = (size_t)MIN(n, (int64_t)PIECE);
        disk_read(d, at, e->buf, len);
        if (!buf_is_zero(e->buf, len) && pwrite(fd, e->buf, len, at) != (ssize_t)len) {
            return -EIO;
        }
        at += (int64_t)len;
        n -= (int64_t)len;
    }
    return 0;
}

static int write_disk(struct outside_eye *e, const struct disk *d, const char *name)
{
    char *path = file_name(e, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int64_t size = disk_size(d), n;
    int ret = fd < 0 || ftruncate(fd, size) < 0 ? -EIO : 0;
    for (int64_t at = 0; ret == 0 && at < size; at += n) {
        if (disk_block_status(d, at, size - at, &n) == DISK_DATA) {
            ret = write_range(e, fd, d, at, n);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    mem_free(path);
    return ret;
}

int outside_eye_write(struct outside_eye *e, const struct capture *c, const struct disk_set *set)
{
    int ret = 0;
    for (int i = 0; ret == 0 && i < set->n; i++) {
        if (c->name[i]) {
            ret = write_disk(e, set->disk[i], c->name[i]);
        }
    }
    return ret;
}

/* ---- QEMU's programs ---- */

/* Files under our names, whatever names the image holds. */
static char *image_options(const struct outside_eye *e, const struct capture *c)
{
    const struct program *p = c->rec.program;
    struct strbuf out = STRBUF_INIT;
    strbuf_printf(&out, "driver=%s,file.driver=file,file.filename=%s/%s", p->format, e->dir,
                  c->name[0]);
    if (c->name[1] && strstr(p->options, "data_file=")) {
        strbuf_printf(&out, ",data-file.driver=file,data-file.filename=%s/%s", e->dir, c->name[1]);
    }
    if (p->backing) {
        strbuf_printf(&out,
                      ",backing.driver=raw,backing.file.driver=file,backing.file.filename=%s/%s",
                      e->dir, c->name[2]);
    }
    return strbuf_take(&out);
}

struct format_traits {
    const char *format;
    bool has_check;             /* qemu-img check knows it */
    bool has_repair;            /* check -r, too */
    enum sandbox_repair repair; /* what the first user after a cut does when the check complains */
};

static struct format_traits traits_of(const struct program *p)
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
    if (strstr(p->options, "lazy_refcounts=on")) {
        t.repair = REPAIR_BY_OPENING;
    }
    return t;
}

/* The line that says what is wrong: the first with "ERROR", else the first. */
static char *telling_line(const char *text)
{
    const char *at = text ? strstr(text, "ERROR") : NULL;
    at = at ? at : text ? text : "";
    size_t len = strcspn(at, "\n");
    return str_ndup(at, MIN(len, (size_t)160));
}

static int64_t json_number(const char *text, const char *key)
{
    const char *at = text ? strstr(text, key) : NULL;
    return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

/* What qemu-img check says. */
struct complaint {
    char *wrong; /* NULL: nothing but leaks */
    char *text;  /* all it printed */
    int leaks;
};

static void complaint_free(struct complaint *c)
{
    mem_free(c->wrong);
    mem_free(c->text);
    memset(c, 0, sizeof(*c));
}

/* Names differ from run to run. */
static const char *without_folder(const struct outside_eye *e, const char *line)
{
    const char *at = strstr(line, e->dir);
    return at ? at + strlen(e->dir) + 1 : line;
}

static struct complaint check(struct outside_eye *e, const char *options)
{
    char *argv[] = {e->img_name, "check", "--output=json", "--image-opts", (char *)options, NULL};
    struct strbuf out = STRBUF_INIT;
    int status = pipe_run(e->img, argv, NULL, &out);
    char *line = telling_line(out.s);
    struct complaint c = {.leaks = (int)json_number(out.s, "\"leaks\": ")};
    if (status < 0) {
        c.wrong = str_fmt("qemu-img check ends badly: %s", line);
    } else if (status == 1) {
        c.wrong = str_fmt("check: %s", without_folder(e, line));
    } else if (status == 2) {
        c.wrong = str_fmt("check: %d corruptions, %d leaks: %s",
                          (int)json_number(out.s, "\"corruptions\": "), c.leaks, line);
    } else if (status != 0 && status != 3 && status != 63) {
        c.wrong = str_fmt("check: exit status %d: %s", status, line);
    }
    mem_free(line);
    c.text = strbuf_take(&out);
    return c;
}

static void repair(struct outside_eye *e, const char *options)
{
    char *argv[] = {e->img_name, "check", "-q", "-r", "all", "--image-opts", (char *)options, NULL};
    pipe_run(e->img, argv, NULL, NULL);
}

/* Opens for writing, does one command, flushes and closes: what a user does after the cut.  Status.
 */
static int use_image(struct outside_eye *e, const char *options, const char *command,
                     struct strbuf *out)
{
    char *argv[] = {e->io_name,      "--image-opts", "-t",    "writeback",     "-c",
                    (char *)command, "-c",           "flush", (char *)options, NULL};
    if (!e->io) {
        e->io = forkserver_new(e->io_name, NULL);
    }
    return pipe_run(e->io, argv, NULL, out);
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

static void note_unreadable(struct seen *s, const char *text)
{
    static const char words[] = "error while reading offset ";
    for (const char *at = text; at && (at = strstr(at, words));) {
        at += strlen(words);
        s->unreadable = mem_realloc(s->unreadable, (s->n_unreadable + 1) * sizeof(*s->unreadable));
        s->unreadable[s->n_unreadable++] = strtoll(at, NULL, 10);
    }
}

/* The guest's bytes into a raw file; false with s->wrong. */
static bool read_guest(struct outside_eye *e, const char *options, struct seen *s)
{
    char *out_name = file_name(e, OUT_NAME);
    char *argv[] = {e->img_name,    "convert",       "-O",     "raw",
                    "--image-opts", (char *)options, out_name, NULL};
    char *salvage[] = {e->img_name,    "convert",       "-O",     "raw", "--salvage",
                       "--image-opts", (char *)options, out_name, NULL};
    struct strbuf out = STRBUF_INIT;
    int status = pipe_run(e->img, argv, NULL, &out);
    if (status == 1) {
        strbuf_reset(&out);
        status = pipe_run(e->img, salvage, NULL, &out);
        note_unreadable(s, out.s);
    }
    if (status != 0) {
        char *line = telling_line(out.s);
        s->wrong = str_fmt("does not read: %s", without_folder(e, line));
        mem_free(line);
    }
    strbuf_free(&out);
    mem_free(out_name);
    return !s->wrong;
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
    char *name = file_name(e, OUT_NAME);
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
        int64_t n = MIN(s->size - at, (int64_t)PIECE);
        if (n > 0 && pread(fd, e->buf, (size_t)n, at) != n) {
            s->wrong = str_dup("cannot be read back");
        } else if (n > 0) {
            add_bytes(s, at, n, e->buf);
            at += n;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    mem_free(name);
    return !s->wrong;
}

/* ---- using it further ---- */

#define LATER_BYTE 0xee
#define LATER_LEN  4096

/* The first byte of the open files that differs, but for the range that was written; or -1. */
static int64_t first_difference(struct outside_eye *e, int before, int after, int64_t size,
                                int64_t written)
{
    uint8_t *other = mem_alloc(PIECE);
    int64_t bad = -1;
    for (int64_t at = 0; bad < 0 && at < size; at += PIECE) {
        int64_t n = MIN(size - at, (int64_t)PIECE);
        memset(e->buf, 0, (size_t)n);
        memset(other, 0, (size_t)n);
        if (pread(before, e->buf, (size_t)n, at) < 0 || pread(after, other, (size_t)n, at) < 0) {
            bad = at;
        }
        for (int64_t i = 0; bad < 0 && i < n; i++) {
            bool in = written >= 0 && at + i >= written && at + i < written + LATER_LEN;
            bad = other[i] != (in ? LATER_BYTE : e->buf[i]) ? at + i : -1;
        }
    }
    mem_free(other);
    return bad;
}

/* Compares the guest's bytes with those before; written < 0: nothing was written. */
static char *compare_later(struct outside_eye *e, const char *what, int64_t size, int64_t written)
{
    char *names[2] = {file_name(e, BEFORE_NAME), file_name(e, OUT_NAME)}, *said = NULL;
    int fd[2];
    for (int i = 0; i < 2; i++) {
        fd[i] = open(names[i], O_RDONLY | O_CLOEXEC);
        mem_free(names[i]);
    }
    int64_t bad = fd[0] < 0 || fd[1] < 0 ? 0 : first_difference(e, fd[0], fd[1], size, written);
    if (bad >= 0) {
        bool lost = written >= 0 && bad >= written && bad < written + LATER_LEN;
        said = str_fmt("%s: %s: offset %lld", what,
                       lost ? "what was written and flushed is lost" : "other data changed",
                       (long long)bad);
    }
    for (int i = 0; i < 2; i++) {
        if (fd[i] >= 0) {
            close(fd[i]);
        }
    }
    return said;
}

/* Reads the guest again and compares; what: what was done. */
static char *look_again(struct outside_eye *e, const char *options, const char *what, int64_t size,
                        int64_t written)
{
    struct seen after = {0};
    char *said = read_guest(e, options, &after) ? compare_later(e, what, size, written)
                                                : str_fmt("%s: %s", what, after.wrong);
    mem_free(after.wrong);
    mem_free(after.unreadable);
    return said;
}

static char *use_further(struct outside_eye *e, const char *options, int64_t size)
{
    struct strbuf out = STRBUF_INIT;
    char command[64], *said;
    int64_t at = ROUND_DOWN(size - LATER_LEN, (int64_t)LATER_LEN);
    snprintf(command, sizeof(command), "write -q -P %u %lld %d", LATER_BYTE, (long long)at,
             LATER_LEN);
    int status = use_image(e, options, command, &out);
    const char *failed =
        out.s ? strstr(out.s, "write failed") : NULL; /* repairs may be told, too */
    if (status != 0 || failed) {
        char *line = telling_line(failed ? failed : out.s);
        said = str_fmt("used further: %s", without_folder(e, line));
        mem_free(line);
    } else {
        said = look_again(e, options, "used further", size, at);
    }
    strbuf_free(&out);
    return said;
}

static char *repair_it(struct outside_eye *e, const struct capture *c, const struct disk_set *set,
                       const char *options, int64_t size)
{
    if (outside_eye_write(e, c, set) < 0) {
        return str_dup("the state cannot be written to its files");
    }
    repair(e, options);
    struct complaint left = check(e, options);
    char *said = NULL;
    bool qcow2 = !strcmp(c->rec.program->format, "qcow2"); /* the only one that frees all it lost */
    if (left.wrong || (left.leaks && qcow2)) {
        said = left.wrong ? str_fmt("repaired: %s", left.wrong)
                          : str_fmt("repaired: check: %d leaks", left.leaks);
    } else {
        said = look_again(e, options, "repaired", size, -1);
    }
    complaint_free(&left);
    return said;
}

/* A write behind the guest's last byte but some, and repair, each on the state as the cut left it.
 */
static char *look_deeper(struct outside_eye *e, const struct capture *c, const struct disk_set *set,
                         const char *options, int64_t size, bool complained)
{
    const struct program *p = c->rec.program;
    char *from = file_name(e, OUT_NAME), *to = file_name(e, BEFORE_NAME), *said = NULL;
    if (size >= LATER_LEN && rename(from, to) == 0) {
        bool once = strstr(p->options, "subformat=streamOptimized"); /* written once, in order */
        said = once ? NULL : use_further(e, options, size);
        if (!said && complained && traits_of(p).has_repair) {
            said = repair_it(e, c, set, options, size);
        }
    }
    mem_free(from);
    mem_free(to);
    return said;
}

static void check_state(struct outside_eye *e, const struct program *p, const char *options,
                        struct seen *s, bool *must)
{
    struct format_traits t = traits_of(p);
    struct complaint c = {0};
    if (t.has_check) {
        c = check(e, options);
    }
    *must = c.wrong != NULL;
    if (c.wrong && t.repair != REPAIR_NONE) {
        complaint_free(&c);
        if (t.repair == REPAIR_BY_CHECK) {
            repair(e, options);
        } else {
            use_image(e, options, "flush", NULL);
        }
        c = check(e, options);
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
    char *options = image_options(e, c);
    bool must = false;
    s->hash = hash;
    e->stats.looked++;
    if (outside_eye_write(e, c, set) < 0) {
        s->wrong = str_dup("the state cannot be written to its files");
    } else {
        check_state(e, c->rec.program, options, s, &must);
    }
    bool use = (must || flags & OUTSIDE_USE) && !(flags & OUTSIDE_NO_USE);
    if (!s->wrong && read_guest(e, options, s) && take_guest(e, s) && use) {
        s->used = true;
        s->later = look_deeper(e, c, set, options, s->size, must || s->leaks);
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
            memset(buf, r->value, (size_t)MIN(r->bytes, (int64_t)PIECE));
        }
        for (int64_t done = 0; done < r->bytes;) {
            int64_t n = MIN(r->bytes - done, (int64_t)PIECE);
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
    for (size_t i = 0; i < s->n_unreadable; i++) {
        if (!oracle_unreadable_lawful(o, view, s->unreadable[i], ORACLE_SECTOR)) {
            strbuf_printf(why, "offset %lld: unreadable", (long long)s->unreadable[i]);
            return false;
        }
    }
    if (!judge_runs(s, o, view, e->buf, why)) {
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
    unsigned look =
        LOOK_SPEC | (strstr(c->rec.program->options, "lazy_refcounts=on") ? LOOK_REPAIR : 0);
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
