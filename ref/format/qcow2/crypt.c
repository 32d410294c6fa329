/*
 * Encryption of a qcow2 image (spec: "Full disk encryption header pointer", "Data encryption").
 *
 * With AES the vectors go by the guest's offset, with LUKS by the host's.  Metadata and compressed
 * clusters are never encrypted.
 */
#include "ref/format/qcow2/crypt.h"

#include <errno.h>
#include <inttypes.h>

/* Nothing behind the length that the extension gives is LUKS's. */
static int check_window(const struct qcow2 *s, uint64_t offset, size_t len, struct error **err)
{
    if (offset > s->crypto_length || len > s->crypto_length - offset) {
        return error_set(err, EINVAL, "Request for data outside of extension header");
    }
    return 0;
}

static int read_header(void *opaque, uint64_t offset, void *buf, size_t len, struct error **err)
{
    struct qcow2 *s = opaque;
    int ret = check_window(s, offset, len, err);
    if (ret < 0) {
        return ret;
    }
    ret = child_pread(s->n->file, (int64_t)(s->crypto_offset + offset), buf, (int64_t)len,
                      LABEL_CRYPTO_HEADER_LOAD, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not read encryption header") : 0;
}

static int write_header(void *opaque, uint64_t offset, const void *buf, size_t len,
                        struct error **err)
{
    struct qcow2 *s = opaque;
    int ret = check_window(s, offset, len, err);
    if (ret < 0) {
        return ret;
    }
    ret = child_pwrite_sync(s->n->file, (int64_t)(s->crypto_offset + offset), buf, (int64_t)len,
                            LABEL_CRYPTO_HEADER_WRITE, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not read encryption header") : 0;
}

/* Creation: clusters for the header, zeroes, and the extension that names them. */
static int init_header(void *opaque, uint64_t bytes, struct error **err)
{
    struct qcow2 *s = opaque;
    int64_t offset = qcow2_alloc_clusters(s, bytes);
    if (offset < 0) {
        return error_set_errno(err, (int)-offset,
                               "Cannot allocate cluster for LUKS header size %" PRIu64, bytes);
    }
    uint64_t room = ROUND_UP(bytes, s->cluster_size);
    s->crypto_offset = (uint64_t)offset;
    s->crypto_length = bytes;
    int ret = qcow2_pre_write_overlap(s, 0, (uint64_t)offset, room, false);
    ret = ret < 0 ? ret
                  : child_pwrite_zeroes(s->n->file, offset, (int64_t)room, 0,
                                        LABEL_CRYPTO_HEADER_WRITE, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not zero fill encryption header") : 0;
}

static struct crypt_io header_io(struct qcow2 *s)
{
    return (struct crypt_io){read_header, write_header, init_header, s};
}

int qcow2_crypt_take_extension(struct qcow2 *s, const uint8_t *d, uint32_t len, struct error **err)
{
    if (s->crypt_method > QCOW2_CRYPT_LUKS) {
        return 0; /* is refused with all else that the header asks for */
    }
    if (s->crypt_method != QCOW2_CRYPT_LUKS) {
        return error_set(err, EINVAL,
                         "CRYPTO header extension only expected with LUKS encryption method");
    }
    if (len != QCOW2_CRYPTO_EXT_SIZE) {
        return error_set(err, EINVAL,
                         "CRYPTO header extension size %" PRIu32 ", but expected size %d", len,
                         QCOW2_CRYPTO_EXT_SIZE);
    }
    s->crypto_offset = qcow2_crypto_ext_get_offset(d);
    s->crypto_length = qcow2_crypto_ext_get_length(d);
    if (offset_into_cluster(s, s->crypto_offset)) {
        return error_set(err, EINVAL,
                         "Encryption header offset '%" PRIu64
                         "' is not a multiple of cluster size '%" PRIu64 "'",
                         s->crypto_offset, s->cluster_size);
    }
    if (s->crypto_offset > INT64_MAX || s->crypto_length > INT64_MAX - s->crypto_offset) {
        return error_set_errno(err, EIO, "Could not read encryption header");
    }
    s->has_crypto_ext = true;
    return 0;
}

const char *qcow2_crypt_name(const struct qcow2 *s)
{
    return s->crypt_method == QCOW2_CRYPT_NONE  ? NULL
           : s->crypt_method == QCOW2_CRYPT_AES ? "aes"
                                                : "luks";
}

int qcow2_crypt_open(struct qcow2 *s, const char *secret, unsigned flags, struct error **err)
{
    bool luks = s->crypt_method == QCOW2_CRYPT_LUKS, no_io = flags & OPEN_NO_IO;
    s->n->encrypted = s->crypt_method != QCOW2_CRYPT_NONE;
    s->crypt_by_host = luks;
    if (!s->n->encrypted || (luks && !s->has_crypto_ext && no_io)) {
        return 0;
    }
    if (luks && !s->has_crypto_ext) {
        return error_set(err, EINVAL, "Missing CRYPTO header for crypt method %" PRIu32,
                         s->crypt_method);
    }
    struct crypt_io io = header_io(s);
    s->crypt =
        crypt_block_open(s->w, luks ? CRYPT_LUKS : CRYPT_QCOW, secret, "encrypt.", &io, no_io, err);
    return s->crypt ? 0 : -EINVAL;
}

int qcow2_crypt_create(struct qcow2 *s, const struct crypt_creation *c, struct error **err)
{
    int ret = 0;
    s->crypt_method = c->format == CRYPT_LUKS ? QCOW2_CRYPT_LUKS : QCOW2_CRYPT_AES;
    if (c->format == CRYPT_LUKS) {
        struct crypt_io io = header_io(s);
        ret = crypt_luks_create(s->w, &c->params, c->secret, "encrypt.", &io, err);
        s->has_crypto_ext = ret == 0;
    }
    if (ret == 0) {
        ret = qcow2_header_write(s);
        if (ret < 0) {
            error_set_errno(err, -ret, "Cannot write encryption header");
        }
    }
    return ret;
}

struct value *qcow2_crypt_info(const struct qcow2 *s)
{
    struct value *v = s->crypt && s->crypt_by_host ? crypt_block_info(s->crypt) : value_dict();
    dict_put_str(v, "format", qcow2_crypt_name(s));
    return v;
}

int qcow2_crypt_amend(struct qcow2 *s, struct value *opts, bool force, struct error **err)
{
    struct crypt_io io = header_io(s);
    if (s->crypt_method == QCOW2_CRYPT_NONE) {
        return error_set(err, EINVAL, "Can't amend encryption options - encryption not present");
    }
    if (s->crypt_method != QCOW2_CRYPT_LUKS) {
        return error_set(err, ENOTSUP, "Only LUKS encryption options can be amended");
    }
    return crypt_block_amend(s->crypt, opts, &io, force, err);
}

/* The offset that decides the vectors. */
static uint64_t vector_offset(const struct qcow2 *s, uint64_t guest, uint64_t host)
{
    return s->crypt_by_host ? host : guest;
}

int qcow2_crypt_preadv(struct qcow2 *s, uint64_t guest, uint64_t host, uint64_t bytes,
                       const struct iov *q, size_t q_off, enum label label, const struct request *r)
{
    return crypt_preadv(s->crypt, s->data_file, (int64_t)host,
                        (int64_t)vector_offset(s, guest, host), (int64_t)bytes, q, q_off, label, r);
}

void qcow2_encrypt(struct qcow2 *s, uint64_t guest, uint64_t host, uint8_t *buf, size_t len)
{
    if (s->crypt && len) {
        crypt_block_run(s->crypt, true, vector_offset(s, guest, host), buf, len);
    }
}
