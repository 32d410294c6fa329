/*
 * Errors: making, decorating, moving and freeing struct error.  No printing, no logging.
 */
#include "ref/base/error.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"

static void fill(struct error **err, int code, enum error_class class, char *msg)
{
    assert(!*err);
    *err = mem_zalloc(sizeof(**err));
    (*err)->code = code;
    (*err)->class = class;
    (*err)->msg = msg;
}

int error_setv(struct error **err, int code, const char *fmt, va_list ap)
{
    assert(code > 0);
    if (err) {
        fill(err, code, ERROR_GENERIC, str_vfmt(fmt, ap));
    }
    return -code;
}

int error_set(struct error **err, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    error_setv(err, code, fmt, ap);
    va_end(ap);
    return -code;
}

int error_set_errno(struct error **err, int code, const char *fmt, ...)
{
    assert(code > 0);
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        char *text = str_vfmt(fmt, ap);
        va_end(ap);
        fill(err, code, ERROR_GENERIC, str_fmt("%s: %s", text, strerror(code)));
        mem_free(text);
    }
    return -code;
}

int error_set_class(struct error **err, enum error_class class, const char *fmt, ...)
{
    int code = class == ERROR_DEVICE_NOT_FOUND ? ENODEV : EINVAL;

    if (err) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, code, class, str_vfmt(fmt, ap));
        va_end(ap);
    }
    return -code;
}

void error_prepend(struct error **err, const char *fmt, ...)
{
    if (!err || !*err) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    char *text = str_vfmt(fmt, ap);
    va_end(ap);
    char *whole = str_fmt("%s%s", text, (*err)->msg);
    mem_free(text);
    mem_free((*err)->msg);
    (*err)->msg = whole;
}

void error_hint(struct error **err, const char *fmt, ...)
{
    if (!err || !*err) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    char *text = str_vfmt(fmt, ap);
    va_end(ap);
    const char *before = (*err)->hint ? (*err)->hint : "";
    char *whole = str_fmt("%s%s", before, text);
    mem_free(text);
    mem_free((*err)->hint);
    (*err)->hint = whole;
}

void error_propagate(struct error **dst, struct error *src)
{
    if (dst && !*dst) {
        *dst = src;
    } else {
        error_free(src);
    }
}

struct error *error_clone(const struct error *e)
{
    if (!e) {
        return NULL;
    }
    struct error *c = mem_dup(e, sizeof(*e));
    c->msg = str_dup(e->msg);
    c->hint = str_dup(e->hint);
    return c;
}

void error_free(struct error *e)
{
    if (e) {
        mem_free(e->msg);
        mem_free(e->hint);
        mem_free(e);
    }
}

void error_clear(struct error **err)
{
    if (err) {
        error_free(*err);
        *err = NULL;
    }
}

const char *error_class_name(enum error_class class)
{
    static const char *const names[] = {
        [ERROR_GENERIC] = "GenericError",
        [ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
        [ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
        [ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
        [ERROR_KVM_MISSING_CAP] = "KVMMissingCap",
    };
    assert((size_t) class < ARRAY_SIZE(names));
    return names[class];
}
