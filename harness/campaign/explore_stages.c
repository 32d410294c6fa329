/*
 * What the stages crash, faults and fuzz share.  See explore_stages.h.
 */
#include "harness/campaign/explore_stages.h"

#include <string.h>
#include "ref/base/mem.h"

const struct profile *subject_profile(const struct subject *s)
{
    static const struct profile *const all[] = {&profile_reference, &profile_optimized};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (!strcmp(s->name, all[i]->name)) {
            return all[i];
        }
    }
    return NULL;
}

const struct profile *profile_named(const char *name)
{
    return name && !strcmp(name, profile_optimized.name) ? &profile_optimized : &profile_reference;
}

char *program_title(const struct program *p, const char *id)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_printf(&out, "%s%s%s:", p->backing ? "backing " : "", p->options,
                  p->options[0] ? "" : p->format);
    for (size_t i = 0; i < p->n_ops; i++) {
        strbuf_puts(&out, p->ops[i].beside ? " || " : i ? "; " : " ");
        op_print(&out, &p->ops[i]);
    }
    strbuf_printf(&out, " [%s]", id);
    return strbuf_take(&out);
}

void first_crash(void *opaque, const struct crash_finding *f)
{
    struct first_finding *first = opaque;
    first->why = first->why ? first->why : str_dup(f->why);
}

void first_fault(void *opaque, const struct fault_finding *f)
{
    struct first_finding *first = opaque;
    first->why = first->why ? first->why : str_dup(f->why);
}
