/*
 * The sandbox: its worlds, and making images on simulated disks.  See sandbox.h; running programs
 * is in sandbox_run.c, looking in look.c.
 */
#include "harness/sandbox/sandbox_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "harness/sandbox/sandbox_made.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/block/image_make.h"
#include "ref/block/secret.h"
#include "ref/tools/drivers.h"

struct sandbox *sandbox_new(struct process *p, const struct profile *profile, enum planted planted)
{
    struct sandbox *sb = mem_zalloc(sizeof(*sb));
    sb->process = p;
    sb->profile = profile;
    sb->planted = planted;
    sb->pool = disk_pool_new(0);
    sb->buf = mem_alloc(SANDBOX_BUF);
    return sb;
}

void sandbox_set_policy(struct sandbox *sb, struct sched_policy *policy, uint32_t alignment)
{
    sb->policy = policy;
    sb->alignment = alignment;
}

void sandbox_free(struct sandbox *sb)
{
    if (!sb) {
        return;
    }
    mem_free(sb->buf);
    disk_pool_free(sb->pool);
    mem_free(sb);
}

struct disk_pool *sandbox_pool(struct sandbox *sb)
{
    return sb->pool;
}

/* NULL: the program's image has no such disk.  Extents of a vmdk that has them in files of their
 * own are named after it. */
static const char *disk_name(const struct program *p, int i)
{
    static const char *const beside[][2] = {{"data_file=data", SUBJECT_DATA},
                                            {"=monolithicFlat", "image-flat"},
                                            {"made=cowd", "image-flat"},
                                            {"=twoGbMaxExtentFlat", "image-f001"},
                                            {"=twoGbMaxExtentSparse", "image-s001"}};
    for (size_t k = 0; i == 1 && k < ARRAY_SIZE(beside); k++) {
        if (strstr(p->options, beside[k][0])) {
            return beside[k][1];
        }
    }
    return i == 0 ? "image" : i == 2 && p->backing ? "backing" : NULL;
}

struct world *sandbox_world(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                            struct disk_log *log, struct fault_plan *plan)
{
    struct world_config cfg = {.profile = sb->profile,
                               .io = IO_SYNC,
                               .io_set = true,
                               .seed = 1,
                               .simulated_time = true,
                               .policy = sb->running,
                               .report = report_nothing};
    struct world *w = world_new(sb->process, &cfg);
    block_set_drivers(w, &all_drivers);
    if (subject_encrypted(p)) {
        secret_add(w, SUBJECT_SECRET_ID, SUBJECT_SECRET, strlen(SUBJECT_SECRET), NULL);
        secret_add(w, "s1", "another", strlen("another"), NULL); /* of slots that amend adds */
    }
    for (int i = 0; i < set->n; i++) {
        struct sim_disk d = {.disk = set->disk[i],
                             .log = log,
                             .index = i,
                             .plan = plan,
                             .request_alignment = sb->running ? sb->alignment : 0};
        const char *name = disk_name(p, i);
        if (name) {
            sim_register(w, name, &d);
        }
    }
    return w;
}

/* Options that begin so are for opening, not for create. */
#define OPEN_PREFIX "open."

static void add_open_options(const struct program *p, struct value *opts)
{
    const char *at = p->options;
    while ((at = strstr(at, OPEN_PREFIX))) {
        size_t len = strcspn(at, ","), key = strcspn(at, "=");
        size_t skip = strlen(OPEN_PREFIX);
        if (key < len) {
            char *k = str_ndup(at + skip, key - skip), *v = str_ndup(at + key + 1, len - key - 1);
            dict_put_str(opts, k, v);
            mem_free(k);
            mem_free(v);
        }
        at += len;
    }
}

struct value *sandbox_open_options(const struct program *p)
{
    struct value *opts = value_dict();
    dict_put_str(opts, "driver", p->format);
    subject_key_options(p, 0, opts);
    if (!strcmp(p->format, "parallels")) {
        dict_put_str(opts, "prealloc-size", "0"); /* 128 MiB would tell nothing more */
        if (p->backing) {                         /* no image of it names one */
            dict_put_str(opts, "backing.driver", subject_base_format(p));
            dict_put_str(opts, "backing.file.driver", "sim");
            dict_put_str(opts, "backing.file.disk", "backing");
        }
    }
    add_open_options(p, opts);
    return opts;
}

/* Without what opening and sandbox_make_so() take. */
char *sandbox_create_options(const struct program *p)
{
    static const char *const ours[] = {OPEN_PREFIX, "made="};
    struct program own = *p;
    char *to = own.options;
    for (const char *s = p->options; *s;) {
        size_t len = strcspn(s, ",");
        if (strncmp(s, ours[0], strlen(ours[0])) && strncmp(s, ours[1], strlen(ours[1]))) {
            to += snprintf(to, sizeof(own.options) - (size_t)(to - own.options), "%s%.*s",
                           to == own.options ? "" : ",", (int)len, s);
        }
        s += len + (s[len] == ',');
    }
    *to = 0;
    return subject_options(&own, "sim:", false);
}

struct making {
    struct sandbox *sb;
    struct world *w;
    const struct program *p;
    int ret;
    struct error *err;
};

static void make_image(void *arg)
{
    struct making *m = arg;
    char *options = sandbox_create_options(m->p);
    struct image_recipe r = {.filename = "sim:image",
                             .format = m->p->format,
                             .options = *options ? options : NULL,
                             .size = m->p->size,
                             .quiet = true};
    if (m->p->backing && strcmp(m->p->format, "parallels")) {
        r.backing_file = "sim:backing";
        r.backing_format = subject_base_format(m->p);
    }
    m->ret = image_make(m->w, &r, &m->err);
    mem_free(options);
}

/* Where a format takes only parents of its own: such an image, written through the block layer. */
static void make_backing(void *arg)
{
    struct making *m = arg;
    struct image_recipe r = {.filename = "sim:backing",
                             .format = subject_base_format(m->p),
                             .size = m->p->size,
                             .quiet = true};
    struct value *options = value_dict();
    dict_put_str(options, "driver", r.format);
    m->ret = image_make(m->w, &r, &m->err);
    struct blk *b =
        m->ret < 0 ? NULL : blk_open(m->w, r.filename, NULL, options, OPEN_RDWR, &m->err);
    m->ret = m->ret < 0 || b ? m->ret : -EIO;
    for (int64_t done = 0; m->ret == 0 && done < m->p->size;) {
        int64_t len = MIN(m->p->size - done, (int64_t)SANDBOX_BUF);
        oracle_backing_fill(m->sb->buf, done, (size_t)len);
        m->ret = blk_pwrite(b, done, m->sb->buf, len, 0);
        done += len;
    }
    blk_unref(b);
}

static void fill_backing(struct sandbox *sb, struct disk *d, int64_t size)
{
    for (int64_t done = 0; done < size;) {
        size_t len = (size_t)MIN(size - done, (int64_t)SANDBOX_BUF);
        oracle_backing_fill(sb->buf, done, len);
        disk_write(d, done, sb->buf, len);
        done += (int64_t)len;
    }
}

int sandbox_create(struct sandbox *sb, const struct program *p, struct disk_set *out,
                   struct error **err)
{
    out->n = SANDBOX_DISKS;
    for (int i = 0; i < out->n; i++) {
        out->disk[i] = disk_new(sb->pool, 0);
    }
    bool raw_base = strcmp(subject_base_format(p), "raw") == 0;
    if (p->backing && raw_base) {
        fill_backing(sb, out->disk[2], p->size);
    }
    struct making m = {.sb = sb, .p = p, .w = sandbox_world(sb, p, out, NULL, NULL)};
    int ret = p->backing && !raw_base ? world_exec(m.w, make_backing, &m) : 0;
    ret = ret < 0 || m.ret < 0 ? ret : world_exec(m.w, make_image, &m);
    ret = ret < 0 ? error_set(err, -ret, "creating the image hangs") : m.ret;
    if (m.err) {
        error_propagate(err, m.err);
    }
    world_free(m.w);
    ret = ret < 0 ? ret : sandbox_make_so(sb, p, out, err);
    if (ret < 0) {
        disk_set_free(out);
    }
    return ret;
}
