/*
 * What was recorded of a run: which contents were lawful when, and when operations began and ended.
 * See sandbox.h.
 */
#include "harness/sandbox/sandbox_int.h"

#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"
void recording_remember(struct recording *rec, uint64_t from)
{
    if (rec->n_epochs == rec->cap_epochs) {
        rec->cap_epochs = rec->cap_epochs * 2 + 8;
        rec->epochs = mem_realloc(rec->epochs, rec->cap_epochs * sizeof(*rec->epochs));
    }
    struct epoch *e = &rec->epochs[rec->n_epochs++];
    e->from = from;
    oracle_copy(&e->oracle, &rec->oracle);
}

void sandbox_remember(struct recording *rec)
{
    recording_remember(rec, disk_log_clock(rec->log));
}

void sandbox_acknowledge(struct recording *rec, const char *what)
{
    sandbox_remember(rec);
    disk_log_mark(rec->log, what);
}

void recording_begin(struct recording *rec, size_t i, struct co *co)
{
    rec->runs[i] = co;
    rec->began[i] = disk_log_clock(rec->log);
}

void recording_end(struct recording *rec, size_t i)
{
    rec->runs[i] = NULL;
    rec->ended[i] = disk_log_clock(rec->log);
}

void recording_free(struct recording *rec)
{
    disk_set_free(&rec->base);
    disk_set_free(&rec->end);
    disk_log_free(rec->log);
    for (size_t i = 0; i < rec->n_epochs; i++) {
        oracle_free(&rec->epochs[i].oracle);
    }
    mem_free(rec->epochs);
    oracle_free(&rec->oracle);
    mem_free(rec->status);
    mem_free(rec->began);
    mem_free(rec->ended);
    mem_free(rec->runs);
    strbuf_free(&rec->why);
    memset(rec, 0, sizeof(*rec));
}

bool recording_may_leak(const struct recording *r)
{
    for (size_t i = 0; i < r->program->n_ops; i++) {
        if (r->status[i] < 0 && r->status[i] != -ENOENT && r->status[i] != -ENOTSUP) {
            return true;
        }
    }
    return strstr(r->program->options, "made=");
}

const struct oracle *recording_oracle(const struct recording *rec, uint64_t cut)
{
    size_t i = 0;
    while (i + 1 < rec->n_epochs && rec->epochs[i + 1].from < cut) {
        i++;
    }
    return &rec->epochs[i].oracle;
}
