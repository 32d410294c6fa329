/*
 * The nodes a job works on: edges with permissions, op blockers, and drain.
 *
 * Models: block jobs.  While one of its nodes is drained the job is paused, and the drain waits
 * until the job has come to rest.  Every other operation on its nodes is blocked ("Node 'x' is
 * busy: block device is in use by block job: commit"), but for those it unblocks itself.  Leaves
 * out: nodes that the job inserts (the drivers').
 */
#ifndef BLKREF_JOB_JOB_NODES_H
#define BLKREF_JOB_JOB_NODES_H

#include "ref/block/graph.h"
#include "ref/job/job.h"

struct job_nodes {
    struct job *j;
    struct list edges;
    struct error *reason; /* of the op blockers */
};
/* In the life of j, before it is started; ends with job_nodes_drop(). */
void job_nodes_init(struct job_nodes *s, struct job *j);
/*
 * Takes an edge of its own to n.  With `block`, nobody else may start an operation on n.  The edge,
 * or NULL with err.
 */
struct child *job_nodes_add(struct job_nodes *s, const char *name, struct node *n, unsigned perm,
                            unsigned shared, bool block, struct error **err);
/* Lets go of all nodes; may wait (the last reference closes them). */
void job_nodes_drop(struct job_nodes *s);

#endif
