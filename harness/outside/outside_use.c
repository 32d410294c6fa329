/*
 * Using an image further after a cut.  See outside_use.h.
 */
#include "harness/outside/outside_use.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "ref/base/mem.h"

#define LATER_BYTE 0xee
#define LATER_LEN  4096

/* The first byte of the open files that differs, but for the range that was written; or -1. */
static int64_t first_difference(struct outside_tools *t, int before, int after, int64_t size,
                                int64_t written)
{
    uint8_t *other = mem_alloc(TOOLS_PIECE);
    int64_t bad = -1;
    for (int64_t at = 0; bad < 0 && at < size; at += TOOLS_PIECE) {
        int64_t n = MIN(size - at, (int64_t)TOOLS_PIECE), i = 0;
        memset(t->buf, 0, (size_t)n);
        memset(other, 0, (size_t)n);
        if (pread(before, t->buf, (size_t)n, at) < 0 || pread(after, other, (size_t)n, at) < 0) {
            bad = at;
            break;
        }
        int64_t from = MAX(written, at), to = MIN(written + LATER_LEN, at + n);
        if (written >= 0 && from < to) {
            memset(t->buf + (from - at), LATER_BYTE, (size_t)(to - from));
        }
        if (memcmp(t->buf, other, (size_t)n) != 0) {
            while (t->buf[i] == other[i]) {
                i++;
            }
            bad = at + i;
        }
    }
    mem_free(other);
    return bad;
}

/* Compares the guest's bytes with those before; written < 0: nothing was written. */
static char *compare_later(struct outside_tools *t, const char *what, int64_t size, int64_t written)
{
    char *names[2] = {tools_file(t, TOOLS_BEFORE), tools_file(t, TOOLS_GUEST)}, *said = NULL;
    int fd[2];
    for (int i = 0; i < 2; i++) {
        fd[i] = open(names[i], O_RDONLY | O_CLOEXEC);
        mem_free(names[i]);
    }
    int64_t bad = fd[0] < 0 || fd[1] < 0 ? 0 : first_difference(t, fd[0], fd[1], size, written);
    if (bad >= 0) {
        bool lost = written >= 0 && bad >= written && bad < written + LATER_LEN;
        said = str_fmt("%s: %s: offset %lld", what,
                       lost ? "what was written and flushed is lost" : "other data changed",
                       (long long)bad);
    }
    for (int i = 0; i < 2; i++) {
        if (fd[i] >= 0) {
            close(fd[i]);
        }
    }
    return said;
}

/* Reads the guest again and compares; what: what was done. */
static char *look_again(struct outside_tools *t, const char *options, const char *what,
                        int64_t size, int64_t written)
{
    struct unreadable u = {0};
    char *wrong = tools_read(t, options, &u);
    char *said = wrong ? str_fmt("%s: %s", what, wrong) : compare_later(t, what, size, written);
    mem_free(wrong);
    mem_free(u.at);
    return said;
}

static char *write_and_look(struct outside_tools *t, const char *options, int64_t size)
{
    struct strbuf out = STRBUF_INIT;
    char command[64], *said;
    int64_t at = ROUND_DOWN(size - LATER_LEN, (int64_t)LATER_LEN);
    snprintf(command, sizeof(command), "write -q -P %u %lld %d", LATER_BYTE, (long long)at,
             LATER_LEN);
    int status = tools_use(t, options, command, &out);
    const char *failed =
        out.s ? strstr(out.s, "write failed") : NULL; /* repairs may be told, too */
    if (status != 0 || failed) {
        char *line = telling_line(failed ? failed : out.s);
        said = str_fmt("used further: %s", without_folder(t, line));
        mem_free(line);
    } else {
        said = look_again(t, options, "used further", size, at);
    }
    strbuf_free(&out);
    return said;
}

static char *repair_it(struct outside_tools *t, const struct capture *c, const struct disk_set *set,
                       const char *options, int64_t size)
{
    if (tools_write(t, c, set) < 0) {
        return str_dup("the state cannot be written to its files");
    }
    tools_repair(t, options);
    struct complaint left = tools_check(t, options);
    char *said = NULL;
    bool qcow2 = !strcmp(c->rec.program->format, "qcow2"); /* the only one that frees all it lost */
    if (left.wrong || (left.leaks && qcow2)) {
        said = left.wrong ? str_fmt("repaired: %s", left.wrong)
                          : str_fmt("repaired: check: %d leaks", left.leaks);
    } else {
        said = look_again(t, options, "repaired", size, -1);
    }
    complaint_free(&left);
    return said;
}

char *outside_use_further(struct outside_tools *t, const struct capture *c,
                          const struct disk_set *set, const char *options, int64_t size, bool mend)
{
    const struct program *p = c->rec.program;
    char *from = tools_file(t, TOOLS_GUEST), *to = tools_file(t, TOOLS_BEFORE), *said = NULL;
    if (size >= LATER_LEN && rename(from, to) == 0) {
        bool once = strstr(p->options, "subformat=streamOptimized"); /* written once, in order */
        said = once ? NULL : write_and_look(t, options, size);
        if (!said && mend) {
            said = repair_it(t, c, set, options, size);
        }
    }
    mem_free(from);
    mem_free(to);
    return said;
}
