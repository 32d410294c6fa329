/*
 * Programs under test as child processes, driven through pipes.
 *
 * Models: one-shot runs with their output and exit status, and sessions that answer each line up to
 * a prompt. Standard error goes into the same pipe as standard output.  A program that hangs is
 * killed: that is the subject's error, never a result.  It hangs when it says nothing for the limit
 * and neither uses CPU time meanwhile nor waits for a CPU, or used all that it may: a busy machine
 * makes no program hang.
 */
#ifndef BLKREF_HARNESS_PIPE_H
#define BLKREF_HARNESS_PIPE_H

#include <stdbool.h>
#include <sys/types.h>
#include "ref/base/strbuf.h"

#define PIPE_LIMIT_MS     30000
#define PIPE_LIMIT_CPU_MS 120000 /* of a process, from its start */

struct forkserver;
struct pipe {
    pid_t pid;                 /* 0: not running */
    struct forkserver *server; /* whose child it is; NULL: ours */
    int in, out;               /* the child's stdin and stdout */
    int limit_ms, limit_cpu_ms;
    int64_t cpu_ms; /* that it had used when it was last asked why it says nothing */
    struct strbuf answer;
};

/* argv ends with NULL; argv[0] is looked for in PATH.  env: NULL for ours.  server: forks that
 * program, with the environment that it has; NULL where there is none.  0 or -errno. */
int pipe_start(struct pipe *p, struct forkserver *server, char *const argv[], char *const env[]);
int pipe_send(struct pipe *p, const char *text);
/* Reads until the output ends with `marker`; p->answer is what stood before it.  0, or < 0 when it
 * ended or hung. */
int pipe_answer(struct pipe *p, const char *marker);
/* Closes the child's stdin, reads the rest into p->answer and waits: exit status, or < 0 (signal,
 * hang). */
int pipe_finish(struct pipe *p);
void pipe_kill(struct pipe *p);
/* One-shot: exit status or < 0; what it printed (up to a NUL) is added to output, unless NULL. */
int pipe_run(struct forkserver *server, char *const argv[], char *const env[],
             struct strbuf *output);

#endif
