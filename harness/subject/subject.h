/*
 * Subjects: block layers under test, behind one small interface.
 *
 * A subject runs one program at a time in a place of its own: create() makes the image, apply()
 * does an operation, read/map/check/info look, close() ends.  A call returns 0, -errno as the
 * subject reports it, or SUBJECT_ERROR when the subject itself misbehaved (crashed, hung, printed
 * nonsense): that is never a pass nor a divergence.
 */
#ifndef BLKREF_HARNESS_SUBJECT_H
#define BLKREF_HARNESS_SUBJECT_H

#include "ref/base/error.h"
#include "ref/base/strbuf.h"
#include "ref/base/value.h"
#include "trace/op.h"

#define SUBJECT_ERROR (-4095)
/* It failed and did not say with which errno; equal to every failure. */
#define SUBJECT_FAILED (-4094)

struct extent {
    int64_t offset, bytes;
    bool data, zero, present;
    int depth; /* 0: the top image */
};

struct subject_check {
    int corruptions, leaks, check_errors;
};

struct subject;
struct shadow;
struct subject_ops {
    int (*create)(struct subject *s, const struct program *p, struct error **err);
    /* Opens what another subject left in s->dir; layers: number of images above each other,
     * overlays included. */
    int (*open)(struct subject *s, const struct program *p, unsigned layers, struct error **err);
    int (*apply)(struct subject *s, const struct op *op, struct error **err);
    /* -ENOTSUP where the subject can only compare. */
    int (*read)(struct subject *s, int64_t offset, void *buf, size_t len, struct error **err);
    /* Does the guest see just what the shadow says?  0 yes; 1 no, err says where. */
    int (*verify)(struct subject *s, const struct shadow *sh, struct error **err);
    int64_t (*length)(struct subject *s);
    /* Extents without host offsets, adjoining equal ones joined; *out by mem_free(); count or < 0.
     */
    int (*map)(struct subject *s, struct extent **out, struct error **err);
    /* On the closed (or flushed) top image. */
    int (*check)(struct subject *s, struct subject_check *out, struct error **err);
    /* image info, normalised: no file names, sizes on disk, dates. */
    struct value *(*info)(struct subject *s, struct error **err);
    void (*close)(struct subject *s); /* the image; files stay for other subjects to read */
    void (*free)(struct subject *s);
};

struct subject {
    const struct subject_ops *ops;
    char name[32];
    char *dir;     /* its files; NULL when everything is in memory */
    char *version; /* for the report; may be NULL */
    void *state;
};

/* Names of the files in s->dir, or of the simulated disks: "layer0.img", "layer0.data", "base.img".
 */
#define SUBJECT_LAYERS 4
void subject_layer_name(char name[32], unsigned layer);
#define SUBJECT_BASE "base.img"
#define SUBJECT_DATA "layer0.data"
/* The extents that a disk of several files has beside its descriptor. */
#define SUBJECT_EXTENTS "layer0-flat.img", "layer0-f001.img", "layer0-s001.img"
/*
 * The program's create options as a subject passes them on: data_file=data becomes PREFIX
 * layer0.data; an overlay's are without what only the first image has.
 */
char *subject_options(const struct program *p, const char *prefix, bool overlay);
/* Encrypted images: the one secret that opens them, and the options that name it. */
#define SUBJECT_SECRET_ID "s0"
#define SUBJECT_SECRET    "letmein"
bool subject_encrypted(const struct program *p);
/* Adds what opens a layer: the key of it and of those below.  Nothing where nothing is encrypted.
 */
void subject_key_options(const struct program *p, unsigned layer, struct value *options);
const char *subject_format(const struct program *p, unsigned layer); /* overlays are qcow2 */
const char *
subject_base_format(const struct program *p); /* of SUBJECT_BASE: vmdk takes only its own */

void extents_add(struct extent **list, int *n, const struct extent *e); /* joins equal neighbours */
bool extents_equal(const struct extent *a, int na, const struct extent *b, int nb);
void extent_text(struct strbuf *out, const struct extent *e);
/* Takes out of an info value what differs from place to place and time to time. */
void info_normalise(struct value *info);
bool status_equal(int a, int b);
void status_text(char text[32], int status);
void subject_free(struct subject *s); /* closes too; NULL is fine */

/* Defects that `make check` plants in the reference subject, to see the stage fail. */
enum planted {
    PLANT_NONE,
    PLANT_FLIP_BYTE,    /* one byte of a guest read is wrong */
    PLANT_DROP_FLUSH,   /* flushes of the image file do nothing */
    PLANT_LEAK_CLUSTER, /* one cluster's refcount is raised without a reference */
    PLANT_RACE,         /* writes read, change and write back blocks, and exclude nobody */
    PLANT_DEADLOCK,     /* writes take two locks, every second one in the other order */
    PLANT_SWALLOW,      /* a write that failed says that it did not */
    PLANT_KINDS,
};
extern const char *const planted_names[]; /* "none", "flip-byte", "drop-flush", "leak-cluster",
                                             "race", "deadlock", "swallow-error", NULL
                                           */

struct process;
struct profile;
/* The reference in process.  dir NULL: on simulated disks, else files there. */
struct subject *subject_ref_new(struct process *process, const char *name,
                                const struct profile *profile, const char *dir,
                                enum planted planted);
/* Unmodified qemu-img and qemu-io from `programs`, or from PATH when NULL; NULL with err when they
 * do not run. */
struct subject *subject_qemu_new(const char *name, const char *programs, const char *dir,
                                 struct error **err);
/* Is it one of those; *programs as given there. */
bool subject_is_qemu(const struct subject *s, const char **programs);
/* Another build of ours through its `run` command. */
struct subject *subject_runner_new(const char *name, const char *program, struct error **err);

#endif
