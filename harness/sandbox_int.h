/*
 * What the sandbox's files share.
 */
#ifndef BLKREF_HARNESS_SANDBOX_INT_H
#define BLKREF_HARNESS_SANDBOX_INT_H

#include "harness/sandbox.h"
#include "ref/base/value.h"
#include "ref/protocol/sim.h"

#define SANDBOX_BUF (256 * 1024) /* bytes of the buffer that reads go through */

struct sandbox {
    struct process *process;
    const struct profile *profile;
    enum planted planted;
    struct disk_pool *pool;
    uint8_t *buf;
};

extern const char *const sandbox_disk_name[SANDBOX_DISKS];

/* A fresh world with the drivers and the set's disks in it. */
struct world *sandbox_world(struct sandbox *sb, const struct disk_set *set, struct disk_log *log,
                            struct fault_plan *plan);
struct value *sandbox_open_options(const struct program *p);
char *sandbox_create_options(const struct program *p);

#endif
