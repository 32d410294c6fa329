/*
 * dm-log-writes files: a captured log as one, and one as a log to walk.
 *
 * Models: the file of a saved log is whole by itself: it begins with the disk's content at the
 * start, a flush, and the mark "blkref: start".  Writes that are not whole sectors are widened to
 * sectors with what the disk holds there, as a host's page cache does.  Leaves out: what the format
 * cannot say (shrinking; which operations were in flight together).
 */
#ifndef BLKREF_HARNESS_WRITE_LOG_H
#define BLKREF_HARNESS_WRITE_LOG_H

#include "fault/disklog.h"
#include "ref/base/error.h"

#define WRITE_LOG_START "blkref: start"

bool write_log_is(const char *file); /* does it begin with the format's magic? */
/* What happened to disk number `disk` of base.  0 or -errno with err. */
int write_log_save(const struct disk_set *base, const struct disk_log *log, int disk,
                   const char *file, struct error **err);
/*
 * base: one fresh disk of the log's pool, holding base_file (or nothing, NULL) and all that the
 * file says before the mark `from` (NULL: the mark of write_log_save(), where there is one); log
 * (empty): the rest.  0 or -errno with err.
 */
int write_log_load(const char *file, const char *base_file, const char *from, struct disk_set *base,
                   struct disk_log *log, struct error **err);

/* `blkref crash LOG` and `blkref crash --write-log FILE PROGRAM`: is it one of them, and its run.
 */
bool write_log_wants(int argc, char **argv);
int cmd_write_log(int argc, char **argv);

#endif
