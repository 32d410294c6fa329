/*
 * blkdebug: makes chosen requests fail, and holds chosen requests until they are resumed.
 *
 * Models: the adapter of the rule engine (fault/rules.h) to the block layer: reads rules from a
 * file and from options, hands it the labels that drivers announce and the requests that arrive,
 * turns its verdicts into results and its breakpoints into suspended coroutines; limits (align,
 * max-transfer, ...) that a host would have; permissions taken and not shared.  Ours: a
 * breakpoint's event may be followed by filters, "EVENT,label=GLOB,nth=N,sector=S"
 * (docs/fault-rules.md).  Leaves out: everything the rules mean.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include "fault/rules.h"
#include "ref/base/sizes.h"
#include "ref/base/strbuf.h"
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/engine/host.h"
#include "ref/filter/filter.h"

#define CONFIG_MAX (1 * MiB) /* a rule file is written by hand */

struct blkdebug_state {
    struct fault_rules *rules;
    uint64_t align, max_transfer, opt_write_zero, max_write_zero, opt_discard,
        max_discard;        /* 0: as below */
    unsigned take, unshare; /* enum perm */
};

/* A request (or an announced label) that breakpoints hold; on its coroutine's stack. */
struct held {
    struct waitq q;
};

static const struct opt_desc blkdebug_options[] = {
    {.name = "config", .type = OPT_STRING, .help = "Path to the configuration file"},
    {.name = "align", .type = OPT_SIZE, .help = "Required alignment in bytes"},
    {.name = "max-transfer", .type = OPT_SIZE, .help = "Maximum transfer size in bytes"},
    {.name = "opt-write-zero", .type = OPT_SIZE, .help = "Optimum write zero alignment in bytes"},
    {.name = "max-write-zero", .type = OPT_SIZE, .help = "Maximum write zero size in bytes"},
    {.name = "opt-discard", .type = OPT_SIZE, .help = "Optimum discard alignment in bytes"},
    {.name = "max-discard", .type = OPT_SIZE, .help = "Maximum discard size in bytes"},
    {.name = "x-image", .type = OPT_STRING, .help = "[internal use only, will be removed]"},
    {.name = NULL},
};

static const char *const blkdebug_strong_options[] = {"config", "inject-error.", "set-state.",
                                                      NULL};

/* "blkdebug:CONFIG:IMAGE"; without the prefix the whole name is the image. */
static int blkdebug_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    static const char prefix[] = "blkdebug:";
    if (strncmp(filename, prefix, strlen(prefix))) {
        dict_put_str(opts, "x-image", filename);
        return 0;
    }
    const char *config = filename + strlen(prefix);
    const char *colon = strchr(config, ':');
    if (!colon) {
        return error_set(err, EINVAL, "blkdebug requires both config file and image path");
    }
    if (colon != config) {
        char *path = str_ndup(config, (size_t)(colon - config));
        dict_put_str(opts, "config", path);
        mem_free(path);
    }
    dict_put_str(opts, "x-image", colon + 1);
    return 0;
}

/* ---- opening ---- */

/* The whole file as a string, or NULL with err. */
static char *read_config(struct world *w, const char *path, struct error **err)
{
    struct stat st;
    int fd = host_open(w, path, O_RDONLY | O_CLOEXEC, 0);
    ssize_t got = fd < 0 ? fd : host_fstat(w, fd, &st);
    char *text = NULL;
    bool opened = fd >= 0;

    if (got == 0) {
        size_t len = (size_t)MIN(st.st_size, CONFIG_MAX);
        struct iov q;
        text = mem_zalloc(len + 1);
        iov_single(&q, text, len);
        got = st.st_size > CONFIG_MAX ? -EFBIG : host_preadv(w, fd, &q, 0, len, 0);
    }
    if (fd >= 0) {
        host_close(w, fd);
    }
    if (got < 0) {
        error_set_errno(err, (int)-got, "%s",
                        opened ? "Cannot read config file" : "Could not read blkdebug config file");
        mem_free(text);
        return NULL;
    }
    return text;
}

static int load_rules(struct node *n, const char *config, struct value *opts, struct error **err)
{
    struct blkdebug_state *s = n->state;
    int ret = 0;
    if (config) {
        char *text = read_config(n->w, config, err);
        if (!text) {
            return -EINVAL;
        }
        ret = fault_rules_parse_config(s->rules, text, err);
        mem_free(text);
    }
    if (ret == 0) {
        ret = fault_rules_take_options(s->rules, opts, err);
    }
    return ret == 0 ? fault_rules_build(s->rules, err) : ret;
}

static const struct {
    const char *name;
    enum perm perm;
} perm_words[] = {
    {"consistent-read", PERM_CONSISTENT_READ},
    {"write", PERM_WRITE},
    {"write-unchanged", PERM_WRITE_UNCHANGED},
    {"resize", PERM_RESIZE},
};

/* A list of permissions, given as "key.0", "key.1", ...; takes them out of opts. */
static int take_perms(struct value *opts, const char *key, unsigned *out, struct error **err)
{
    char *prefix = str_fmt("%s.", key);
    struct value *list = dict_extract(opts, prefix);
    struct dict_iter it;
    int ret = 0;
    for (size_t i = 0; ret == 0 && i < dict_len(list); i++) {
        char *number = str_fmt("%zu", i);
        if (!dict_has(list, number)) {
            ret =
                error_set(err, EINVAL, "Invalid parameter type for '<anonymous>', expected: array");
        }
        mem_free(number);
    }
    DICT_FOREACH (it, list) {
        if (ret < 0) {
            break;
        }
        if (value_type(it.value) != VALUE_STRING) {
            ret = error_set(err, EINVAL, "Invalid parameter type for '[%s]', expected: string",
                            it.key);
            break;
        }
        const char *word = value_get_str(it.value);
        size_t i = 0;
        while (i < ARRAY_SIZE(perm_words) && strcmp(perm_words[i].name, word)) {
            i++;
        }
        if (i == ARRAY_SIZE(perm_words)) {
            ret = error_set(err, EINVAL, "Parameter 'null' does not accept value '%s'", word);
            break;
        }
        *out |= perm_words[i].perm;
    }
    value_free(list);
    mem_free(prefix);
    return ret;
}

/* One limit: absent or 0, else below INT_MAX and a multiple of `unit`. */
static int take_limit(const struct value *o, const char *name, uint64_t unit, uint64_t *out,
                      struct error **err)
{
    int ret = opts_get_size(blkdebug_options, o, name, out, err);
    if (ret == 0 && *out && (*out >= INT_MAX || !IS_ALIGNED(*out, unit))) {
        ret = error_set(err, EINVAL, "Cannot meet constraints with %s %llu", name,
                        (unsigned long long)*out);
    }
    return ret;
}

static int take_limits(struct node *n, const struct value *o, struct error **err)
{
    struct blkdebug_state *s = n->state;
    int ret = take_limit(o, "align", 1, &s->align, err);
    if (ret == 0 && s->align && !IS_POW2(s->align)) {
        ret = error_set(err, EINVAL, "Cannot meet constraints with align %llu",
                        (unsigned long long)s->align);
    }
    uint64_t unit = MAX(s->align, n->file->node->limits.request_alignment);
    unit = MAX(unit, 1);
    if (ret == 0) {
        ret = take_limit(o, "max-transfer", unit, &s->max_transfer, err);
    }
    if (ret == 0) {
        ret = take_limit(o, "opt-write-zero", unit, &s->opt_write_zero, err);
    }
    if (ret == 0) {
        ret =
            take_limit(o, "max-write-zero", MAX(unit, s->opt_write_zero), &s->max_write_zero, err);
    }
    if (ret == 0) {
        ret = take_limit(o, "opt-discard", unit, &s->opt_discard, err);
    }
    if (ret == 0) {
        ret = take_limit(o, "max-discard", MAX(unit, s->opt_discard), &s->max_discard, err);
    }
    return ret;
}

static void announce_change(void *opaque, bool suspended, const char *tag, void *owner)
{
    struct node *n = opaque;
    struct blkdebug_state *s = n->state;
    struct held *h = owner;
    world_report(n->w, REPORT_STDOUT, "blkdebug: %s request '%s'\n",
                 suspended ? "Suspended" : "Resuming", tag);
    if (!suspended && h && fault_suspended(s->rules, owner) == 0) {
        waitq_wake_all(n->w, &h->q);
    }
}

static int open_steps(struct node *n, const struct value *mine, struct value *opts,
                      struct error **err)
{
    struct blkdebug_state *s = n->state;
    int ret = opts_check_types(blkdebug_options, mine, err);
    if (ret == 0) {
        ret = load_rules(n, dict_get_str(mine, "config"), opts, err);
    }
    if (ret == 0) {
        ret = take_perms(opts, "take-child-perms", &s->take, err);
    }
    if (ret == 0) {
        ret = take_perms(opts, "unshare-child-perms", &s->unshare, err);
    }
    if (ret < 0) {
        return ret;
    }
    if (!open_child(n, dict_get_str(mine, "x-image"), opts, "image", ROLE_FILTERED | ROLE_PRIMARY,
                    false, err)) {
        return -EINVAL;
    }
    const struct node *file = n->file->node;
    n->write_flags = REQ_UNCHANGED | (REQ_FUA & file->write_flags);
    n->zero_flags =
        REQ_UNCHANGED | ((REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK) & file->zero_flags);
    return take_limits(n, mine, err);
}

static int blkdebug_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct blkdebug_state *s = n->state;
    struct value *mine = opts_take(blkdebug_options, opts);
    s->rules = fault_rules_new();
    int ret = open_steps(n, mine, opts, err);
    value_free(mine);
    if (ret < 0) {
        fault_rules_free(s->rules);
        s->rules = NULL;
        return ret;
    }
    fault_break_on_change(s->rules, announce_change, n);
    fault_rules_event(s->rules, LABEL_NONE, NULL, NULL);
    return 0;
}

static void blkdebug_close(struct node *n)
{
    struct blkdebug_state *s = n->state;
    fault_rules_free(s->rules);
}

/* Rules and limits stay as they are. */
static int blkdebug_reopen_prepare(struct reopen *r, struct error **err)
{
    return 0;
}

/* ---- requests ---- */

static void wait_until_resumed(struct node *n, struct held *h)
{
    struct blkdebug_state *s = n->state;
    while (fault_suspended(s->rules, h)) {
        waitq_wait(n->w, &h->q);
    }
}

static struct fault_request rule_request(const struct request *r, enum fault_iotype type)
{
    return (struct fault_request){
        .iotype = type, .offset = r->offset, .bytes = r->bytes, .tag = r->tag};
}

static enum fault_iotype iotype_of(enum req_op op)
{
    switch (op) {
    case REQ_READ:
        return FAULT_IO_READ;
    case REQ_WRITE:
        return FAULT_IO_WRITE;
    case REQ_WRITE_ZEROES:
        return FAULT_IO_WRITE_ZEROES;
    case REQ_DISCARD:
        return FAULT_IO_DISCARD;
    case REQ_FLUSH:
        return FAULT_IO_FLUSH;
    default:
        return FAULT_IO_BLOCK_STATUS;
    }
}

static void blkdebug_event(struct node *n, enum label label, const struct request *r)
{
    struct blkdebug_state *s = n->state;
    struct held h = {0};
    struct fault_request q = {.iotype = FAULT_IO_FLUSH};
    if (r) {
        q = rule_request(r, iotype_of(r->op));
    }
    if (fault_rules_event(s->rules, label, r ? &q : NULL, &h) > 0) {
        wait_until_resumed(n, &h);
    }
}

/* 1: go on; 0 or -errno: the request's result. */
static int judge(struct node *n, const struct fault_request *q)
{
    struct blkdebug_state *s = n->state;
    struct held h = {0};
    if (fault_rules_submit(s->rules, q, &h) > 0) {
        wait_until_resumed(n, &h);
    }
    struct fault_error e = fault_rules_decide(s->rules, q);
    if (!e.inject) {
        return 1;
    }
    if (!e.immediately) {
        co_yield (n->w);
    }
    return e.error > 0 ? -e.error : 0;
}

static int judge_request(struct node *n, const struct request *r)
{
    struct fault_request q = rule_request(r, iotype_of(r->op));
    return judge(n, &q);
}

static int blkdebug_read(struct node *n, const struct request *r)
{
    int ret = judge_request(n, r);
    return ret <= 0 ? ret
                    : child_preadv(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags,
                                   LABEL_NONE, r);
}

static int blkdebug_write(struct node *n, const struct request *r)
{
    int ret = judge_request(n, r);
    return ret <= 0 ? ret
                    : child_pwritev(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags,
                                    LABEL_NONE, r);
}

static int blkdebug_flush_to_disk(struct node *n, const struct request *r)
{
    int ret = judge_request(n, r);
    return ret <= 0 ? ret : child_flush(n->file, r);
}

/* Parts below the preferred size are refused, as a host with such a granularity would. */
static int blkdebug_write_zeroes(struct node *n, const struct request *r)
{
    if (r->bytes < MAX(n->limits.request_alignment, n->limits.zeroes_alignment)) {
        return -ENOTSUP;
    }
    int ret = judge_request(n, r);
    return ret <= 0 ? ret
                    : child_pwrite_zeroes(n->file, r->offset, r->bytes, r->flags, LABEL_NONE, r);
}

static int blkdebug_discard(struct node *n, const struct request *r)
{
    if (r->bytes < n->limits.request_alignment) {
        return -ENOTSUP;
    }
    int ret = judge_request(n, r);
    return ret <= 0 ? ret : child_discard(n->file, r->offset, r->bytes, LABEL_NONE, r);
}

static int blkdebug_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                                 struct status *out)
{
    struct fault_request q = {.iotype = FAULT_IO_BLOCK_STATUS, .offset = offset, .bytes = bytes};
    int ret = judge(n, &q);
    if (ret < 0) {
        return ret;
    }
    *out = (struct status){.flags = STATUS_OFFSET_VALID | STATUS_RAW,
                           .bytes = bytes,
                           .map = offset,
                           .file = n->file->node};
    return 0;
}

static int64_t blkdebug_length(struct node *n)
{
    return child_length(n->file);
}

static int blkdebug_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                             unsigned flags, struct error **err)
{
    return child_truncate(n->file, size, exact, prealloc, flags, err);
}

static int blkdebug_info(struct node *n, struct image_info *out)
{
    return node_info(n->file->node, out);
}

/* Nobody's: it is a tool, not a place. */
static int64_t blkdebug_allocated_size(struct node *n)
{
    return -ENOTSUP;
}

static void blkdebug_refresh_limits(struct node *n, struct error **err)
{
    const struct blkdebug_state *s = n->state;
    struct limits *l = &n->limits;
    if (s->align) {
        l->request_alignment = (uint32_t)s->align;
    }
    if (s->max_transfer) {
        l->max_transfer = (int64_t)s->max_transfer;
    }
    if (s->opt_write_zero) {
        l->zeroes_alignment = (int64_t)s->opt_write_zero;
    }
    if (s->max_write_zero) {
        l->max_zeroes = (int64_t)s->max_write_zero;
    }
    if (s->opt_discard) {
        l->discard_alignment = (int64_t)s->opt_discard;
    }
    if (s->max_discard) {
        l->max_discard = (int64_t)s->max_discard;
    }
}

static void blkdebug_child_perm(struct node *n, struct child *c, unsigned role, struct reopen *r,
                                unsigned perm, unsigned shared, unsigned *nperm, unsigned *nshared)
{
    const struct blkdebug_state *s = n->state;
    child_perm_default(n, c, role, r, perm, shared, nperm, nshared);
    *nperm |= s->take;
    *nshared &= ~s->unshare;
}

/* ---- names ---- */

/* A plain name exists where rules come from a file alone and the image has one. */
static void blkdebug_refresh_filename(struct node *n)
{
    struct dict_iter it;
    bool plain = n->file->node->exact_filename && *n->file->node->exact_filename;
    DICT_FOREACH (it, n->full_open_options) {
        if (strcmp(it.key, "config") && strcmp(it.key, "image") && strcmp(it.key, "driver")) {
            plain = false;
        }
    }
    const char *config = dict_get_str(n->full_open_options, "config");
    mem_free(n->exact_filename);
    n->exact_filename =
        plain ? str_fmt("blkdebug:%s:%s", config ? config : "", n->file->node->exact_filename)
              : str_dup("");
}

/* Limits and the image; permissions are nobody else's business. */
static void blkdebug_gather_child_options(struct node *n, struct value *target,
                                          bool backing_overridden)
{
    static const char *const limits[] = {"align",          "max-transfer", "opt-write-zero",
                                         "max-write-zero", "opt-discard",  "max-discard"};
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        const struct value *v = n->options ? dict_get(n->options, limits[i]) : NULL;
        if (v) {
            dict_put(target, limits[i], value_clone(v));
        }
    }
    dict_put(target, "image", value_clone(n->file->node->full_open_options));
}

/* ---- breakpoints ---- */

/* ",label=GLOB,nth=N,sector=S" behind the event's name: our extension. */
static int parse_filters(char *text, struct fault_break_filter *f)
{
    char *save = NULL;
    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        uint64_t number = 0;
        char *value = strchr(word, '=');
        if (!value) {
            return -EINVAL;
        }
        *value++ = '\0';
        if (!strcmp(word, "label")) {
            f->label = value;
            continue;
        }
        if (parse_uint64(value, NULL, 10, &number) < 0 || number > INT_MAX) {
            return -EINVAL;
        }
        if (!strcmp(word, "nth")) {
            f->nth = (unsigned)number;
        } else if (!strcmp(word, "sector")) {
            f->sector = (int64_t)number;
        } else {
            return -EINVAL;
        }
    }
    return 0;
}

static int blkdebug_break_set(struct node *n, const char *event, const char *tag)
{
    struct blkdebug_state *s = n->state;
    struct fault_break_filter f = {.sector = -1};
    char *text = str_dup(event), *comma = strchr(text, ',');
    int ret = 0;
    if (comma) {
        *comma = '\0';
        ret = parse_filters(comma + 1, &f);
    }
    if (ret == 0) {
        ret = fault_break_set(s->rules, text, tag, &f);
    }
    mem_free(text);
    return ret;
}

static int blkdebug_break_remove(struct node *n, const char *tag)
{
    struct blkdebug_state *s = n->state;
    return fault_break_remove(s->rules, tag);
}

static int blkdebug_break_resume(struct node *n, const char *tag)
{
    struct blkdebug_state *s = n->state;
    return fault_break_resume(s->rules, tag, NULL);
}

static bool blkdebug_break_suspended(struct node *n, const char *tag)
{
    struct blkdebug_state *s = n->state;
    return fault_break_suspended(s->rules, tag);
}

const struct block_driver driver_blkdebug = {
    .name = "blkdebug",
    .protocol = "blkdebug",
    .kind = DRIVER_PROTOCOL, /* named like one, and messages call it one */
    .state_size = sizeof(struct blkdebug_state),
    .open_options = blkdebug_options,
    .strong_options = blkdebug_strong_options,
    .parse_filename = blkdebug_parse_filename,
    .open = blkdebug_open,
    .close = blkdebug_close,
    .reopen_prepare = blkdebug_reopen_prepare,
    .read = blkdebug_read,
    .write = blkdebug_write,
    .write_zeroes = blkdebug_write_zeroes,
    .discard = blkdebug_discard,
    .flush_to_disk = blkdebug_flush_to_disk,
    .block_status = blkdebug_block_status,
    .truncate = blkdebug_truncate,
    .length = blkdebug_length,
    .allocated_size = blkdebug_allocated_size,
    .info = blkdebug_info,
    .refresh_limits = blkdebug_refresh_limits,
    .child_perm = blkdebug_child_perm,
    .refresh_filename = blkdebug_refresh_filename,
    .gather_child_options = blkdebug_gather_child_options,
    .event = blkdebug_event,
    .break_set = blkdebug_break_set,
    .break_remove = blkdebug_break_remove,
    .break_resume = blkdebug_break_resume,
    .break_suspended = blkdebug_break_suspended,
};
