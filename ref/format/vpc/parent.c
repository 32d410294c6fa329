/*
 * The parent of a differencing VHD: its names in the image, and whether a node is it.
 *
 * Names come in several forms, none of which need be right any more: a disk is moved with or
 * without its parent.  They are tried from what moves along to what does not.  A name of Windows
 * with a drive letter leads nowhere here; its last part is looked for beside the child.  Leaves
 * out: the deprecated locators, whose encoding nobody knows, and Mac OS aliases.
 */
#include "ref/format/vpc/vpc.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "ref/base/bytes.h"
#include "ref/base/strbuf.h"
#include "ref/base/utf8.h"

/* ---- text ---- */

/* UTF-16 to UTF-8, up to the first NUL; NULL where it is not UTF-16.  mem_free() */
static char *from_utf16(const uint8_t *p, size_t len, bool big)
{
    struct strbuf b = STRBUF_INIT;
    for (size_t i = 0; i + 1 < len; i += 2) {
        uint32_t c = big ? load_be16(p + i) : load_le16(p + i), low = 0;
        if (c == 0) {
            break;
        }
        if (c >= 0xd800 && c < 0xdc00 && i + 3 < len) {
            i += 2;
            low = big ? load_be16(p + i) : load_le16(p + i);
            c = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + low - 0xdc00 : c;
        }
        if (c >= 0xd800 && c < 0xe000) {
            strbuf_free(&b);
            return NULL;
        }
        utf8_encode(&b, c);
    }
    return strbuf_take(&b);
}

/* A locator's UTF-16: little-endian, unless a mark or its first character says otherwise. */
static char *from_windows(const uint8_t *p, size_t len)
{
    bool mark = len >= 2 && (load_be16(p) == 0xfeff || load_be16(p) == 0xfffe);
    bool big = len >= 2 && (mark ? p[0] == 0xfe : p[0] == 0);
    return from_utf16(p + (mark ? 2 : 0), len - (mark ? 2 : 0), big);
}

/* The path of a URL "file://host/path" of UTF-8, its %xx resolved; mem_free() */
static char *from_url(const uint8_t *p, size_t len)
{
    struct strbuf b = STRBUF_INIT;
    char *url = str_ndup((const char *)p, len), *s = url;
    if (!strncmp(s, "file://", 7)) {
        s = strchr(s + 7, '/');
    }
    for (; s && *s; s++) {
        char hex[3] = {s[0] == '%' ? s[1] : 0, s[0] == '%' && s[1] ? s[2] : 0};
        bool coded = isxdigit((unsigned char)hex[0]) && isxdigit((unsigned char)hex[1]);
        int c = coded ? (int)strtoul(hex, NULL, 16) : *s;
        s += coded ? 2 : 0;
        if (c == 0) {
            break;
        }
        strbuf_putc(&b, (char)c);
    }
    mem_free(url);
    return strbuf_take(&b);
}

/*
 * A path of Windows as one of this host, in its place: never the name of a protocol.  With `last`,
 * or a drive letter, only its last part.  NULL when nothing is left; mem_free()
 */
static char *local_name(char *s, bool last)
{
    for (char *p = s; p && *p; p++) {
        *p = *p == '\\' ? '/' : *p;
    }
    last = last || (s && isalpha((unsigned char)s[0]) && s[1] == ':');
    const char *rest = s && last && strrchr(s, '/') ? strrchr(s, '/') + 1 : s;
    while (rest && !strncmp(rest, "./", 2)) {
        rest += 2;
    }
    char *name = NULL;
    if (rest && *rest) {
        name = str_fmt("%s%s", *rest != '/' && path_has_protocol(rest) ? "./" : "", rest);
    }
    mem_free(s);
    return name;
}

/* ---- which name ---- */

static void set_backing(struct node *n, const char *name)
{
    char **fields[] = {&n->backing_file, &n->auto_backing_file, &n->backing_format};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        mem_free(*fields[i]);
        *fields[i] = str_dup(i < 2 ? name : "vpc");
    }
}

/* Is there a file of n's backing name?  Where names in images are denied nobody looks. */
static bool is_there(struct node *n)
{
    char *full = node_full_backing_filename(n, NULL);
    bool denied = full && world_denies_names(n->w) && strncmp(full, "sim:", 4) != 0;
    struct node *file =
        full && !denied ? node_open(n->w, full, NULL, NULL, OPEN_PROTOCOL, NULL) : NULL;
    bool found = denied || file;
    node_unref(file);
    mem_free(full);
    return found;
}

/* Takes the name (consumed, may be NULL); true when the search is over. */
static bool try_name(struct node *n, char *name)
{
    bool first = !n->backing_file || !*n->backing_file, found = false;
    if (name) {
        char *before = first ? NULL : str_dup(n->backing_file);
        set_backing(n, name);
        found = is_there(n);
        if (!found && !first) {
            set_backing(n, before);
        }
        mem_free(before);
    }
    mem_free(name);
    return found;
}

/* The text of a locator as a name of this host; *name NULL when it has none. */
static int read_locator(struct node *n, const uint8_t *l, char **name, struct error **err)
{
    uint32_t code = (uint32_t)vpc_parent_locator_get_code(l);
    uint32_t len = (uint32_t)vpc_parent_locator_get_data_length(l);
    uint64_t at = vpc_parent_locator_get_data_offset(l);
    *name = NULL;
    if (len > VPC_MAX_LOCATOR || at > INT64_MAX - (uint64_t)len) {
        return error_set(err, EINVAL,
                         "Parent locator is invalid (%" PRIu32 " bytes at %" PRIu64 ")", len, at);
    }
    uint8_t *p = mem_try_alloc(MAX(len, 1));
    int ret = p ? child_pread(n->file, (int64_t)at, p, len, LABEL_HEADER_LOAD, NULL) : -ENOMEM;
    if (ret < 0) {
        mem_free(p);
        return error_set_errno(err, -ret, "Could not read a parent locator");
    }
    *name = local_name(code == VPC_PLATFORM_MACX ? from_url(p, len) : from_windows(p, len), false);
    mem_free(p);
    return 0;
}

int vpc_name_parent(struct node *n, const uint8_t *dynamic, struct error **err)
{
    static const uint32_t by_preference[] = {VPC_PLATFORM_W2RU, VPC_PLATFORM_MACX,
                                             VPC_PLATFORM_W2KU};
    const uint8_t *locators = dynamic + VPC_DYNAMIC_PARENT_LOCATORS_OFF;
    struct vpc *s = vpc_state(n);
    char *name;
    memcpy(s->parent_id, dynamic + VPC_DYNAMIC_PARENT_ID_OFF, sizeof(s->parent_id));
    for (size_t k = 0; k < ARRAY_SIZE(by_preference) * VPC_LOCATORS; k++) {
        const uint8_t *l = locators + k % VPC_LOCATORS * VPC_PARENT_LOCATOR_SIZE;
        if (vpc_parent_locator_get_code(l) != by_preference[k / VPC_LOCATORS]) {
            continue;
        }
        int ret = read_locator(n, l, &name, err);
        if (ret < 0 || try_name(n, name)) {
            return ret;
        }
    }
    name = from_utf16(dynamic + VPC_DYNAMIC_PARENT_NAME_OFF, VPC_DYNAMIC_PARENT_NAME_WIDTH, true);
    if (try_name(n, local_name(name, true)) || (n->backing_file && *n->backing_file)) {
        return 0;
    }
    return error_set(err, EINVAL, "Differencing VHD image does not name its parent");
}

/* ---- is it the parent? ---- */

static char *id_text(const uint8_t *id)
{
    struct strbuf b = STRBUF_INIT;
    for (size_t i = 0; i < 16; i++) {
        strbuf_printf(&b, "%s%02x", i >= 4 && i <= 10 && i % 2 == 0 ? "-" : "", id[i]);
    }
    return strbuf_take(&b);
}

int vpc_check_backing(struct node *n, struct node *backing, struct error **err)
{
    const struct vpc *s = vpc_state(n);
    struct node *parent = node_skip_filters(backing);
    if (!s->differencing) {
        return error_set(err, EINVAL, "Driver doesn't support backing files");
    }
    if (!parent || parent->drv != &driver_vpc) {
        return error_set(err, EINVAL, "Parent '%s' of '%s' is no VHD image", backing->filename,
                         n->file->node->filename);
    }
    const uint8_t *id = vpc_state(parent)->footer + VPC_FOOTER_UNIQUE_ID_OFF;
    if (!memcmp(id, s->parent_id, sizeof(s->parent_id))) {
        return 0;
    }
    char *is = id_text(id), *wanted = id_text(s->parent_id);
    error_set(err, EINVAL, "'%s' is not the parent of '%s': its unique id is %s, not %s",
              backing->filename, n->file->node->filename, is, wanted);
    mem_free(is);
    mem_free(wanted);
    return -EINVAL;
}
