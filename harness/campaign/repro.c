/*
 * Reproducers.
 */
#include "harness/campaign/repro.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include "harness/campaign/text_file.h"
#include "harness/explore/timeline.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"

char *repro_text(const char *stage, const char *subject, const char *detail, const char *body,
                 char **id)
{
    struct strbuf text = STRBUF_INIT;
    uint64_t hash = hash_bytes(body, timeline_start(body), 0);
    *id = str_fmt("%s-%s-%012" PRIx64, stage, subject, hash & 0xffffffffffff);
    strbuf_printf(&text, "# blkref repro %s\n# stage %s\n# subject %s\n# detail %s\n%s", *id, stage,
                  subject, detail ? detail : "", body);
    return strbuf_take(&text);
}

void repro_save(struct campaign *c, const char *id, const char *text)
{
    if (!c->repro_dir) {
        return;
    }
    struct error *err = NULL;
    char *path = str_fmt("%s/%s.txt", c->repro_dir, id);
    char *parent = str_ndup(c->repro_dir, (size_t)(strrchr(c->repro_dir, '/') - c->repro_dir));
    mkdir(parent, 0777);
    mkdir(c->repro_dir, 0777);
    mem_free(parent);
    if (text_file_write(path, text, &err) < 0) {
        fprintf(stderr, "blkref: %s\n", err->msg);
        error_clear(&err);
    }
    mem_free(path);
}

char *repro_head(const char *text, const char *key)
{
    size_t len = strlen(key);
    while (text && text[0] == '#') {
        if (text[1] == ' ' && !strncmp(text + 2, key, len) && text[2 + len] == ' ') {
            const char *value = text + 3 + len;
            return str_ndup(value, strcspn(value, "\n"));
        }
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return NULL;
}

int repro_run(struct campaign *c, const char *text, struct error **err)
{
    char *stage = repro_head(text, "stage"), *subject = repro_head(text, "subject");
    const struct stage *st = stage ? stage_find(stage) : NULL;
    int ret = -EINVAL;
    if (!stage || !subject) {
        error_set(err, EINVAL, "no reproducer: needs lines '# stage NAME' and '# subject NAME'");
    } else if (!st || !st->repro) {
        error_set(err, EINVAL, "stage '%s' runs no reproducers", stage);
    } else {
        ret = st->repro(c, subject, text, err);
    }
    mem_free(stage);
    mem_free(subject);
    return ret;
}
