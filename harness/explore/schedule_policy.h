/*
 * The scheduling policy behind the schedule explorer: takes the decisions of a script, then first
 * choices or random priorities, and writes down what there was to decide.
 */
#ifndef BLKREF_HARNESS_SCHEDULE_POLICY_H
#define BLKREF_HARNESS_SCHEDULE_POLICY_H

#include "ref/base/error.h"
#include "ref/base/rng.h"
#include "ref/base/strbuf.h"
#include "ref/engine/sched.h"

#define SCHEDULE_CHOICES 16 /* ready coroutines beyond this are not chosen */
#define SCHEDULE_STEPS   100000
#define SCHEDULE_BLOCK   512 /* of the disks: requests finer than it must be kept apart */

/* A run from one point to the next. */
struct schedule_step {
    unsigned co;        /* its number in the world */
    bool known;         /* it stood at a point; else it just became ready */
    struct point point; /* by value */
};

struct schedule_decision {
    uint32_t step;            /* index of the step that was chosen */
    uint8_t n, chosen, first; /* choices; taken; the one taken when nobody decides */
    bool preempts;            /* the first choice is the one that runs: any other is a preemption */
    bool stands;              /* ... and stands at a known point */
    struct point point;
    unsigned co[SCHEDULE_CHOICES];
    uint16_t open;  /* bits: choices still to be tried */
    unsigned spent; /* preemptions before it */
};

struct schedule_policy {
    struct sched_policy base;
    const uint8_t *script; /* choices of the first decisions */
    size_t script_len;
    struct schedule_decision *decisions;
    size_t n_decisions, cap_decisions;
    struct schedule_step *steps;
    size_t n_steps, cap_steps;
    unsigned last; /* the coroutine that ran */
    unsigned spent;
    /* random priorities */
    bool random;
    uint64_t seed;
    unsigned depth, low;
    uint64_t *change;           /* decisions where the running one falls behind all others */
    unsigned *fallen, n_fallen; /* who fell, in this order */
};

void schedule_policy_init(struct schedule_policy *s);
void schedule_policy_free(struct schedule_policy *s);
/* Before each run. */
void schedule_policy_start(struct schedule_policy *s, const uint8_t *script, size_t len);
/* The same, with random priorities that fall `depth` times in about `length` decisions. */
void schedule_policy_random(struct schedule_policy *s, uint64_t seed, unsigned depth,
                            uint64_t length);
/* The id of the schedule that ran. */
void schedule_policy_id(const struct schedule_policy *s, struct strbuf *out);
/* An id as a script, mem_free(); 0 or -EINVAL with err. */
int schedule_policy_parse(const char *id, uint8_t **script, size_t *len, struct error **err);

#endif
