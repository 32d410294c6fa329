/*
 * The crypto object of an image: see block.h.
 */
#include "ref/format/crypto/luks.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/block/secret.h"
#include "ref/engine/host.h"

#define QCOW_KEY_BYTES 16
/* From here on a request is worth the way to a worker. */
#define WORKER_BYTES (64 * KiB)

struct crypt_block {
    struct world *w;
    enum crypt_format format;
    struct crypt_cipher *cipher; /* NULL: opened without a key */
    char *secret;                /* opened with; or NULL */
    struct luks luks;
};

int crypt_check_secret(struct world *w, const char *secret, const char *prefix, struct error **err)
{
    size_t len;
    if (!secret) {
        return error_set(err, EINVAL, "Parameter '%skey-secret' is required for cipher", prefix);
    }
    return luks_password(w, secret, &len, err) ? 0 : -EINVAL;
}

static int open_qcow(struct crypt_block *b, const char *secret, struct error **err)
{
    static const struct crypt_suite suite = {
        .alg = ALG_AES_128, .mode = MODE_CBC, .ivgen = IV_PLAIN64};
    uint8_t key[QCOW_KEY_BYTES] = {0};
    size_t len;
    const uint8_t *password = luks_password(b->w, secret, &len, err);
    if (!password) {
        return -EINVAL;
    }
    memcpy(key, password, MIN(len, sizeof(key)));
    b->cipher = crypt_cipher_new(&suite, key);
    explicit_bzero(key, sizeof(key));
    return 0;
}

static int unlock(struct crypt_block *b, const char *secret, const struct crypt_io *io,
                  struct error **err)
{
    uint8_t key[LUKS_MAX_KEY_BYTES];
    size_t len;
    const uint8_t *password = luks_password(b->w, secret, &len, err);
    if (!password) {
        return -EINVAL;
    }
    int ret = crypt_suite_check_mode(&b->luks.suite, err);
    if (ret < 0) {
        return ret;
    }
    ret = luks_unlock(b->w, &b->luks, io, password, len, key, err);
    if (ret == -EACCES) {
        ret = error_set(err, EPERM, "Invalid password, cannot unlock any keyslot");
    }
    if (ret == 0) {
        b->cipher = crypt_cipher_new(&b->luks.suite, key);
    }
    explicit_bzero(key, sizeof(key));
    return ret;
}

static int open_luks(struct crypt_block *b, const char *secret, const struct crypt_io *io,
                     bool no_io, struct error **err)
{
    uint8_t h[LUKS_HEADER_SIZE];
    int ret = io->read(io->opaque, 0, h, sizeof(h), err);
    ret = ret < 0 ? ret : luks_parse(&b->luks, h, err);
    return ret < 0 || no_io ? ret : unlock(b, secret, io, err);
}

struct crypt_block *crypt_block_open(struct world *w, enum crypt_format format, const char *secret,
                                     const char *prefix, const struct crypt_io *io, bool no_io,
                                     struct error **err)
{
    if (!no_io && !secret) {
        crypt_check_secret(w, secret, prefix, err);
        return NULL;
    }
    struct crypt_block *b = mem_zalloc(sizeof(*b));
    b->w = w;
    b->format = format;
    b->secret = str_dup(secret);
    int ret = format == CRYPT_LUKS ? open_luks(b, secret, io, no_io, err)
              : no_io              ? 0
                                   : open_qcow(b, secret, err);
    if (ret < 0) {
        crypt_block_free(b);
        return NULL;
    }
    return b;
}

void crypt_block_free(struct crypt_block *b)
{
    if (b) {
        crypt_cipher_free(b->cipher);
        mem_free(b->secret);
        mem_free(b);
    }
}

uint64_t crypt_block_payload_offset(const struct crypt_block *b)
{
    return (uint64_t)b->luks.payload * LUKS_SECTOR;
}

struct value *crypt_block_info(const struct crypt_block *b)
{
    assert(b->format == CRYPT_LUKS);
    return luks_info(&b->luks);
}

int crypt_block_amend(struct crypt_block *b, const struct value *opts, const struct crypt_io *io,
                      bool force, struct error **err)
{
    assert(b->format == CRYPT_LUKS);
    return luks_amend(b->w, &b->luks, b->secret, opts, io, force, err);
}

struct job {
    const struct crypt_cipher *cipher;
    bool encrypt;
    uint64_t sector;
    uint8_t *buf;
    size_t len;
};

static int run_job(void *arg)
{
    const struct job *j = arg;
    crypt_cipher_run(j->cipher, j->encrypt, j->sector, j->buf, j->len);
    return 0;
}

void crypt_block_run(struct crypt_block *b, bool encrypt, uint64_t offset, uint8_t *buf, size_t len)
{
    struct job j = {b->cipher, encrypt, offset / CRYPT_SECTOR, buf, len};
    assert(b->cipher && IS_ALIGNED(offset, CRYPT_SECTOR));
    if (len < WORKER_BYTES) {
        run_job(&j);
    } else {
        host_call(b->w, run_job, &j);
    }
}
