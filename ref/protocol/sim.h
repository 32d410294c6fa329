/*
 * The simulated disk as a protocol: what the harness gives a world.
 *
 * A disk is registered under a name; images on it are called "sim:NAME" (or driver=sim,disk=NAME).
 * Chains live on several disks of one set, whose order numbers the ops of a common log.  The
 * harness owns disks, logs and plans; they outlive the world.
 */
#ifndef BLKREF_PROTOCOL_SIM_H
#define BLKREF_PROTOCOL_SIM_H

#include "fault/disk.h"
#include "fault/disklog.h"
#include "fault/verdict.h"
#include "ref/engine/world.h"

struct sim_disk {
    struct disk *disk;       /* live content */
    struct disk_log *log;    /* NULL: nothing is logged */
    int index;               /* this disk's number in the log's set */
    struct fault_plan *plan; /* NULL: nothing goes wrong */
    struct disk *past; /* what stale reads see; NULL: the content at registration (kept by sim) */
    uint32_t request_alignment; /* bytes, a power of two; 0: 1 */
    bool no_fua;                /* leave FUA to a flush from above */
    bool no_zeroes;             /* has no write-zeroes command */
};

/* Makes *d (copied; what it points to is borrowed) known as `name`; replaces an earlier disk of
 * that name. */
void sim_register(struct world *w, const char *name, const struct sim_disk *d);
void sim_unregister(struct world *w, const char *name);
/* The disk of that name, or NULL. */
struct sim_disk *sim_find(struct world *w, const char *name);
/* Ends every request that a "hung" fault holds with -ECANCELED, now and from now on; so that a
 * world can be closed. */
void sim_release_hung(struct world *w);

#endif
