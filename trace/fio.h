/*
 * fio's iolog, versions 2 and 3: "fio version N iolog", then file and I/O lines.
 *
 * Models: add, open, close, read, write, trim, sync, datasync (and wait) on any number of files,
 * told apart by index. Version 3 puts a time stamp (milliseconds) before each line.  Leaves out:
 * pacing; a replay goes as fast as it can.
 */
#ifndef BLKREF_TRACE_FIO_H
#define BLKREF_TRACE_FIO_H

#include "ref/base/error.h"
#include "ref/base/strbuf.h"
#include "trace/op.h"

enum fio_action { FIO_READ, FIO_WRITE, FIO_TRIM, FIO_SYNC, FIO_DATASYNC };

struct fio_entry {
    enum fio_action action;
    unsigned file; /* index into files */
    int64_t offset, bytes;
    uint64_t msec; /* version 3 */
};

struct fio_log {
    int version;
    char **files;
    size_t n_files;
    struct fio_entry *entries;
    size_t n_entries;
    int64_t end; /* highest offset + bytes */
};

/* 0 or -EINVAL with err ("line 7: ..."). */
int fio_parse(const char *text, struct fio_log *out, struct error **err);
void fio_print(struct strbuf *out, const struct fio_log *log);
void fio_free(struct fio_log *log);
/*
 * The entries of one file as operations.  A write's seed counts up from 1 to 255 and round again,
 * so that each sector tells which write it came from.
 */
void fio_program(const struct fio_log *log, unsigned file, struct program *out);

#endif
