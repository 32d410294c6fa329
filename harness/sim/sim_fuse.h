/*
 * Simulated disks as files of a mounted file system, so that unmodified programs run on them.
 *
 * Models: one folder with the store's disks as growable files: direct reads and writes, truncate,
 * fallocate (growing, zero range, punch hole), SEEK_DATA and SEEK_HOLE, fsync.  Locks are the
 * kernel's own.  The kernel lets one change of a file be in flight at a time.  Leaves out: folders,
 * links, renames, permissions, times.
 *
 * Served by a thread; nobody may hold the store's lock while using the files.
 */
#ifndef BLKREF_HARNESS_SIM_FUSE_H
#define BLKREF_HARNESS_SIM_FUSE_H

#include "harness/sim/sim_store.h"

struct sim_fuse;

/*
 * Mounts the store on the existing folder dir.  Where this process may have mounts of its own
 * (root), it takes them, so that nothing stays behind whatever becomes of it.  NULL with err, code
 * ENOTSUP where the machine has no FUSE.
 */
struct sim_fuse *sim_fuse_new(struct sim_store *s, const char *dir, struct error **err);
/* Unmounts; users of the files must be gone.  Held requests are given up. */
void sim_fuse_free(struct sim_fuse *f);

#endif
