/*
 * Images as create does not make them: left open by who wrote them last, damaged, or written by
 * other programs.
 *
 * A program asks for one with the option "made=NAME"; create never sees it.  They are there so that
 * programs reach what drivers do about them.
 */
#ifndef BLKREF_HARNESS_SANDBOX_MADE_H
#define BLKREF_HARNESS_SANDBOX_MADE_H

#include "harness/sandbox/sandbox_int.h"

/*
 *   unclosed    a write, flushed; then the machine lost power
 *   cut-off     the same, and the file ends before its last 4096 bytes
 *   shared      parallels: two entries name one cluster
 *   extension   parallels: a format extension with a dirty bitmap
 *   leftover    vpc: behind its end there is what an allocation that was cut short wrote
 *   footer      vmdk, a stream: header at the end; its second table is missing
 *   cowd        vmdk: the extent of an ESX server, in place of the descriptor's own
 *
 * 0, or -errno with err: unknown, or not of this format.  Nothing to do without the option.
 */
int sandbox_make_so(struct sandbox *sb, const struct program *p, struct disk_set *set,
                    struct error **err);

#endif
