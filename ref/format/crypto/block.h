/*
 * Encryption of an image's payload, whatever the image: LUKS volumes, qcow2 and qcow ask here.
 *
 * Models: QEMU's two ways of encrypting.  LUKS keeps a header with key slots, which its user reads
 * and writes through callbacks; "qcow" (AES-128-CBC, plain64, the key is the password's first 16
 * bytes) keeps nothing.  Leaves out: detached headers, which QEMU 7.2 does not have.
 */
#ifndef BLKREF_FORMAT_CRYPTO_BLOCK_H
#define BLKREF_FORMAT_CRYPTO_BLOCK_H

#include "ref/base/options.h"
#include "ref/format/crypto/cipher.h"

enum crypt_format { CRYPT_QCOW, CRYPT_LUKS };

/* Where a LUKS header lives.  Offsets count from its start; 0, or -errno with err. */
struct crypt_io {
    int (*read)(void *opaque, uint64_t offset, void *buf, size_t len, struct error **err);
    /* Stable when it returns. */
    int (*write)(void *opaque, uint64_t offset, const void *buf, size_t len, struct error **err);
    /* Creation: makes room for header and key material, before the first write; may be NULL. */
    int (*init)(void *opaque, uint64_t bytes, struct error **err);
    void *opaque;
};

/* What a LUKS volume is created with. */
struct crypt_params {
    struct crypt_suite suite;
    enum crypt_hash hash;
    uint64_t iter_time; /* ms */
};

struct crypt_block;

/*
 * Options, under the names of tables with `prefix` in front ("encrypt." or ""); messages name them
 * without.  Absent ones have QEMU's defaults (aes-256, xts, plain64, sha256, 2000 ms).
 */
int crypt_parse_params(const struct value *opts, const char *prefix, struct crypt_params *p,
                       struct error **err);
/* Bytes in front of the payload. */
uint64_t crypt_luks_payload_offset(const struct crypt_params *p);
/* Bytes of header and key material, behind which nothing of LUKS is. */
uint64_t crypt_luks_header_bytes(const struct crypt_params *p);

/*
 * Opens with the secret of that id; no_io: without a key, for looking at it only (secret may be
 * NULL then).  io: LUKS alone.  NULL with err ("Invalid password, cannot unlock any keyslot").
 */
struct crypt_block *crypt_block_open(struct world *w, enum crypt_format format, const char *secret,
                                     const char *prefix, const struct crypt_io *io, bool no_io,
                                     struct error **err);
/* Writes header and key material of a new LUKS volume. */
int crypt_luks_create(struct world *w, const struct crypt_params *p, const char *secret,
                      const char *prefix, const struct crypt_io *io, struct error **err);
/* What crypt_luks_create() refuses before it writes: for measure. */
int crypt_luks_check(struct world *w, const struct crypt_params *p, const char *secret,
                     const char *prefix, struct error **err);
/* The checks of a secret that come before anything is created. */
int crypt_check_secret(struct world *w, const char *secret, const char *prefix, struct error **err);
void crypt_block_free(struct crypt_block *b);

/* 0 for what is not LUKS. */
uint64_t crypt_block_payload_offset(const struct crypt_block *b);
/* In place; offset (decides the vectors) and len in whole sectors.  Needs a key. */
void crypt_block_run(struct crypt_block *b, bool encrypt, uint64_t offset, uint8_t *buf,
                     size_t len);
/* LUKS: what `info` tells, without "format". */
struct value *crypt_block_info(const struct crypt_block *b);
/*
 * LUKS: changes key slots.  opts: state, keyslot, new-secret, old-secret, iter-time, secret (as
 * strings or JSON types).  force overwrites active slots and erases the last one.
 */
int crypt_block_amend(struct crypt_block *b, const struct value *opts, const struct crypt_io *io,
                      bool force, struct error **err);

#endif
