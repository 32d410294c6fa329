/*
 * A program under test that is run often: started once, forked for each command line.
 *
 * Uses the preloaded blkref-forkserver.so (preload.h); without it each run is
 * an ordinary one, only slower.  One command at a time.
 */
#ifndef BLKREF_HARNESS_FORKSERVER_H
#define BLKREF_HARNESS_FORKSERVER_H

#include <stdbool.h>
#include "ref/base/strbuf.h"

struct forkserver;

/* program is looked for in PATH. */
struct forkserver *forkserver_new(const char *program);
void forkserver_free(struct forkserver *f);
/* argv[0] and what follows, ends with NULL.  Exit status, or < 0 (ended by a signal, hung); output
 * (standard error too) is added to *out. */
int forkserver_run(struct forkserver *f, char *const argv[], struct strbuf *out);
/* Are runs forked, not started anew? */
bool forkserver_fast(const struct forkserver *f);

#endif
