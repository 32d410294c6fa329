/*
 * The sandbox: operations of a program that run beside each other, a coroutine each.
 *
 * Who runs when is the policy's business; what may come out is judged by oracle_group.h.  Reads
 * have buffers of their own.
 */
#include "harness/oracle/oracle_group.h"
#include "harness/sandbox/sandbox_int.h"

#include <errno.h>
#include "ref/base/mem.h"
#include "ref/block/backend.h"

struct group;
struct member {
    struct group *g;
    const struct op *op;
    size_t at; /* in the program */
};

struct group {
    struct run *r;
    struct oracle_group oracle;
    struct member m[OP_GROUP_MAX];
    size_t left;
    struct waitq done;
};

static int read_bytes(struct run *r, const struct op *op, uint8_t **data)
{
    *data = mem_try_alloc((size_t)MAX(op->bytes, 1));
    int ret = *data ? blk_pread(r->b, op->offset, *data, op->bytes) : -ENOMEM;
    if (ret < 0) {
        mem_free(*data);
        *data = NULL;
    } else {
        **data ^= r->sb->planted == PLANT_FLIP_BYTE;
    }
    return ret;
}

static void run_member(void *arg)
{
    struct member *m = arg;
    struct group *g = m->g;
    struct run *r = g->r;
    uint8_t *data = NULL;
    unsigned i = oracle_group_begin(&g->oracle, m->op);
    recording_begin(r->rec, m->at, co_self(r->w));
    sandbox_remember(r->rec);
    int ret = m->op->kind == OP_READ    ? read_bytes(r, m->op, &data)
              : m->op->kind == OP_FLUSH ? blk_flush(r->b, NULL)
                                        : sandbox_carry_out(r, m->op);
    oracle_group_end(&g->oracle, i, ret, data);
    r->rec->status[m->at] = ret;
    recording_end(r->rec, m->at);
    if (ret == 0 &&
        (m->op->kind == OP_FLUSH || (m->op->kind == OP_WRITE && m->op->flags & OP_FUA))) {
        sandbox_acknowledge(r->rec, "flush");
    }
    if (--g->left == 0) {
        waitq_wake_all(r->w, &g->done);
    }
}

void sandbox_group(struct run *r, size_t first, size_t n)
{
    struct recording *rec = r->rec;
    struct group *g = mem_zalloc(sizeof(*g));
    g->r = r;
    g->left = n;
    oracle_group_init(&g->oracle, &rec->oracle);
    for (size_t i = 0; i < n; i++) {
        const struct op *op = &rec->program->ops[first + i];
        g->m[i] = (struct member){.g = g, .op = op, .at = first + i};
        co_spawn(r->w, op_kind_name(op->kind), run_member, &g->m[i]);
    }
    while (g->left) {
        waitq_wait(r->w, &g->done);
    }
    struct strbuf why = STRBUF_INIT;
    if (!oracle_group_judge(&g->oracle, r->may_fail, &why) && !rec->wrong) {
        rec->wrong = true;
        strbuf_puts(&rec->why, why.s);
    }
    strbuf_free(&why);
    oracle_group_free(&g->oracle);
    mem_free(g);
    sandbox_remember(rec);
}
