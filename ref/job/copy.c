/*
 * The copy engine: finding out what to copy, and the coroutines that do it.
 */
#include "ref/job/copy.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"

enum kind { KIND_DATA, KIND_ZERO, KIND_BACKING };

struct worker {
    struct copy *c;
    uint8_t *buf;
    int64_t offset, bytes; /* what it copies at present */
    enum kind kind;
};

static int copy_fail(struct copy *c, int ret, const char *what, int64_t offset)
{
    if (c->ret == 0) {
        c->ret = ret;
        error_set(&c->err, -ret, "error while %s %lld: %s", what, (long long)offset,
                  strerror(-ret));
    }
    return ret;
}

/* A sector that salvaging gave up. */
static void salvaged(struct copy *c, const char *what, int64_t offset, int ret)
{
    if (!c->quiet) {
        world_warn(c->w, "error while reading %s %lld: %s", what, (long long)offset,
                   strerror(-ret));
    }
}

static struct copy_source *source_at(struct copy *c, int64_t offset)
{
    for (int i = 0; i < c->n_sources; i++) {
        if (offset < c->sources[i].start + c->sources[i].bytes) {
            return &c->sources[i];
        }
    }
    assert(false);
}

/* ---- what to copy ---- */

static enum kind classify(const struct copy *c, const struct status *st, int64_t offset)
{
    if (c->overlay && offset >= c->backing_bytes && (st->flags & STATUS_ZERO)) {
        return KIND_BACKING; /* reads as zeroes behind the end of the target's backing file, too */
    }
    if (st->flags & STATUS_ZERO) {
        return c->fill ? KIND_DATA : KIND_ZERO;
    }
    if (c->overlay && !(st->flags & (STATUS_DATA | STATUS_ALLOCATED))) {
        return KIND_BACKING;
    }
    return KIND_DATA;
}

/* Salvaging looks at what the source's format keeps together, a cluster, so that what is said of
 * one place is said before what is said of the next. */
static int64_t reach(const struct copy *c, const struct copy_source *s, int64_t at)
{
    struct image_info info;
    int64_t left = s->bytes - at;
    if (!c->salvage || node_info(blk_node(s->b), &info) < 0 || info.cluster_size <= 0) {
        return left;
    }
    return MIN(left, info.cluster_size - at % info.cluster_size);
}

/* Status of a source at `at`; salvaging narrows down which sector cannot be asked. */
static int ask(struct copy *c, struct copy_source *s, int64_t at, struct status *st)
{
    for (int64_t bytes = reach(c, s, at);;) {
        int ret = node_block_status_above(blk_node(s->b), c->base, true, at, bytes, st, NULL);
        if (ret == 0 || !c->salvage) {
            return ret;
        }
        if (bytes <= 512) {
            salvaged(c, "block status at offset", s->start + at, ret);
            *st = (struct status){.flags = STATUS_DATA, .bytes = MIN(512, s->bytes - at)};
            return 0;
        }
        bytes = MAX(ROUND_DOWN(bytes / 4, 512), 512);
    }
}

/* Kind of what is at offset, and for how many bytes. */
static int look_once(struct copy *c, int64_t offset, enum kind *kind, int64_t *bytes)
{
    struct copy_source *s = source_at(c, offset);
    struct status st;
    int ret = ask(c, s, offset - s->start, &st);
    if (ret < 0) {
        return copy_fail(c, ret, "reading block status at offset", offset);
    }
    assert(st.bytes > 0);
    *kind = classify(c, &st, offset);
    *bytes = MIN(st.bytes, s->start + s->bytes - offset);
    if (c->overlay && offset < c->backing_bytes) {
        *bytes = MIN(*bytes, c->backing_bytes - offset);
    }
    return 0;
}

/* As above; compressed images are made of whole clusters, and one that is not all of one kind is
 * data. */
static int look(struct copy *c, int64_t offset, enum kind *kind, int64_t *bytes)
{
    int ret = look_once(c, offset, kind, bytes);
    while (ret == 0 && c->compressed && *bytes < c->cluster && offset + *bytes < c->total) {
        enum kind more;
        int64_t n;
        ret = look_once(c, offset + *bytes, &more, &n);
        *kind = more == *kind ? more : KIND_DATA;
        *bytes = MIN(*bytes + n, *kind == KIND_DATA ? c->cluster : INT64_MAX);
    }
    if (c->compressed && offset + *bytes < c->total) {
        *bytes = ROUND_DOWN(*bytes, c->cluster);
    }
    return ret;
}

/* How much there is to do; it also lets errors of metadata show up before anything is written. */
static int count(struct copy *c)
{
    int64_t bytes;
    enum kind kind;
    c->data_bytes = 0;
    for (int64_t offset = 0; offset < c->total; offset += bytes) {
        int ret = look(c, offset, &kind, &bytes);
        if (ret < 0) {
            return ret;
        }
        c->data_bytes += kind == KIND_DATA ? bytes : 0;
        job_pause_point(c->job);
        if (job_cancelled(c->job)) {
            return -ECANCELED;
        }
    }
    return 0;
}

/* ---- reading and writing ---- */

/* What can be read of a range whose read has failed; sectors that cannot are zeroes. */
static void salvage(struct copy *c, struct copy_source *s, int64_t at, uint8_t *buf, int64_t bytes,
                    int error)
{
    if (at / 512 == (at + bytes - 1) / 512) {
        salvaged(c, "offset", s->start + at, error);
        memset(buf, 0, (size_t)bytes);
        return;
    }
    int64_t middle = MAX(ROUND_DOWN(at + bytes / 2, 512), ROUND_UP(at + 1, 512));
    for (int64_t done = 0, n = middle - at; done < bytes; done += n, n = bytes - done) {
        int ret = blk_pread(s->b, at + done, buf + done, n);
        if (ret < 0) {
            salvage(c, s, at + done, buf + done, n, ret);
        }
    }
}

/* The worker's range, which may cross from one source to the next. */
static int read_range(struct worker *k)
{
    struct copy *c = k->c;
    for (int64_t done = 0, n; done < k->bytes; done += n) {
        struct copy_source *s = source_at(c, k->offset + done);
        int64_t at = k->offset + done - s->start;
        n = MIN(k->bytes - done, s->bytes - at);
        int ret = blk_pread(s->b, at, k->buf + done, n);
        if (ret < 0 && c->salvage) {
            salvage(c, s, at, k->buf + done, n, ret);
            ret = 0;
        }
        if (ret < 0) {
            return copy_fail(c, ret, "reading at byte", k->offset);
        }
    }
    return 0;
}

static int write_zeroes(struct copy *c, int64_t offset, int64_t bytes)
{
    return c->zero_init ? 0 : blk_pwrite_zeroes(c->target, offset, bytes, REQ_MAY_UNMAP, NULL);
}

static int write_data(struct worker *k)
{
    struct copy *c = k->c;
    if (c->compressed) {
        if (!c->fill && buf_is_zero(k->buf, (size_t)k->bytes)) {
            return write_zeroes(c, k->offset, k->bytes);
        }
        return blk_pwrite(c->target, k->offset, k->buf, k->bytes, REQ_COMPRESSED);
    }
    for (int64_t done = 0, n; done < k->bytes; done += n) {
        bool data = true;
        n = c->min_sparse
                ? copy_split(k->buf + done, k->offset + done, k->bytes - done, c->min_sparse, &data)
                : k->bytes;
        int ret = data ? blk_pwrite(c->target, k->offset + done, k->buf + done, n, 0)
                       : write_zeroes(c, k->offset + done, n);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int write_range(struct worker *k)
{
    int ret = 0;
    if (k->kind == KIND_DATA) {
        ret = write_data(k);
    } else if (k->kind == KIND_ZERO) {
        ret = write_zeroes(k->c, k->offset, k->bytes);
    }
    return ret < 0 ? copy_fail(k->c, ret, "writing at byte", k->offset) : 0;
}

/* True when the data went over without us; afterwards it is not tried again when it cannot. */
static bool offload(struct worker *k)
{
    struct copy *c = k->c;
    if (k->kind != KIND_DATA || !c->copy_range) {
        return false;
    }
    for (int64_t done = 0, n; done < k->bytes; done += n) {
        struct copy_source *s = source_at(c, k->offset + done);
        int64_t at = k->offset + done - s->start;
        n = MIN(k->bytes - done, s->bytes - at);
        if (child_copy_range(blk_root(s->b), at, blk_root(c->target), k->offset + done, n, 0, 0) <
            0) {
            c->copy_range = false;
            return false;
        }
    }
    return true;
}

/* ---- coroutines ---- */

/* Takes the next range; 0 at the end, 1 when there is one, -errno. */
static int take(struct worker *k)
{
    struct copy *c = k->c;
    int ret = 0;
    co_lock(c->w, &c->lock);
    if (c->ret < 0 || job_cancelled(c->job) || c->next >= c->total) {
        goto out;
    }
    if (c->next >= c->status_end) {
        enum kind kind;
        int64_t bytes;
        ret = look(c, c->next, &kind, &bytes);
        if (ret < 0) {
            goto out;
        }
        c->kind = kind;
        c->status_end = c->next + bytes;
    }
    k->kind = c->kind;
    k->offset = c->next;
    k->bytes = c->status_end - c->next;
    if (k->kind == KIND_DATA) {
        k->bytes =
            MIN(k->bytes, c->compressed ? c->cluster : COPY_BUFFER - k->offset % COPY_BUFFER);
    }
    c->next += k->bytes;
    ret = 1;
out:
    co_unlock(c->w, &c->lock);
    return ret;
}

/* Until all before the worker's range is written; false when that will not be. */
static bool wait_turn(struct worker *k)
{
    struct copy *c = k->c;
    while (c->in_order && c->ret == 0 && !job_cancelled(c->job) && c->turn != k->offset) {
        job_rest_begin(c->job);
        waitq_wait(c->w, &c->turns);
        job_rest_end(c->job);
    }
    return c->ret == 0 && !job_cancelled(c->job);
}

static int copy_range(struct worker *k)
{
    struct copy *c = k->c;
    int ret = 0;
    bool read = k->kind == KIND_DATA && !c->copy_range;
    if (read) {
        ret = read_range(k);
    }
    if (ret < 0 || !wait_turn(k)) {
        return ret;
    }
    if (!offload(k)) {
        if (k->kind == KIND_DATA && !read) {
            ret = read_range(k);
        }
        ret = ret < 0 ? ret : write_range(k);
    }
    c->turn = k->offset + k->bytes;
    waitq_wake_all(c->w, &c->turns);
    return ret;
}

static void worker(void *arg)
{
    struct copy *c = arg;
    struct worker k = {.c = c};
    k.buf = node_try_blockalign(blk_node(c->target),
                                (size_t)(c->compressed ? c->cluster : COPY_BUFFER));
    if (!k.buf) {
        copy_fail(c, -ENOMEM, "allocating a buffer at byte", 0);
    }
    while (k.buf && take(&k) == 1) {
        job_throttle(c->job, k.kind == KIND_DATA ? (uint64_t)k.bytes : 0);
        if (job_cancelled(c->job) || copy_range(&k) < 0) {
            break;
        }
        if (k.kind == KIND_DATA) {
            job_progress(c->job, k.bytes);
        }
    }
    mem_free(k.buf);
    waitq_wake_all(c->w, &c->turns);
    job_worker_end(c->job);
    if (--c->running == 0) {
        waitq_wake_all(c->w, &c->finished);
    }
}

static int copy_run(struct job *j, struct error **err)
{
    struct copy *c = j->opaque;
    int ret = count(c);
    if (ret == 0) {
        job_progress_total(j, c->data_bytes);
        c->running = c->workers;
        for (int i = 0; i < c->workers; i++) {
            job_worker_begin(j);
            co_spawn(c->w, "copy", worker, c);
        }
        job_rest_begin(j);
        while (c->running) {
            waitq_wait(c->w, &c->finished);
        }
        job_rest_end(j);
        job_pause_point(j);
        ret = c->ret;
    }
    if (ret == 0 && c->compressed && !job_cancelled(j)) {
        ret = blk_pwrite(c->target, 0, NULL, 0, REQ_COMPRESSED); /* ends the stream */
        if (ret < 0) {
            copy_fail(c, ret, "writing at byte", c->total);
        }
    }
    error_propagate(err, c->err);
    c->err = NULL;
    return ret;
}

/* What waits for its turn must see that the job was cancelled. */
static void copy_kick(struct job *j)
{
    struct copy *c = j->opaque;
    waitq_wake_all(c->w, &c->turns);
}

const struct job_driver copy_driver = {.type = JOB_CONVERT, .run = copy_run, .kick = copy_kick};

struct job *copy_job_new(struct copy *c, const char *id, int64_t speed, struct error **err)
{
    assert(c->workers >= 1 && c->workers <= COPY_MAX_WORKERS);
    assert(!c->overlay || c->n_sources == 1);
    assert(!c->compressed || IS_POW2(c->cluster));
    struct job *j = job_new(c->w, id, &copy_driver, c, 0, err);
    if (j) {
        c->job = j;
        job_set_speed(j, speed, NULL);
    }
    return j;
}
