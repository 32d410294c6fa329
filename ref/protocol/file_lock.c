/*
 * Image locks: open-file-description locks by which programs that use one image file at once keep
 * out of each other's way.
 *
 * Models: for each permission two bytes of the file, one that users of it lock, one that those lock
 * who do not share it.  All locks are read locks, so any number can hold them; a conflict is found
 * by asking whether somebody else holds the opposite byte.  The bytes are those that QEMU 7.2 uses
 * (observed with strace), so both programs exclude each other.  Leaves out: waiting for a lock.
 *
 * fcntl() on locks does not wait, and these calls must happen at once: they do not go through
 * host_call().
 */
#include <errno.h>
#include <fcntl.h>
#include "ref/block/graph.h"
#include "ref/protocol/file_internal.h"

#define LOCK_USED     100 /* + number of the permission bit */
#define LOCK_UNSHARED 200
#define LOCK_PERMS    4 /* consistent read, write, write unchanged, resize */

_Static_assert(PERM_ALL == (1 << LOCK_PERMS) - 1, "one byte a permission");
_Static_assert(PERM_CONSISTENT_READ == 1 && PERM_WRITE == 2 && PERM_WRITE_UNCHANGED == 4 &&
                   PERM_RESIZE == 8,
               "the bytes' order is interface");

static int lock_call(int fd, int cmd, struct flock *fl, int type, off_t byte)
{
    int ret;
    *fl = (struct flock){.l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    do {
        ret = fcntl(fd, cmd, fl);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

bool file_locks_work(int fd)
{
    struct flock fl;
    return lock_call(fd, F_OFD_GETLK, &fl, F_WRLCK, LOCK_USED) == 0;
}

int file_lock(int fd, unsigned used, unsigned unshared, struct error **err)
{
    struct flock fl;
    for (int i = 0; i < 2 * LOCK_PERMS; i++) {
        int bit = i % LOCK_PERMS;
        off_t byte = (i < LOCK_PERMS ? LOCK_USED : LOCK_UNSHARED) + bit;
        if (!((i < LOCK_PERMS ? used : unshared) & 1u << bit)) {
            continue;
        }
        int ret = lock_call(fd, F_OFD_SETLK, &fl, F_RDLCK, byte);
        if (ret < 0) {
            return error_set(err, -ret, "Failed to lock byte %lld", (long long)byte);
        }
    }
    return 0;
}

void file_unlock_except(int fd, unsigned used, unsigned unshared)
{
    struct flock fl;
    for (int bit = 0; bit < LOCK_PERMS; bit++) {
        if (!(used & 1u << bit)) {
            lock_call(fd, F_OFD_SETLK, &fl, F_UNLCK, LOCK_USED + bit);
        }
        if (!(unshared & 1u << bit)) {
            lock_call(fd, F_OFD_SETLK, &fl, F_UNLCK, LOCK_UNSHARED + bit);
        }
    }
}

/* 0 when no other open file holds the byte. */
static int lock_is_free(int fd, off_t byte)
{
    struct flock fl;
    int ret = lock_call(fd, F_OFD_GETLK, &fl, F_WRLCK, byte);
    return ret < 0 ? ret : fl.l_type == F_UNLCK ? 0 : -EAGAIN;
}

int file_lock_check(int fd, unsigned used, unsigned unshared, const char *path, struct error **err)
{
    for (int i = 0; i < 2 * LOCK_PERMS; i++) {
        int bit = i % LOCK_PERMS;
        bool using = i < LOCK_PERMS;
        if (!((using ? used : unshared) & 1u << bit)) {
            continue;
        }
        int ret = lock_is_free(fd, (using ? LOCK_UNSHARED : LOCK_USED) + bit);
        if (ret < 0) {
            error_set(err, -ret,
                      using ? "Failed to get \"%s\" lock" : "Failed to get shared \"%s\" lock",
                      perm_name(1u << bit));
            error_hint(err, "Is another process using the image [%s]?\n", path);
            return ret;
        }
    }
    return 0;
}
