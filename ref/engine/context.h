/*
 * Machine contexts: a stack pointer with the callee-saved registers below it.
 *
 * Models: switching between stacks of one thread.  Own assembly on x86-64 and aarch64, ucontext
 * elsewhere (or with -DBLKREF_UCONTEXT).  Leaves out: floating-point control words and signal
 * masks, which are never changed.
 */
#ifndef BLKREF_ENGINE_CONTEXT_H
#define BLKREF_ENGINE_CONTEXT_H

#include <stddef.h>

#if !defined(BLKREF_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define BLKREF_UCONTEXT 1
#endif

#ifdef BLKREF_UCONTEXT
#include <ucontext.h>
struct context {
    ucontext_t uc;
};
#define CONTEXT_SP(c, lo) ((void *)(lo)) /* not known: all of the stack */
#else
struct context {
    void *sp;
};
#define CONTEXT_SP(c, lo) ((c)->sp)
#endif

/* The first switch to *c calls entry(arg) on the stack [lo, lo + size); entry must not return. */
void context_make(struct context *c, void *lo, size_t size, void (*entry)(void *arg), void *arg);
/* Stores the running context in *from and continues *to. */
void context_switch(struct context *from, const struct context *to);

#endif
