/*
 * Subjects: block layers under test, behind one small interface.
 *
 * A subject runs one program at a time in a place of its own: create() makes the image, apply() does an operation,
 * read/map/check/info look, close() ends.  A call returns 0, -errno as the subject reports it, or SUBJECT_ERROR
 * when the subject itself misbehaved (crashed, hung, printed nonsense): that is never a pass nor a divergence.
 */
#ifndef BLKREF_HARNESS_SUBJECT_H
#define BLKREF_HARNESS_SUBJECT_H

#include "ref/base/error.h"
#include "ref/base/value.h"
#include "trace/op.h"

#define SUBJECT_ERROR (-4095)

struct extent {
    int64_t offset, bytes;
    bool data, zero, present;
    int depth;                   /* 0: the top image */
};

struct subject_check {
    int corruptions, leaks, check_errors;
};

struct subject;
struct subject_ops {
    int (*create)(struct subject *s, const struct program *p, struct error **err);
    int (*apply)(struct subject *s, const struct op *op, struct error **err);
    int (*read)(struct subject *s, int64_t offset, void *buf, size_t len, struct error **err);
    int64_t (*length)(struct subject *s);
    /* Extents without host offsets, adjoining equal ones joined; *out by mem_free(); count or < 0. */
    int (*map)(struct subject *s, struct extent **out, struct error **err);
    /* On the closed (or flushed) top image. */
    int (*check)(struct subject *s, struct subject_check *out, struct error **err);
    /* image info, normalised: no file names, sizes on disk, dates. */
    struct value *(*info)(struct subject *s, struct error **err);
    void (*close)(struct subject *s);          /* the image; files stay for other subjects to read */
    void (*free)(struct subject *s);
};

struct subject {
    const struct subject_ops *ops;
    char name[32];
    char *dir;                   /* its files; NULL when everything is in memory */
    void *state;
};

#endif
