/*
 * aio_read, aio_write, aio_flush: requests that go on beside the session.
 *
 * A command succeeds once its request is under way.  A request that is done stands in s->done until
 * the session polls, which prints its result: commands between do not see half of it, and the order
 * of lines is that of commands and completions alone.
 */
#include <errno.h>
#include <fnmatch.h>

#include "ref/base/mem.h"
#include "ref/engine/clock.h"
#include "ref/tools/io/rw.h"

struct aio {
    struct list started, done; /* in the session's lists */
    struct io_session *s;
    struct blk *blk;
    struct io_report report;
    struct io_vector v;
    int64_t offset, zero_bytes;
    int pattern;
    unsigned flags;
    int ret;
    bool write, zero, dump, invalid;
    const char *tag;
};

/* Prints the result and forgets the request. */
static void report(struct aio *a)
{
    int ret = a->ret;
    int64_t bytes = a->zero ? a->zero_bytes : a->v.bytes;
    if (ret < 0) {
        printf("%s failed: %s\n", a->write ? "aio_write" : "readv", strerror(-ret));
    } else {
        if (!a->write && a->pattern >= 0) {
            io_verify(a->v.buf, a->pattern, a->offset, 0, bytes);
        }
        if (!a->report.quiet) {
            if (a->dump) {
                io_dump(a->v.buf, a->offset, bytes);
            }
            io_report_done(a->s, &a->report, a->write ? "wrote" : "read", a->offset, bytes, bytes,
                           1);
        }
    }
    if (!a->zero) {
        io_vector_free(a->s, &a->v);
    }
    blk_unref(a->blk);
    a->s->pending--;
    list_remove(&a->started);
    list_remove(&a->done);
    mem_free(a);
}

void io_poll(struct io_session *s)
{
    while (!list_empty(&s->done)) {
        report(LIST_FIRST(&s->done, struct aio, done));
    }
}

void io_wait_idle(struct io_session *s)
{
    io_poll(s);
    while (s->pending) {
        waitq_wait(s->w, &s->idle);
        io_poll(s);
    }
}

/* Does a request labelled so still run? */
static bool runs(const struct io_session *s, const char *glob)
{
    const struct aio *a;
    LIST_FOREACH (a, &s->aio, started) {
        if (list_empty(&a->done) && a->tag && !fnmatch(glob, a->tag, 0)) {
            return true;
        }
    }
    return false;
}

int io_cmd_wait(struct io_session *s, int argc, char **argv)
{
    if (!io_tag_known(s, argv[1])) {
        printf("No request is labelled '%s'\n", argv[1]);
        return -ENOENT;
    }
    while (runs(s, argv[1])) {
        waitq_wait(s->w, &s->idle);
    }
    io_poll(s);
    return 0;
}

static void run(void *arg)
{
    struct aio *a = arg;
    int ret;
    if (a->zero) {
        ret = blk_pwrite_zeroes(a->blk, a->offset, a->zero_bytes, a->flags, a->tag);
    } else if (a->write) {
        ret = blk_pwritev(a->blk, a->offset, a->v.bytes, &a->v.iov, a->flags, a->tag);
    } else {
        ret = blk_preadv(a->blk, a->offset, a->v.bytes, &a->v.iov, 0, a->tag);
    }
    struct io_session *s = a->s;
    a->ret = ret;
    list_push(&s->done, &a->done);
    waitq_wake_all(s->w, &s->idle);
    if (s->polling) {
        io_poll(s);
    }
}

/* Starts it and lets it come as far as it can before the next command. */
static int start(const struct aio *parsed)
{
    struct aio *a = mem_dup(parsed, sizeof(*parsed));
    if (!a->zero && a->v.iov.v == &parsed->v.iov.one) {
        a->v.iov.v = &a->v.iov.one;
    }
    a->blk = a->s->blk;
    blk_ref(a->blk);
    a->s->pending++;
    list_push(&a->s->aio, &a->started);
    list_init(&a->done);
    a->report.start = clock_now(a->s->w, CLOCK_REAL);
    co_spawn(a->s->w, a->write ? "aio_write" : "aio_read", run, a);
    co_yield (a->s->w);
    return 0;
}

static int parse_options(struct aio *a, int argc, char **argv)
{
    const char *options = a->write ? "CfiL:P:quz" : "CiL:P:qv";
    bool restart = true;
    int c;
    while ((c = io_getopt(argc, argv, options, &restart)) != -1) {
        switch (c) {
        case 'C':
            a->report.machine = true;
            break;
        case 'f':
            a->flags |= REQ_FUA;
            break;
        case 'i':
            printf("injecting invalid %s request\n", a->write ? "write" : "read");
            a->invalid = true;
            return 0;
        case 'L':
            a->tag = io_tag(a->s, optarg);
            break;
        case 'P':
            a->pattern = io_parse_pattern(optarg);
            if (a->pattern < 0) {
                return -EINVAL;
            }
            break;
        case 'q':
            a->report.quiet = true;
            break;
        case 'u':
            a->flags |= REQ_MAY_UNMAP;
            break;
        case 'v':
            a->dump = true;
            break;
        case 'z':
            a->zero = true;
            break;
        default:
            return io_usage(argv[0]);
        }
    }
    return optind <= argc - 2 ? 0 : io_usage(argv[0]);
}

int io_cmd_aio_read(struct io_session *s, int argc, char **argv)
{
    struct aio a = {.s = s, .pattern = -1};
    int ret = parse_options(&a, argc, argv);
    if (ret < 0 || a.invalid) {
        return ret;
    }
    a.offset = io_parse_number(s, argv[optind]);
    if (a.offset < 0 || io_parse_vector(s, argv + optind + 1, argc - optind - 1, 0xab, &a.v) < 0) {
        return -EINVAL;
    }
    return start(&a);
}

int io_cmd_aio_write(struct io_session *s, int argc, char **argv)
{
    struct aio a = {.s = s, .pattern = IO_PATTERN, .write = true};
    int ret = parse_options(&a, argc, argv);
    if (ret < 0 || a.invalid) {
        return ret;
    }
    if (a.zero && optind != argc - 2) {
        printf("-z supports only a single length parameter\n");
        return -EINVAL;
    }
    if ((a.flags & REQ_MAY_UNMAP) && !a.zero) {
        printf("-u requires -z to be specified\n");
        return -EINVAL;
    }
    a.offset = io_parse_number(s, argv[optind]);
    if (a.offset < 0) {
        return -EINVAL;
    }
    if (a.zero) {
        a.zero_bytes = io_parse_number(s, argv[optind + 1]);
        if (a.zero_bytes < 0) {
            return -EINVAL;
        }
    } else if (io_parse_vector(s, argv + optind + 1, argc - optind - 1, a.pattern, &a.v) < 0) {
        return -EINVAL;
    }
    return start(&a);
}

int io_cmd_aio_flush(struct io_session *s, int argc, char **argv)
{
    io_wait_idle(s);
    return 0;
}
