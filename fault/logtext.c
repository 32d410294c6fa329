/*
 * Logs as text.  See logtext.h.
 */
#include "fault/logtext.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/mem.h"

#define PIECE     65536
#define HEX_BYTES 32
#define RUN_MIN   16
#define WRITE_MAX (64 << 20) /* one write's payload */
#define WORDS     8

/* ---- printing ---- */

static size_t run_length(const uint8_t *p, size_t n)
{
    size_t i = 1;
    while (i < n && p[i] == p[0]) {
        i++;
    }
    return i;
}

static void put_hex(struct strbuf *out, const char *prefix, int64_t offset, const uint8_t *p,
                    size_t n)
{
    strbuf_printf(out, "%s  %" PRId64 " ", prefix, offset);
    for (size_t i = 0; i < n; i++) {
        strbuf_printf(out, "%02x", p[i]);
    }
    strbuf_putc(out, '\n');
}

static void put_bytes(struct strbuf *out, const char *prefix, int64_t offset, const uint8_t *p,
                      size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t run = run_length(p + i, n - i), hex = 0;
        if (run >= RUN_MIN || run == n - i) {
            if (p[i]) {
                strbuf_printf(out, "%s  %" PRId64 " *%zu %02x\n", prefix, offset + (int64_t)i, run,
                              p[i]);
            }
            i += run;
            continue;
        }
        while (hex < HEX_BYTES && i + hex < n && run_length(p + i + hex, n - i - hex) < RUN_MIN) {
            hex++;
        }
        put_hex(out, prefix, offset + (int64_t)i, p + i, hex);
        i += hex;
    }
}

static void put_disk(struct strbuf *out, const char *prefix, int index, const struct disk *d)
{
    uint8_t *buf = mem_alloc(PIECE);
    int64_t size = disk_size(d), n;
    strbuf_printf(out, "%sdisk %d %" PRId64 "\n", prefix, index, size);
    for (int64_t at = 0; at < size; at += n) {
        enum disk_status st = disk_block_status(d, at, size - at, &n);
        for (int64_t done = 0; st == DISK_DATA && done < n;) {
            size_t len = (size_t)MIN(n - done, (int64_t)PIECE);
            disk_read(d, at + done, buf, len);
            put_bytes(out, prefix, at + done, buf, len);
            done += (int64_t)len;
        }
    }
    mem_free(buf);
}

static void put_payload(struct strbuf *out, const char *prefix, const struct disk_log *log,
                        const struct disk_op *op)
{
    uint8_t *buf = mem_alloc(PIECE);
    for (int64_t done = 0; op->kind == DISK_OP_WRITE && done < op->bytes;) {
        size_t len = (size_t)MIN(op->bytes - done, (int64_t)PIECE);
        disk_op_read(disk_log_pool(log), op, done, buf, len);
        put_bytes(out, prefix, done, buf, len);
        done += (int64_t)len;
    }
    mem_free(buf);
}

static void put_op(struct strbuf *out, const char *prefix, const struct disk_log *log, size_t i)
{
    const struct disk_op *op = disk_log_op(log, i);
    if (op->kind == DISK_OP_MARK) {
        strbuf_printf(out, "%smark %s\n", prefix, op->tag ? op->tag : "");
        return;
    }
    bool at_once = op->completed == op->issued + 1 && !(op->flags & DISK_OP_FAILED);
    strbuf_printf(out, "%s%s %s %d %" PRId64 " %" PRId64 "%s%s %s\n", prefix,
                  at_once ? "do" : "begin", disk_op_kind_name(op->kind), op->disk, op->offset,
                  op->bytes, op->flags & DISK_OP_FUA ? " fua" : "",
                  op->flags & DISK_OP_ALLOCATE ? " allocate" : "", label_name(op->label));
    put_payload(out, prefix, log, op);
}

struct instant {
    uint64_t stamp;
    size_t op;
    bool end;
};

static int by_stamp(const void *a, const void *b)
{
    const struct instant *x = a, *y = b;
    return x->stamp < y->stamp ? -1 : x->stamp > y->stamp;
}

/* Beginnings, and those ends that do not follow at once. */
static struct instant *instants(const struct disk_log *log, size_t *n)
{
    size_t len = disk_log_len(log);
    struct instant *list = mem_array(2 * len + 1, sizeof(*list));
    *n = 0;
    for (size_t i = 0; i < len; i++) {
        const struct disk_op *op = disk_log_op(log, i);
        list[(*n)++] = (struct instant){op->issued, i, false};
        if (op->completed != DISK_OP_IN_FLIGHT &&
            (op->completed != op->issued + 1 || op->flags & DISK_OP_FAILED)) {
            list[(*n)++] = (struct instant){op->completed, i, true};
        }
    }
    qsort(list, *n, sizeof(*list), by_stamp);
    return list;
}

void disk_log_print(struct strbuf *out, const char *prefix, const struct disk_set *base,
                    const struct disk_log *log, const struct disk_note *notes, size_t n_notes)
{
    size_t n, note = 0;
    struct instant *list = instants(log, &n);
    for (int i = 0; i < base->n; i++) {
        put_disk(out, prefix, i, base->disk[i]);
    }
    for (size_t i = 0; i < n; i++) {
        const struct instant *at = &list[i];
        for (; note < n_notes && notes[note].stamp <= at->stamp; note++) {
            strbuf_printf(out, "%snote %s\n", prefix, notes[note].text);
        }
        if (at->end) {
            bool failed = disk_log_op(log, at->op)->flags & DISK_OP_FAILED;
            strbuf_printf(out, "%s%s %zu\n", prefix, failed ? "fail" : "end", at->op);
        } else {
            put_op(out, prefix, log, at->op);
        }
    }
    for (; note < n_notes; note++) {
        strbuf_printf(out, "%snote %s\n", prefix, notes[note].text);
    }
    mem_free(list);
}

/* ---- scanning ---- */

struct scan {
    struct disk_set *base;
    struct disk_log *log;
    struct disk_note *notes;
    size_t n_notes;
    int disk; /* whose bytes follow, or -1 */
    bool have_op, at_once;
    struct disk_op op; /* whose bytes follow, when have_op */
    uint8_t *data;
    unsigned line;
};

static int bad(const struct scan *s, const char *why, struct error **err)
{
    return error_set(err, EINVAL, "captured log, line %u: %s", s->line, why);
}

/* The operation whose payload is through goes into the log. */
static void finish_op(struct scan *s)
{
    if (s->have_op) {
        size_t i = disk_log_begin(s->log, &s->op, s->data);
        if (s->at_once) {
            disk_log_end(s->log, i);
        }
        mem_free(s->data);
        s->data = NULL;
    }
    s->have_op = false;
    s->disk = -1;
}

static bool number(const char *word, int64_t max, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = word && isdigit((unsigned char)*word) ? strtoll(word, &end, 10) : -1;
    if (v < 0 || v > max || errno || *end) {
        return false;
    }
    *out = v;
    return true;
}

static int kind_named(const char *word)
{
    for (int k = DISK_OP_WRITE; k <= DISK_OP_FLUSH; k++) {
        if (word && !strcmp(word, disk_op_kind_name(k))) {
            return k;
        }
    }
    return -1;
}

static int take_op(struct scan *s, char **word, struct error **err)
{
    int64_t disk, offset, bytes;
    int kind = kind_named(word[1]);
    if (kind < 0 || !number(word[2], s->base->n - 1, &disk) ||
        !number(word[3], DISK_MAX, &offset) || !number(word[4], DISK_MAX - offset, &bytes) ||
        (kind == DISK_OP_WRITE && bytes > WRITE_MAX)) {
        return bad(s, "no such operation", err);
    }
    s->op = (struct disk_op){
        .kind = kind, .disk = (int)disk, .offset = offset, .bytes = bytes, .label = LABEL_NONE};
    for (int i = 5; word[i]; i++) {
        int label = label_parse(word[i]);
        if (!strcmp(word[i], "fua")) {
            s->op.flags |= DISK_OP_FUA;
        } else if (!strcmp(word[i], "allocate")) {
            s->op.flags |= DISK_OP_ALLOCATE;
        } else if (label >= 0) {
            s->op.label = (enum label)label;
        } else {
            return bad(s, "unknown word behind the operation", err);
        }
    }
    s->have_op = true;
    s->at_once = !strcmp(word[0], "do");
    s->data = kind == DISK_OP_WRITE ? mem_zalloc((size_t)MAX(bytes, 1)) : NULL;
    return 0;
}

static int take_end(struct scan *s, char **word, struct error **err)
{
    int64_t i;
    if (!number(word[1], INT64_MAX, &i) || (uint64_t)i >= disk_log_len(s->log) ||
        disk_log_op(s->log, (size_t)i)->completed != DISK_OP_IN_FLIGHT) {
        return bad(s, "no such operation is in flight", err);
    }
    (!strcmp(word[0], "fail") ? disk_log_fail : disk_log_end)(s->log, (size_t)i);
    return 0;
}

static int take_disk(struct scan *s, char **word, struct error **err)
{
    int64_t i, size;
    if (!number(word[1], DISK_SET_MAX - 1, &i) || i != s->base->n || disk_log_len(s->log) ||
        !number(word[2], DISK_MAX, &size)) {
        return bad(s, "disks stand first, in their order, each with its size", err);
    }
    s->base->disk[s->base->n++] = disk_new(disk_log_pool(s->log), size);
    s->disk = (int)i;
    return 0;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int put_content(struct scan *s, int64_t at, const uint8_t *buf, int64_t n,
                       struct error **err)
{
    if (s->have_op && s->data && at <= s->op.bytes - n) {
        memcpy(s->data + at, buf, (size_t)n);
        return 0;
    }
    if (s->disk >= 0 && at <= disk_size(s->base->disk[s->disk]) - n &&
        disk_write(s->base->disk[s->disk], at, buf, (size_t)n) == 0) {
        return 0;
    }
    return bad(s, "bytes that lie nowhere", err);
}

static int take_content(struct scan *s, char **word, struct error **err)
{
    uint8_t buf[PIECE];
    int64_t at, n = 0;
    if (!number(word[0], DISK_MAX, &at) || !word[1]) {
        return bad(s, "bytes without their offset", err);
    }
    const char *hex = word[1];
    if (hex[0] == '*') {
        if (!number(hex + 1, PIECE, &n) || !word[2] || nibble(word[2][0]) < 0 ||
            nibble(word[2][1]) < 0) {
            return bad(s, "a run without its byte", err);
        }
        memset(buf, nibble(word[2][0]) << 4 | nibble(word[2][1]), (size_t)n);
        return put_content(s, at, buf, n, err);
    }
    for (; hex[0] && n < HEX_BYTES; hex += 2) {
        if (nibble(hex[0]) < 0 || nibble(hex[1]) < 0) {
            return bad(s, "not hexadecimal", err);
        }
        buf[n++] = (uint8_t)(nibble(hex[0]) << 4 | nibble(hex[1]));
    }
    return hex[0] ? bad(s, "too many bytes", err) : put_content(s, at, buf, n, err);
}

static void take_note(struct scan *s, const char *text)
{
    s->notes = mem_realloc(s->notes, (s->n_notes + 1) * sizeof(*s->notes));
    s->notes[s->n_notes++] = (struct disk_note){disk_log_clock(s->log), str_dup(text)};
}

static int take_line(struct scan *s, char *line, struct error **err)
{
    char *word[WORDS + 1] = {NULL}, *save;
    bool content = line[0] == ' ';
    int n = 0;
    if (!content) {
        finish_op(s);
    }
    if (!strncmp(line, "note ", 5)) {
        take_note(s, line + 5);
        return 0;
    }
    if (!strncmp(line, "mark ", 5)) {
        disk_log_mark(s->log, line + 5);
        return 0;
    }
    for (char *w = strtok_r(line, " ", &save); w && n < WORDS; w = strtok_r(NULL, " ", &save)) {
        word[n++] = w;
    }
    if (content) {
        return take_content(s, word, err);
    }
    if (n && (!strcmp(word[0], "do") || !strcmp(word[0], "begin"))) {
        return take_op(s, word, err);
    }
    if (n && (!strcmp(word[0], "end") || !strcmp(word[0], "fail"))) {
        return take_end(s, word, err);
    }
    return n && !strcmp(word[0], "disk") ? take_disk(s, word, err) : bad(s, "unknown word", err);
}

int disk_log_scan(const char *text, const char *prefix, struct disk_set *base, struct disk_log *log,
                  struct disk_note **notes, size_t *n_notes, struct error **err)
{
    struct scan s = {.base = base, .log = log, .disk = -1};
    size_t skip = strlen(prefix);
    int ret = 0;
    base->n = 0;
    while (ret == 0 && *text) {
        size_t len = strcspn(text, "\n");
        s.line++;
        if (len >= skip && !memcmp(text, prefix, skip)) {
            char *line = str_ndup(text + skip, len - skip);
            ret = take_line(&s, line, err);
            mem_free(line);
        }
        text += len + (text[len] == '\n');
    }
    if (ret == 0) {
        finish_op(&s);
    }
    mem_free(s.data);
    *notes = s.notes;
    *n_notes = s.n_notes;
    return ret;
}

void disk_notes_free(struct disk_note *notes, size_t n_notes)
{
    for (size_t i = 0; i < n_notes; i++) {
        mem_free(notes[i].text);
    }
    mem_free(notes);
}
