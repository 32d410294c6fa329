/*
 * The vmdk driver: its table, opening a descriptor and its extents, closing.
 *
 * Leaves out: resizing (as QEMU), disks on devices, encryption.  Names of extents open host files
 * only where names in images may.
 */
#include "ref/format/vmdk/vmdk.h"

#include <errno.h>
#include <stdio.h>

static bool is_text_magic(const char *line, size_t len)
{
    static const char *const versions[] = {"version=1", "version=2", "version=3"};
    while (len && (line[len - 1] == '\r' || line[len - 1] == ' ')) {
        len--;
    }
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        if (len == strlen(versions[i]) && memcmp(line, versions[i], len) == 0) {
            return true;
        }
    }
    return false;
}

/* A descriptor: comments and empty lines, then "version=". */
static bool probe_text(const char *p, const char *end)
{
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t len = nl ? (size_t)(nl - p) : (size_t)(end - p);
        size_t blank = 0;
        while (blank < len && (p[blank] == ' ' || p[blank] == '\r')) {
            blank++;
        }
        if (*p != '#' && blank < len) {
            return nl && is_text_magic(p, len);
        }
        if (!nl) {
            return false;
        }
        p = nl + 1;
    }
    return false;
}

static int probe(const uint8_t *buf, size_t len, const char *filename)
{
    if (len < 4) {
        return 0;
    }
    uint32_t magic = vmdk_header_get_magic(buf);
    if (magic == VMDK_MAGIC || magic == VMDK_COWD_MAGIC) {
        return 100;
    }
    return probe_text((const char *)buf, (const char *)buf + len) ? 100 : 0;
}

/* ---- extents ---- */

/* A new last extent. */
static struct vmdk_extent *add_extent(struct vmdk *s, struct child *file, const char *type,
                                      struct error **err)
{
    struct vmdk_extent *all =
        mem_try_realloc(s->extents, (s->nr_extents + (size_t)1) * sizeof(*all));
    if (!all) {
        error_set_errno(err, ENOMEM, "Could not add an extent");
        return NULL;
    }
    s->extents = all;
    struct vmdk_extent *e = &all[s->nr_extents++];
    *e = (struct vmdk_extent){.file = file, .type = str_dup(type)};
    return e;
}

static int make_tables(struct vmdk_extent *e, struct error **err)
{
    e->tables = mem_try_alloc(sizeof(*e->tables));
    if (!e->tables) {
        return error_set_errno(err, ENOMEM, "Could not open an extent");
    }
    table_cache_init(e->tables, e->file);
    e->tables->width = e->kind == VMDK_SESPARSE ? VMDK_SE_GT_ENTRY_SIZE : VMDK_GT_ENTRY_SIZE;
    return 0;
}

/* Opens what is behind a SPARSE, VMFSSPARSE or SESPARSE line. */
static int open_sparse(struct vmdk *s, struct vmdk_extent *e, int64_t sectors, struct error **err)
{
    uint8_t h[VMDK_HEADER_SIZE];
    if (strcmp(e->type, "SESPARSE") == 0) {
        return vmdk_open_sesparse(s, e, err);
    }
    int ret = child_pread(e->file, 0, h, sizeof(h), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read header from file '%s'",
                               e->file->node->filename);
    }
    if (vmdk_header_get_magic(h) == VMDK_MAGIC) {
        return vmdk_open_hosted(s, e, h, err);
    }
    if (vmdk_header_get_magic(h) == VMDK_COWD_MAGIC) {
        return vmdk_open_cowd(s, e, (uint64_t)sectors, err);
    }
    return error_set(err, EINVAL, "Image not in VMDK format");
}

/* A name in an image is never more than a name: "nbd:..." and "json:..." are files called so. */
static struct child *open_named(struct node *n, const char *name, struct value *opts,
                                const char *key, unsigned role, struct error **err)
{
    char *driver = str_fmt("%s.driver", key), *filename = str_fmt("%s.filename", key);
    bool plain = !path_has_protocol(name) || strncmp(name, "sim:", 4) == 0 || dict_has(opts, key) ||
                 dict_has(opts, driver) || dict_has(opts, filename);
    if (!plain) {
        dict_put_str(opts, driver, "file");
        dict_put_str(opts, filename, name);
    }
    struct child *c = open_child(n, plain ? name : NULL, opts, key, role, false, err);
    mem_free(driver);
    mem_free(filename);
    return c;
}

/* The file of an extent, relative to the descriptor (DSC-8); NULL with err. */
static struct child *open_extent_file(struct vmdk *s, const char *name, unsigned role,
                                      struct value *opts, struct error **err)
{
    struct node *n = s->n;
    char key[32];
    const char *own = n->file->node->filename ? n->file->node->filename : "";
    snprintf(key, sizeof(key), "extents.%u", s->nr_extents);
    if (world_denies_names(s->w) && strncmp(name, "sim:", 4) != 0) {
        error_set(err, EPERM,
                  "Extent '%s' named by image '%s' is not opened: names in images are denied", name,
                  own);
        return NULL;
    }
    if (name[0] == '/' || path_has_protocol(name)) {
        return open_named(n, name, opts, key, role, err);
    }
    struct error *local = NULL;
    node_refresh_filename(n->file->node);
    char *dir = node_dirname(n->file->node, &local);
    if (!dir) {
        error_prepend(&local, "Cannot use relative paths with VMDK descriptor file '%s': ", own);
        error_propagate(err, local);
        return NULL;
    }
    char *path = str_fmt("%s%s", dir, name);
    struct child *c = open_child(n, path, opts, key, role, false, err);
    mem_free(path);
    mem_free(dir);
    return c;
}

static int open_extent(struct vmdk *s, const struct vmdk_line *l, struct value *opts,
                       struct error **err)
{
    bool flat = !strcmp(l->type, "FLAT") || !strcmp(l->type, "VMFS");
    unsigned role = flat ? ROLE_DATA : ROLE_DATA | ROLE_METADATA;
    if (!strcmp(l->type, "SESPARSE") && !s->n->read_only && (s->n->open_flags & OPEN_RDWR)) {
        return error_set(err, ENOTSUP, "No write support for seSparse images available");
    }
    struct child *file = open_extent_file(s, l->name, role, opts, err);
    if (!file) {
        return -EINVAL;
    }
    struct vmdk_extent *e = add_extent(s, file, l->type, err);
    if (!e) {
        return -ENOMEM;
    }
    if (!flat) {
        int ret = open_sparse(s, e, l->sectors, err);
        return ret < 0 ? ret : make_tables(e, err);
    }
    e->kind = VMDK_FLAT;
    e->sectors = (uint64_t)l->sectors;
    if (l->offset > INT64_MAX / VMDK_SECTOR / 2) {
        return error_set(err, EFBIG, "Offset of extent '%s' is too large", l->name);
    }
    e->flat_offset = (uint64_t)l->offset * VMDK_SECTOR;
    return 0;
}

static int check_create_type(const char *text, struct error **err)
{
    static const char *const known[] = {"monolithicFlat",       "vmfs",
                                        "vmfsSparse",           "seSparse",
                                        "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"};
    char *type = vmdk_text_value(text, "createType");
    if (!type) {
        return error_set(err, EINVAL, "invalid VMDK image descriptor");
    }
    int ret = -1;
    for (size_t i = 0; i < ARRAY_SIZE(known) && ret < 0; i++) {
        ret = strcmp(type, known[i]) == 0 ? 0 : -1;
    }
    ret = ret < 0 ? error_set(err, ENOTSUP, "Unsupported image type '%s'", type) : 0;
    mem_free(type);
    return ret;
}

/* A disk of several files, described by text at `place` of this one. */
static int open_descriptor(struct vmdk *s, const char *text, uint64_t place, struct value *opts,
                           struct error **err)
{
    struct vmdk_line *line = mem_alloc(sizeof(*line));
    const char *p = text;
    int ret = check_create_type(text, err);
    s->n->file->role &= ~(unsigned)ROLE_DATA;
    while (ret == 0 && (ret = vmdk_next_line(&p, line, err)) == 1) {
        ret = open_extent(s, line, opts, err);
    }
    mem_free(line);
    return ret < 0 ? ret : vmdk_take_descriptor(s, text, place, err);
}

/* ---- opening ---- */

/* Text of at most `bytes` at place, as a string; NULL with err. */
static char *load_text(struct vmdk *s, uint64_t place, uint64_t bytes, struct error **err)
{
    int64_t len = child_length(s->n->file);
    if (len < 0 || place >= (uint64_t)len) {
        error_set(err, EINVAL, "invalid VMDK image descriptor");
        return NULL;
    }
    bytes = MIN(bytes, (uint64_t)len - place);
    bytes = MIN(bytes, (uint64_t)VMDK_DESCRIPTOR_MAX);
    char *text = mem_zalloc(bytes + 1);
    int ret =
        child_pread(s->n->file, (int64_t)place, text, (int64_t)bytes, LABEL_DESCRIPTOR_LOAD, NULL);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read the descriptor");
        mem_free(text);
        return NULL;
    }
    return text;
}

/* Where the header says that the descriptor is, else behind the header. */
static char *load_embedded(struct vmdk *s, const uint8_t *h, uint64_t *place, struct error **err)
{
    uint64_t offset = vmdk_header_get_descriptor_offset(h);
    uint64_t size = vmdk_header_get_descriptor_size(h);
    offset = offset == 0 || offset > INT64_MAX / VMDK_SECTOR ? 1 : offset;
    size = size == 0 ? VMDK_EMBEDDED_MAX : MIN(size, (uint64_t)VMDK_DESCRIPTOR_MAX) * VMDK_SECTOR;
    *place = offset * VMDK_SECTOR;
    return load_text(s, *place, size, err);
}

static int open_hosted(struct vmdk *s, const uint8_t *h, struct value *opts, struct error **err)
{
    uint64_t place;
    int ret = 0;
    bool alone = vmdk_header_get_capacity(h) != 0;
    if (alone) {
        struct vmdk_extent *e = add_extent(s, s->n->file, "", err);
        ret = e ? vmdk_open_hosted(s, e, h, err) : -ENOMEM;
        ret = ret < 0 ? ret : make_tables(e, err);
    }
    if (ret < 0) {
        return ret;
    }
    char *text = load_embedded(s, h, &place, err);
    if (!text) {
        return -EINVAL;
    }
    ret = alone ? vmdk_take_descriptor(s, text, place, err)
                : open_descriptor(s, text, place, opts, err);
    mem_free(text);
    return ret;
}

/* The text stands in the ESX header itself, if anywhere. */
static int open_cowd(struct vmdk *s, struct error **err)
{
    struct vmdk_extent *e = add_extent(s, s->n->file, "", err);
    int ret = e ? vmdk_open_cowd(s, e, 0, err) : -ENOMEM;
    ret = ret < 0 ? ret : make_tables(e, err);
    char *text = ret < 0 ? NULL : load_text(s, 0, VMDK_EMBEDDED_MAX, err);
    if (text) {
        ret = vmdk_take_descriptor(s, text, 0, err);
        mem_free(text);
    }
    return text ? ret : -EINVAL;
}

static int open_text(struct vmdk *s, struct value *opts, struct error **err)
{
    char *text = load_text(s, 0, VMDK_DESCRIPTOR_MAX, err);
    int ret = text ? open_descriptor(s, text, 0, opts, err) : -EINVAL;
    mem_free(text);
    return ret;
}

static int place_extents(struct vmdk *s, struct error **err)
{
    uint64_t first = 0;
    for (unsigned i = 0; i < s->nr_extents; i++) {
        struct vmdk_extent *e = &s->extents[i];
        e->first = first;
        if (e->sectors > (uint64_t)INT64_MAX / VMDK_SECTOR - first) {
            return error_set_errno(err, EFBIG, "Could not refresh total sector count");
        }
        first += e->sectors;
    }
    return 0;
}

static void close_vmdk(struct node *n)
{
    struct vmdk *s = vmdk_state(n);
    for (unsigned i = 0; i < s->nr_extents; i++) {
        if (s->extents[i].tables) {
            table_cache_free(s->extents[i].tables);
        }
        mem_free(s->extents[i].tables);
        mem_free(s->extents[i].type);
    }
    mem_free(s->extents);
    mem_free(s->create_type);
    vmdk_free_packers(s);
    s->extents = NULL;
    s->nr_extents = 0;
    s->create_type = NULL;
}

static int open_vmdk(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct vmdk *s = vmdk_state(n);
    uint8_t h[VMDK_HEADER_SIZE] = {0};
    s->n = n;
    s->w = n->w;
    int ret = open_file_child(n, opts, err);
    if (ret < 0) {
        return ret;
    }
    int64_t len = child_length(n->file);
    if (len <= 0) {
        return error_set(err, EINVAL, "File is too small, not a valid image");
    }
    ret = child_pread(n->file, 0, h, sizeof(h), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the header");
    }
    uint32_t magic = vmdk_header_get_magic(h);
    ret = magic == VMDK_MAGIC        ? open_hosted(s, h, opts, err)
          : magic == VMDK_COWD_MAGIC ? open_cowd(s, err)
                                     : open_text(s, opts, err);
    ret = ret < 0 ? ret : place_extents(s, err);
    if (ret < 0) {
        close_vmdk(n);
    }
    return ret;
}

/* Somebody else had the image: its tables, its end and its CID may have changed. */
static void activate(struct node *n, struct error **err)
{
    struct vmdk *s = vmdk_state(n);
    s->cid_changed = false;
    for (unsigned i = 0; i < s->nr_extents; i++) {
        struct vmdk_extent *e = &s->extents[i];
        if (e->kind != VMDK_FLAT) {
            table_cache_forget(e->tables);
            (void)vmdk_find_end(e, err);
        }
    }
}

static int reopen_prepare(struct reopen *r, struct error **err)
{
    const struct vmdk *s = vmdk_state(r->node);
    if (!(r->flags & OPEN_RDWR) || !r->node->read_only) {
        return 0;
    }
    for (unsigned i = 0; i < s->nr_extents; i++) {
        if (s->extents[i].kind == VMDK_SESPARSE) {
            return error_set(err, ENOTSUP, "No write support for seSparse images available");
        }
        if (s->extents[i].version == 3 && !s->extents[i].compressed) {
            return error_set(err, EINVAL, "VMDK version 3 must be read only");
        }
    }
    return 0;
}

static int64_t length(struct node *n)
{
    const struct vmdk *s = vmdk_state(n);
    const struct vmdk_extent *last = s->nr_extents ? &s->extents[s->nr_extents - 1] : NULL;
    return last ? (int64_t)((last->first + last->sectors) * VMDK_SECTOR) : 0;
}

/* Zeroed grains only where every extent has them, of one size. */
static void refresh_limits(struct node *n, struct error **err)
{
    const struct vmdk *s = vmdk_state(n);
    uint64_t grain = 0;
    for (unsigned i = 0; i < s->nr_extents; i++) {
        const struct vmdk_extent *e = &s->extents[i];
        bool same = e->zeroed_grains && (i == 0 || e->grain == grain);
        grain = same ? e->grain : 0;
        if (!same) {
            break;
        }
    }
    n->limits.request_alignment = MAX(n->limits.request_alignment, VMDK_SECTOR);
    if (grain && IS_POW2(grain)) {
        n->limits.zeroes_alignment = (int64_t)grain;
    }
}

static bool has_zero_init(struct node *n)
{
    const struct vmdk *s = vmdk_state(n);
    for (unsigned i = 0; i < s->nr_extents; i++) {
        if (s->extents[i].kind == VMDK_FLAT && !node_has_zero_init(s->extents[i].file->node)) {
            return false;
        }
    }
    return true;
}

/* Extents come from the descriptor: only the file and the chain are told. */
static void gather_child_options(struct node *n, struct value *target, bool overridden)
{
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (c == n->file || (c == n->backing && overridden)) {
            dict_put(target, c->name, value_clone(c->node->full_open_options));
        }
    }
    if (overridden && !n->backing) {
        dict_put(target, "backing", value_null());
    }
}

static const enum label labels[] = {
    LABEL_HEADER_LOAD, LABEL_HEADER_UPDATE,    LABEL_DESCRIPTOR_LOAD,  LABEL_DESCRIPTOR_WRITE,
    LABEL_TABLE_LOAD,  LABEL_TABLE_GROW,       LABEL_L1_UPDATE,        LABEL_L2_LOAD,
    LABEL_L2_UPDATE,   LABEL_READ_AIO,         LABEL_READ_BACKING_AIO, LABEL_READ_COMPRESSED,
    LABEL_WRITE_AIO,   LABEL_WRITE_COMPRESSED, LABEL_COW_WRITE,        LABEL_COUNT};

const struct block_driver driver_vmdk = {
    .name = "vmdk",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct vmdk),
    .supports_backing = true,
    .create_options = vmdk_create_options,
    .probe = probe,
    .open = open_vmdk,
    .close = close_vmdk,
    .reopen_prepare = reopen_prepare,
    .create = vmdk_create,
    .create_json = vmdk_create_json,
    .read = vmdk_read,
    .write = vmdk_write,
    .write_zeroes = vmdk_write_zeroes,
    .write_compressed = vmdk_write_compressed,
    .block_status = vmdk_block_status,
    .length = length,
    .refresh_limits = refresh_limits,
    .gather_child_options = gather_child_options,
    .has_zero_init = has_zero_init,
    .info = vmdk_info,
    .specific_info = vmdk_specific_info,
    .check = vmdk_check,
    .activate = activate,
};
