/*
 * qcow2 spec checker: what lies in the first cluster behind the header, and the encryption header's
 * space.
 */
#include <string.h>

#include "specs/runtime/qcow2_check_int.h"

/* Extensions of a type that this checker has seen in one image; more are not told apart. */
enum { MAX_TYPES = 256 };

struct ext_walk {
    uint32_t types[MAX_TYPES];
    unsigned nr_types;
};

static void note_type(struct walk *w, struct ext_walk *e, uint32_t type, uint64_t at)
{
    for (unsigned i = 0; i < e->nr_types; i++) {
        if (e->types[i] == type) {
            spec_report_add(w->r, "EXT-3", SPEC_CORRUPTION, at, type, 0, "extension 0x%08x twice",
                            type);
            return;
        }
    }
    if (e->nr_types < MAX_TYPES) {
        e->types[e->nr_types++] = type;
    }
}

static void check_feature_names(struct walk *w, uint64_t at, uint32_t len)
{
    if (len % QCOW2_FEATURE_NAME_SIZE) {
        spec_report_add(w->r, "FNT-2", SPEC_CORRUPTION, at, len, 0,
                        "feature name table of %u bytes", len);
    }
    for (uint32_t i = 0; i + QCOW2_FEATURE_NAME_SIZE <= len; i += QCOW2_FEATURE_NAME_SIZE) {
        const uint8_t *p = walk_read(w, w->outer, at + i, QCOW2_FEATURE_NAME_SIZE);
        if (!p) {
            return;
        }
        walk_check(w, "feature_name", p, at + i);
        const uint8_t *name = p + QCOW2_FEATURE_NAME_NAME_OFF;
        const uint8_t *end = memchr(name, 0, QCOW2_FEATURE_NAME_NAME_WIDTH);
        for (const uint8_t *c = end; c && c < name + QCOW2_FEATURE_NAME_NAME_WIDTH; c++) {
            if (*c) {
                spec_report_add(w->r, "FNT-5", SPEC_CORRUPTION, at + i, *c, 0,
                                "a feature name's padding is not zero");
                break;
            }
        }
    }
}

/* The data of an extension of a fixed size; false when the length is another. */
static bool fixed_data(struct walk *w, const char *clause, uint64_t at, uint32_t len, uint8_t *data,
                       uint32_t want)
{
    if (len != want) {
        spec_report_add(w->r, clause, SPEC_CORRUPTION, at, len, want, "extension data of %u bytes",
                        len);
        return false;
    }
    const uint8_t *p = walk_read(w, w->outer, at, want);
    if (p) {
        memcpy(data, p, want);
    }
    return p;
}

static void check_extension(struct walk *w, uint32_t type, uint64_t at, uint32_t len)
{
    switch (type) {
    case QCOW2_EXT_FEATURE_NAMES:
        check_feature_names(w, at, len);
        break;
    case QCOW2_EXT_BITMAPS:
        w->info->has_bitmaps_extension = true;
        w->has_bitmaps = fixed_data(w, "BMX-7", at, len, w->bitmaps, sizeof(w->bitmaps));
        break;
    case QCOW2_EXT_CRYPTO:
        w->has_crypto = fixed_data(w, "FDE-9", at, len, w->crypto, sizeof(w->crypto));
        if (w->q.crypt_method != QCOW2_CRYPT_LUKS) {
            spec_report_add(w->r, "FDE-2", SPEC_CORRUPTION, at, w->q.crypt_method, QCOW2_CRYPT_LUKS,
                            "encryption header pointer without LUKS");
        } else if (w->has_crypto) {
            walk_check(w, "crypto_ext", w->crypto, at);
        }
        break;
    case QCOW2_EXT_DATA_FILE:
        if (!w->q.data_file) {
            spec_report_add(w->r, "FEAT-11", SPEC_ADVICE, at, 0, 0,
                            "data file name without the feature bit");
        }
        break;
    default:
        break;
    }
}

static void check_backing_name(struct walk *w, uint64_t extensions_end)
{
    uint64_t offset = qcow2_header_get_backing_file_offset(w->header);
    uint64_t size = qcow2_header_get_backing_file_size(w->header);
    if (offset && (offset < extensions_end || spec_add(offset, size) > w->q.cluster_size)) {
        spec_report_add(w->r, "EXT-4", SPEC_CORRUPTION, QCOW2_HEADER_BACKING_FILE_OFFSET_OFF,
                        offset, extensions_end, "backing file name at 0x%llx",
                        (unsigned long long)offset);
    }
}

/* The space that the extension names; the rest of LUKS has a specification of its own. */
static void check_crypto(struct walk *w)
{
    if (w->q.crypt_method == QCOW2_CRYPT_LUKS && !w->has_crypto) {
        spec_report_add(w->r, "FDE-1", SPEC_CORRUPTION, QCOW2_HEADER_CRYPT_METHOD_OFF, 0, 0,
                        "LUKS without an encryption header pointer");
    }
    if (!w->has_crypto || w->q.crypt_method != QCOW2_CRYPT_LUKS) {
        return;
    }
    uint64_t offset = qcow2_crypto_ext_get_offset(w->crypto);
    uint64_t length = qcow2_crypto_ext_get_length(w->crypto);
    if (!walk_inside(w, offset, length)) {
        spec_report_add(w->r, "FDE-4", SPEC_CORRUPTION, 0, offset, length,
                        "encryption header at 0x%llx is not inside the file",
                        (unsigned long long)offset);
        return;
    }
    walk_ref(w, offset, length, K_CRYPTO, 0);
}

void check_extensions(struct walk *w)
{
    struct ext_walk e = {.nr_types = 0};
    uint64_t pos = w->header_length;
    uint64_t end = qcow2_header_get_backing_file_offset(w->header);
    if (end == 0 || end > w->q.cluster_size) {
        end = w->q.cluster_size;
    }
    while (pos + QCOW2_HEADER_EXTENSION_SIZE <= end) {
        const uint8_t *p = walk_read(w, w->outer, pos, QCOW2_HEADER_EXTENSION_SIZE);
        if (!p) {
            return;
        }
        uint32_t type = qcow2_header_extension_get_type(p);
        uint32_t len = qcow2_header_extension_get_length(p);
        uint64_t total = qcow2_header_extension_total_size(p);
        if (type == QCOW2_EXT_END) {
            pos += QCOW2_HEADER_EXTENSION_SIZE;
            break;
        }
        if (len > end - pos - QCOW2_HEADER_EXTENSION_SIZE) {
            spec_report_add(w->r, "EXT-1", SPEC_CORRUPTION, pos, len, end,
                            "extension 0x%08x of %u bytes leaves its area", type, len);
            pos = end;
            break;
        }
        note_type(w, &e, type, pos);
        check_extension(w, type, pos + QCOW2_HEADER_EXTENSION_SIZE, len);
        pos += total;
    }
    if (pos > end && pos > w->header_length) {
        pos = end; /* the last one's padding */
    }
    check_backing_name(w, pos);
    check_crypto(w);
}
