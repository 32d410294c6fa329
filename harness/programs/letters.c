/*
 * Letters turned into operations.  See letters.h.
 */
#include "harness/programs/letters.h"

#include <assert.h>
#include <string.h>

void program_start(const char *line, struct program *out)
{
    struct error *err = NULL;
    int ret = program_parse(line, out, &err);
    assert(ret == 0);
}

void program_add_letter(struct program *p, const struct letter *l, int64_t cluster, int64_t shift,
                        bool beside)
{
    struct op op = {.kind = l->kind, .flags = l->flags, .beside = beside};
    op.offset = l->eighths * (cluster / 8) + l->add + shift;
    op.bytes = l->len_eighths * (cluster / 8) + l->len_add;
    if (l->kind == OP_RESIZE || op.bytes == 0) {
        op.offset = 0; /* it has no place */
    }
    if (l->kind == OP_WRITE || l->kind == OP_WRITE_COMPRESSED || l->kind == OP_VMSAVE) {
        op.seed = (uint32_t)p->n_ops % 255 + 1;
    }
    memcpy(op.text, l->text, strlen(l->text) + 1);
    program_add(p, &op);
}

bool program_image_wanted(const char *(*line)(size_t i), size_t n, size_t i, const char *text)
{
    for (size_t k = 0; text && k < n; k++) {
        if (!strcmp(line(k), text)) {
            return !strcmp(line(i), text);
        }
    }
    return !text || strstr(line(i), text);
}
