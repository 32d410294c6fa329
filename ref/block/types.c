/*
 * Names of the plain types (types.h).
 */
#include "ref/block/types.h"

const char *const prealloc_names[] = {"off", "metadata", "falloc", "full", NULL};
