/*
 * Simulated disks behind a server: what a FUSE file or an NBD export of them does with a request.
 *
 * Models: up to DISK_SET_MAX named disks; each request is decided by a fault plan, logged with the
 * stamps of its arrival and its completion, and carried out.  A request may be held (delayed,
 * hung): the server answers others meanwhile.  What a request is for is not known here, so its
 * label is a guess from the bytes and the place (sim_classify.h).  Leaves out: how requests come in
 * (sim_fuse.h, sim_nbd.h) and what a power cut does with the log (fault/crash.h).
 *
 * Servers run in threads of their own: every call but those that say so takes the store's lock.
 */
#ifndef BLKREF_HARNESS_SIM_STORE_H
#define BLKREF_HARNESS_SIM_STORE_H

#include "fault/disklog.h"
#include "fault/verdict.h"

struct sim_store;

struct sim_store *sim_store_new(void);
void sim_store_free(struct sim_store *s); /* servers first */
/* All disks and the log are gone, no plan is in force. */
void sim_store_reset(struct sim_store *s);
/* Between these the store belongs to the caller: the servers wait. */
void sim_store_lock(struct sim_store *s);
void sim_store_unlock(struct sim_store *s);

/* The disk of that name, made (empty) when missing and `create`.  Index, -ENOENT or -ENFILE. */
int sim_store_open(struct sim_store *s, const char *name, bool create);
int sim_store_unlink(struct sim_store *s, const char *name); /* 0 or -ENOENT */
/* Name of disk i, NULL where there is none.  Valid under the lock. */
const char *sim_store_name(const struct sim_store *s, int i);
/* Reserves index i for a name, so that sets have their disks in a known order. */
void sim_store_reserve(struct sim_store *s, int i, const char *name);
int64_t sim_store_size(struct sim_store *s, int disk);
int64_t sim_store_allocated(struct sim_store *s, int disk);
/* As lseek()'s SEEK_DATA and SEEK_HOLE: an offset, or -ENXIO. */
int64_t sim_store_seek(struct sim_store *s, int disk, int64_t offset, bool hole);

/* ---- the harness's side; under the lock or while nobody is served ---- */

/* DISK_SET_MAX disks; those that nobody made are empty. */
const struct disk_set *sim_store_set(const struct sim_store *s);
struct disk_pool *sim_store_pool(const struct sim_store *s);
/* Disk i becomes a copy of d, under that name. */
void sim_store_put(struct sim_store *s, int i, const char *name, const struct disk *d);
/* Operations are logged there from now on; NULL: nowhere. */
void sim_store_log(struct sim_store *s, struct disk_log *log);
/* Faults from now on; NULL: none.  The plan must outlive its use. */
void sim_store_plan(struct sim_store *s, struct fault_plan *plan);
/* Loses every flush (a defect that tests plant). */
void sim_store_drop_flushes(struct sim_store *s, bool drop);
/* Format whose structures give requests their labels; "" or NULL: by content alone. */
void sim_store_format(struct sim_store *s, const char *format);
/* Held requests are answered with -ECANCELED or done from now on. */
void sim_store_release(struct sim_store *s);
bool sim_store_released(struct sim_store *s);

/* ---- the servers' side ---- */

enum sim_kind { SIM_READ, SIM_WRITE, SIM_ZERO, SIM_DISCARD, SIM_TRUNCATE, SIM_FLUSH };

struct sim_request {
    enum sim_kind kind;
    unsigned flags; /* DISK_OP_FUA, DISK_OP_ALLOCATE */
    int disk;
    int64_t offset, bytes; /* truncate: offset is the new size */
    const void *data;      /* of a write, until sim_begin() returns */
};

#define SIM_HUNG INT64_MAX

/* A request that was taken in. */
struct sim_ticket {
    struct sim_request r;
    struct fault_verdict v;
    bool logged, failed;
    size_t op;    /* in the log */
    int64_t part; /* bytes that are done */
    int64_t hold; /* requests to be answered before this one; SIM_HUNG: until it is released */
};

/* Takes a request in: decides its fate, stamps its arrival. */
void sim_begin(struct sim_store *s, const struct sim_request *r, struct sim_ticket *t);
/* Completes it: 0 or -errno; a read's bytes go to buf. */
int sim_finish(struct sim_store *s, struct sim_ticket *t, void *buf);
/* Gives a hung one up. */
int sim_cancel(struct sim_store *s, struct sim_ticket *t);

#endif
