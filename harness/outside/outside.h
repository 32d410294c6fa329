/*
 * An unmodified QEMU on simulated disks: its programs run on FUSE files, what they did is captured.
 *
 * Models: a program of operations carried out by qemu-img and qemu-io, whose images lie on a
 * sim_store; the capture holds the disks at the start, the log of all they did, and the instants at
 * which each operation began, ended, or was acknowledged as durable.  A capture can be saved as
 * text and read again: what is judged then no longer depends on the subject's threads.  What is
 * durable: what a flush (or a write with FUA) that succeeded covered; that image tools end well
 * promises nothing.  Disks: 0 the image, 1 its data file, 2 its backing file, 3 what else the
 * format makes. Leaves out: judging (outside_look.h, outside_explore.h).
 */
#ifndef BLKREF_HARNESS_OUTSIDE_H
#define BLKREF_HARNESS_OUTSIDE_H

#include "fault/logtext.h"
#include "harness/sandbox/sandbox.h"

struct outside;

/*
 * programs: folder of qemu-img and qemu-io, or NULL for PATH; dir: an existing scratch folder. NULL
 * with err where there is no QEMU or (code ENOTSUP) no FUSE.
 */
struct outside *outside_new(const char *name, const char *programs, const char *dir,
                            struct error **err);
void outside_free(struct outside *x);
/* Why nothing can be captured here, or NULL when it can. */
const char *outside_no_capture(const struct outside *x);
const char *outside_version(const struct outside *x);
const char *outside_programs(const struct outside *x); /* NULL: PATH */
const char *outside_dir(const struct outside *x);

struct capture {
    struct recording rec;
    char *name[DISK_SET_MAX]; /* file names; NULL: not there */
    struct disk_note *notes;  /* "begin I", "end I STATUS", "flushed I STATUS", "file D NAME" */
    size_t n_notes;
};

struct capture_how {
    struct fault_plan *plan; /* or NULL */
    bool close_flush;        /* ends with a flush of its own */
    bool nbd;                /* over NBD instead of FUSE: no growing, requests in flight together */
    bool drop_flushes;       /* the disk forgets to flush: the defect that tests plant */
};

/*
 * Makes the program's image and runs the program, undisturbed until the image is made.  0, or
 * -errno with err when the image cannot be made; what goes wrong later is in out->rec (wrong, why).
 */
int outside_capture(struct outside *x, const struct program *p, const struct capture_how *how,
                    struct capture *out, struct error **err);
void capture_free(struct capture *c);

/* As lines that begin with "#| ", so that a program with its capture is still a program. */
void capture_print(const struct capture *c, struct strbuf *out);
bool capture_is_in(const char *text);
int capture_scan(struct outside *x, const char *text, const struct program *p, struct capture *out,
                 struct error **err);

#endif
