/*
 * The help text of qemu-img, made from the command table.
 */
#ifndef BLKREF_TOOLS_IMG_HELP_H
#define BLKREF_TOOLS_IMG_HELP_H

#include "ref/tools/tool.h"

void img_print_help(struct tool *t);

#endif
