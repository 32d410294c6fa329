/*
 * Encryption of a qcow2 image (crypt.c).
 */
#ifndef BLKREF_FORMAT_QCOW2_CRYPT_H
#define BLKREF_FORMAT_QCOW2_CRYPT_H

#include "ref/format/crypto/image_options.h"
#include "ref/format/crypto/io.h"
#include "ref/format/qcow2/qcow2.h"

/* The header extension's data, while the header is read. */
int qcow2_crypt_take_extension(struct qcow2 *s, const uint8_t *d, uint32_t len, struct error **err);
/* "aes", "luks", or NULL. */
const char *qcow2_crypt_name(const struct qcow2 *s);
/* Behind the header: makes s->crypt when the image is encrypted. */
int qcow2_crypt_open(struct qcow2 *s, const char *secret, unsigned flags, struct error **err);
/* Makes a new, empty image an encrypted one and writes its header. (locked) */
int qcow2_crypt_create(struct qcow2 *s, const struct crypt_creation *c, struct error **err);
struct value *qcow2_crypt_info(const struct qcow2 *s);
/* opts: those of LUKS, without prefix. (locked) */
int qcow2_crypt_amend(struct qcow2 *s, struct value *opts, bool force, struct error **err);

/* Guest data at `host`, decrypted into q. (not locked) */
int qcow2_crypt_preadv(struct qcow2 *s, uint64_t guest, uint64_t host, uint64_t bytes,
                       const struct iov *q, size_t q_off, enum label label,
                       const struct request *r);
/* In place, for writing to host; nothing where the image is not encrypted. */
void qcow2_encrypt(struct qcow2 *s, uint64_t guest, uint64_t host, uint8_t *buf, size_t len);

#endif
