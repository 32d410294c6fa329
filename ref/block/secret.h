/*
 * Secrets of a world: passwords and keys that drivers ask for by id.
 *
 * Models: a store from ids to bytes.  Leaves out: where the bytes come from (options, files,
 * decryption with another secret: ref/format/crypto/secret_object.h).
 */
#ifndef BLKREF_BLOCK_SECRET_H
#define BLKREF_BLOCK_SECRET_H

#include "ref/base/error.h"
#include "ref/engine/world.h"

/* Copies data; -EEXIST with err when the id is taken. */
int secret_add(struct world *w, const char *id, const void *data, size_t len, struct error **err);
/* -ENOENT with err when there is none. */
int secret_remove(struct world *w, const char *id, struct error **err);
/* Borrowed until the secret is removed; a NUL that is not counted follows.  NULL with err. */
const uint8_t *secret_find(struct world *w, const char *id, size_t *len, struct error **err);

#endif
