/*
 * A disk set and a log of what was done to it, as text: the captured log of a reproducer.
 *
 * Models: the disks as they were when the log began, then every begin, end and failure of an
 * operation in the order of their stamps, with payloads; between them the caller's notes, each at
 * its instant.  Reading gives a log with the same stamps.  Bytes that are zero are not written,
 * runs of equal ones once.  Leaves out: tags.
 *
 *   disk I SIZE                            then its bytes
 *   begin KIND DISK OFFSET BYTES [fua] [allocate] [LABEL]     then a write's bytes, from 0
 *   do ...                                 as begin, completed at once
 *   end N | fail N                         operation N, counted from 0, marks too
 *   mark TEXT
 *   note TEXT
 *     OFFSET *COUNT HH                     COUNT bytes of HH
 *     OFFSET HHHH...                       up to 32 bytes
 */
#ifndef BLKREF_FAULT_LOGTEXT_H
#define BLKREF_FAULT_LOGTEXT_H

#include "fault/disklog.h"
#include "ref/base/error.h"
#include "ref/base/strbuf.h"

struct disk_note {
    uint64_t stamp; /* the log's clock when it was made */
    char *text;     /* without newline */
};

/* prefix stands before each line. */
void disk_log_print(struct strbuf *out, const char *prefix, const struct disk_set *base,
                    const struct disk_log *log, const struct disk_note *notes, size_t n_notes);
/*
 * Reads what lines of `text` with the prefix say; other lines are passed over.  base: fresh disks
 * of the log's pool; log: empty.  *notes by disk_notes_free().  0 or -EINVAL with err (base and log
 * then hold a part, and are the caller's all the same).
 */
int disk_log_scan(const char *text, const char *prefix, struct disk_set *base, struct disk_log *log,
                  struct disk_note **notes, size_t *n_notes, struct error **err);
void disk_notes_free(struct disk_note *notes, size_t n_notes);

#endif
