/*
 * Simulated disks as NBD exports on a Unix socket, for disks of fixed size.
 *
 * Models: the fixed-newstyle handshake (export name, go, info, list, abort) and simple replies;
 * read, write, flush, trim, write zeroes, FUA.  Requests that a client has sent ahead are taken in
 * before the first is answered, so that they are in flight together in the log.  An export is a
 * disk's name, with or without a slash before it; the empty name is disk 0.  Leaves out: TLS,
 * structured replies, block status, growing.
 *
 * A thread for each connection; nobody may hold the store's lock while waiting for a client.
 */
#ifndef BLKREF_HARNESS_SIM_NBD_H
#define BLKREF_HARNESS_SIM_NBD_H

#include "harness/sim/sim_store.h"

struct sim_nbd;

/* Listens on the Unix socket `path`, which must not exist.  NULL with err. */
struct sim_nbd *sim_nbd_new(struct sim_store *s, const char *path, struct error **err);
/* Ends all connections and removes the socket.  Held requests are given up. */
void sim_nbd_free(struct sim_nbd *n);

#endif
