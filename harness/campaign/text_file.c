/*
 * Whole text files in and out, and programs in them.
 */
#include "harness/campaign/text_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"

char *text_file_read(const char *path, struct error **err)
{
    struct strbuf text = STRBUF_INIT;
    char buf[8192];
    size_t n;
    FILE *f = fopen(strcmp(path, "-") ? path : "/dev/stdin", "r");
    if (!f) {
        error_set_errno(err, errno, "%s", path);
        return NULL;
    }
    strbuf_puts(&text, "");
    while ((n = fread(buf, 1, sizeof(buf), f)) > 0 && text.len <= TEXT_FILE_MAX) {
        strbuf_add(&text, buf, n);
    }
    bool bad = ferror(f) || text.len > TEXT_FILE_MAX;
    fclose(f);
    if (bad) {
        error_set(err, EIO, "%s: cannot be read, or is longer than %d bytes", path, TEXT_FILE_MAX);
        strbuf_free(&text);
        return NULL;
    }
    return strbuf_take(&text);
}

int text_file_program(const char *path, struct program *out, char **text, struct error **err)
{
    char *all = text_file_read(path, err);
    if (!all) {
        return -EIO;
    }
    int ret = program_parse(all, out, err);
    if (ret < 0) {
        error_prepend(err, "%s: ", path);
    }
    if (ret < 0 || !text) {
        mem_free(all);
    } else {
        *text = all;
    }
    return ret;
}

int text_file_write(const char *path, const char *text, struct error **err)
{
    FILE *f = fopen(path, "w");
    if (!f) {
        return error_set_errno(err, errno, "%s", path);
    }
    bool bad = fputs(text, f) < 0;
    if (fclose(f) || bad) {
        return error_set(err, EIO, "%s: cannot be written", path);
    }
    return 0;
}
