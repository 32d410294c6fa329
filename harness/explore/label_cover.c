/*
 * Label coverage.  See label_cover.h.
 */
#include "harness/explore/label_cover.h"

#include <assert.h>
#include <string.h>
#include "ref/base/mem.h"

#define MAX_DRIVERS 32

struct of_driver {
    const struct block_driver *drv;
    uint64_t reached[LABEL_COUNT], failed[LABEL_COUNT][FAULT_MODES];
};

struct label_cover {
    size_t n;
    struct of_driver *d;
};

/* What the block layer below any format asks for, and what the raw files beside an image do. */
static const enum label common[] = {
    LABEL_NONE,      LABEL_FLUSH_TO_OS, LABEL_FLUSH_TO_DISK, LABEL_RESIZE,
    LABEL_PWRITEV,   LABEL_READ_AIO,    LABEL_PWRITEV_ZERO,  LABEL_PWRITEV_DONE,
    LABEL_WRITE_AIO, LABEL_PROBE_READ,  LABEL_COUNT,
};

struct label_cover *label_cover_new(const struct driver_list *drivers)
{
    struct label_cover *c = mem_zalloc(sizeof(*c));
    c->d = mem_array(MAX_DRIVERS, sizeof(*c->d));
    for (const struct driver_entry *e = drivers->entries; e->drv; e++) {
        if (e->drv->labels) {
            assert(c->n < MAX_DRIVERS);
            c->d[c->n++].drv = e->drv;
        }
    }
    return c;
}

void label_cover_free(struct label_cover *c)
{
    mem_free(c->d);
    mem_free(c);
}

const char *label_cover_format(const struct label_cover *c, size_t i)
{
    return i < c->n ? c->d[i].drv->name : NULL;
}

void label_cover_add(struct label_cover *c, const char *format, const struct fault_counts *n)
{
    for (size_t i = 0; i < c->n; i++) {
        struct of_driver *d = &c->d[i];
        for (int l = 0; l < LABEL_COUNT && !strcmp(d->drv->name, format); l++) {
            d->reached[l] += n->reached[l];
            for (int m = 0; m < FAULT_MODES; m++) {
                d->failed[l][m] += n->failed[l][m];
            }
        }
    }
}

void label_cover_sum(struct label_cover *to, const struct label_cover *from)
{
    assert(to->n == from->n);
    for (size_t i = 0; i < to->n; i++) {
        for (int l = 0; l < LABEL_COUNT; l++) {
            to->d[i].reached[l] += from->d[i].reached[l];
            for (int m = 0; m < FAULT_MODES; m++) {
                to->d[i].failed[l][m] += from->d[i].failed[l][m];
            }
        }
    }
}

static bool listed(const enum label *list, enum label label)
{
    while (*list != LABEL_COUNT && *list != label) {
        list++;
    }
    return *list == label;
}

void label_cover_each(const struct label_cover *c,
                      void (*line)(void *opaque, const struct label_line *l), void *opaque)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct of_driver *d = &c->d[i];
        for (enum label l = 0; l < LABEL_COUNT; l++) {
            bool named = listed(d->drv->labels, l), stray = !named && !listed(common, l);
            struct label_line out = {
                .format = d->drv->name,
                .label = l,
                .reached = d->reached[l],
                .failed = d->failed[l],
                .wrong = named && !d->reached[l]  ? "no program reaches this label"
                         : stray && d->reached[l] ? "the driver does not name this label"
                                                  : NULL};
            if (named || out.reached) {
                line(opaque, &out);
            }
        }
    }
}
