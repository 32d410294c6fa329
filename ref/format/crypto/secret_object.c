/*
 * Secrets from their properties: see secret_object.h.
 *
 * Models: QEMU's `secret` object.  Leaves out: the deprecated property `loaded`, which QEMU 7.2
 * refuses too.
 */
#include "ref/format/crypto/secret_object.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "ref/base/base64.h"
#include "ref/base/mem.h"
#include "ref/base/utf8.h"
#include "ref/engine/host.h"
#include "ref/format/crypto/cipher.h"

#define KEY_BYTES   32
#define IV_BYTES    16
#define BLOCK_BYTES 16
#define MAX_FILE    (16 * MiB) /* ours: a password is no disk */

static const char *const formats[] = {"raw", "base64", NULL};

const struct opt_desc secret_options[] = {
    {.name = "data", .type = OPT_STRING},
    {.name = "file", .type = OPT_STRING},
    {.name = "format", .type = OPT_ENUM, .values = formats, .def = "raw"},
    {.name = "iv", .type = OPT_STRING},
    {.name = "keyid", .type = OPT_STRING},
    {.name = "loaded", .type = OPT_BOOL},
    {.name = NULL},
};

struct bytes {
    uint8_t *p; /* a NUL that is not counted follows */
    size_t len;
};

static void wipe(struct bytes *b)
{
    if (b->p) {
        explicit_bzero(b->p, b->len);
        mem_free(b->p);
    }
    *b = (struct bytes){NULL, 0};
}

static int read_failed(const char *name, const char *doing, int code, struct error **err)
{
    return error_set(err, code, "Unable to read %s: %s “%s”: %s", name, doing, name,
                     strerror(code));
}

static int read_open_file(struct world *w, int fd, const char *name, struct bytes *out,
                          struct error **err)
{
    struct stat st;
    int ret = host_fstat(w, fd, &st);
    if (ret == 0 && S_ISDIR(st.st_mode)) {
        ret = -EISDIR;
    }
    if (ret < 0) {
        return read_failed(name, "Error reading file", -ret, err);
    }
    size_t room = 4096;
    out->p = mem_alloc(room + 1);
    for (;;) {
        struct iov q;
        iov_single(&q, out->p + out->len, room - out->len);
        ssize_t n = host_preadv(w, fd, &q, 0, room - out->len, (int64_t)out->len);
        if (n < 0) {
            return read_failed(name, "Error reading file", (int)-n, err);
        }
        out->len += (size_t)n;
        if (n == 0 || out->len < room) {
            break;
        }
        if (room >= MAX_FILE) {
            return error_set(err, EFBIG, "Unable to read %s: the file is too large", name);
        }
        uint8_t *more = mem_alloc(2 * room + 1);
        memcpy(more, out->p, out->len);
        explicit_bzero(out->p, out->len);
        mem_free(out->p);
        out->p = more;
        room *= 2;
    }
    out->p[out->len] = 0;
    return 0;
}

static int read_file(struct world *w, const char *name, struct bytes *out, struct error **err)
{
    int fd = host_open(w, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return read_failed(name, "Failed to open file", -fd, err);
    }
    int ret = read_open_file(w, fd, name, out, err);
    host_close(w, fd);
    return ret;
}

static int decode(struct bytes *b, struct error **err)
{
    struct bytes out;
    out.p = base64_decode((const char *)b->p, b->len, &out.len, err);
    if (!out.p) {
        return -EINVAL;
    }
    wipe(b);
    *b = out;
    return 0;
}

static int load(struct world *w, const struct value *props, struct bytes *out, struct error **err)
{
    const char *data = dict_get_str(props, "data"), *file = dict_get_str(props, "file");
    if (file && data) {
        return error_set(err, EINVAL, "'file' and 'data' are mutually exclusive");
    }
    if (!file && !data) {
        return error_set(err, EINVAL, "Either 'file' or 'data' must be provided");
    }
    if (file) {
        return read_file(w, file, out, err);
    }
    out->len = strlen(data);
    out->p = mem_dup(data, out->len + 1);
    return 0;
}

/* PKCS #7: the last byte says how many bytes were added. */
static int unpad(struct bytes *b, struct error **err)
{
    unsigned pad = b->len ? b->p[b->len - 1] : 0;
    if (pad == 0 || pad > BLOCK_BYTES || pad > b->len) {
        return error_set(err, EINVAL,
                         "Incorrect number of padding bytes (%u) found on decrypted data", pad);
    }
    b->len -= pad;
    b->p[b->len] = 0;
    return 0;
}

static int decrypt_with(struct bytes *b, const uint8_t *key, const uint8_t *iv, size_t iv_len,
                        bool base64, struct error **err)
{
    if (iv_len != IV_BYTES) {
        return error_set(err, EINVAL, "IV should be %d bytes in length not %zu", IV_BYTES, iv_len);
    }
    int ret = base64 ? decode(b, err) : 0;
    if (ret < 0) {
        return ret;
    }
    if (!IS_ALIGNED(b->len, (size_t)BLOCK_BYTES)) {
        return error_set(err, EINVAL, "Length %zu must be a multiple of block size %d", b->len,
                         BLOCK_BYTES);
    }
    crypt_aes256_cbc_decrypt(key, iv, b->p, b->len);
    return unpad(b, err);
}

static int decrypt(struct world *w, const struct value *props, const char *keyid, bool base64,
                   struct bytes *b, struct error **err)
{
    size_t key_len, iv_len;
    const char *iv_text = dict_get_str(props, "iv");
    const uint8_t *key = secret_find(w, keyid, &key_len, err);
    if (!key) {
        return -EINVAL;
    }
    if (key_len != KEY_BYTES) {
        return error_set(err, EINVAL, "Key should be %d bytes in length", KEY_BYTES);
    }
    if (!iv_text) {
        return error_set(err, EINVAL, "IV is required to decrypt secret");
    }
    uint8_t *iv = base64_decode(iv_text, strlen(iv_text), &iv_len, err);
    if (!iv) {
        return -EINVAL;
    }
    int ret = decrypt_with(b, key, iv, iv_len, base64, err);
    mem_free(iv);
    return ret;
}

int secret_create(struct world *w, const struct value *props, struct error **err)
{
    int format = 0;
    struct bytes b = {NULL, 0};
    const char *keyid = dict_get_str(props, "keyid");
    if (dict_has(props, "loaded")) {
        return error_set(err, EINVAL, "Property 'secret.loaded' is not writable");
    }
    int ret = opts_get_enum(secret_options, props, "format", &format, err);
    ret = ret < 0 ? ret : load(w, props, &b, err);
    if (ret == 0 && keyid) {
        ret = decrypt(w, props, keyid, format == 1, &b, err);
    } else if (ret == 0 && format == 1) {
        ret = decode(&b, err);
    }
    if (ret == 0) {
        ret = secret_add(w, dict_get_str(props, "id"), b.p, b.len, err);
    }
    wipe(&b);
    return ret;
}
