/*
 * Memory: allocation that cannot fail (small, sized by the program) and allocation that can (sized
 * by an image, after its limits were checked).
 *
 * mem_* abort the process on exhaustion; mem_try_* return NULL, and ask the installed failure hook
 * first, so that tests and fault sources can make any of them fail.  All memory is freed by
 * mem_free().
 */
#ifndef BLKREF_BASE_MEM_H
#define BLKREF_BASE_MEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

void *mem_alloc(size_t size); /* uninitialised */
void *mem_zalloc(size_t size);
void *mem_realloc(void *p, size_t size);
void *mem_array(size_t n, size_t size); /* zeroed; aborts on overflow */
void *mem_dup(const void *p, size_t size);
void mem_free(void *p);
char *str_dup(const char *s); /* NULL gives NULL */
char *str_ndup(const char *s, size_t n);
char *str_fmt(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *str_vfmt(const char *fmt, va_list ap);

void *mem_try_alloc(size_t size);
void *mem_try_zalloc(size_t size);
void *mem_try_array(size_t n, size_t size); /* NULL on overflow too */
void *mem_try_realloc(void *p, size_t size);
/* Aligned to `align` (a power of two, at least sizeof(void *)), not zeroed. */
void *mem_try_aligned(size_t align, size_t size);

/* Returns true when the allocation of `size` bytes must fail.  Process-wide, for tests and fault
 * sources. */
typedef bool mem_fail_hook(size_t size, void *opaque);
void mem_set_fail_hook(mem_fail_hook *hook, void *opaque);

#define ARRAY_SIZE(a)                 (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define MIN(a, b)                     ((a) < (b) ? (a) : (b))
#define MAX(a, b)                     ((a) > (b) ? (a) : (b))
#define ROUND_DOWN(n, d)              ((n) / (d) * (d))
#define DIV_ROUND_UP(n, d)            (((n) + (d)-1) / (d))
#define ROUND_UP(n, d)                (DIV_ROUND_UP(n, d) * (d))
#define IS_ALIGNED(n, d)              ((n) % (d) == 0)
#define IS_POW2(n)                    ((n) != 0 && ((n) & ((n)-1)) == 0)
#define KiB                           (1024LL)
#define MiB                           (1024LL * KiB)
#define GiB                           (1024LL * MiB)
#define TiB                           (1024LL * GiB)

#endif
