/*
 * Reader and writer of fio's iolog.
 */
#include "trace/fio.h"

#include <errno.h>
#include <stdio.h>
#include "ref/base/mem.h"

static const char *const actions[] = {"read", "write", "trim", "sync", "datasync"};

static int find_file(struct fio_log *log, const char *name, bool add)
{
    for (size_t i = 0; i < log->n_files; i++) {
        if (!strcmp(log->files[i], name)) {
            return (int)i;
        }
    }
    if (!add) {
        return -1;
    }
    log->files = mem_realloc(log->files, (log->n_files + 1) * sizeof(*log->files));
    log->files[log->n_files] = str_dup(name);
    return (int)log->n_files++;
}

static int find_action(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        if (!strcmp(word, actions[i])) {
            return (int)i;
        }
    }
    return -1;
}

static int parse_line(struct fio_log *log, const char *line, unsigned number, struct error **err)
{
    char name[256], word[16];
    long long offset = 0, bytes = 0;
    unsigned long long msec = 0;
    int used = 0;
    if (log->version == 3) {
        if (sscanf(line, "%llu %n", &msec, &used) < 1) {
            return error_set(err, EINVAL, "line %u: no time stamp", number);
        }
        line += used;
    }
    int fields = sscanf(line, "%255s %15s %lld %lld", name, word, &offset, &bytes);
    if (fields < 2) {
        return error_set(err, EINVAL, "line %u: expected 'FILE ACTION [OFFSET LENGTH]'", number);
    }
    if (!strcmp(word, "add")) {
        find_file(log, name, true);
        return 0;
    }
    if (!strcmp(word, "open") || !strcmp(word, "close") || !strcmp(name, "wait")) {
        return 0;
    }
    int action = find_action(word);
    int file = find_file(log, name, false);
    if (action < 0 || file < 0) {
        return error_set(err, EINVAL, "line %u: %s '%s'", number,
                         action < 0 ? "unknown action" : "no 'add' line before file",
                         action < 0 ? word : name);
    }
    bool has_range = action == FIO_READ || action == FIO_WRITE || action == FIO_TRIM;
    if (has_range && (fields != 4 || offset < 0 || bytes < 0 || offset > INT64_MAX - bytes)) {
        return error_set(err, EINVAL, "line %u: bad offset or length", number);
    }
    log->entries = mem_realloc(log->entries, (log->n_entries + 1) * sizeof(*log->entries));
    log->entries[log->n_entries++] = (struct fio_entry){
        .action = (enum fio_action)action,
        .file = (unsigned)file,
        .offset = has_range ? offset : 0,
        .bytes = has_range ? bytes : 0,
        .msec = msec,
    };
    log->end = MAX(log->end, has_range ? offset + bytes : 0);
    return 0;
}

int fio_parse(const char *text, struct fio_log *out, struct error **err)
{
    int ret = 0, used = 0;
    memset(out, 0, sizeof(*out));
    if (sscanf(text, "fio version %d iolog%n", &out->version, &used) < 1 || !used ||
        out->version < 2 || out->version > 3) {
        return error_set(err, EINVAL, "not a fio iolog of version 2 or 3");
    }
    text += used;
    for (unsigned number = 1; *text && ret == 0; number++) {
        size_t len = strcspn(text, "\n");
        char *line = str_ndup(text, len);
        text += len + (text[len] == '\n');
        if (line[strspn(line, " \t\r")]) {
            ret = parse_line(out, line, number, err);
        }
        mem_free(line);
    }
    if (ret < 0) {
        fio_free(out);
    }
    return ret;
}

void fio_print(struct strbuf *out, const struct fio_log *log)
{
    const char *stamp = log->version == 3 ? "0 " : "";
    strbuf_printf(out, "fio version %d iolog\n", log->version);
    for (size_t i = 0; i < log->n_files; i++) {
        strbuf_printf(out, "%s%s add\n%s%s open\n", stamp, log->files[i], stamp, log->files[i]);
    }
    for (size_t i = 0; i < log->n_entries; i++) {
        const struct fio_entry *e = &log->entries[i];
        if (log->version == 3) {
            strbuf_printf(out, "%llu ", (unsigned long long)e->msec);
        }
        strbuf_printf(out, "%s %s %lld %lld\n", log->files[e->file], actions[e->action],
                      (long long)e->offset, (long long)e->bytes);
    }
    for (size_t i = 0; i < log->n_files; i++) {
        strbuf_printf(out, "%s%s close\n", stamp, log->files[i]);
    }
}

void fio_free(struct fio_log *log)
{
    for (size_t i = 0; i < log->n_files; i++) {
        mem_free(log->files[i]);
    }
    mem_free(log->files);
    mem_free(log->entries);
    memset(log, 0, sizeof(*log));
}

void fio_program(const struct fio_log *log, unsigned file, struct program *out)
{
    static const enum op_kind kinds[] = {OP_READ, OP_WRITE, OP_DISCARD, OP_FLUSH, OP_FLUSH};
    uint32_t writes = 0;
    for (size_t i = 0; i < log->n_entries; i++) {
        const struct fio_entry *e = &log->entries[i];
        struct op op = {.kind = kinds[e->action], .offset = e->offset, .bytes = e->bytes};
        if (e->file != file) {
            continue;
        }
        if (e->action == FIO_WRITE) {
            op.seed = 1 + writes++ % 255;
        }
        program_add(out, &op);
    }
}
