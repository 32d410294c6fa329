/*
 * QEMU's programs on the files of one state.  See outside_tools.h.
 */
#include "harness/outside/outside_tools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "harness/subject/forkserver.h"
#include "harness/subject/pipe.h"
#include "ref/base/iov.h"
#include "ref/base/mem.h"

int tools_open(struct outside_tools *t, const char *programs, const char *dir, struct error **err)
{
    memset(t, 0, sizeof(*t));
    t->dir = str_dup(dir);
    t->img_name = programs ? str_fmt("%s/qemu-img", programs) : str_dup("qemu-img");
    t->io_name = programs ? str_fmt("%s/qemu-io", programs) : str_dup("qemu-io");
    t->buf = mem_alloc(TOOLS_PIECE);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        return error_set_errno(err, errno, "%s", dir);
    }
    return 0;
}

void tools_close(struct outside_tools *t)
{
    forkserver_free(t->img);
    forkserver_free(t->io);
    mem_free(t->buf);
    mem_free(t->img_name);
    mem_free(t->io_name);
    mem_free(t->dir);
}

char *tools_file(const struct outside_tools *t, const char *name)
{
    return str_fmt("%s/%s", t->dir, name);
}

/* ---- the state as files ---- */

static int write_range(struct outside_tools *t, int fd, const struct disk *d, int64_t at, int64_t n)
{
    while (n > 0) {
        size_t len = (size_t)MIN(n, (int64_t)TOOLS_PIECE);
        disk_read(d, at, t->buf, len);
        if (!buf_is_zero(t->buf, len) && pwrite(fd, t->buf, len, at) != (ssize_t)len) {
            return -EIO;
        }
        at += (int64_t)len;
        n -= (int64_t)len;
    }
    return 0;
}

static int write_disk(struct outside_tools *t, const struct disk *d, const char *name)
{
    char *path = tools_file(t, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int64_t size = disk_size(d), n;
    int ret = fd < 0 || ftruncate(fd, size) < 0 ? -EIO : 0;
    for (int64_t at = 0; ret == 0 && at < size; at += n) {
        if (disk_block_status(d, at, size - at, &n) == DISK_DATA) {
            ret = write_range(t, fd, d, at, n);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    mem_free(path);
    return ret;
}

int tools_write(struct outside_tools *t, const struct capture *c, const struct disk_set *set)
{
    int ret = 0;
    for (int i = 0; ret == 0 && i < set->n; i++) {
        if (c->name[i]) {
            ret = write_disk(t, set->disk[i], c->name[i]);
        }
    }
    return ret;
}

/* ---- the programs ---- */

static int run(struct forkserver **server, char *const argv[], struct strbuf *out)
{
    if (!*server) {
        *server = forkserver_new(argv[0], NULL);
    }
    return pipe_run(*server, argv, NULL, out);
}

char *tools_options(const struct outside_tools *t, const struct capture *c)
{
    const struct program *p = c->rec.program;
    struct strbuf out = STRBUF_INIT;
    strbuf_printf(&out, "driver=%s,file.driver=file,file.filename=%s/%s", p->format, t->dir,
                  c->name[0]);
    if (c->name[1] && strstr(p->options, "data_file=")) {
        strbuf_printf(&out, ",data-file.driver=file,data-file.filename=%s/%s", t->dir, c->name[1]);
    }
    if (p->backing) {
        strbuf_printf(&out,
                      ",backing.driver=raw,backing.file.driver=file,backing.file.filename=%s/%s",
                      t->dir, c->name[2]);
    }
    return strbuf_take(&out);
}

char *telling_line(const char *text)
{
    const char *at = text ? strstr(text, "ERROR") : NULL;
    at = at ? at : text ? text : "";
    size_t len = strcspn(at, "\n");
    return str_ndup(at, MIN(len, (size_t)160));
}

const char *without_folder(const struct outside_tools *t, const char *line)
{
    const char *at = strstr(line, t->dir);
    return at ? at + strlen(t->dir) + 1 : line;
}

static int64_t json_number(const char *text, const char *key)
{
    const char *at = text ? strstr(text, key) : NULL;
    return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

void complaint_free(struct complaint *c)
{
    mem_free(c->wrong);
    mem_free(c->text);
    memset(c, 0, sizeof(*c));
}

struct complaint tools_check(struct outside_tools *t, const char *options)
{
    char *argv[] = {t->img_name, "check", "--output=json", "--image-opts", (char *)options, NULL};
    struct strbuf out = STRBUF_INIT;
    int status = run(&t->img, argv, &out);
    char *line = telling_line(out.s);
    struct complaint c = {.leaks = (int)json_number(out.s, "\"leaks\": ")};
    if (status < 0) {
        c.wrong = str_fmt("qemu-img check ends badly: %s", line);
    } else if (status == 1) {
        c.wrong = str_fmt("check: %s", without_folder(t, line));
    } else if (status == 2) {
        c.wrong = str_fmt("check: %d corruptions, %d leaks: %s",
                          (int)json_number(out.s, "\"corruptions\": "), c.leaks, line);
    } else if (status != 0 && status != 3 && status != 63) {
        c.wrong = str_fmt("check: exit status %d: %s", status, line);
    }
    mem_free(line);
    c.text = strbuf_take(&out);
    return c;
}

void tools_repair(struct outside_tools *t, const char *options)
{
    char *argv[] = {t->img_name, "check", "-q", "-r", "all", "--image-opts", (char *)options, NULL};
    run(&t->img, argv, NULL);
}

int tools_use(struct outside_tools *t, const char *options, const char *command, struct strbuf *out)
{
    char *argv[] = {t->io_name,      "--image-opts", "-t",    "writeback",     "-c",
                    (char *)command, "-c",           "flush", (char *)options, NULL};
    return run(&t->io, argv, out);
}

static void note_unreadable(struct unreadable *u, const char *text)
{
    static const char words[] = "error while reading offset ";
    for (const char *at = text; at && (at = strstr(at, words));) {
        at += strlen(words);
        u->at = mem_realloc(u->at, (u->n + 1) * sizeof(*u->at));
        u->at[u->n++] = strtoll(at, NULL, 10);
    }
}

char *tools_read(struct outside_tools *t, const char *options, struct unreadable *u)
{
    char *out_name = tools_file(t, TOOLS_GUEST);
    char *argv[] = {t->img_name,    "convert",       "-O",     "raw",
                    "--image-opts", (char *)options, out_name, NULL};
    char *salvage[] = {t->img_name,    "convert",       "-O",     "raw", "--salvage",
                       "--image-opts", (char *)options, out_name, NULL};
    struct strbuf out = STRBUF_INIT;
    char *wrong = NULL;
    int status = run(&t->img, argv, &out);
    if (status == 1) {
        strbuf_reset(&out);
        status = run(&t->img, salvage, &out);
        note_unreadable(u, out.s);
    }
    if (status != 0) {
        char *line = telling_line(out.s);
        wrong = str_fmt("does not read: %s", without_folder(t, line));
        mem_free(line);
    }
    strbuf_free(&out);
    mem_free(out_name);
    return wrong;
}
