/*
 * What one operation of a program does to the image that is open.  See sandbox_int.h.
 */
#include "harness/sandbox/sandbox_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "harness/subject/subject.h"
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/block/snapshot.h"
#include "ref/job/amend.h"
#include "ref/job/commit.h"
int sandbox_open_image(struct run *r)
{
    struct error *err = NULL;
    r->b = blk_open(r->w, "sim:image", NULL, sandbox_open_options(r->rec->program),
                    OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP | r->flags, &err);
    if (r->b) {
        r->opened = true;
        blk_set_write_cache(r->b, true);
        return 0;
    }
    int code = err ? -err->code : -EIO;
    if (!r->may_fail) {
        r->rec->wrong = true;
        strbuf_printf(&r->rec->why, "does not open: %s", err ? err->msg : "?");
    }
    error_free(err);
    return code ? code : -EIO;
}

void sandbox_close_image(struct run *r)
{
    if (r->b) {
        blk_unref(r->b);
        r->b = NULL;
    }
}

int sandbox_flush(struct run *r)
{
    struct op op = {.kind = OP_FLUSH};
    int ret = blk_flush(r->b, NULL);
    oracle_end(&r->rec->oracle, &op, ret);
    if (ret == 0) {
        sandbox_acknowledge(r->rec, "flush");
    }
    return ret;
}

/* How often the medium lied so far. */
static uint64_t silent(const struct run *r)
{
    return !r->plan
               ? 0
               : fault_plan_silent(r->plan, LABEL_DATA) + fault_plan_silent(r->plan, LABEL_META) +
                     fault_plan_silent(r->plan, LABEL_CONTROL);
}

static int read_back(struct run *r, const struct op *op)
{
    struct recording *rec = r->rec;
    for (int64_t done = 0; done < op->bytes;) {
        int64_t len = MIN(op->bytes - done, (int64_t)SANDBOX_BUF), at = op->offset + done;
        uint64_t lies = silent(r);
        int ret = blk_pread(r->b, at, r->sb->buf, len);
        if (ret < 0) {
            return ret;
        }
        if (silent(r) > lies) {
            return 0; /* nobody can know what these bytes are */
        }
        r->sb->buf[0] ^= r->sb->planted == PLANT_FLIP_BYTE;
        if (!rec->wrong &&
            oracle_judge(&rec->oracle, ORACLE_LIVE, at, len, r->sb->buf, false, &rec->why) >= 0) {
            rec->wrong = true;
        }
        done += len;
    }
    return 0;
}

/* Planted: whole blocks are read, changed and written back, and nobody is kept from doing the same.
 */
static int write_by_blocks(struct run *r, const struct op *op, const uint8_t *data)
{
    int64_t block = 4 * KiB, start = ROUND_DOWN(op->offset, block),
            end = MIN(ROUND_UP(op->offset + op->bytes, block), blk_length(r->b));
    uint8_t *buf = mem_alloc((size_t)(end - start));
    int ret = blk_pread(r->b, start, buf, end - start);
    if (ret == 0) {
        memcpy(buf + (op->offset - start), data, (size_t)op->bytes);
        ret = blk_pwrite(r->b, start, buf, end - start, 0);
    }
    mem_free(buf);
    return ret;
}

/* Planted: two locks, in an order that depends on what is written. */
static int write_locked(struct run *r, const struct op *op, const uint8_t *data)
{
    struct co_mutex *first = &r->planted[op->seed % 2], *second = &r->planted[!(op->seed % 2)];
    co_lock(r->w, first);
    co_lock(r->w, second);
    int ret = blk_pwrite(r->b, op->offset, data, op->bytes, 0);
    co_unlock(r->w, second);
    co_unlock(r->w, first);
    return ret;
}

static int write_bytes(struct run *r, const struct op *op)
{
    unsigned flags = op->kind == OP_WRITE_COMPRESSED ? REQ_COMPRESSED
                     : op->flags & OP_FUA            ? REQ_FUA
                                                     : 0;
    uint8_t *buf = mem_try_alloc((size_t)MAX(op->bytes, 1));
    if (!buf) {
        return -ENOMEM;
    }
    op_fill(buf, op->seed, op->offset, (size_t)op->bytes);
    int ret = r->sb->planted == PLANT_RACE ? write_by_blocks(r, op, buf)
              : r->sb->planted == PLANT_DEADLOCK
                  ? write_locked(r, op, buf)
                  : blk_pwrite(r->b, op->offset, buf, op->bytes, flags);
    mem_free(buf);
    return ret < 0 && r->sb->planted == PLANT_SWALLOW ? 0 : ret;
}

static int snapshot(struct run *r, const struct op *op)
{
    struct error *err = NULL;
    struct node *n = blk_node(r->b);
    int ret;
    if (op->kind == OP_SNAPSHOT) {
        struct snapshot_info sn = {.icount = UINT64_MAX};
        snprintf(sn.name, sizeof(sn.name), "%s", op->text);
        ret = snapshot_create(n, &sn);
    } else if (op->kind == OP_APPLY) {
        ret = snapshot_goto(n, op->text, &err);
    } else {
        struct snapshot_info sn;
        ret = snapshot_find(n, &sn, op->text);
        ret = ret < 0 ? ret : ret ? snapshot_delete(n, sn.id, sn.name, &err) : -ENOENT;
    }
    error_free(err);
    return ret;
}

static int amend(struct run *r, const struct op *op)
{
    struct node *n = blk_node(r->b);
    struct error *err = NULL;
    int ret = -ENOTSUP;
    if (n->drv->amend && n->drv->amend_options) {
        struct value *opts = opts_parse(op->text, NULL, NULL);
        struct job *j = opts ? amend_job_flat(NULL, n, opts, false, &err) : NULL;
        ret = j ? job_run(j, &err) : -EINVAL;
    }
    error_free(err);
    return ret;
}

/* Repairs all that is found; which error check met, it only counts. */
static int check(struct run *r)
{
    struct check_result res = {0};
    int ret = node_check(blk_node(r->b), &res, FIX_LEAKS | FIX_ERRORS);
    return ret < 0 ? ret : res.check_errors ? -EIO : 0;
}

static int vmstate(struct run *r, const struct op *op)
{
    struct iov q;
    if (op->bytes > SANDBOX_BUF) {
        return -EFBIG;
    }
    iov_single(&q, r->sb->buf, (size_t)op->bytes);
    if (op->kind == OP_VMLOAD) {
        return node_load_vmstate(blk_node(r->b), &q, op->offset);
    }
    op_fill(r->sb->buf, op->seed, op->offset, (size_t)op->bytes);
    return node_save_vmstate(blk_node(r->b), &q, op->offset);
}

/* What an emptied image held in a data file was given back to the host. */
static void judge_emptied(struct run *r)
{
    static const char zero[ORACLE_SECTOR];
    struct disk *d = r->rec->end.disk[1];
    for (int64_t at = 0; at < disk_size(d) && !r->rec->wrong; at += ORACLE_SECTOR) {
        char buf[ORACLE_SECTOR];
        disk_read(d, at, buf, sizeof(buf));
        if (memcmp(buf, zero, sizeof(buf))) {
            r->rec->wrong = true;
            strbuf_printf(&r->rec->why, "emptied, and the data file holds data still at %lld",
                          (long long)at);
        }
    }
}

/* Into the backing file; the image is emptied then. */
static int commit(struct run *r)
{
    struct node *top = blk_node(r->b), *base = commit_target(top);
    struct commit_options o = {.after = COMMIT_EMPTY};
    struct commit c;
    struct error *err = NULL;
    if (!base) {
        return -ENOTSUP;
    }
    struct job *j = commit_job_new(&c, NULL, top, base, &o, &err);
    int ret = j ? job_run(j, &err) : -EPERM;
    error_free(err);
    if (ret == 0 && !r->may_fail && !r->optioned) {
        judge_emptied(r);
    }
    return ret;
}

/* Options of the open image, in place. */
static int change_options(struct run *r, const char *text)
{
    struct error *err = NULL;
    struct value *options = opts_parse(text, NULL, &err);
    r->optioned = true;
    int ret = options ? node_reopen(blk_node(r->b), options, true, &err) : -EINVAL;
    error_free(err);
    return ret;
}

/* The file below becomes longer than the image, where its end means nothing to the format. */
static int extend(struct run *r, int64_t bytes)
{
    struct child *file = blk_node(r->b)->file;
    if (strcmp(r->rec->program->format, "qcow2")) {
        return -ENOTSUP;
    }
    int64_t length = child_length(file);
    return length < 0        ? (int)length
           : length >= bytes ? 0
                             : child_truncate(file, bytes, false, PREALLOC_OFF, 0, NULL);
}

/* As programs do: what was written is made durable first. */
static int reopen(struct run *r)
{
    int ret = sandbox_flush(r);
    sandbox_close_image(r);
    if (ret < 0 && r->sb->profile->metadata_cache) {
        oracle_close_unflushed(&r->rec->oracle);
        sandbox_remember(r->rec);
    }
    int opened = sandbox_open_image(r);
    return opened < 0 ? opened : ret;
}

int sandbox_carry_out(struct run *r, const struct op *op)
{
    unsigned zero = (op->flags & OP_UNMAP ? REQ_MAY_UNMAP : 0) |
                    (op->flags & OP_NO_FALLBACK ? REQ_NO_FALLBACK : 0);
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
        return write_bytes(r, op);
    case OP_ZERO:
        return blk_pwrite_zeroes(r->b, op->offset, op->bytes, zero, NULL);
    case OP_DISCARD:
        return blk_discard(r->b, op->offset, op->bytes, NULL);
    case OP_READ:
        return read_back(r, op);
    case OP_SNAPSHOT:
    case OP_APPLY:
    case OP_DELSNAP:
        return snapshot(r, op);
    case OP_RESIZE:
        return blk_resize(r->b, op->bytes, true, op->prealloc, NULL);
    case OP_FLUSH:
        return sandbox_flush(r);
    case OP_REOPEN:
        return op->text[0] ? change_options(r, op->text) : reopen(r);
    case OP_EXTEND:
        return extend(r, op->bytes);
    case OP_AMEND:
        return amend(r, op);
    case OP_CHECK:
        return check(r);
    case OP_VMSAVE:
    case OP_VMLOAD:
        return vmstate(r, op);
    case OP_COMMIT:
        /* A vmdk parent that is written is a parent no more (specs/vmdk.yaml, DSC-5). */
        return strcmp(r->rec->program->format, "vmdk") ? commit(r) : -ENOTSUP;
    default:
        return -ENOTSUP;
    }
}
