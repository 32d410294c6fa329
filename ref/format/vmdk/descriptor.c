/*
 * The descriptor of a disk (specs/vmdk.yaml, DSC): its values, its extent lines, its CID.
 *
 * Leaves out: the disk database (ddb.*), which says nothing about the guest's bytes; extents that
 * are not read-write, and devices as extents, which QEMU passes over too.  Unlike QEMU's, a line
 * ends where the text's line ends, so an empty line before an extent does not count it twice.
 */
#include "ref/format/vmdk/vmdk.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Where the value of key begins, at the start of a line; NULL. */
static const char *find_key(const char *text, const char *key)
{
    size_t len = strlen(key);
    for (const char *p = text; p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, key, len) == 0 && p[len] == '=') {
            return p + len + 1;
        }
    }
    return NULL;
}

char *vmdk_text_value(const char *text, const char *key)
{
    const char *p = find_key(text, key);
    if (!p) {
        return NULL;
    }
    if (*p != '"') {
        return str_ndup(p, strcspn(p, "\r\n"));
    }
    size_t len = strcspn(p + 1, "\"\r\n");
    return p[1 + len] == '"' ? str_ndup(p + 1, len) : NULL;
}

/* A hexadecimal number of 32 bits; *digits of them. */
static bool parse_cid(const char *p, uint32_t *cid, unsigned *digits)
{
    uint64_t v = 0;
    unsigned n = 0;
    for (; isxdigit((unsigned char)p[n]) && n < 64; n++) {
        v = (v << 4) |
            (uint64_t)(isdigit((unsigned char)p[n]) ? p[n] - '0'
                                                    : tolower((unsigned char)p[n]) - 'a' + 10);
    }
    *cid = (uint32_t)v;
    *digits = n;
    return n > 0;
}

static int bad_descriptor(const struct vmdk *s, struct error **err)
{
    return error_set_errno(err, EINVAL, "Could not open '%s'",
                           s->n->file->node->filename ? s->n->file->node->filename : "");
}

int vmdk_take_descriptor(struct vmdk *s, const char *text, uint64_t place, struct error **err)
{
    unsigned digits;
    const char *cid = find_key(text, "CID"), *parent = find_key(text, "parentCID");
    s->cid = VMDK_CID_NONE;
    s->cid_digits = 0;
    if (!parent || !parse_cid(parent, &s->parent_cid, &digits)) {
        return bad_descriptor(s, err);
    }
    if (cid) {
        if (!parse_cid(cid, &s->cid, &s->cid_digits)) {
            return bad_descriptor(s, err);
        }
        s->cid_place = place + (uint64_t)(cid - text);
    }
    mem_free(s->create_type);
    s->create_type = vmdk_text_value(text, "createType");
    char *hint = vmdk_text_value(text, "parentFileNameHint");
    if (hint && *hint) {
        if (strlen(hint) > 1023) {
            mem_free(hint);
            return error_set(err, EINVAL, "parentFileNameHint is too long");
        }
        struct node *n = s->n;
        mem_free(n->backing_file);
        mem_free(n->auto_backing_file);
        n->backing_file = str_dup(hint);
        n->auto_backing_file = str_dup(hint);
        mem_free(n->backing_format);
        n->backing_format = str_dup("vmdk");
    }
    mem_free(hint);
    return 0;
}

/* ---- extent lines ---- */

/* The next word of a line, cut to what fits. */
static bool take_word(const char **p, char *out, size_t size)
{
    *p += strspn(*p, " \t");
    size_t len = strcspn(*p, " \t\r");
    size_t keep = MIN(len, size - 1);
    memcpy(out, *p, keep);
    out[keep] = '\0';
    *p += len;
    return len > 0;
}

static bool take_number(const char **p, int64_t *out)
{
    char *end;
    *p += strspn(*p, " \t");
    *out = strtoll(*p, &end, 10);
    bool ok = end != *p;
    *p = end;
    return ok;
}

static bool take_quoted(const char **p, char *out, size_t size)
{
    *p += strspn(*p, " \t");
    if (**p != '"') {
        return false;
    }
    size_t len = strcspn(*p + 1, "\"\r");
    if (len == 0 || len >= size || (*p)[1 + len] != '"') {
        return false;
    }
    memcpy(out, *p + 1, len);
    out[len] = '\0';
    *p += len + 2;
    return true;
}

/* 1: an extent; 0: not a line of ours; -1: bad. */
static int parse_line(const char *p, struct vmdk_line *l)
{
    char access[16];
    if (!take_word(&p, access, sizeof(access)) || strcmp(access, "RW") != 0 ||
        !take_number(&p, &l->sectors) || !take_word(&p, l->type, sizeof(l->type))) {
        return 0;
    }
    bool flat = strcmp(l->type, "FLAT") == 0;
    p += strspn(p, " \t");
    if (*p != '"' || p[1] == '"') {
        return 0;
    }
    if (!take_quoted(&p, l->name, sizeof(l->name))) {
        return -1; /* no end, or too long a name */
    }
    bool has_offset = take_number(&p, &l->offset);
    if (flat != has_offset || (flat && l->offset < 0)) {
        return -1;
    }
    if (l->sectors <= 0) {
        return 0;
    }
    l->offset = flat ? l->offset : 0;
    return flat || !strcmp(l->type, "VMFS") || !strcmp(l->type, "SPARSE") ||
           !strcmp(l->type, "VMFSSPARSE") || !strcmp(l->type, "SESPARSE");
}

int vmdk_next_line(const char **text, struct vmdk_line *line, struct error **err)
{
    while (**text) {
        size_t len = strcspn(*text, "\n");
        char *copy = str_ndup(*text, len);
        *text += len + ((*text)[len] == '\n');
        int ret = parse_line(copy, line);
        if (ret < 0) {
            copy[strcspn(copy, "\r")] = '\0';
            ret = error_set(err, EINVAL, "Invalid extent line: %s", copy);
        }
        mem_free(copy);
        if (ret != 0) {
            return ret;
        }
    }
    return 0;
}

/* ---- the CID ---- */

/* As many digits as there are now, so that nothing else of the text moves (DSC-6). */
static uint32_t new_cid(struct vmdk *s)
{
    uint64_t range = s->cid_digits >= 8 ? UINT32_MAX : (UINT64_C(1) << (4 * s->cid_digits)) - 1;
    uint32_t cid;
    do {
        cid = (uint32_t)rng_below(world_rng(s->w), range);
    } while (cid == s->cid && range > 1);
    return cid;
}

static int write_cid(struct vmdk *s, const struct request *r)
{
    char digits[65];
    uint32_t cid = new_cid(s);
    assert(s->cid_digits < sizeof(digits));
    snprintf(digits, sizeof(digits), "%0*x", (int)s->cid_digits, (unsigned)cid);
    int ret = child_pwrite_sync(s->n->file, (int64_t)s->cid_place, digits, s->cid_digits,
                                LABEL_DESCRIPTOR_WRITE, r);
    if (ret == 0) {
        s->cid = cid;
    }
    return ret;
}

int vmdk_touch(struct vmdk *s, const struct request *r)
{
    if (s->cid_changed) {
        return 0;
    }
    co_lock(s->w, &s->alloc);
    int ret = s->cid_changed || s->cid_digits == 0 ? 0 : write_cid(s, r);
    s->cid_changed = s->cid_changed || ret == 0;
    co_unlock(s->w, &s->alloc);
    return ret;
}

int vmdk_check_parent(struct vmdk *s)
{
    if (s->parent_checked || !s->n->backing) {
        return 0;
    }
    struct node *parent = node_skip_filters(s->n->backing->node);
    if (!parent || parent->drv != &driver_vmdk || vmdk_state(parent)->cid != s->parent_cid) {
        return -EINVAL;
    }
    s->parent_checked = true;
    return 0;
}
