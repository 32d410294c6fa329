/*
 * Toy drivers for tests of the block layer: a protocol in memory, a format with a backing file, a
 * filter.
 *
 * mem: "mem:NAME" names a store that outlives its nodes (until toy_reset()).  toyfmt: a 512-byte
 * header with a backing name and format, then the guest's bytes.  toyfilter: passes through.  Every
 * callback of interest adds a word to a log; the next check_perm, reopen_prepare or open of a named
 * driver can be made to fail.
 */
#ifndef BLKREF_BLOCK_TESTS_TOY_H
#define BLKREF_BLOCK_TESTS_TOY_H

#include "ref/base/strbuf.h"
#include "ref/block/backend.h"
#include "ref/block/graph.h"
#include "ref/block/open.h"

extern const struct block_driver toy_mem, toy_fmt, toy_filter, toy_raw, toy_bare;
extern const struct driver_list toy_drivers;

struct toy_store {
    char name[32];
    uint8_t data[8192];
    int64_t size;
    int nodes;             /* open ones */
    unsigned perm, shared; /* as set_perm said last */
};

struct toy {
    struct toy_store stores[32];
    struct strbuf log;     /* "what:node " for every event */
    struct strbuf reports; /* everything the world reported */
    /* "perm", "reopen", "open:toyfmt", "change", "change:NODE": fails with -EIO until cleared */
    const char *fail;
};
extern struct toy toy;
extern bool toy_deny_names; /* of the next world */

/* Runs fn in a coroutine of a fresh world that knows the toy drivers; nothing may be left behind.
 */
void toy_run(void (*fn)(struct world *w));
struct toy_store *toy_store(const char *name); /* made when missing */
/* Makes a toyfmt image of 4 KiB of `fill` in store `name`. */
void toy_image(const char *name, const char *backing, const char *format, uint8_t fill);
/* Options from a comma list, flat. */
struct value *toy_opts(const char *text);
struct node *toy_open(struct world *w, const char *text, unsigned flags); /* must succeed */
/* Opening must fail with just this message. */
void toy_open_fails(struct world *w, const char *filename, const char *text, unsigned flags,
                    const char *msg);
/* Asserts the message and frees the error. */
void toy_expect_error(struct error **err, const char *msg);

#endif
