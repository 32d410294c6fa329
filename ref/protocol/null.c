/*
 * null-co and null-aio: a disk that takes everything and keeps nothing.
 *
 * Models: size, latency (a sleep on the real clock for every request), and reads that leave the
 * buffer as it is, or fill it with zeroes on demand.  Both drivers behave alike: completions are
 * coroutine wake-ups anyway. Leaves out: creation and resizing, which null disks do not have.
 */
#include <errno.h>
#include "ref/block/node.h"
#include "ref/engine/clock.h"
#include "ref/protocol/protocol.h"

struct null_state {
    int64_t length; /* bytes */
    int64_t latency_ns;
    bool read_zeroes;
};

static const struct opt_desc null_options[] = {
    {.name = "size", .type = OPT_SIZE, .def = "1G", .help = "size of the null block"},
    {.name = "latency-ns",
     .type = OPT_NUMBER,
     .def = "0",
     .help = "nanoseconds (approximated) to wait before completing request"},
    {.name = "read-zeroes", .type = OPT_BOOL, .def = "off", .help = "return zeroes when read"},
    {.name = NULL},
};

static const char *const null_strong_options[] = {"size", "read-zeroes", NULL};

/* Only the bare name "null-co://" or "null-aio://" is one: it has no parts that could say anything.
 */
static int null_parse_name(const char *proto, const char *filename, struct error **err)
{
    size_t n = strlen(proto);
    if (!strncmp(filename, proto, n) && !strcmp(filename + n, "://")) {
        return 0;
    }
    return error_set(err, EINVAL, "The only allowed filename for this driver is '%s://'", proto);
}

static int null_co_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    return null_parse_name("null-co", filename, err);
}

static int null_aio_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    return null_parse_name("null-aio", filename, err);
}

static int null_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct null_state *s = n->state;
    struct value *mine = opts_take(null_options, opts);
    uint64_t size = 0, latency = 0;
    int ret = opts_get_size(null_options, mine, "size", &size, err);

    if (ret == 0) {
        ret = opts_get_number(null_options, mine, "latency-ns", &latency, err);
    }
    if (ret == 0) {
        ret = opts_get_bool(null_options, mine, "read-zeroes", &s->read_zeroes, err);
    }
    value_free(mine);
    if (ret < 0) {
        return ret;
    }
    if (latency > INT64_MAX) {
        return error_set(err, EINVAL, "latency-ns is invalid");
    }
    if (size > INT64_MAX) {
        return error_set(err, EFBIG, "size is invalid");
    }
    s->length = (int64_t)size;
    s->latency_ns = (int64_t)latency;
    n->write_flags = REQ_FUA;
    n->zero_flags = REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK;
    return 0;
}

/* Nothing was opened on the host: a reopen with the same options always works. */
static int null_reopen_prepare(struct reopen *r, struct error **err)
{
    return 0;
}

static int null_wait(struct node *n)
{
    const struct null_state *s = n->state;
    return s->latency_ns ? co_sleep(n->w, CLOCK_REAL, s->latency_ns) : 0;
}

static int null_read(struct node *n, const struct request *r)
{
    const struct null_state *s = n->state;
    if (s->read_zeroes) {
        iov_fill(r->iov, r->iov_off, 0, (size_t)r->bytes);
    }
    return null_wait(n);
}

static int null_swallow(struct node *n, const struct request *r)
{
    return null_wait(n);
}

static int null_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                             struct status *out)
{
    const struct null_state *s = n->state;
    *out = (struct status){.flags = STATUS_OFFSET_VALID, .bytes = bytes, .map = offset, .file = n};
    if (s->read_zeroes) {
        out->flags |= STATUS_ZERO;
    }
    return 0;
}

static int64_t null_length(struct node *n)
{
    const struct null_state *s = n->state;
    return s->length;
}

static int64_t null_allocated_size(struct node *n)
{
    return 0;
}

/* A plain name can stand for the options only if no option changes what the guest sees. */
static void null_refresh_filename(struct node *n)
{
    bool plain =
        !dict_has(n->full_open_options, "size") && !dict_has(n->full_open_options, "read-zeroes");
    mem_free(n->exact_filename);
    n->exact_filename = plain ? str_fmt("%s://", n->drv->name) : str_dup("");
}

#define NULL_DRIVER(driver_name, parse)                                                            \
    {                                                                                              \
        .name = driver_name, .protocol = driver_name, .kind = DRIVER_PROTOCOL,                     \
        .state_size = sizeof(struct null_state), .open_options = null_options,                     \
        .strong_options = null_strong_options, .parse_filename = parse, .open = null_open,         \
        .reopen_prepare = null_reopen_prepare, .read = null_read, .write = null_swallow,           \
        .write_zeroes = null_swallow, .discard = null_swallow, .flush_to_disk = null_swallow,      \
        .block_status = null_block_status, .length = null_length,                                  \
        .allocated_size = null_allocated_size, .refresh_filename = null_refresh_filename,          \
    }

const struct block_driver driver_null_co = NULL_DRIVER("null-co", null_co_parse_filename);
const struct block_driver driver_null_aio = NULL_DRIVER("null-aio", null_aio_parse_filename);
