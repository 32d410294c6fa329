/*
 * read, write, readv, writev: requests that the session waits for.
 */
#include "ref/tools/io/rw.h"

#include <errno.h>
#include "ref/base/mem.h"
#include "ref/engine/clock.h"

int io_parse_vector(struct io_session *s, char **lengths, int n, int fill, struct io_vector *out)
{
    int64_t total = 0;
    memset(out, 0, sizeof(*out));
    iov_init(&out->iov);
    int64_t *sizes = mem_array((size_t)n, sizeof(*sizes));
    for (int i = 0; i < n; i++) {
        sizes[i] = io_parse_number(s, lengths[i]);
        if (sizes[i] < 0) {
            goto fail;
        }
        if (sizes[i] > IO_MAX_BYTES) {
            printf("Argument '%s' exceeds maximum size %lld\n", lengths[i], IO_MAX_BYTES);
            goto fail;
        }
        if (total > IO_MAX_BYTES - sizes[i]) {
            printf("The total number of bytes exceed the maximum size %lld\n", IO_MAX_BYTES);
            goto fail;
        }
        total += sizes[i];
    }
    out->buf = io_alloc(s, (size_t)total, fill);
    if (!out->buf) {
        goto fail;
    }
    uint8_t *piece = out->buf;
    for (int i = 0; i < n; i++) {
        iov_add(&out->iov, piece, (size_t)sizes[i]);
        piece += sizes[i];
    }
    out->bytes = total;
    mem_free(sizes);
    return 0;
fail:
    mem_free(sizes);
    iov_destroy(&out->iov);
    return -EINVAL;
}

void io_vector_free(struct io_session *s, struct io_vector *v)
{
    iov_destroy(&v->iov);
    io_free(s, v->buf);
}

int io_verify(const uint8_t *buf, int pattern, int64_t offset, int64_t skip, int64_t len)
{
    const uint8_t *p = buf + skip;
    /* Every byte is like the one before it, and the first is right. */
    if (len > 0 && (*p != pattern || memcmp(p, p + 1, (size_t)len - 1) != 0)) {
        printf("Pattern verification failed at offset %lld, %lld bytes\n",
               (long long)(offset + skip), (long long)len);
        return -EINVAL;
    }
    return 0;
}

struct transfer {
    const char *command;
    struct io_report report;
    int64_t offset, count;
    int pattern;                      /* -1: none */
    int64_t verify_start, verify_len; /* -1: to the end */
    bool write, vmstate, compressed, zero, dump, has_start, has_len;
    unsigned flags;
    const char *source, *tag;
};

static bool sector_aligned(int64_t value, const char *name)
{
    if (value % 512) {
        printf("%lld is not a sector-aligned value for '%s'\n", (long long)value, name);
        return false;
    }
    return true;
}

static int parse_range(struct io_session *s, struct transfer *x, char **operands)
{
    x->offset = io_parse_number(s, operands[0]);
    if (x->offset < 0) {
        return -EINVAL;
    }
    x->count = io_parse_number(s, operands[1]);
    if (x->count < 0) {
        return -EINVAL;
    }
    if (x->count > IO_MAX_BYTES && !(x->flags & REQ_NO_FALLBACK)) {
        printf("length cannot exceed %lld%s, given %s\n", IO_MAX_BYTES,
               x->write ? " without -n" : "", operands[1]);
        return -EINVAL;
    }
    if ((x->vmstate || x->compressed) &&
        (!sector_aligned(x->offset, "offset") || !sector_aligned(x->count, "count"))) {
        return -EINVAL;
    }
    return 0;
}

/* One flag; false when it is none of those that `options` of the command named. */
static int take_flag(struct io_session *s, struct transfer *x, int c)
{
    switch (c) {
    case 'b':
        x->vmstate = true;
        return 0;
    case 'c':
        x->compressed = true;
        return 0;
    case 'C':
        x->report.machine = true;
        return 0;
    case 'f':
        x->flags |= REQ_FUA;
        return 0;
    case 'l':
        x->has_len = true;
        x->verify_len = io_parse_number(s, optarg);
        return x->verify_len < 0 ? -EINVAL : 0;
    case 'L':
        x->tag = io_tag(s, optarg);
        return 0;
    case 'n':
        x->flags |= REQ_NO_FALLBACK;
        return 0;
    case 'p':
        return 0; /* accepted for old scripts, without a meaning, as QEMU does */
    case 'P':
        x->pattern = io_parse_pattern(optarg);
        return x->pattern < 0 ? -EINVAL : 0;
    case 'q':
        x->report.quiet = true;
        return 0;
    case 's':
        if (x->write) {
            x->source = optarg;
            return 0;
        }
        x->has_start = true;
        x->verify_start = io_parse_number(s, optarg);
        return x->verify_start < 0 ? -EINVAL : 0;
    case 'u':
        x->flags |= REQ_MAY_UNMAP;
        return 0;
    case 'v':
        x->dump = true;
        return 0;
    default:
        x->zero = true;
        return 0;
    }
}

/* The flags of read, readv, write and writev: each has some of the same ones. */
static int take_flags(struct io_session *s, struct transfer *x, int argc, char **argv,
                      const char *options)
{
    bool restart = true;
    for (int c; (c = io_getopt(argc, argv, options, &restart)) != -1;) {
        int ret = c == '?' ? io_usage(x->command) : take_flag(s, x, c);
        if (ret < 0) {
            return ret;
        }
    }
    bool vector = x->command[strlen(x->command) - 1] == 'v';
    bool enough = vector ? optind <= argc - 2 : optind == argc - 2;
    return enough ? 0 : io_usage(x->command);
}

/* Checks the part to verify against what is read. */
static int settle_verification(struct transfer *x)
{
    if (x->pattern < 0 && (x->has_start || x->has_len)) {
        return io_usage("read");
    }
    if (!x->has_len) {
        x->verify_len = x->count - x->verify_start;
    }
    if (x->verify_len < 0 || x->verify_start > x->count ||
        x->verify_len > x->count - x->verify_start) {
        printf("pattern verification range exceeds end of read data\n");
        return -EINVAL;
    }
    return 0;
}

static int transfer_vmstate(struct io_session *s, struct transfer *x, uint8_t *buf, bool write)
{
    struct iov q;
    iov_single(&q, buf, (size_t)x->count);
    if (!write) {
        return node_load_vmstate(blk_node(s->blk), &q, x->offset);
    }
    int ret = node_save_vmstate(blk_node(s->blk), &q, x->offset);
    /* As any write through a backend without write cache. */
    return ret < 0 || blk_write_cache(s->blk) ? ret : blk_flush(s->blk, NULL);
}

int io_cmd_read(struct io_session *s, int argc, char **argv)
{
    struct transfer x = {.command = "read", .pattern = -1};
    int ret = take_flags(s, &x, argc, argv, "bCl:L:pP:qs:v");
    if (ret < 0) {
        return ret;
    }
    ret = parse_range(s, &x, argv + optind);
    if (ret == 0) {
        ret = settle_verification(&x);
    }
    if (ret < 0) {
        return ret;
    }
    uint8_t *buf = io_alloc(s, (size_t)x.count, 0xab);
    if (!buf) {
        return -ENOMEM;
    }
    x.report.start = clock_now(s->w, CLOCK_REAL);
    if (x.vmstate) {
        ret = transfer_vmstate(s, &x, buf, false);
    } else {
        struct iov q;
        iov_single(&q, buf, (size_t)x.count);
        ret = blk_preadv(s->blk, x.offset, x.count, &q, 0, x.tag);
    }
    if (ret < 0) {
        printf("read failed: %s\n", strerror(-ret));
    } else {
        if (x.pattern >= 0) {
            ret = io_verify(buf, x.pattern, x.offset, x.verify_start, x.verify_len);
        }
        if (!x.report.quiet) {
            if (x.dump) {
                io_dump(buf, x.offset, x.count);
            }
            io_report_done(s, &x.report, "read", x.offset, x.count, x.count, 1);
        }
    }
    io_free(s, buf);
    return ret;
}

int io_cmd_readv(struct io_session *s, int argc, char **argv)
{
    struct transfer x = {.command = "readv", .pattern = -1};
    struct io_vector v;
    int ret = take_flags(s, &x, argc, argv, "CL:P:qv");
    if (ret < 0) {
        return ret;
    }
    x.offset = io_parse_number(s, argv[optind]);
    if (x.offset < 0 || io_parse_vector(s, argv + optind + 1, argc - optind - 1, 0xab, &v) < 0) {
        return -EINVAL;
    }
    x.report.start = clock_now(s->w, CLOCK_REAL);
    ret = blk_preadv(s->blk, x.offset, v.bytes, &v.iov, 0, x.tag);
    if (ret < 0) {
        printf("readv failed: %s\n", strerror(-ret));
    } else {
        if (x.pattern >= 0) {
            ret = io_verify(v.buf, x.pattern, x.offset, 0, v.bytes);
        }
        if (!x.report.quiet) {
            if (x.dump) {
                io_dump(v.buf, x.offset, v.bytes);
            }
            io_report_done(s, &x.report, "read", x.offset, v.bytes, v.bytes, 1);
        }
    }
    io_vector_free(s, &v);
    return ret;
}

static int check_write(const struct transfer *x)
{
    if (x->vmstate && x->zero) {
        printf("-b and -z cannot be specified at the same time\n");
    } else if ((x->flags & REQ_FUA) && (x->vmstate || x->compressed)) {
        printf("-f and -b or -c cannot be specified at the same time\n");
    } else if ((x->flags & REQ_NO_FALLBACK) && !x->zero) {
        printf("-n requires -z to be specified\n");
    } else if ((x->flags & REQ_MAY_UNMAP) && !x->zero) {
        printf("-u requires -z to be specified\n");
    } else if (x->zero + (x->pattern >= 0) + (x->source != NULL) > 1) {
        printf("Only one of -z, -P, and -s can be specified at the same time\n");
    } else {
        return 0;
    }
    return -EINVAL;
}

/* Fills buf with the file's contents over and over. */
static int fill_from_file(const char *name, uint8_t *buf, size_t len)
{
    FILE *f = fopen(name, "r");
    if (!f) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        return -EINVAL;
    }
    size_t got = fread(buf, 1, len, f);
    bool failed = ferror(f);
    fclose(f);
    if (failed) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        return -EINVAL;
    }
    if (!got) {
        fprintf(stderr, "%s: file is empty\n", name);
        return -EINVAL;
    }
    for (size_t i = got; i < len; i++) {
        buf[i] = buf[i - got];
    }
    return 0;
}

static int submit_write(struct io_session *s, struct transfer *x, uint8_t *buf)
{
    struct iov q;
    if (x->vmstate) {
        return transfer_vmstate(s, x, buf, true);
    }
    if (x->zero) {
        return blk_pwrite_zeroes(s->blk, x->offset, x->count, x->flags, x->tag);
    }
    iov_single(&q, buf, (size_t)x->count);
    return blk_pwritev(s->blk, x->offset, x->count, &q,
                       x->flags | (x->compressed ? REQ_COMPRESSED : 0), x->tag);
}

int io_cmd_write(struct io_session *s, int argc, char **argv)
{
    struct transfer x = {.command = "write", .pattern = -1, .write = true};
    uint8_t *buf = NULL;
    int ret = take_flags(s, &x, argc, argv, "bcCfL:npP:qs:uz");
    if (ret < 0) {
        return ret;
    }
    ret = check_write(&x);
    if (ret == 0) {
        ret = parse_range(s, &x, argv + optind);
    }
    if (ret < 0) {
        return ret;
    }
    if (!x.zero) {
        buf = io_alloc(s, (size_t)x.count, x.pattern >= 0 ? x.pattern : IO_PATTERN);
        if (!buf) {
            return -ENOMEM;
        }
        if (x.source && fill_from_file(x.source, buf, (size_t)x.count) < 0) {
            io_free(s, buf);
            return -EINVAL;
        }
    }
    x.report.start = clock_now(s->w, CLOCK_REAL);
    ret = submit_write(s, &x, buf);
    if (ret < 0) {
        printf("write failed: %s\n", strerror(-ret));
    } else {
        io_report_done(s, &x.report, "wrote", x.offset, x.count, x.count, 1);
    }
    io_free(s, buf);
    return ret;
}

int io_cmd_writev(struct io_session *s, int argc, char **argv)
{
    struct transfer x = {.command = "writev", .write = true, .pattern = IO_PATTERN};
    struct io_vector v;
    int ret = take_flags(s, &x, argc, argv, "CfL:P:q");
    if (ret < 0) {
        return ret;
    }
    x.offset = io_parse_number(s, argv[optind]);
    if (x.offset < 0 ||
        io_parse_vector(s, argv + optind + 1, argc - optind - 1, x.pattern, &v) < 0) {
        return -EINVAL;
    }
    x.report.start = clock_now(s->w, CLOCK_REAL);
    ret = blk_pwritev(s->blk, x.offset, v.bytes, &v.iov, x.flags, x.tag);
    if (ret < 0) {
        printf("writev failed: %s\n", strerror(-ret));
    } else {
        io_report_done(s, &x.report, "wrote", x.offset, v.bytes, v.bytes, 1);
    }
    io_vector_free(s, &v);
    return ret;
}
