/*
 * Fixture of qcow2 tests: a world of a profile and a schedule, qcow2 images on simulated disks, a
 * shadow, the spec checker.
 */
#ifndef BLKREF_FORMAT_QCOW2_TESTS_FIXTURE_H
#define BLKREF_FORMAT_QCOW2_TESTS_FIXTURE_H

#include "fault/crash.h"
#include "ref/block/backend.h"
#include "ref/engine/sched.h"
#include "ref/format/format.h"
#include "ref/format/qcow2/qcow2.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/sim.h"
#include "ref/protocol/tests/rig.h"

#define QT_RW (OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP)

struct qt {
    struct rig r;
    const struct profile *profile;
    uint64_t seed; /* of programs and, when not 0, of the schedule */
    struct sched_seeded sched;
    void *arg;
};

/* Runs fn in a fresh world; seed 0: FIFO.  Disks 0 to 3 exist and are empty ("sim:d0"...). */
void qt_run(const struct profile *profile, uint64_t seed, void (*fn)(struct qt *t), void *arg);
/* The same with a policy of the world: names in images open nothing, failures leak as QEMU's do. */
enum { QT_DENY_NAMES = 1, QT_LEAK = 2 };
void qt_run_policy(const struct profile *profile, uint64_t seed, unsigned policy,
                   void (*fn)(struct qt *t), void *arg);
/* Makes a qcow2 image on disk i with create options (text, with size). */
void qt_create(struct qt *t, int i, const char *options);
struct blk *qt_open(struct qt *t, int i, const char *options);
/* The spec checker finds nothing worse than `allow_leaks` allows on the disk. */
void qt_judge(struct disk *d, bool allow_leaks, const char *what);

#endif
