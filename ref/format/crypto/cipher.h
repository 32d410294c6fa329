/*
 * Block ciphers in their modes, and the vectors of disk encryption (on libnettle).
 *
 * Models: AES, CAST-128, Serpent, Twofish in ECB, CBC, CTR and XTS; vectors plain, plain64, essiv.
 * A disk is a row of sectors of 512 bytes, each encrypted by itself with the vector of its number.
 * A cipher that was made is only read: threads may share it.  Leaves out: DES and triple DES, which
 * QEMU knows by name and takes for no disk.
 */
#ifndef BLKREF_FORMAT_CRYPTO_CIPHER_H
#define BLKREF_FORMAT_CRYPTO_CIPHER_H

#include "ref/base/error.h"
#include "ref/format/crypto/hash.h"

#define CRYPT_SECTOR 512

enum crypt_alg {
    ALG_AES_128,
    ALG_AES_192,
    ALG_AES_256,
    ALG_DES,
    ALG_3DES,
    ALG_CAST5_128,
    ALG_SERPENT_128,
    ALG_SERPENT_192,
    ALG_SERPENT_256,
    ALG_TWOFISH_128,
    ALG_TWOFISH_192,
    ALG_TWOFISH_256,
};
enum crypt_mode { MODE_ECB, MODE_CBC, MODE_XTS, MODE_CTR };
enum crypt_ivgen { IV_PLAIN, IV_PLAIN64, IV_ESSIV };
/* The words of options; each ends with NULL. */
extern const char *const crypt_alg_names[], *const crypt_mode_names[], *const crypt_ivgen_names[];

/* The family as a LUKS header names it ("aes"); NULL for what no LUKS volume has. */
const char *crypt_alg_family(enum crypt_alg a);
/* Bytes of one key (XTS takes two). */
size_t crypt_alg_key_size(enum crypt_alg a);
/* By family and key size, or -1. */
int crypt_alg_find(const char *family, size_t key_size);

/* What is chosen for a disk. */
struct crypt_suite {
    enum crypt_alg alg;
    enum crypt_mode mode;
    enum crypt_ivgen ivgen;
    enum crypt_hash ivgen_hash; /* of IV_ESSIV, or as given */
    bool has_ivgen_hash;
};
/* Bytes of the volume key. */
size_t crypt_suite_key_size(const struct crypt_suite *s);
/* Whether the parts go together: "Unsupported cipher mode xts", "No AES cipher with key size ...".
 */
int crypt_suite_check_ivgen(const struct crypt_suite *s, struct error **err);
int crypt_suite_check_mode(const struct crypt_suite *s, struct error **err);

struct crypt_cipher;
/* The suite was checked; key has its key size. */
struct crypt_cipher *crypt_cipher_new(const struct crypt_suite *s, const uint8_t *key);
void crypt_cipher_free(struct crypt_cipher *c); /* wipes it */
/* In place; len is a multiple of CRYPT_SECTOR, `sector` the number of the first one. */
void crypt_cipher_run(const struct crypt_cipher *c, bool encrypt, uint64_t sector, uint8_t *buf,
                      size_t len);

/* Unpredictable bytes in bulk: an AES keystream under a key of the world's secret bytes. */
void crypt_noise(struct world *w, uint8_t *out, size_t len);
/* AES-256-CBC of whole blocks in place, for secrets that are encrypted with another. */
void crypt_aes256_cbc_decrypt(const uint8_t key[32], const uint8_t iv[16], uint8_t *buf,
                              size_t len);

#endif
