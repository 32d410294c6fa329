/*
 * The two headers of a VHDX file: choosing the current one, and changing it.
 */
#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/format/vhdx/vhdx.h"

static const uint32_t places[2] = {VHDX_HEADER1_OFFSET, VHDX_HEADER2_OFFSET};

static bool is_valid(const uint8_t *h)
{
    return vhdx_header_get_signature(h) == VHDX_HEADER_SIGNATURE &&
           vhdx_sealed(h, VHDX_HEADER_BYTES) && vhdx_header_get_version(h) == 1;
}

/* 0 or 1; -1 when neither is valid, or both claim to be current and differ (HDR-7). */
static int choose(const uint8_t *a, const uint8_t *b)
{
    bool valid_a = is_valid(a), valid_b = is_valid(b);
    if (!valid_a || !valid_b) {
        return valid_a ? 0 : valid_b ? 1 : -1;
    }
    uint64_t seq_a = vhdx_header_get_sequence_number(a), seq_b = vhdx_header_get_sequence_number(b);
    if (seq_a == seq_b) {
        return memcmp(a, b, VHDX_HEADER_BYTES) ? -1 : 0;
    }
    return seq_a > seq_b ? 0 : 1;
}

static int check_log_place(struct vhdx *s, struct error **err)
{
    uint64_t at = vhdx_header_get_log_offset(s->header),
             len = vhdx_header_get_log_length(s->header);
    if (vhdx_header_get_log_version(s->header) != 0) {
        return error_set(err, EINVAL, "VHDX log version %u is not supported",
                         (unsigned)vhdx_header_get_log_version(s->header));
    }
    if (at < VHDX_ALIGN || !IS_ALIGNED(at, VHDX_ALIGN) || at > INT64_MAX - len) {
        return error_set(err, EINVAL, "VHDX log offset 0x%llx is not valid",
                         (unsigned long long)at);
    }
    s->log = (struct vhdx_range){at, at + len};
    return 0;
}

int vhdx_read_headers(struct vhdx *s, struct error **err)
{
    uint8_t both[2][VHDX_HEADER_BYTES];
    memset(both, 0, sizeof(both));
    for (int i = 0; i < 2; i++) {
        int ret =
            child_pread(s->n->file, places[i], both[i], VHDX_HEADER_BYTES, LABEL_HEADER_LOAD, NULL);
        if (ret < 0) {
            /* It may be the current one: the other would be taken for it. */
            return error_set_errno(err, -ret, "Could not read a VHDX header");
        }
    }
    s->current = choose(both[0], both[1]);
    if (s->current < 0) {
        return error_set(err, EINVAL, "No valid VHDX header found");
    }
    memcpy(s->header, both[s->current], VHDX_HEADER_BYTES);
    return check_log_place(s, err);
}

bool vhdx_has_log(const struct vhdx *s)
{
    return !buf_is_zero(s->header + VHDX_HEADER_LOG_GUID_OFF, GUID_BYTES);
}

static int write_other(struct vhdx *s, const struct request *r)
{
    int other = !s->current;
    vhdx_header_set_sequence_number(s->header, vhdx_header_get_sequence_number(s->header) + 1);
    vhdx_seal(s->header, VHDX_HEADER_BYTES);
    int ret = child_pwrite_sync(s->n->file, places[other], s->header, VHDX_HEADER_BYTES,
                                LABEL_HEADER_UPDATE, r);
    s->current = ret < 0 ? s->current : other;
    return ret;
}

int vhdx_update_headers(struct vhdx *s, const uint8_t *log_guid, bool write_guids,
                        const struct request *r)
{
    uint8_t old[VHDX_HEADER_BYTES];
    memcpy(old, s->header, sizeof(old));
    if (s->dead) {
        return -EIO;
    }
    if (vhdx_header_get_sequence_number(s->header) > UINT64_MAX - 2) {
        return -EOVERFLOW; /* a wrapped number would be an old one */
    }
    if (log_guid) {
        memcpy(s->header + VHDX_HEADER_LOG_GUID_OFF, log_guid, GUID_BYTES);
    }
    if (write_guids) {
        world_uuid(s->n->w, s->header + VHDX_HEADER_FILE_WRITE_GUID_OFF);
        world_uuid(s->n->w, s->header + VHDX_HEADER_DATA_WRITE_GUID_OFF);
    }
    int ret = write_other(s, r);
    if (ret < 0) {
        /* It may be on the disk, or not: which one is current nobody knows. */
        memcpy(s->header, old, sizeof(old));
        s->dead = true;
        return ret;
    }
    return write_other(s, r);
}

int vhdx_begin_writing(struct vhdx *s, const struct request *r)
{
    if (s->begun) {
        return 0;
    }
    int ret = vhdx_update_headers(s, NULL, true, r);
    s->begun = ret == 0;
    return ret;
}
