/*
 * The operation vocabulary: one text form for programs, traces, fuzz inputs and reproducers.
 *
 * One operation a line, words separated by blanks; numbers are bytes, decimal or with k, M, G:
 *
 *   write OFF LEN SEED [fua]      data identifies sector and operation: see op_fill()
 *   writec OFF LEN SEED           compressed
 *   zero OFF LEN [unmap] [nofallback]
 *   discard OFF LEN
 *   read OFF LEN
 *   flush
 *   snapshot NAME | apply NAME | delsnap NAME
 *   resize SIZE [PREALLOC]        up or down
 *   amend KEY=VALUE[,...]
 *   overlay                       a new image on top, backed by the current one
 *   commit                        the top image into its backing file
 *   reopen [KEY=VALUE[,...]]      closed and opened; with options: those are changed in place
 *   extend SIZE                   the file below becomes longer, as a device may be from the start
 *   check                         and repair all that is found
 *   vmsave OFF LEN SEED | vmload OFF LEN   VM state
 *
 * Operations that are joined by "||" on one line begin together and run beside each other; the next
 * line begins when all of them have ended:
 *
 *   write 0 4k 1 || write 2k 4k 2 || flush
 *
 * What opens an image (overlay, reopen without options) cannot stand in such a line, and beside a
 * commit there can only be reads and flushes.  In which order they take turns is the schedule's
 * choice (harness/explore/schedule_explore.h); who cannot run several at a time runs them from left
 * to right, which is one of the lawful schedules.
 *
 * Leaves out: who runs them (harness/subject/subject.h).
 */
#ifndef BLKREF_TRACE_OP_H
#define BLKREF_TRACE_OP_H

#include <stdbool.h>
#include "ref/base/error.h"
#include "ref/base/strbuf.h"
#include "ref/block/types.h"

enum op_kind {
    OP_WRITE,
    OP_WRITE_COMPRESSED,
    OP_ZERO,
    OP_DISCARD,
    OP_READ,
    OP_FLUSH,
    OP_SNAPSHOT,
    OP_APPLY,
    OP_DELSNAP,
    OP_RESIZE,
    OP_AMEND,
    OP_OVERLAY,
    OP_COMMIT,
    OP_REOPEN,
    OP_CHECK,
    OP_VMSAVE,
    OP_VMLOAD,
    OP_EXTEND,
    OP_KINDS,
};

enum op_flag { OP_FUA = 1, OP_UNMAP = 2, OP_NO_FALLBACK = 4 };

struct op {
    enum op_kind kind;
    unsigned flags;        /* enum op_flag */
    int64_t offset, bytes; /* resize, extend: bytes is the new size */
    uint32_t seed;         /* content of a write, 1..255 */
    enum prealloc prealloc;
    char text[48]; /* snapshot name, options */
    bool beside;   /* begins together with the operation before it ("||") */
};

#define OP_GROUP_MAX 8 /* operations that may run beside each other */

/* One line without newline; 0 or -EINVAL with err. */
int op_parse(const char *line, struct op *out, struct error **err);
void op_print(struct strbuf *out, const struct op *op);
const char *op_kind_name(enum op_kind k);
/* The bytes a write of `seed` puts at [offset, offset+len): uniform, so that any tool can write
 * them. */
void op_fill(void *buf, uint32_t seed, int64_t offset, size_t len);

/* A program: an image and the operations on it. */
struct program {
    char format[16];   /* "raw", "qcow2" ... */
    char options[256]; /* as for create -o, without size */
    int64_t size;
    bool backing; /* starts as an overlay of a raw image with a known pattern */
    struct op *ops;
    size_t n_ops;
};

/* Text: "image FORMAT SIZE [backing] [OPTIONS]", then one operation a line; '#' starts a comment.
 */
int program_parse(const char *text, struct program *out, struct error **err);
void program_print(struct strbuf *out, const struct program *p);
void program_add(struct program *p, const struct op *op);
/* Takes n operations out; what ran beside the first of them begins a line of its own. */
void program_cut(struct program *p, size_t at, size_t n);
/* How many operations run together with operation `at`, which begins a line; at least 1. */
size_t program_group(const struct program *p, size_t at);
struct program program_clone(const struct program *p);
void program_free(struct program *p);

#endif
