/*
 * Objects of type "secret": from their properties to bytes in the world's store.
 */
#ifndef BLKREF_FORMAT_CRYPTO_SECRET_OBJECT_H
#define BLKREF_FORMAT_CRYPTO_SECRET_OBJECT_H

#include "ref/base/options.h"
#include "ref/block/secret.h"

/* Properties beside qom-type and id. */
extern const struct opt_desc secret_options[];
/*
 * props: id, data or file, format (raw, base64), keyid and iv (then the value is AES-256-CBC under
 * that secret's 32 bytes, PKCS #7 padded, always in base64 or as format says).
 */
int secret_create(struct world *w, const struct value *props, struct error **err);

#endif
