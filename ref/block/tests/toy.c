/*
 * Toy drivers for tests of the block layer; see toy.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "ref/base/options.h"
#include "ref/block/io.h"
#include "ref/block/tests/toy.h"

struct toy toy;
bool toy_deny_names;

static bool failing(const char *what)
{
    return toy.fail && strcmp(toy.fail, what) == 0;
}

static void note(const char *what, const struct node *n)
{
    strbuf_printf(&toy.log, "%s:%s ", what, n->node_name);
}

/* ---- mem ---- */

struct toy_store *toy_store(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(toy.stores); i++) {
        struct toy_store *s = &toy.stores[i];
        if (!s->name[0]) {
            snprintf(s->name, sizeof(s->name), "%s", name);
            s->size = 4096;
        }
        if (strcmp(s->name, name) == 0) {
            return s;
        }
    }
    abort();
}

struct mem_state {
    struct toy_store *store;
};

static int mem_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    dict_put_str(opts, "filename", strncmp(filename, "mem:", 4) == 0 ? filename + 4 : filename);
    return 0;
}

static int mem_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct mem_state *s = n->state;
    const char *name = dict_get_str(opts, "filename");
    if (failing("open:mem")) {
        return -EIO;
    }
    if (strncmp(name, "missing", 7) == 0) {
        return error_set(err, ENOENT, "Could not open '%s': No such file or directory", name);
    }
    s->store = toy_store(name);
    s->store->nodes++;
    n->write_flags = n->zero_flags = REQ_FUA;
    mem_free(n->exact_filename);
    n->exact_filename = str_fmt("mem:%s", name);
    mem_free(n->filename);
    n->filename = str_dup(n->exact_filename);
    dict_del(opts, "filename");
    dict_del(opts, "window");
    return 0;
}

static void mem_close(struct node *n)
{
    struct mem_state *s = n->state;
    s->store->nodes--;
    note("close", n);
}

static int mem_read(struct node *n, const struct request *r)
{
    struct mem_state *s = n->state;
    iov_from_buf(r->iov, r->iov_off, s->store->data + r->offset, (size_t)r->bytes);
    return 0;
}

static int mem_write(struct node *n, const struct request *r)
{
    struct mem_state *s = n->state;
    if (r->offset + r->bytes > (int64_t)sizeof(s->store->data)) {
        return -ENOSPC;
    }
    iov_to_buf(r->iov, r->iov_off, s->store->data + r->offset, (size_t)r->bytes);
    s->store->size = MAX(s->store->size, r->offset + r->bytes);
    return 0;
}

static int64_t mem_length(struct node *n)
{
    struct mem_state *s = n->state;
    return s->store->size;
}

static int mem_truncate(struct node *n, int64_t size, bool exact, enum prealloc p, unsigned flags,
                        struct error **err)
{
    struct mem_state *s = n->state;
    s->store->size = size;
    return 0;
}

static int toy_check_perm(struct node *n, unsigned perm, unsigned shared, struct error **err)
{
    note("check", n);
    return failing("perm") ? error_set(err, EIO, "no permission for '%s'", n->node_name) : 0;
}

static void toy_set_perm(struct node *n, unsigned perm, unsigned shared)
{
    struct mem_state *s = n->state;
    s->store->perm = perm;
    s->store->shared = shared;
    note("set", n);
}

static void toy_abort_perm(struct node *n)
{
    note("abort", n);
}

static int toy_reopen_prepare(struct reopen *r, struct error **err)
{
    note("prepare", r->node);
    dict_del(r->options, "runtime");
    return failing("reopen") && r->node->drv == &toy_mem ? -EIO : 0;
}

static void toy_reopen_commit(struct reopen *r)
{
    note("commit", r->node);
}

static void toy_reopen_abort(struct reopen *r)
{
    note("undo", r->node);
}

static const struct opt_desc mem_options[] = {
    {.name = "filename", .type = OPT_STRING},
    {.name = "window", .type = OPT_STRING},
    {.name = NULL},
};
static const char *const mem_strong[] = {"filename", NULL};

static const struct opt_desc mem_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "nocow", .type = OPT_BOOL, .help = "Turn off copy-on-write"},
    {.name = NULL},
};

static int mem_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    if (strstr(filename, "missing")) {
        return -ENOENT;
    }
    struct toy_store *s = toy_store(filename + 4);
    memset(s->data, 0, sizeof(s->data));
    s->size = 0;
    bool nocow = false;
    opts_get_bool(mem_create_options, opts, "nocow", &nocow, NULL);
    strbuf_printf(&toy.log, "create:%s%s ", s->name, nocow ? "+nocow" : "");
    return 0;
}

const struct block_driver toy_mem = {
    .name = "file",
    .protocol = "mem",
    .kind = DRIVER_PROTOCOL,
    .state_size = sizeof(struct mem_state),
    .needs_filename = true,
    .variable_length = true,
    .open_options = mem_options,
    .strong_options = mem_strong,
    .create_options = mem_create_options,
    .create = mem_create,
    .parse_filename = mem_parse_filename,
    .open = mem_open,
    .close = mem_close,
    .read = mem_read,
    .write = mem_write,
    .length = mem_length,
    .truncate = mem_truncate,
    .check_perm = toy_check_perm,
    .set_perm = toy_set_perm,
    .abort_perm = toy_abort_perm,
    .reopen_prepare = toy_reopen_prepare,
    .reopen_commit = toy_reopen_commit,
    .reopen_abort = toy_reopen_abort,
};

/* ---- toyfmt ---- */

#define HEADER 512

struct header {
    char magic[8], backing[256], format[32], pad[HEADER - 296];
};

void toy_image(const char *name, const char *backing, const char *format, uint8_t fill)
{
    struct toy_store *s = toy_store(name);
    struct header h = {.magic = "TOYFMT"};
    snprintf(h.backing, sizeof(h.backing), "%s", backing ? backing : "");
    snprintf(h.format, sizeof(h.format), "%s", format ? format : "");
    memcpy(s->data, &h, sizeof(h));
    memset(s->data + HEADER, fill, 4096);
    s->size = HEADER + 4096;
}

static int fmt_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= 6 && memcmp(buf, "TOYFMT", 6) == 0 ? 100 : 0;
}

static int fmt_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct header h;
    int r = open_file_child(n, opts, err);
    if (r == 0 && failing("open:toyfmt")) {
        return -EIO;
    }
    r = r < 0 ? r : child_pread(n->file, 0, &h, sizeof(h), LABEL_NONE, NULL);
    if (r < 0) {
        return r;
    }
    if (memcmp(h.magic, "TOYFMT", 6) != 0) {
        return error_set(err, EINVAL, "Image is not in toyfmt format");
    }
    dict_del(opts, "fixed");
    dict_del(opts, "runtime");
    dict_del(opts, "strong");
    h.backing[sizeof(h.backing) - 1] = h.format[sizeof(h.format) - 1] = 0;
    n->backing_file = str_dup(h.backing);
    n->auto_backing_file = str_dup(h.backing);
    n->backing_format = str_dup(h.format);
    return 0;
}

static int fmt_read(struct node *n, const struct request *r)
{
    return child_preadv(n->file, r->offset + HEADER, r->bytes, r->iov, r->iov_off, 0, LABEL_NONE,
                        r);
}

static int fmt_write(struct node *n, const struct request *r)
{
    return child_pwritev(n->file, r->offset + HEADER, r->bytes, r->iov, r->iov_off, 0, LABEL_NONE,
                         r);
}

static int64_t fmt_length(struct node *n)
{
    int64_t len = child_length(n->file);
    return len < 0 ? len : len - HEADER;
}

static int fmt_change_backing(struct node *n, const char *file, const char *format)
{
    struct header h = {.magic = "TOYFMT"};
    char this_one[64];
    snprintf(this_one, sizeof(this_one), "change:%s", n->node_name);
    if (failing("change") || failing(this_one)) {
        return -EIO;
    }
    snprintf(h.backing, sizeof(h.backing), "%s", file ? file : "");
    snprintf(h.format, sizeof(h.format), "%s", format ? format : "");
    return child_pwrite_sync(n->file, 0, &h, sizeof(h), LABEL_NONE, NULL);
}

static int fmt_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    return image_create_file(w, filename, opts, err);
}

static const struct opt_desc fmt_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "mode",
     .type = OPT_ENUM,
     .values = (const char *const[]){"a", "b", NULL},
     .help = "Mode"},
    {.name = NULL},
};
static const struct opt_desc fmt_options[] = {
    {.name = "fixed", .type = OPT_STRING},
    {.name = "strong", .type = OPT_STRING},
    {.name = "runtime", .type = OPT_STRING, .runtime = true},
    {.name = NULL},
};
static const char *const fmt_strong[] = {"strong", NULL};

const struct block_driver toy_fmt = {
    .name = "toyfmt",
    .kind = DRIVER_FORMAT,
    .supports_backing = true,
    .open_options = fmt_options,
    .strong_options = fmt_strong,
    .probe = fmt_probe,
    .open = fmt_open,
    .read = fmt_read,
    .write = fmt_write,
    .length = fmt_length,
    .change_backing = fmt_change_backing,
    .create_options = fmt_create_options,
    .create = fmt_create,
    .reopen_prepare = toy_reopen_prepare,
    .reopen_commit = toy_reopen_commit,
    .reopen_abort = toy_reopen_abort,
};

/* ---- toyfilter, raw ---- */

static int filter_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    return open_filtered_child(n, NULL, opts, "file", err);
}

static int pass_read(struct node *n, const struct request *r)
{
    return child_preadv(n->file, r->offset, r->bytes, r->iov, r->iov_off, 0, LABEL_NONE, r);
}

static int pass_write(struct node *n, const struct request *r)
{
    return child_pwritev(n->file, r->offset, r->bytes, r->iov, r->iov_off, 0, LABEL_NONE, r);
}

const struct block_driver toy_filter = {
    .name = "toyfilter",
    .kind = DRIVER_FILTER,
    .open = filter_open,
    .read = pass_read,
    .write = pass_write,
    .reopen_prepare = toy_reopen_prepare,
};

/* A filter that cannot be reopened. */
const struct block_driver toy_bare = {
    .name = "bare",
    .kind = DRIVER_FILTER,
    .open = filter_open,
    .read = pass_read,
    .write = pass_write,
};

static int64_t raw_length(struct node *n)
{
    return child_length(n->file);
}

const struct block_driver toy_raw = {
    .name = "raw",
    .kind = DRIVER_FORMAT,
    .open = filter_open,
    .read = pass_read,
    .write = pass_write,
    .length = raw_length,
    .reopen_prepare = toy_reopen_prepare,
};

static const struct driver_entry entries[] = {
    {.drv = &toy_mem},    {.drv = &toy_raw},  {.drv = &toy_fmt},
    {.drv = &toy_filter}, {.drv = &toy_bare}, {.drv = NULL},
};
const struct driver_list toy_drivers = {entries};

/* ---- harness ---- */

static void report(void *opaque, enum report_kind kind, const char *text)
{
    strbuf_printf(&toy.reports, "%s%s%s", kind == REPORT_WARNING ? "warning: " : "", text,
                  kind == REPORT_WARNING ? "\n" : "");
}

struct call {
    void (*fn)(struct world *w);
    struct world *w;
};

static void enter(void *arg)
{
    struct call *c = arg;
    c->fn(c->w);
}

void toy_run(void (*fn)(struct world *w))
{
    strbuf_free(&toy.log);
    strbuf_free(&toy.reports);
    memset(&toy, 0, sizeof(toy));
    struct process *p = process_new();
    struct world_config cfg = {
        .simulated_time = true, .report = report, .deny_names_in_images = toy_deny_names};
    struct call c = {fn, world_new(p, &cfg)};
    block_set_drivers(c.w, &toy_drivers);
    assert_int_equal(world_exec(c.w, enter, &c), 0);
    assert_null(node_next(c.w, NULL));
    world_free(c.w);
    process_free(p);
    for (size_t i = 0; i < ARRAY_SIZE(toy.stores); i++) {
        assert_int_equal(toy.stores[i].nodes, 0);
    }
    strbuf_free(&toy.log);
    strbuf_free(&toy.reports);
}

struct value *toy_opts(const char *text)
{
    struct error *err = NULL;
    struct value *v = text && *text ? opts_parse(text, NULL, &err) : value_dict();
    assert_null(err);
    return v;
}

struct node *toy_open(struct world *w, const char *text, unsigned flags)
{
    struct error *err = NULL;
    struct node *n = node_open(w, NULL, NULL, toy_opts(text), flags, &err);
    if (err) {
        fail_msg("%s: %s", text, err->msg);
    }
    return n;
}

void toy_expect_error(struct error **err, const char *msg)
{
    assert_non_null(*err);
    assert_string_equal((*err)->msg, msg);
    error_clear(err);
}

void toy_open_fails(struct world *w, const char *filename, const char *text, unsigned flags,
                    const char *msg)
{
    struct error *err = NULL;
    assert_null(node_open(w, filename, NULL, text ? toy_opts(text) : NULL, flags, &err));
    toy_expect_error(&err, msg);
}
