/*
 * The world: everything that lives at run time hangs off one of these.
 *
 * Models: the owner of coroutines, clocks, randomness, host I/O and reports.  Two worlds in one
 * process share nothing but the process object (stack pool, worker threads), so a run is a function
 * of program, schedule, faults and images.  World create and destroy cost microseconds: lazily made
 * parts only. Leaves out: images (ref/block hangs its state on `block`).
 */
#ifndef BLKREF_ENGINE_WORLD_H
#define BLKREF_ENGINE_WORLD_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include "ref/base/error.h"
#include "ref/base/list.h"
#include "ref/base/rng.h"

struct co;
struct world;

/*
 * What outlives worlds: a pool of guarded stacks, the worker threads.  Made once and passed in; it
 * and its worlds belong to one thread (a program that runs worlds in several threads makes one for
 * each). Worker threads do not survive fork(): daemonise before the first I/O.
 */
struct process;
struct process *process_new(void);
void process_free(struct process *p); /* no world may be left */

enum io_backend {
    IO_SYNC,    /* plain system calls, complete at once */
    IO_THREADS, /* worker threads */
    IO_URING,   /* io_uring; world_new falls back to IO_THREADS where the kernel has none */
};

/* The two profiles of the design; ref/block and the drivers read the switches, nothing else. */
struct profile {
    const char *name;    /* "reference" or "optimized" */
    bool metadata_cache; /* write-back metadata cache (else write-through) */
    bool merge_requests; /* join adjacent requests, one write for COW and data */
    bool copy_offload;   /* copy_file_range, reflinks */
    bool clean_cache;    /* data that is used once leaves the host's page cache again */
    enum io_backend io;  /* default back end */
};
extern const struct profile profile_reference;
extern const struct profile profile_optimized;

enum report_kind {
    REPORT_ERROR,   /* "PROG: MSG" on stderr */
    REPORT_WARNING, /* "PROG: warning: MSG" on stderr */
    REPORT_INFO,    /* "PROG: info: MSG" */
    REPORT_PLAIN,   /* text as it is, on stderr: hint lines */
    REPORT_STDOUT,  /* text as it is, on stdout: what commands print */
};
typedef void report_fn(void *opaque, enum report_kind kind, const char *text);
/* For worlds that nobody listens to: no text is made. */
report_fn report_nothing;

/* Chooses the next coroutine among `n` ready ones (n >= 1); see sched.h for the policies we have.
 */
struct sched_policy;

struct world_config {
    const struct profile *profile; /* NULL: reference */
    enum io_backend io;            /* used when io_set */
    bool io_set;
    struct sched_policy *policy; /* NULL: FIFO */
    uint64_t seed;               /* for world_rng(), UUIDs */
    bool simulated_time;         /* clocks move only when nothing can run */
    bool random_seed;            /* seed from the host (drop-in programs) */
    bool deny_names_in_images;   /* names found inside images open no host files */
    bool plain_data_files; /* names of data files are names of host files, nothing is parsed */
    bool leak_as_qemu;     /* what fails leaks where QEMU's does: its own tests compare that */
    report_fn *report;     /* NULL: stderr/stdout of the process */
    void *report_opaque;
    const char *prog_name; /* prefix of reports; NULL: none */
    bool exit_on_fatal;    /* world_fatal() ends the process (drop-in programs) */
};

struct world *world_new(struct process *p, const struct world_config *cfg);
/*
 * Waits for host I/O in flight, calls the destructor of world_set_block(), then releases the stacks
 * of coroutines that have not finished, without running them: what they own is not freed
 * (LeakSanitizer is told so).  A clean shutdown cancels and settles first; world_live() says
 * whether it did.
 */
void world_free(struct world *w);
unsigned world_live(const struct world *w); /* coroutines that have not finished */

const struct profile *world_profile(const struct world *w);
bool world_denies_names(const struct world *w);
bool world_leaks_as_qemu(const struct world *w);
bool world_plain_data_files(const struct world *w);
struct rng *world_rng(struct world *w);
/*
 * Bytes for keys and salts: from the host where the world's seed is the host's, else from the
 * world's generator, so that runs with a seed repeat.  Recorded and replayed with the run.
 */
void world_secret_bytes(struct world *w, void *buf, size_t len);
/* Random (version 4) UUID from the world's generator. */
void world_uuid(struct world *w, uint8_t uuid[16]);
/* One pointer for ref/block, with its destructor, called by world_free. */
void world_set_block(struct world *w, void *block, void (*destroy)(void *block));
void *world_block(const struct world *w);
/*
 * Other parts' state: one pointer for each key (the address of something of the part's own), freed
 * behind the block layer's.  Attaching again to a key that has one is an error of the program.
 */
void world_attach(struct world *w, const void *key, void *p, void (*destroy)(void *p));
void *world_attachment(const struct world *w, const void *key); /* NULL: none */

void world_report(struct world *w, enum report_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints an error with its hint and frees it. */
/* What was printed to stdout so far goes out now, in front of any message that follows. */
void world_flush_stdout(struct world *w);
void world_report_error(struct world *w, struct error *err);
/*
 * For what ends a drop-in program at once with status 1, after its message was reported.  Returns
 * where the world is not a program's own: the caller fails the request then.
 */
void world_fatal(struct world *w);
void world_warn(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Runs fn(arg) in a coroutine of its own and the scheduler until it returns.  Only mains, tests and
 * harness call it; nested calls are not allowed.  Returns 0, or -EDEADLK when fn cannot go on and
 * nothing else can run (then the coroutine stays suspended and world_free reaps it).
 */
int world_exec(struct world *w, void (*fn)(void *arg), void *arg);
/*
 * Lets everything run until nothing is ready and no timer or file I/O is pending.  Timers on a
 * manual clock do not count, and it does not wait for sockets (host_poll) and signals, only takes
 * what has come in.
 */
void world_settle(struct world *w);

/* ---- coroutines ---- */
typedef void co_fn(void *arg);
/* Makes a coroutine ready; it runs when the policy picks it.  `name` is borrowed for its life. */
struct co *co_spawn(struct world *w, const char *name, co_fn *fn, void *arg);
struct co *co_self(struct world *w); /* NULL in the scheduler */
/* Back of the ready queue: a scheduling point. */
void co_yield (struct world *w);
/*
 * Suspends until co_wake(); a wake that came before is remembered once.  A wake that meets the
 * coroutine in another wait (queue, lock, sleep, I/O) does not end that wait: it is remembered for
 * the next co_park().
 */
void co_park(struct world *w);
void co_wake(struct co *c);
const char *co_name(const struct co *c);

/* A queue of suspended coroutines. */
struct waitq {
    struct list waiters; /* zero-initialised is empty */
};
void waitq_wait(struct world *w, struct waitq *q);
bool waitq_wake_one(struct world *w, struct waitq *q);
void waitq_wake_all(struct world *w, struct waitq *q);
bool waitq_empty(const struct waitq *q);

/* Fair FIFO mutex and reader-writer lock between coroutines; zero-initialised is unlocked. */
struct co_mutex {
    struct co *owner;
    struct waitq q;
};
void co_lock(struct world *w, struct co_mutex *m);
void co_unlock(struct world *w, struct co_mutex *m);
struct co_rwlock {
    int readers;
    struct co *writer;
    struct list waiters;
};
void co_rdlock(struct world *w, struct co_rwlock *l);
void co_wrlock(struct world *w, struct co_rwlock *l);
void co_rwunlock(struct world *w, struct co_rwlock *l);

/*
 * Scheduling points.  Every submission and completion of a bottom request and every lock is one;
 * under FIFO it costs a branch.  The policy sees kind and range (for partial-order reduction).
 */
enum point_kind { POINT_SUBMIT, POINT_COMPLETE, POINT_LOCK, POINT_YIELD, POINT_EVENT };
struct point {
    enum point_kind kind;
    const void *object;    /* node, lock: what is touched */
    int64_t offset, bytes; /* range on it, bytes 0 if none */
    bool write;
    const char *name; /* label, for traces */
};
void sched_point_slow(struct world *w, const struct point *pt);
/* The first member of struct world, for the branch below. */
struct world_head {
    bool points; /* the policy wants to see scheduling points */
};
static inline void sched_point(struct world *w, const struct point *pt)
{
    if (__builtin_expect(((const struct world_head *)w)->points, 0)) {
        sched_point_slow(w, pt);
    }
}

#endif
