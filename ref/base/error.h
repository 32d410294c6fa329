/*
 * Errors: a code (positive errno), a QMP class, a message and an optional hint.
 *
 * Models: the one way functions report failure.  A function that can fail returns 0 (or a count) on
 * success and a negative errno on failure, and fills *err when err is not NULL; *err must be NULL
 * on entry.  Leaves out: where messages go (see ref/engine/world.h, world_report()).
 */
#ifndef BLKREF_BASE_ERROR_H
#define BLKREF_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

/* QMP error classes (names are interface). */
enum error_class {
    ERROR_GENERIC,
    ERROR_COMMAND_NOT_FOUND,
    ERROR_DEVICE_NOT_ACTIVE,
    ERROR_DEVICE_NOT_FOUND,
    ERROR_KVM_MISSING_CAP,
};

struct error {
    int code; /* positive errno, never 0 */
    enum error_class class;
    char *msg;  /* no trailing newline, no program prefix */
    char *hint; /* further lines for a human, each ending in newline; or NULL */
};

/* Sets *err (if err is not NULL) and returns -code, so that callers can `return error_set(...)`. */
int error_set(struct error **err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int error_setv(struct error **err, int code, const char *fmt, va_list ap);
/* As error_set(), with ": " and strerror(code) behind the message. */
int error_set_errno(struct error **err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int error_set_class(struct error **err, enum error_class class, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts text before the message of *err; no-op when there is none. */
void error_prepend(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds text to the hint of *err. */
void error_hint(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Moves src into *dst when dst is not NULL and *dst is NULL, else frees src. */
void error_propagate(struct error **dst, struct error *src);
struct error *error_clone(const struct error *e);
void error_free(struct error *e);
/* Frees and clears. */
void error_clear(struct error **err);
const char *error_class_name(enum error_class class);

#endif
