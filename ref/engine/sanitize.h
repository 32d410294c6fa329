/*
 * What checkers must be told about our stacks: AddressSanitizer, LeakSanitizer, Valgrind.
 *
 * Models: thin names for their hooks, empty where the checker is not built in.
 */
#ifndef BLKREF_ENGINE_SANITIZE_H
#define BLKREF_ENGINE_SANITIZE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define BLKREF_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BLKREF_ASAN 1
#endif
#endif

#ifdef BLKREF_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#define NO_ASAN __attribute__((no_sanitize_address))
static inline void san_leave(void **save, const void *lo, size_t size)
{
    __sanitizer_start_switch_fiber(save, lo, size);
}
static inline void san_arrive(void *saved, const void **lo, size_t *size)
{
    __sanitizer_finish_switch_fiber(saved, lo, size);
}
static inline void san_unpoison(void *p, size_t n)
{
    __asan_unpoison_memory_region(p, n);
}
static inline void san_root(void *p, size_t n)
{
    __lsan_register_root_region(p, n);
}
static inline void san_unroot(void *p, size_t n)
{
    __lsan_unregister_root_region(p, n);
}
/* Everything that words of [p, end) point to counts as reachable from now on. */
NO_ASAN static inline void san_forgive(const void *p, const void *end)
{
    for (const uintptr_t *v = p; (const void *)v < end; v++) {
        if (*v != 0) {
            __lsan_ignore_object((const void *)*v);
        }
    }
}
#else
#define NO_ASAN
static inline void san_leave(void **save, const void *lo, size_t size) {}
static inline void san_arrive(void *saved, const void **lo, size_t *size) {}
static inline void san_unpoison(void *p, size_t n) {}
static inline void san_root(void *p, size_t n) {}
static inline void san_unroot(void *p, size_t n) {}
static inline void san_forgive(const void *p, const void *end) {}
#endif

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_UNDEFINED(p, n) ((void)0)
#define VALGRIND_MAKE_MEM_DEFINED(p, n)   ((void)0)
#define RUNNING_ON_VALGRIND               0
#define VALGRIND_STACK_REGISTER(lo, hi)   0
#define VALGRIND_STACK_DEREGISTER(id)     ((void)(id))
#endif

#endif
