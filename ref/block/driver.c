/*
 * The registry of drivers: by name, by "proto:" prefix, by what an image starts with.
 *
 * The list itself is given by the program (ref/tools/drivers.c).  Leaves out: modules (an entry
 * without a driver is skipped until something can load it).
 */
#include "ref/block/driver.h"

#include <errno.h>
#include <sys/stat.h>
#include "ref/block/block_state.h"
#include "ref/block/open.h"

void block_set_drivers(struct world *w, const struct driver_list *list)
{
    block_state(w)->drivers = list;
}

void block_set_fiu(struct world *w, struct fault_fiu *f)
{
    block_state(w)->fiu = f;
}

const struct driver_list *block_drivers(struct world *w)
{
    return block_state(w)->drivers;
}

/* Iterates over the drivers that are there. */
static const struct block_driver *next_driver(struct world *w, size_t *i)
{
    const struct driver_list *l = block_state(w)->drivers;
    while (l && (l->entries[*i].drv || l->entries[*i].name)) {
        const struct block_driver *d = l->entries[(*i)++].drv;
        if (d) {
            return d;
        }
    }
    return NULL;
}

const struct block_driver *driver_find(struct world *w, const char *name)
{
    const struct block_driver *d;
    for (size_t i = 0; (d = next_driver(w, &i)) != NULL;) {
        if (strcmp(d->name, name) == 0) {
            return d;
        }
    }
    return NULL;
}

static const struct block_driver *driver_for_device(struct world *w, const char *filename)
{
    const struct block_driver *d, *best = NULL;
    int best_score = 0;
    for (size_t i = 0; (d = next_driver(w, &i)) != NULL;) {
        int score = d->probe_device ? d->probe_device(filename) : 0;
        if (score > best_score) {
            best_score = score;
            best = d;
        }
    }
    return best;
}

static const struct block_driver *driver_for_prefix(struct world *w, const char *filename)
{
    const struct block_driver *d;
    size_t len = strcspn(filename, ":");
    for (size_t i = 0; (d = next_driver(w, &i)) != NULL;) {
        if (d->protocol && strlen(d->protocol) == len && memcmp(d->protocol, filename, len) == 0) {
            return d;
        }
    }
    return NULL;
}

/* A device of the host wins over a prefix, except over those of our own (sim:...). */
const struct block_driver *driver_for_filename(struct world *w, const char *filename,
                                               bool allow_prefix, struct error **err)
{
    bool prefix = allow_prefix && path_has_protocol(filename);
    const struct block_driver *d = prefix ? driver_for_prefix(w, filename) : NULL;
    if (d && d->internal_only) {
        return d;
    }
    const struct block_driver *device = driver_for_device(w, filename);
    if (device) {
        return device;
    }
    if (!prefix) {
        d = driver_find(w, "file");
        if (!d) {
            error_set(err, ENOENT, "Unknown protocol 'file'");
        }
        return d;
    }
    if (!d) {
        error_set(err, ENOENT, "Unknown protocol '%.*s'", (int)strcspn(filename, ":"), filename);
    }
    return d;
}

const struct block_driver *driver_probe(struct world *w, const uint8_t *buf, size_t len,
                                        const char *filename)
{
    const struct block_driver *d, *best = NULL;
    int best_score = 0;
    for (size_t i = 0; (d = next_driver(w, &i)) != NULL;) {
        if (d->probe && !d->internal_only) {
            int score = d->probe(buf, len, filename);
            if (score > best_score) {
                best_score = score;
                best = d;
            }
        }
    }
    return best;
}
