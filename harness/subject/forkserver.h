/*
 * A program under test that is run often: started once, forked for each command line.
 *
 * Uses the preloaded blkref-forkserver.so (preload.h); where that is not there, or the server is
 * gone, nothing is started and the caller starts the program itself, which is only slower (pipe.h
 * does so).  One command at a time.
 */
#ifndef BLKREF_HARNESS_FORKSERVER_H
#define BLKREF_HARNESS_FORKSERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct forkserver;

/* program is looked for in PATH; also: a library to be preloaded too, or NULL. */
struct forkserver *forkserver_new(const char *program, const char *also);
void forkserver_free(struct forkserver *f);
/* Are runs forked, not started anew?  Not in a fork of the process that made it. */
bool forkserver_fast(const struct forkserver *f);
/* argv[0] and what follows, ends with NULL; standard input and output (error too) of the run.  Its
 * process id; -ENOTSUP: it was not started; -EPIPE: nobody knows, the server is gone. */
pid_t forkserver_start(struct forkserver *f, char *const argv[], int in, int out);
/* Waits for the end of what was started: 0 and the wait status, or < 0 when the server is gone. */
int forkserver_wait(struct forkserver *f, int *status);

#endif
