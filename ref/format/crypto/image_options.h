/*
 * The options `encrypt.*` of image formats that may be encrypted.
 */
#ifndef BLKREF_FORMAT_CRYPTO_IMAGE_OPTIONS_H
#define BLKREF_FORMAT_CRYPTO_IMAGE_OPTIONS_H

#include "ref/format/crypto/block.h"

/*
 * Opening: takes every "encrypt.*" out of opts (flat).  in_header: "aes", "luks", or NULL when the
 * image is not encrypted.  *secret, by mem_free(), is NULL when none is named.
 */
int crypt_open_options(struct value *opts, const char *in_header, char **secret,
                       struct error **err);

/* What a new image is encrypted with. */
struct crypt_creation {
    bool encrypted;
    enum crypt_format format;
    struct crypt_params params; /* CRYPT_LUKS */
    const char *secret;         /* borrowed from the options */
};
/*
 * Creation: "encryption" and "encrypt.*" in opts (flat).  The secret is looked up.  luks: the
 * format may be LUKS.
 */
int crypt_create_options(struct world *w, const struct value *opts, bool luks,
                         struct crypt_creation *c, struct error **err);
/* blockdev-create has them nested: brings {"encrypt": {...}} in opts to "encrypt.*". */
void crypt_flatten_options(struct value *opts);

#endif
