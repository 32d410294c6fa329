/*
 * libfiu as a source of verdicts.
 *
 * Models: failure points named "blkref/io/<label>", asked once for each labelled I/O.  `fiu-run -c
 * "enable name=blkref/io/write_aio,failinfo=28" PROGRAM` and `fiu-ctrl -c ... PID` switch them in a
 * running program; failinfo is the errno (0: EIO).  A trailing wildcard matches any label.  libfiu
 * is not linked: it is taken from the process if it is there already (fiu-run preloads it), else,
 * on request, loaded by name.  Where libfiu is absent or switched off, a decision costs one branch.
 * "blkref/mem" is asked for each allocation that may fail (mem_try_*).  Leaves out: anything but
 * plain errors.
 */
#ifndef BLKREF_FAULT_FIU_H
#define BLKREF_FAULT_FIU_H

#include <stdbool.h>
#include <stddef.h>
#include "fault/label.h"

struct fault_fiu {
    int (*fail)(const char *name); /* NULL: off */
    void *(*failinfo)(void);
    void *handle; /* from dlopen, or NULL */
    char *names[LABEL_COUNT];
};

/*
 * Looks for libfiu in the process; with `load`, loads libfiu.so.0 as well (a program that enables
 * points by itself).  Returns whether it is active.  The struct is the caller's and starts as all
 * zeroes.
 */
bool fault_fiu_install(struct fault_fiu *f, bool load);
void fault_fiu_uninstall(struct fault_fiu *f);

/* 0, or the positive errno to fail with. */
int fault_fiu_ask(struct fault_fiu *f, enum label label);
static inline int fault_fiu_decide(struct fault_fiu *f, enum label label)
{
    return __builtin_expect(f->fail != NULL, 0) ? fault_fiu_ask(f, label) : 0;
}

#endif
