/*
 * What the parts of the file driver share: the open file, its locks, its ways to allocate and
 * deallocate.
 */
#ifndef BLKREF_PROTOCOL_FILE_INTERNAL_H
#define BLKREF_PROTOCOL_FILE_INTERNAL_H

#include "ref/block/node.h"
#include "ref/engine/host.h"

/* A reopen that is prepared: fd is -1 when the file that is open serves. */
struct file_reopen {
    int fd, oflags;
    bool drop_cache;
};

struct file_state {
    char *filename;
    int fd;
    int oflags; /* as given to host_open() */
    bool is_device;
    bool use_locks;
    bool drop_cache;             /* forget the host's cache when another host may have written */
    unsigned held, held_against; /* enum perm bits whose use, whose unsharing is locked on fd */
    int perm_fd, perm_oflags;    /* what a permission change will use; -1: stays with fd */
    struct file_reopen *reopen;
    struct file_once *once;                     /* NULL: the page cache is not looked after */
    bool no_punch, no_zero_range, no_fallocate; /* the host said that it cannot */
};

/* Locks (file_lock.c).  `path` goes into messages. */
bool file_locks_work(int fd);
/*
 * Locks the bytes of `used` and of `unshared` (enum perm bits) on fd, in addition to what it holds.
 * Returns 0 or -errno with err.
 */
int file_lock(int fd, unsigned used, unsigned unshared, struct error **err);
/* Unlocks all other bytes. */
void file_unlock_except(int fd, unsigned used, unsigned unshared);
/* -EAGAIN with err when another open file uses what is unshared here, or unshares what is used
 * here. */
int file_lock_check(int fd, unsigned used, unsigned unshared, const char *path, struct error **err);

/* Allocation (file_alloc.c). */
int file_write_zeroes(struct node *n, const struct request *r);
int file_discard(struct node *n, const struct request *r);
/* Sets the length of a regular file; on failure the old length is restored. */
int file_resize(struct world *w, int fd, int64_t size, enum prealloc prealloc, struct error **err);

/* Keeping the page cache clean (file_once.c): around each transfer of guest data. */
void file_use_once(struct node *n);
void file_once_begin(struct node *n, int64_t offset, int64_t bytes, bool write);
void file_once_end(struct node *n, int64_t offset, int64_t bytes);
void file_once_free(struct node *n);

/* Creation (file_create.c). */
extern const struct opt_desc file_create_options[];
int file_create(struct world *w, const char *filename, struct value *opts, struct error **err);
int file_create_json(struct world *w, struct value *opts, struct error **err);

#endif
