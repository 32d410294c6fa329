/*
 * The sandbox: programs run on simulated disks, each step in a world of its own.
 *
 * Models: record() makes a program's image, then runs its operations on logged disks beside the
 * crash oracle; the recording holds all that a power cut or a fault may be judged by.  look() opens
 * what a cut left and judges it: it opens, check finds only what the promise allows, every byte is
 * lawful.  A world costs microseconds, so each state has its own.  Disks: 0 the image, 1 its data
 * file, 2 its backing file. Leaves out: choosing states (crash.h), faults (verdict.h) and programs
 * (gen_crash.h).
 */
#ifndef BLKREF_HARNESS_SANDBOX_H
#define BLKREF_HARNESS_SANDBOX_H

#include "fault/crash.h"
#include "fault/verdict.h"
#include "harness/oracle/oracle.h"
#include "harness/subject/subject.h"

#define SANDBOX_DISKS 3

struct co;
struct sandbox;
struct sandbox *sandbox_new(struct process *p, const struct profile *profile, enum planted planted);
void sandbox_free(struct sandbox *sb); /* recordings first */
struct disk_pool *sandbox_pool(struct sandbox *sb);
/*
 * Who runs next while record() runs a program; borrowed.  NULL: first come, first served.
 * alignment: what the disks take then is in blocks of so many bytes; 0: bytes.
 */
struct sched_policy;
void sandbox_set_policy(struct sandbox *sb, struct sched_policy *policy, uint32_t alignment);

/* What the oracle holds lawful for cuts behind stamp `from`. */
struct epoch {
    uint64_t from;
    struct oracle oracle;
};

struct recording {
    const struct program *program;
    struct disk_set base; /* the fresh image */
    struct disk_set end;  /* what the program left */
    struct disk_log *log;
    struct epoch *epochs;
    size_t n_epochs, cap_epochs;
    struct oracle oracle; /* at the end */
    int opened;           /* 0, or -errno that the first opening ended with */
    int *status;          /* of each operation */
    /* The log's clock before and behind each operation; 0: it never began, or ended. */
    uint64_t *began, *ended;
    struct co **runs; /* who carries out each operation just now; NULL: nobody */
    bool flushed;     /* the last flush, behind the last operation, succeeded */
    bool hung;        /* a request that a fault held was given up in the end */
    bool wrong;       /* a read, or an image that did not open again, was unlawful: in why */
    struct strbuf why;
};

/* Makes the program's image on fresh disks.  0 or -errno with err. */
int sandbox_create(struct sandbox *sb, const struct program *p, struct disk_set *out,
                   struct error **err);
/*
 * Runs the program on clones of base; plan may be NULL.  close_flush: ends with a flush that counts
 * as acknowledged. 0, or -errno with err when the image did not open at all (without a plan) or
 * when the run deadlocked.
 */
int sandbox_record(struct sandbox *sb, const struct program *p, const struct disk_set *base,
                   struct fault_plan *plan, bool close_flush, struct recording *out,
                   struct error **err);
/*
 * Opens what a cut left for writing, lets check repair all, and closes it, all on logged clones: a
 * recording to cut again.  Its oracles stay empty, since repairing promises nothing new.  0, or
 * -errno with err when it hangs; whether it opened or was repaired, sandbox_look() tells.
 */
int sandbox_repair(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                   struct recording *out, struct error **err);
void recording_free(struct recording *r);
/* What failed half way may leak; what was refused at once, or went well, does not. Nor may an image
 * be expected to have none that was damaged before. */
bool recording_may_leak(const struct recording *r);
/* What the oracle holds lawful now is so for cuts behind stamp `from`. */
void recording_remember(struct recording *r, uint64_t from);
/* The oracle for a cut at that stamp. */
const struct oracle *recording_oracle(const struct recording *r, uint64_t cut);

/* The image's map, a line a run, each behind `prefix`: "OFFSET BYTES data|zero|hole"; or why there
 * is none. */
void sandbox_map(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                 const char *prefix, struct strbuf *out);

enum look {
    LOOK_CLEAN = 1, /* no cut happened: check must find nothing at all */
    LOOK_REPAIR =
        2, /* also open for writing (which repairs what open repairs), check and read again */
    LOOK_UNCHECKED = 8, /* what check says is not judged: only what opens and is read */
    LOOK_SPEC = 4, /* the spec checker judges, too; always when the driver's check finds errors */
};
/* How a format asks for what a power cut left to be put in order (promise: before_use). */
enum sandbox_repair {
    REPAIR_NONE,       /* what is there may be read at once */
    REPAIR_BY_OPENING, /* opening for writing does it: QED's need-check bit, VHDX' log */
    REPAIR_BY_CHECK,   /* it opens for writing only behind a check that repairs */
};
enum sandbox_repair sandbox_repair_of(const struct program *p); /* promise.c */

struct looked {
    bool ok;
    bool opened; /* whatever was found then */
    bool hung;   /* opening or reading never ends */
    struct strbuf why;
    struct check_result check;
    int64_t bytes_read;
};
/*
 * Opens the disks (read-only, so they stay as they are), checks, reads what is allocated and judges
 * it by the oracle. out zeroed before the first use; its strings are reused.  True when all is
 * lawful.
 */
bool sandbox_look(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                  const struct oracle *o, enum oracle_view view, unsigned look, struct looked *out);

#endif
