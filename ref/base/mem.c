/*
 * Memory: wrappers of malloc that abort, wrappers that may fail, and the failure hook of the
 * latter.
 *
 * The hook is the one piece of process-wide state of this folder; nothing but tests and fault
 * sources sets it.
 */
#include "ref/base/mem.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static mem_fail_hook *fail_hook;
static void *fail_opaque;

void mem_set_fail_hook(mem_fail_hook *hook, void *opaque)
{
    fail_hook = hook;
    fail_opaque = opaque;
}

static bool must_fail(size_t size)
{
    return fail_hook && fail_hook(size, fail_opaque);
}

static void *check(void *p, size_t size)
{
    if (!p) {
        fprintf(stderr, "out of memory: %zu bytes\n", size);
        abort();
    }
    return p;
}

/* malloc(0) may be NULL; one byte never is, so that NULL always means exhaustion. */
static size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

/* Small pieces come from malloc, which keeps a list of them at hand; for calloc it does not look
 * there.  The compiler must not see where p is from: it makes calloc of malloc and memset. */
static void *zeroed(size_t size)
{
    enum { SMALL = 1024 };
    if (size > SMALL) {
        return calloc(1, size);
    }
    void *p = malloc(at_least_one(size));
    __asm__("" : "+r"(p));
    return p ? memset(p, 0, size) : NULL;
}

void *mem_alloc(size_t size)
{
    return check(malloc(at_least_one(size)), size);
}

void *mem_zalloc(size_t size)
{
    return check(zeroed(size), size);
}

void *mem_realloc(void *p, size_t size)
{
    return check(realloc(p, at_least_one(size)), size);
}

void *mem_array(size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total)) {
        check(NULL, SIZE_MAX);
    }
    return mem_zalloc(total);
}

void *mem_dup(const void *p, size_t size)
{
    void *c = mem_alloc(size);

    if (size) {
        memcpy(c, p, size);
    }
    return c;
}

void mem_free(void *p)
{
    free(p);
}

char *str_dup(const char *s)
{
    return s ? mem_dup(s, strlen(s) + 1) : NULL;
}

char *str_ndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *c = mem_alloc(len + 1);

    memcpy(c, s, len);
    c[len] = '\0';
    return c;
}

char *str_vfmt(const char *fmt, va_list ap)
{
    char *s;
    int n = vasprintf(&s, fmt, ap);

    return check(n < 0 ? NULL : s, 0);
}

char *str_fmt(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *s = str_vfmt(fmt, ap);
    va_end(ap);
    return s;
}

void *mem_try_alloc(size_t size)
{
    return must_fail(size) ? NULL : malloc(at_least_one(size));
}

void *mem_try_zalloc(size_t size)
{
    return must_fail(size) ? NULL : zeroed(size);
}

void *mem_try_array(size_t n, size_t size)
{
    size_t total;

    return __builtin_mul_overflow(n, size, &total) ? NULL : mem_try_zalloc(total);
}

void *mem_try_realloc(void *p, size_t size)
{
    return must_fail(size) ? NULL : realloc(p, at_least_one(size));
}

void *mem_try_aligned(size_t align, size_t size)
{
    void *p;

    assert(IS_POW2(align) && align >= sizeof(void *));
    if (must_fail(size) || posix_memalign(&p, align, at_least_one(size)) != 0) {
        return NULL;
    }
    return p;
}
