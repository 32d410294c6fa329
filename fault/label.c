/*
 * The label table and its look-ups.
 */
#include "fault/label.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    enum label_class class;
} labels[LABEL_COUNT] = {
#define LABEL_ROW(id, text, cls) [LABEL_##id] = {text, LABEL_##cls},
    LABELS_BLKDEBUG(LABEL_ROW) LABELS_EXTENSION(LABEL_ROW)
#undef LABEL_ROW
};

const char *label_name(enum label label)
{
    assert((unsigned)label < LABEL_COUNT);
    return labels[label].name;
}

int label_parse(const char *name)
{
    for (int i = 0; name && i < LABEL_COUNT; i++) {
        if (!strcmp(labels[i].name, name)) {
            return i;
        }
    }
    return -1;
}

enum label_class label_class(enum label label)
{
    assert((unsigned)label < LABEL_COUNT);
    return labels[label].class;
}

bool label_is_blkdebug(enum label label)
{
    assert((unsigned)label < LABEL_COUNT);
    return label < LABEL_BLKDEBUG_COUNT;
}
