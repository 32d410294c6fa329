/*
 * luks: a whole image that is one LUKS volume.
 *
 * Models: header and key slots in front, then the guest's disk sector for sector, encrypted in
 * place; creation, resizing, measuring, amending of key slots.  Leaves out: detached headers (not
 * in QEMU 7.2); knowing what is allocated: everything is data.
 */
#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/base/sizes.h"
#include "ref/block/graph.h"
#include "ref/block/open.h"
#include "ref/format/create.h"
#include "ref/format/crypto/io.h"
#include "ref/format/format.h"
#include "specs/luks_layout.h"

struct luks_state {
    struct crypt_block *block;
    uint64_t payload; /* bytes in front of the guest's disk */
    bool updating;    /* key slots are being changed: others may not */
};

static const struct opt_desc open_options[] = {
    {.name = "key-secret",
     .type = OPT_STRING,
     .help = "ID of the secret that provides the keyslot passphrase"},
    {.name = NULL},
};

static const struct opt_desc create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "key-secret",
     .type = OPT_STRING,
     .help = "ID of the secret that provides the keyslot passphrase"},
    {.name = "cipher-alg", .type = OPT_STRING, .help = "Name of encryption cipher algorithm"},
    {.name = "cipher-mode", .type = OPT_STRING, .help = "Name of encryption cipher mode"},
    {.name = "ivgen-alg", .type = OPT_STRING, .help = "Name of IV generator algorithm"},
    {.name = "ivgen-hash-alg", .type = OPT_STRING, .help = "Name of IV generator hash algorithm"},
    {.name = "hash-alg", .type = OPT_STRING, .help = "Name of encryption hash algorithm"},
    {.name = "iter-time", .type = OPT_NUMBER, .help = "Time to spend in PBKDF in milliseconds"},
    {.name = NULL},
};

static const struct opt_desc amend_options[] = {
    {.name = "state",
     .type = OPT_STRING,
     .help = "Select new state of affected keyslots (active/inactive)"},
    {.name = "keyslot", .type = OPT_NUMBER, .help = "Select a single keyslot to modify explicitly"},
    {.name = "old-secret",
     .type = OPT_STRING,
     .help = "Select all keyslots that match this password"},
    {.name = "new-secret",
     .type = OPT_STRING,
     .help = "New secret to set in the matching keyslots. Empty string to erase"},
    {.name = "iter-time", .type = OPT_NUMBER, .help = "Time to spend in PBKDF in milliseconds"},
    {.name = NULL},
};

static const char *const strong_options[] = {"key-secret", NULL};

static int probe(const uint8_t *buf, size_t len, const char *filename)
{
    static const uint8_t magic[LUKS_HEADER_MAGIC_WIDTH] = {'L', 'U', 'K', 'S', 0xba, 0xbe};
    return len >= LUKS_HEADER_CIPHER_NAME_OFF && memcmp(buf, magic, sizeof(magic)) == 0 &&
                   luks_header_get_version(buf) == LUKS_VERSION
               ? 100
               : 0;
}

/* ---- the header, on an open image ---- */

static int read_header(void *opaque, uint64_t offset, void *buf, size_t len, struct error **err)
{
    struct node *n = opaque;
    int ret =
        child_pread(n->file, (int64_t)offset, buf, (int64_t)len, LABEL_CRYPTO_HEADER_LOAD, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not read encryption header") : 0;
}

static int write_header(void *opaque, uint64_t offset, const void *buf, size_t len,
                        struct error **err)
{
    struct node *n = opaque;
    int ret = child_pwrite_sync(n->file, (int64_t)offset, buf, (int64_t)len,
                                LABEL_CRYPTO_HEADER_WRITE, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not write encryption header") : 0;
}

static struct crypt_io header_io(struct node *n)
{
    return (struct crypt_io){read_header, write_header, NULL, n};
}

static int open_luks(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct luks_state *s = n->state;
    int ret = open_file_child(n, opts, err);
    if (ret < 0) {
        return ret;
    }
    n->write_flags = REQ_FUA & n->file->node->write_flags;
    struct crypt_io io = header_io(n);
    struct value *mine = opts_take(open_options, opts);
    s->block = crypt_block_open(n->w, CRYPT_LUKS, dict_get_str(mine, "key-secret"), "", &io,
                                flags & OPEN_NO_IO, err);
    value_free(mine);
    if (!s->block) {
        return -EIO;
    }
    s->payload = crypt_block_payload_offset(s->block);
    n->encrypted = true;
    return 0;
}

static void close_luks(struct node *n)
{
    struct luks_state *s = n->state;
    crypt_block_free(s->block);
}

static int reopen_prepare(struct reopen *r, struct error **err)
{
    value_free(opts_take(open_options, r->options));
    return 0;
}

/* ---- requests ---- */

static int do_read(struct node *n, const struct request *r)
{
    struct luks_state *s = n->state;
    return crypt_preadv(s->block, n->file, (int64_t)s->payload + r->offset, r->offset, r->bytes,
                        r->iov, r->iov_off, LABEL_READ_AIO, r);
}

static int do_write(struct node *n, const struct request *r)
{
    struct luks_state *s = n->state;
    return crypt_pwritev(s->block, n->file, (int64_t)s->payload + r->offset, r->offset, r->bytes,
                         r->iov, r->iov_off, r->flags & REQ_FUA, LABEL_WRITE_AIO, r);
}

static int64_t length(struct node *n)
{
    struct luks_state *s = n->state;
    int64_t len = child_length(n->file);
    return len < 0 ? len : (uint64_t)len < s->payload ? -EIO : len - (int64_t)s->payload;
}

static int do_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                       unsigned flags, struct error **err)
{
    struct luks_state *s = n->state;
    if (size > INT64_MAX - (int64_t)s->payload) {
        return error_set(err, EFBIG, "The requested file size is too large");
    }
    return child_truncate(n->file, size + (int64_t)s->payload, exact, prealloc, 0, err);
}

static void refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = MAX(n->limits.request_alignment, (uint32_t)CRYPT_SECTOR);
}

/*
 * What users of a raw image share, users of a volume share too: the header is read once.  While key
 * slots change nobody else may read it.
 */
static void child_perm(struct node *n, struct child *c, unsigned role, struct reopen *r,
                       unsigned perm, unsigned shared, unsigned *nperm, unsigned *nshared)
{
    const struct luks_state *s = n->state;
    child_perm_default(n, c, role & ~(unsigned)ROLE_METADATA, r, perm, shared, nperm, nshared);
    if (s->updating) {
        *nperm |= PERM_CONSISTENT_READ | PERM_WRITE;
        *nshared &= ~(unsigned)PERM_CONSISTENT_READ;
    }
}

static int info(struct node *n, struct image_info *out)
{
    return 0;
}

static struct value *specific_info(struct node *n, struct error **err)
{
    struct luks_state *s = n->state;
    struct value *v = value_dict();
    dict_put_str(v, "type", "luks");
    dict_put(v, "data", crypt_block_info(s->block));
    return v;
}

static struct value *measure(struct world *w, struct value *opts, struct node *in,
                             struct error **err)
{
    struct crypt_params p;
    uint64_t size = 0;
    if (crypt_parse_params(opts, "", &p, err) < 0 ||
        crypt_luks_check(w, &p, dict_get_str(opts, "key-secret"), "", err) < 0) {
        return NULL;
    }
    if (in) {
        int64_t len = node_length(in);
        if (len < 0) {
            error_set_errno(err, (int)-len, "Unable to get image virtual_size");
            return NULL;
        }
        size = (uint64_t)len;
    } else if (opts_get_size(create_options, opts, "size", &size, err) < 0) {
        return NULL;
    }
    uint64_t total = crypt_luks_payload_offset(&p);
    if (size > INT64_MAX - total - CRYPT_SECTOR) {
        error_set(err, EFBIG, "Image size is too large");
        return NULL;
    }
    total += ROUND_UP(size, CRYPT_SECTOR);
    struct value *v = value_dict();
    dict_put_uint(v, "required", total);
    dict_put_uint(v, "fully-allocated", total);
    return v;
}

static int amend(struct node *n, struct value *opts, amend_progress_fn *progress, void *opaque,
                 bool force, struct error **err)
{
    struct luks_state *s = n->state;
    struct crypt_io io = header_io(n);
    s->updating = true;
    int ret = node_refresh_perms(n, err);
    ret = ret < 0 ? ret : crypt_block_amend(s->block, opts, &io, force, err);
    s->updating = false;
    node_refresh_perms(n, NULL); /* asks for less: cannot fail */
    return ret;
}

static int amend_json(struct node *n, struct value *opts, bool force, struct error **err)
{
    return amend(n, opts, NULL, NULL, force, err);
}

/* ---- creation ---- */

struct creation {
    struct blk *b;
    uint64_t size;
    enum prealloc prealloc;
};

static int create_write(void *opaque, uint64_t offset, const void *buf, size_t len,
                        struct error **err)
{
    struct creation *c = opaque;
    int ret = blk_pwrite(c->b, (int64_t)offset, buf, (int64_t)len, 0);
    ret = ret < 0 ? ret : blk_flush(c->b, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not write encryption header") : 0;
}

/* The file gets its whole length, as the payload will need it. */
static int create_init(void *opaque, uint64_t bytes, struct error **err)
{
    struct creation *c = opaque;
    if (c->size > INT64_MAX - bytes) {
        return error_set(err, EFBIG, "The requested file size is too large");
    }
    return blk_truncate(c->b, (int64_t)(c->size + bytes), false, c->prealloc, 0, err);
}

/* Creates on a node that exists. */
static int create_on(struct world *w, struct node *file, const struct crypt_params *p,
                     const char *secret, uint64_t size, enum prealloc prealloc, struct error **err)
{
    struct creation c = {.size = size, .prealloc = prealloc};
    c.b = format_create_blk(w, file, err);
    if (!c.b) {
        return -EINVAL;
    }
    struct crypt_io io = {NULL, create_write, create_init, &c};
    int ret = crypt_luks_create(w, p, secret, "", &io, err);
    blk_unref(c.b);
    return ret;
}

static int create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    struct crypt_params p;
    uint64_t size = 0;
    enum prealloc prealloc;
    int ret = opts_get_size(create_options, opts, "size", &size, err);
    ret = ret < 0 ? ret : crypt_parse_params(opts, "", &p, err);
    ret = ret < 0 ? ret : prealloc_parse(dict_get_str(opts, "preallocation"), &prealloc, err);
    if (ret < 0) {
        return ret;
    }
    struct value *rest = value_clone(opts);
    dict_del(rest, "preallocation");
    struct node *file = format_create_file(w, filename, rest, create_options, err);
    value_free(rest);
    if (!file) {
        return -EINVAL;
    }
    ret = create_on(w, file, &p, dict_get_str(opts, "key-secret"), ROUND_UP(size, CRYPT_SECTOR),
                    prealloc, err);
    if (ret < 0 && file->drv->delete_file) {
        file->drv->delete_file(file, NULL);
    }
    node_unref(file);
    return ret;
}

static int create_json(struct world *w, struct value *opts, struct error **err)
{
    struct crypt_params p;
    uint64_t size = 0;
    enum prealloc prealloc;
    int ret = opts_get_size(create_options, opts, "size", &size, err);
    ret = ret < 0 ? ret : crypt_parse_params(opts, "", &p, err);
    ret = ret < 0 ? ret : prealloc_parse(dict_get_str(opts, "preallocation"), &prealloc, err);
    struct node *file = ret < 0 ? NULL : format_take_node(w, opts, "file", err);
    if (!file) {
        return ret < 0 ? ret : -EINVAL;
    }
    ret = create_on(w, file, &p, dict_get_str(opts, "key-secret"), size, prealloc, err);
    node_unref(file);
    return ret;
}

static const enum label labels[] = {LABEL_CRYPTO_HEADER_LOAD, LABEL_CRYPTO_HEADER_WRITE,
                                    LABEL_READ_AIO, LABEL_WRITE_AIO, LABEL_COUNT};

const struct block_driver driver_luks = {
    .name = "luks",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct luks_state),
    .variable_length = true,
    .open_options = open_options,
    .create_options = create_options,
    .amend_options = amend_options,
    .strong_options = strong_options,
    .probe = probe,
    .open = open_luks,
    .close = close_luks,
    .reopen_prepare = reopen_prepare,
    .create = create,
    .create_json = create_json,
    .read = do_read,
    .write = do_write,
    .truncate = do_truncate,
    .length = length,
    .refresh_limits = refresh_limits,
    .child_perm = child_perm,
    .info = info,
    .specific_info = specific_info,
    .measure = measure,
    .amend = amend,
    .amend_json = amend_json,
};
