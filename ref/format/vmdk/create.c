/*
 * Creating disks: extents, grain directories with empty tables, the descriptor.
 *
 * The tables of a sparse extent are all there from the start.  Leaves out: preallocating grains,
 * other grain sizes than 64 KiB, ESX extents (as QEMU).  Unlike QEMU's, a CID has eight digits
 * (specs/vmdk.yaml, DSC-7), stream-optimized extents have markers before their directory and tables
 * (STR-2), and extents of more than 4 PiB are refused instead of made wrong.
 */
#include "ref/base/strbuf.h"
#include "ref/format/create.h"
#include "ref/format/vmdk/vmdk.h"

#include <errno.h>
#include <inttypes.h>

#define SPLIT      (UINT64_C(2) << 30) /* bytes of an extent of twoGbMaxExtent* */
#define GRAIN      128u                /* sectors */
#define GTES       512u
#define GT_SECTORS (GTES * VMDK_GT_ENTRY_SIZE / VMDK_SECTOR)
#define DESCRIPTOR 1u /* sector of the embedded descriptor */

const struct opt_desc vmdk_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "adapter_type",
     .type = OPT_STRING,
     .help = "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX"},
    {.name = "backing_file", .type = OPT_STRING, .help = "File name of a base image"},
    {.name = "backing_fmt", .type = OPT_STRING, .help = "Must be 'vmdk' if present"},
    {.name = "compat6", .type = OPT_BOOL, .def = "off", .help = "VMDK version 6 image"},
    {.name = "hwversion", .type = OPT_STRING, .def = "undefined", .help = "VMDK hardware version"},
    {.name = "toolsversion", .type = OPT_STRING, .help = "VMware guest tools version"},
    {.name = "subformat",
     .type = OPT_STRING,
     .help = "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat "
             "| twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} "},
    {.name = "zeroed_grain",
     .type = OPT_BOOL,
     .help = "Enable efficient zero writes using the zeroed-grain GTE feature"},
    {.name = NULL},
};

/* Keys of create options as blockdev-create has them. */
static const struct {
    const char *json, *flat;
} renames[] = {
    {"adapter-type", "adapter_type"},
    {"backing-file", "backing_file"},
    {"zeroed-grain", "zeroed_grain"},
};

static const struct subformat {
    const char *name;
    bool split, flat, compressed;
} subformats[] = {
    {"monolithicSparse", false, false, false},    {"monolithicFlat", false, true, false},
    {"twoGbMaxExtentSparse", true, false, false}, {"twoGbMaxExtentFlat", true, true, false},
    {"streamOptimized", false, false, true},
};

struct params {
    const struct subformat *sub;
    uint64_t size;
    const char *adapter, *backing, *hwversion, *toolsversion;
    bool zeroed_grain;
    uint32_t parent_cid;
};

/* Who supplies the files: names made from the image's, or a list of nodes. */
struct files {
    struct world *w;
    const char *name; /* of the image */
    const struct value *opts;
    struct value *extents; /* NULL: made by name */
    struct node *image;
};

static bool is_alone(const struct params *p)
{
    return !p->sub->split && !p->sub->flat;
}

/* ---- sparse extents ---- */

struct layout {
    uint64_t tables, gd_sectors, rgd, gd, overhead; /* sectors; tables: how many; rgd 0: none */
    unsigned head;                                  /* of a marker, before what it announces */
};

/* A stream-optimized extent has markers before directory and tables, and no copies of them. */
static int plan(const struct params *p, uint64_t size, struct layout *l, struct error **err)
{
    const uint64_t covered = (uint64_t)GRAIN * GTES * VMDK_SECTOR; /* by one table */
    l->tables = DIV_ROUND_UP(size, covered);
    if (l->tables >= VMDK_MAX_GDES) {
        return error_set(err, EFBIG, "Disk size is too large, max size of an extent is %" PRIu64,
                         (VMDK_MAX_GDES - 1) * covered);
    }
    l->gd_sectors = DIV_ROUND_UP(l->tables * VMDK_GD_ENTRY_SIZE, VMDK_SECTOR);
    l->head = p->sub->compressed ? 1 : 0;
    uint64_t first = DESCRIPTOR + VMDK_EMBEDDED_MAX / VMDK_SECTOR + l->head;
    uint64_t sectors = l->gd_sectors + l->tables * (l->head + GT_SECTORS);
    l->rgd = p->sub->compressed ? 0 : first;
    l->gd = p->sub->compressed ? first : first + sectors;
    l->overhead = ROUND_UP(l->gd + sectors, (uint64_t)GRAIN);
    return 0;
}

static void fill_header(uint8_t *h, const struct params *p, uint64_t size, const struct layout *l)
{
    static const uint8_t line_ends[] = {'\n', ' ', '\r', '\n'};
    uint32_t flags = VMDK_FLAGS_NEWLINE_TEST | (l->rgd ? VMDK_FLAGS_REDUNDANT : 0);
    flags |= p->zeroed_grain ? VMDK_FLAGS_ZEROED_GRAIN : 0;
    flags |= p->sub->compressed ? VMDK_FLAGS_COMPRESSED | VMDK_FLAGS_MARKERS : 0;
    memset(h, 0, VMDK_HEADER_SIZE);
    vmdk_header_set_magic(h, VMDK_MAGIC);
    vmdk_header_set_version(h, p->sub->compressed ? 3 : p->zeroed_grain ? 2 : 1);
    vmdk_header_set_flags(h, flags);
    vmdk_header_set_capacity(h, size / VMDK_SECTOR);
    vmdk_header_set_grain_size(h, GRAIN);
    vmdk_header_set_descriptor_offset(h, DESCRIPTOR);
    vmdk_header_set_descriptor_size(h, VMDK_EMBEDDED_MAX / VMDK_SECTOR);
    vmdk_header_set_gtes_per_gt(h, GTES);
    vmdk_header_set_rgd_offset(h, l->rgd);
    vmdk_header_set_gd_offset(h, l->gd);
    vmdk_header_set_overhead(h, l->overhead);
    memcpy(h + VMDK_HEADER_SINGLE_END_LINE_OFF, line_ends, sizeof(line_ends));
    vmdk_header_set_compress_algorithm(h, p->sub->compressed ? VMDK_DEFLATE : 0);
}

/* A directory at sector gd whose tables follow it, in pieces: it may have 512 MiB. */
static int write_directory(struct blk *b, const struct layout *l, uint64_t gd)
{
    enum { PIECE = 65536 };
    size_t room = ROUND_UP(MIN(l->tables, (uint64_t)PIECE) * VMDK_GD_ENTRY_SIZE, VMDK_SECTOR);
    uint8_t *buf = mem_alloc(MAX(room, 1));
    int ret = 0;
    for (uint64_t first = 0; ret == 0 && first < l->tables; first += PIECE) {
        uint64_t n = MIN(l->tables - first, (uint64_t)PIECE);
        size_t bytes = ROUND_UP(n * VMDK_GD_ENTRY_SIZE, VMDK_SECTOR);
        memset(buf, 0, bytes);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t table = gd + l->gd_sectors + (first + i) * (l->head + GT_SECTORS) + l->head;
            vmdk_gd_entry_set_sector(buf + i * VMDK_GD_ENTRY_SIZE, (uint32_t)table);
        }
        uint64_t at = gd * VMDK_SECTOR + first * VMDK_GD_ENTRY_SIZE;
        ret = blk_pwrite(b, (int64_t)at, buf, (int64_t)bytes, 0);
    }
    mem_free(buf);
    return ret;
}

static int write_marker(struct blk *b, uint64_t sector, uint64_t sectors, uint32_t type)
{
    uint8_t m[VMDK_SECTOR] = {0};
    vmdk_marker_set_value(m, sectors);
    vmdk_marker_set_type(m, type);
    return blk_pwrite(b, (int64_t)(sector * VMDK_SECTOR), m, sizeof(m), 0);
}

/* Readers that go through a stream from its start find their way by these (STR-2). */
static int write_markers(struct blk *b, const struct layout *l)
{
    int ret = write_marker(b, l->gd - 1, l->gd_sectors, VMDK_MARKER_GD);
    for (uint64_t i = 0; ret == 0 && i < l->tables; i++) {
        uint64_t sector = l->gd + l->gd_sectors + i * (1 + GT_SECTORS);
        ret = write_marker(b, sector, GT_SECTORS, VMDK_MARKER_GT);
    }
    return ret;
}

static int make_sparse(struct blk *b, const struct params *p, uint64_t size, struct error **err)
{
    uint8_t h[VMDK_HEADER_SIZE];
    struct layout l = {0};
    int ret = plan(p, size, &l, err);
    if (ret < 0) {
        return ret;
    }
    fill_header(h, p, size, &l);
    ret = blk_pwrite(b, 0, h, sizeof(h), 0);
    if (ret == 0) {
        int64_t end = (int64_t)(l.overhead * VMDK_SECTOR);
        ret = blk_truncate(b, end, false, PREALLOC_OFF, 0, err);
        if (ret < 0) {
            return ret;
        }
    }
    ret = ret < 0 || !l.rgd ? ret : write_directory(b, &l, l.rgd);
    ret = ret < 0 ? ret : write_directory(b, &l, l.gd);
    ret = ret < 0 || !p->sub->compressed ? ret : write_markers(b, &l);
    return ret < 0 ? error_set_errno(err, -ret, "Could not write the extent") : 0;
}

/* ---- files ---- */

/* The name's parts: what stands before an extent's number, and behind it; and the directory's
 * length. */
static size_t split_name(const char *name, size_t *directory)
{
    const char *base = strrchr(name, '/');
    if (!base && path_has_protocol(name)) {
        base = strchr(name, ':');
    }
    base = base ? base + 1 : name;
    *directory = (size_t)(base - name);
    const char *dot = strrchr(base, '.');
    return dot ? (size_t)(dot - name) : strlen(name);
}

static char *extent_name(const struct files *f, const struct params *p, unsigned i)
{
    size_t directory, stem = split_name(f->name, &directory);
    const char *tail = f->name + stem;
    return p->sub->split
               ? str_fmt("%.*s-%c%03u%s", (int)stem, f->name, p->sub->flat ? 'f' : 's', i + 1, tail)
               : str_fmt("%.*s-flat%s", (int)stem, f->name, tail);
}

/* The file of extent i, and its name for the descriptor; NULL with err. */
static struct node *take_extent(struct files *f, const struct params *p, unsigned i, char **name,
                                struct error **err)
{
    struct node *n;
    size_t directory;
    if (is_alone(p)) {
        node_ref(n = f->image);
    } else if (!f->extents) {
        char *path = extent_name(f, p, i);
        n = format_create_file(f->w, path, f->opts, vmdk_create_options, err);
        split_name(path, &directory);
        *name = str_dup(path + directory);
        mem_free(path);
        return n;
    } else if (i >= list_len(f->extents)) {
        error_set(err, EINVAL, "Extent [%u] not specified", i);
        return NULL;
    } else {
        struct value *one = value_dict();
        dict_put(one, "extent", value_clone(list_at(f->extents, i)));
        n = format_take_node(f->w, one, "extent", err);
        value_free(one);
    }
    if (n) {
        const char *path = n->filename ? n->filename : "";
        path = is_alone(p) && f->name ? f->name : path;
        split_name(path, &directory);
        *name = str_dup(path + directory);
    }
    return n;
}

static int make_extent(struct files *f, const struct params *p, unsigned i, uint64_t size,
                       struct strbuf *lines, struct error **err)
{
    char *name = NULL;
    struct node *n = take_extent(f, p, i, &name, err);
    struct blk *b = n ? format_create_blk(f->w, n, err) : NULL;
    int ret = -EINVAL;
    if (b && !is_alone(p) && strpbrk(name, "\"\r\n")) {
        error_set(err, EINVAL, "File name '%s' cannot stand in a descriptor", name);
    } else if (b) {
        ret = p->sub->flat ? blk_truncate(b, (int64_t)size, false, PREALLOC_OFF, 0, err)
                           : make_sparse(b, p, size, err);
    }
    if (ret == 0) {
        strbuf_printf(lines, "RW %" PRIu64 " %s \"%s\"%s\n", size / VMDK_SECTOR,
                      p->sub->flat ? "FLAT" : "SPARSE", name, p->sub->flat ? " 0" : "");
    }
    blk_unref(b);
    node_unref(n);
    mem_free(name);
    return ret;
}

static int make_extents(struct files *f, const struct params *p, struct strbuf *lines,
                        struct error **err)
{
    uint64_t left = p->size;
    unsigned i = 0;
    int ret = 0;
    for (; ret == 0 && (left > 0 || (i == 0 && !p->sub->split)); i++) {
        uint64_t part = p->sub->split ? MIN(left, SPLIT) : left;
        ret = make_extent(f, p, i, part, lines, err);
        left -= part;
    }
    if (ret == 0 && f->extents && list_len(f->extents) > (is_alone(p) ? 0 : i)) {
        ret = error_set(err, EINVAL, "List of extents contains unused extents");
    }
    return ret;
}

/* ---- descriptor ---- */

static void descriptor_text(struct strbuf *out, struct world *w, const struct params *p,
                            const char *lines)
{
    unsigned heads = strcmp(p->adapter, "ide") == 0 ? 16 : 255;
    uint32_t cid = (uint32_t)rng_below(world_rng(w), VMDK_CID_NONE);
    strbuf_printf(out, "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\n",
                  (unsigned)cid, (unsigned)p->parent_cid);
    strbuf_printf(out, "createType=\"%s\"\n", p->sub->name);
    if (p->backing) {
        strbuf_printf(out, "parentFileNameHint=\"%s\"", p->backing);
    }
    strbuf_printf(out, "\n# Extent description\n%s\n# The Disk Data Base\n#DDB\n\n", lines);
    strbuf_printf(out,
                  "ddb.virtualHWVersion = \"%s\"\nddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                  "ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"63\"\n",
                  p->hwversion, p->size / VMDK_SECTOR / (63 * heads), heads);
    strbuf_printf(out, "ddb.adapterType = \"%s\"\nddb.toolsVersion = \"%s\"\n", p->adapter,
                  p->toolsversion);
}

static int write_descriptor(struct files *f, const struct params *p, const struct strbuf *text,
                            struct error **err)
{
    bool alone = is_alone(p);
    if (alone && text->len > VMDK_EMBEDDED_MAX) {
        return error_set(err, EINVAL, "The descriptor is too long");
    }
    struct blk *b = blk_new(f->w, PERM_WRITE | PERM_RESIZE, PERM_ALL);
    int ret = blk_insert(b, f->image, err);
    if (ret == 0) {
        blk_set_allow_write_beyond_eof(b, true);
        int64_t at = alone ? DESCRIPTOR * (int64_t)VMDK_SECTOR : 0;
        ret = blk_pwrite(b, at, text->s, (int64_t)text->len, 0);
        if (ret == 0 && !alone) {
            ret = blk_truncate(b, (int64_t)text->len, false, PREALLOC_OFF, 0, NULL);
        }
        ret = ret < 0 ? ret : blk_flush(b, NULL);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not write description");
        }
    }
    blk_unref(b);
    return ret;
}

static int create_on(struct files *f, const struct params *p, struct error **err)
{
    struct strbuf lines = STRBUF_INIT, text = STRBUF_INIT;
    int ret = make_extents(f, p, &lines, err);
    if (ret == 0) {
        descriptor_text(&text, f->w, p, lines.s ? lines.s : "");
        ret = write_descriptor(f, p, &text, err);
    }
    strbuf_free(&lines);
    strbuf_free(&text);
    return ret;
}

/* ---- options ---- */

static bool one_of(const char *s, const char *const *list)
{
    while (*list && strcmp(*list, s) != 0) {
        list++;
    }
    return *list;
}

static int parse_subformat(const struct value *o, struct params *p, struct error **err)
{
    const char *name = dict_get_str(o, "subformat");
    p->sub = name ? NULL : &subformats[0];
    for (size_t i = 0; i < ARRAY_SIZE(subformats) && !p->sub; i++) {
        p->sub = strcmp(subformats[i].name, name) == 0 ? &subformats[i] : NULL;
    }
    return p->sub ? 0 : error_set(err, EINVAL, "invalid parameter value: %s", name);
}

static int parse(const struct value *o, struct params *p, struct error **err)
{
    static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX", NULL};
    const struct opt_desc *T = vmdk_create_options;
    const char *adapter = dict_get_str(o, "adapter_type"), *format = dict_get_str(o, "backing_fmt");
    const char *hw = dict_get_str(o, "hwversion"), *tools = dict_get_str(o, "toolsversion");
    bool compat6 = false;
    *p = (struct params){.adapter = adapter ? adapter : "ide",
                         .backing = dict_get_str(o, "backing_file"),
                         .hwversion = hw && strcmp(hw, "undefined") != 0 ? hw : NULL,
                         .toolsversion = tools ? tools : "2147483647",
                         .parent_cid = VMDK_CID_NONE};
    int ret = opts_get_size(T, o, "size", &p->size, err);
    ret = ret < 0 ? ret : opts_get_bool(T, o, "compat6", &compat6, err);
    ret = ret < 0 ? ret : opts_get_bool(T, o, "zeroed_grain", &p->zeroed_grain, err);
    if (ret == 0 && format && strcmp(format, "vmdk") != 0) {
        ret = error_set(err, EINVAL, "backing_file must be a vmdk image");
    }
    if (ret == 0 && !one_of(p->adapter, adapters)) {
        ret = error_set(err, EINVAL, "invalid parameter value: %s", p->adapter);
    }
    ret = ret < 0 ? ret : parse_subformat(o, p, err);
    if (ret == 0 && compat6 && p->hwversion) {
        ret = error_set(err, EINVAL, "compat6 cannot be enabled with hwversion set");
    }
    p->hwversion = p->hwversion ? p->hwversion : compat6 ? "6" : "4";
    p->backing = p->backing && *p->backing ? p->backing : NULL;
    return ret;
}

/* The CID of the parent, a disk of this format. */
static int find_parent(struct world *w, const char *filename, struct params *p, struct error **err)
{
    if (strpbrk(p->backing, "\"\r\n") || strlen(p->backing) > 1023) {
        return error_set(err, EINVAL, "File name '%s' cannot stand in a descriptor", p->backing);
    }
    char *full = full_backing_filename(filename, p->backing, err);
    struct node *n = full ? node_open(w, full, NULL, NULL, OPEN_NO_BACKING, err) : NULL;
    mem_free(full);
    if (!n) {
        return -EINVAL;
    }
    bool ours = n->drv == &driver_vmdk;
    p->parent_cid = ours ? vmdk_state(n)->cid : VMDK_CID_NONE;
    node_unref(n);
    return ours ? 0 : error_set(err, EINVAL, "backing_file must be a vmdk image");
}

static int check(struct world *w, const char *filename, struct params *p, struct error **err)
{
    struct layout l;
    if (p->sub->flat && p->backing) {
        return error_set(err, ENOTSUP, "Flat image can't have backing file");
    }
    if (p->sub->flat && p->zeroed_grain) {
        return error_set(err, ENOTSUP, "Flat image can't enable zeroed grain");
    }
    int ret = p->backing ? find_parent(w, filename, p, err) : 0;
    return ret < 0 || p->sub->split || p->sub->flat ? ret : plan(p, p->size, &l, err);
}

int vmdk_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    struct params p;
    int ret = parse(opts, &p, err);
    p.size = ROUND_UP(MIN(p.size, (uint64_t)INT64_MAX - VMDK_SECTOR), VMDK_SECTOR);
    ret = ret < 0 ? ret : check(w, filename, &p, err);
    if (ret < 0) {
        return ret;
    }
    struct files f = {.w = w, .name = filename, .opts = opts};
    f.image = format_create_file(w, filename, opts, vmdk_create_options, err);
    if (!f.image) {
        return -EINVAL;
    }
    ret = create_on(&f, &p, err);
    node_unref(f.image);
    return ret;
}

int vmdk_create_json(struct world *w, struct value *opts, struct error **err)
{
    struct params p;
    struct files f = {.w = w};
    struct value *flat = value_clone(opts);
    for (size_t i = 0; i < ARRAY_SIZE(renames); i++) {
        struct value *v = dict_take(flat, renames[i].json);
        if (v) {
            dict_put(flat, renames[i].flat, v);
        }
    }
    int ret = parse(flat, &p, err);
    if (ret == 0 && p.size % VMDK_SECTOR != 0) {
        ret = error_set(err, EINVAL, "Image size must be a multiple of 512 bytes");
    }
    f.image = ret < 0 ? NULL : format_take_node(w, flat, "file", err);
    f.extents = dict_take(flat, "extents");
    f.extents = f.extents ? f.extents : value_list();
    ret = f.image ? check(w, f.image->filename ? f.image->filename : "", &p, err) : -EINVAL;
    ret = ret < 0 ? ret : create_on(&f, &p, err);
    node_unref(f.image);
    value_free(f.extents);
    value_free(flat);
    return ret;
}
