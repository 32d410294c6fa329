/*
 * Names of the plain types (types.h).
 */
#include "ref/block/types.h"

#include <errno.h>
#include <string.h>
#include "ref/base/error.h"

const char *const prealloc_names[] = {"off", "metadata", "falloc", "full", NULL};

int prealloc_parse(const char *name, enum prealloc *out, struct error **err)
{
    *out = PREALLOC_OFF;
    for (int i = 0; name && prealloc_names[i]; i++) {
        if (strcmp(name, prealloc_names[i]) == 0) {
            *out = (enum prealloc)i;
            return 0;
        }
    }
    return name ? error_set(err, EINVAL, "invalid parameter value: %s", name) : 0;
}
