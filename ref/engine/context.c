/*
 * Machine contexts: the switch itself.  See context.h.
 */
#include "ref/engine/context.h"

#include <stdint.h>
#include <string.h>

#include "ref/engine/sanitize.h"

#ifdef BLKREF_UCONTEXT

static void start(unsigned fn_hi, unsigned fn_lo, unsigned arg_hi, unsigned arg_lo)
{
    void (*entry)(void *) = (void (*)(void *))(uintptr_t)((uint64_t)fn_hi << 32 | fn_lo);
    entry((void *)(uintptr_t)((uint64_t)arg_hi << 32 | arg_lo));
}

void context_make(struct context *c, void *lo, size_t size, void (*entry)(void *arg), void *arg)
{
    uint64_t f = (uintptr_t)entry, a = (uintptr_t)arg;

    getcontext(&c->uc);
    c->uc.uc_stack.ss_sp = lo;
    c->uc.uc_stack.ss_size = size;
    c->uc.uc_link = NULL;
    makecontext(&c->uc, (void (*)(void))start, 4, (unsigned)(f >> 32), (unsigned)f,
                (unsigned)(a >> 32), (unsigned)a);
}

void context_switch(struct context *from, const struct context *to)
{
    swapcontext(&from->uc, &to->uc);
}

#else

void blkref_context_switch(void **save, void *load);
void blkref_context_start(void);

#if defined(__x86_64__)

enum { FRAME_WORDS = 7, FRAME_ENTRY = 3, FRAME_ARG = 2, FRAME_PC = 6 };

__asm__(".text\n"
        ".p2align 4\n"
        ".globl blkref_context_switch\n"
        ".hidden blkref_context_switch\n"
        ".type blkref_context_switch, @function\n"
        "blkref_context_switch:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    popq %rcx\n" /* not ret: the return predictor belongs to the other stack */
        "    jmpq *%rcx\n"
        "    .cfi_endproc\n"
        ".size blkref_context_switch, . - blkref_context_switch\n"
        ".globl blkref_context_start\n"
        ".hidden blkref_context_start\n"
        ".type blkref_context_start, @function\n"
        "blkref_context_start:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined rip\n"
        "    movq %r13, %rdi\n"
        "    callq *%r12\n"
        "    ud2\n"
        "    .cfi_endproc\n"
        ".size blkref_context_start, . - blkref_context_start\n");

#else /* __aarch64__ */

enum { FRAME_WORDS = 20, FRAME_ENTRY = 0, FRAME_ARG = 1, FRAME_PC = 11 };

__asm__(".text\n"
        ".p2align 4\n"
        ".globl blkref_context_switch\n"
        ".hidden blkref_context_switch\n"
        ".type blkref_context_switch, %function\n"
        "blkref_context_switch:\n"
        "    .cfi_startproc\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    br x30\n"
        "    .cfi_endproc\n"
        ".size blkref_context_switch, . - blkref_context_switch\n"
        ".globl blkref_context_start\n"
        ".hidden blkref_context_start\n"
        ".type blkref_context_start, %function\n"
        "blkref_context_start:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined x30\n"
        "    mov x0, x20\n"
        "    blr x19\n"
        "    brk #1\n"
        "    .cfi_endproc\n"
        ".size blkref_context_start, . - blkref_context_start\n");

#endif

void context_make(struct context *c, void *lo, size_t size, void (*entry)(void *arg), void *arg)
{
    uintptr_t top = ((uintptr_t)lo + size) & ~(uintptr_t)15;
    uintptr_t frame = top - FRAME_WORDS * sizeof(uint64_t);
    uint64_t *f;

    /* Above the frame the stack pointer is a multiple of 16, as both ABIs ask at a call. */
    f = (uint64_t *)frame;
    (void)VALGRIND_MAKE_MEM_UNDEFINED(f, FRAME_WORDS * sizeof(*f));
    memset(f, 0, FRAME_WORDS * sizeof(*f));
    f[FRAME_ENTRY] = (uintptr_t)entry;
    f[FRAME_ARG] = (uintptr_t)arg;
    f[FRAME_PC] = (uintptr_t)blkref_context_start;
    c->sp = f;
}

void context_switch(struct context *from, const struct context *to)
{
    blkref_context_switch(&from->sp, to->sp);
}

#endif
