/*
 * The store of secrets: see secret.h.  A list; there are few.
 */
#include "ref/block/secret.h"

#include <errno.h>
#include "ref/base/list.h"
#include "ref/base/mem.h"

struct secret {
    struct list link;
    char *id;
    uint8_t *data;
    size_t len;
};

static const char store_key; /* its address names the store */

static void forget(struct secret *s)
{
    list_remove(&s->link);
    explicit_bzero(s->data, s->len);
    mem_free(s->data);
    mem_free(s->id);
    mem_free(s);
}

static void destroy(void *p)
{
    struct list *store = p;
    struct secret *s, *tmp;
    LIST_FOREACH_SAFE (s, tmp, store, link) {
        forget(s);
    }
    mem_free(store);
}

static struct secret *find(struct world *w, const char *id)
{
    struct list *store = world_attachment(w, &store_key);
    struct secret *s;
    if (store) {
        LIST_FOREACH (s, store, link) {
            if (strcmp(s->id, id) == 0) {
                return s;
            }
        }
    }
    return NULL;
}

int secret_add(struct world *w, const char *id, const void *data, size_t len, struct error **err)
{
    if (find(w, id)) {
        return error_set(err, EEXIST,
                         "attempt to add duplicate property '%s' to object (type 'container')", id);
    }
    struct list *store = world_attachment(w, &store_key);
    if (!store) {
        store = mem_alloc(sizeof(*store));
        list_init(store);
        world_attach(w, &store_key, store, destroy);
    }
    struct secret *s = mem_zalloc(sizeof(*s));
    s->id = str_dup(id);
    s->data = mem_zalloc(len + 1);
    if (len) {
        memcpy(s->data, data, len);
    }
    s->len = len;
    list_push(store, &s->link);
    return 0;
}

int secret_remove(struct world *w, const char *id, struct error **err)
{
    struct secret *s = find(w, id);
    if (!s) {
        return error_set(err, ENOENT, "object '%s' not found", id);
    }
    forget(s);
    return 0;
}

const uint8_t *secret_find(struct world *w, const char *id, size_t *len, struct error **err)
{
    struct secret *s = find(w, id);
    if (!s) {
        error_set(err, ENOENT, "No secret with id '%s'", id);
        return NULL;
    }
    *len = s->len;
    return s->data;
}
