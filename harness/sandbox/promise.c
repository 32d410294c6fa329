/*
 * Questions to a format's promise.  See promise.h.
 */
#include "harness/sandbox/promise.h"

#include <string.h>
#include "ref/base/mem.h"
#include "ref/protocol/sim_image.h"
#include "specs/runtime/checkers.h"

/* NULL: the format has no specification (raw). */
static const struct spec_promise *promise_of(const struct program *p)
{
    const struct spec_checker *c = spec_checker_find(p->format);
    return c ? c->spec()->promise : NULL;
}

enum sandbox_repair sandbox_repair_of(const struct program *p)
{
    const struct spec_promise *promise = promise_of(p);
    enum spec_repair repair = promise ? promise->before_use->repair : SPEC_REPAIR_NONE;
    return repair == SPEC_REPAIR_OPEN  ? REPAIR_BY_OPENING
           : repair == SPEC_REPAIR_ALL ? REPAIR_BY_CHECK
                                       : REPAIR_NONE;
}

bool promise_leaks(const struct program *p)
{
    const struct spec_promise *promise = promise_of(p);
    bool found = false;
    for (const struct spec_leaves *l = promise ? promise->leaves : NULL; l && l->id; l++) {
        for (size_t i = 0; i < p->n_ops; i++) {
            found |= !strcmp(op_kind_name(p->ops[i].kind), l->after);
        }
    }
    return found;
}

bool promise_refuses(const struct program *p, const struct disk_set *set)
{
    const struct spec_promise *promise = promise_of(p);
    const char *refused = promise ? promise->before_use->refused : NULL, *clause;
    if (!refused) {
        return false;
    }
    struct spec_image image = sim_image(set->disk[0]);
    struct spec_report *r = mem_alloc(sizeof(*r));
    spec_report_init(r);
    spec_checker_find(p->format)->check(&image, NULL, r, &clause);
    bool found = spec_report_count(r, refused) > 0;
    mem_free(r);
    return found;
}
