/*
 * Creating VHDX files, dynamic and fixed: identifier, two headers, two region tables, log, BAT,
 * metadata, in this order from the start of the file on.
 *
 * Both regions are marked as required (REG-7), which QEMU does not do.
 */
#include <errno.h>
#include <string.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/format/create.h"
#include "ref/format/vhdx/vhdx.h"

#define DEFAULT_LOG "1048576"
#define SLACK       (4 * MiB) /* between the metadata and the first block */
#define PIECE       8192      /* BAT entries written at once */

static const char *const subformats[] = {"dynamic", "fixed", NULL};

const struct opt_desc vhdx_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size; max of 64TB."},
    {.name = "log_size", .type = OPT_SIZE, .def = DEFAULT_LOG, .help = "Log size; min 1MB."},
    {.name = "block_size",
     .type = OPT_SIZE,
     .def = "0",
     .help = "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size."},
    {.name = "subformat",
     .type = OPT_STRING,
     .help = "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."},
    {.name = "block_state_zero",
     .type = OPT_BOOL,
     .help = "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set "
             "to 'off' when using 'qemu-img convert' with subformat=dynamic."},
    {.name = NULL},
};

struct params {
    uint64_t size, log, block;
    bool fixed, zero;
};

/* Where things go. */
struct layout {
    uint64_t blocks, entries, chunk, log, bat, bat_bytes, metadata, data;
};

static int check_params(const struct params *p, struct error **err)
{
    if (p->size > VHDX_MAX_DISK_SIZE) {
        return error_set(err, EINVAL, "Image size too large; max of 64TB");
    }
    if (p->log > UINT32_MAX) {
        return error_set(err, EINVAL, "Log size must be smaller than 4 GB");
    }
    if (p->log == 0 || !IS_ALIGNED(p->log, VHDX_ALIGN)) {
        return error_set(err, EINVAL, "Log size must be a multiple of 1 MB");
    }
    if (!IS_ALIGNED(p->block, VHDX_ALIGN)) {
        return error_set(err, EINVAL, "Block size must be a multiple of 1 MB");
    }
    if (!IS_POW2(p->block)) {
        return error_set(err, EINVAL, "Block size must be a power of two");
    }
    if (p->block > VHDX_MAX_BLOCK_SIZE) {
        return error_set(err, EINVAL, "Block size must not exceed %llu",
                         (unsigned long long)VHDX_MAX_BLOCK_SIZE);
    }
    return 0;
}

static uint64_t default_block(uint64_t size)
{
    static const struct {
        uint64_t above, block;
    } steps[] = {{UINT64_C(32) << 40, 64 * MiB},
                 {UINT64_C(100) << 30, 32 * MiB},
                 {UINT64_C(1) << 30, 16 * MiB}};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        if (size > steps[i].above) {
            return steps[i].block;
        }
    }
    return 8 * MiB;
}

static struct layout lay_out(const struct params *p)
{
    struct layout l = {.blocks = DIV_ROUND_UP(p->size, p->block), .log = VHDX_ALIGN};
    l.chunk = (uint64_t)VHDX_CHUNK_SECTORS * 512 / p->block;
    l.entries = l.blocks ? l.blocks + (l.blocks - 1) / l.chunk : 0;
    l.bat = l.log + p->log;
    l.bat_bytes = ROUND_UP(MAX(l.entries * VHDX_BAT_ENTRY_SIZE, 1), VHDX_ALIGN);
    l.metadata = l.bat + l.bat_bytes;
    l.data = l.metadata + VHDX_ALIGN + SLACK;
    return l;
}

/* ---- the structures ---- */

/* "blkref" in UTF-16; the signature before it. */
static int write_identifier(struct blk *b)
{
    static const char creator[] = "blkref";
    uint8_t id[VHDX_TABLE_BYTES] = {0};
    vhdx_file_identifier_set_signature(id, VHDX_SIGNATURE);
    for (size_t i = 0; creator[i]; i++) {
        store_le16(id + VHDX_FILE_IDENTIFIER_CREATOR_OFF + 2 * i, (uint16_t)creator[i]);
    }
    return blk_pwrite(b, 0, id, sizeof(id), 0);
}

static int write_headers(struct world *w, struct blk *b, const struct params *p,
                         const struct layout *l)
{
    uint8_t h[VHDX_HEADER_BYTES] = {0};
    vhdx_header_set_signature(h, VHDX_HEADER_SIGNATURE);
    vhdx_header_set_version(h, 1);
    vhdx_header_set_log_length(h, (uint32_t)p->log);
    vhdx_header_set_log_offset(h, l->log);
    world_uuid(w, h + VHDX_HEADER_FILE_WRITE_GUID_OFF);
    world_uuid(w, h + VHDX_HEADER_DATA_WRITE_GUID_OFF);
    for (uint64_t i = 0; i < 2; i++) {
        vhdx_header_set_sequence_number(h, i + 1);
        vhdx_seal(h, sizeof(h));
        int ret = blk_pwrite(b, i ? VHDX_HEADER2_OFFSET : VHDX_HEADER1_OFFSET, h, sizeof(h), 0);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static void put_region(uint8_t *e, const uint8_t *guid, uint64_t at, uint64_t bytes)
{
    memcpy(e, guid, GUID_BYTES);
    vhdx_region_entry_set_file_offset(e, at);
    vhdx_region_entry_set_length(e, (uint32_t)bytes);
    vhdx_region_entry_set_flags(e, 1);
}

static int write_regions(struct blk *b, const struct layout *l)
{
    uint8_t *t = mem_zalloc(VHDX_TABLE_BYTES), *e = t + VHDX_REGION_TABLE_SIZE;
    vhdx_region_table_set_signature(t, VHDX_REGION_SIGNATURE);
    vhdx_region_table_set_entry_count(t, 2);
    put_region(e, vhdx_guid_bat, l->bat, l->bat_bytes);
    put_region(e + VHDX_REGION_ENTRY_SIZE, vhdx_guid_metadata, l->metadata, VHDX_ALIGN);
    vhdx_seal(t, VHDX_TABLE_BYTES);
    int ret = blk_pwrite(b, VHDX_REGION1_OFFSET, t, VHDX_TABLE_BYTES, 0);
    ret = ret < 0 ? ret : blk_pwrite(b, VHDX_REGION2_OFFSET, t, VHDX_TABLE_BYTES, 0);
    mem_free(t);
    return ret;
}

/* Appends an item; *at counts from the region's start. */
static void put_item(uint8_t *m, unsigned n, uint32_t *at, const uint8_t *id, const void *data,
                     uint32_t bytes, uint32_t flags)
{
    uint8_t *e = m + VHDX_METADATA_TABLE_SIZE + (size_t)n * VHDX_METADATA_ENTRY_SIZE;
    memcpy(e, id, GUID_BYTES);
    vhdx_metadata_entry_set_offset(e, *at);
    vhdx_metadata_entry_set_length(e, bytes);
    vhdx_metadata_entry_set_flags(e, flags);
    memcpy(m + *at, data, bytes);
    *at += bytes;
}

static int write_metadata(struct world *w, struct blk *b, const struct params *p,
                          const struct layout *l)
{
    enum { DISK = VHDX_META_REQUIRED | VHDX_META_VIRTUAL_DISK, BYTES = VHDX_TABLE_BYTES + 4096 };
    uint8_t *m = mem_zalloc(BYTES), parameters[VHDX_FILE_PARAMETERS_SIZE], size[8], id[GUID_BYTES],
            sector[4];
    uint32_t at = VHDX_TABLE_BYTES;
    vhdx_metadata_table_set_signature(m, VHDX_METADATA_SIGNATURE);
    vhdx_metadata_table_set_entry_count(m, 5);
    vhdx_file_parameters_set_block_size(parameters, (uint32_t)p->block);
    vhdx_file_parameters_set_flags(parameters, p->fixed ? VHDX_FILE_LEAVE_ALLOCATED : 0);
    store_le64(size, p->size);
    world_uuid(w, id);
    store_le32(sector, 512);
    put_item(m, 0, &at, vhdx_item_file_parameters, parameters, 8, VHDX_META_REQUIRED);
    put_item(m, 1, &at, vhdx_item_disk_size, size, 8, DISK);
    put_item(m, 2, &at, vhdx_item_disk_id, id, GUID_BYTES, DISK);
    put_item(m, 3, &at, vhdx_item_logical_sector, sector, 4, DISK);
    put_item(m, 4, &at, vhdx_item_physical_sector, sector, 4, DISK);
    int ret = blk_pwrite(b, (int64_t)l->metadata, m, BYTES, 0);
    mem_free(m);
    return ret;
}

static uint64_t first_entry(const struct params *p, const struct layout *l, uint64_t i)
{
    bool bitmap = i % (l->chunk + 1) == l->chunk;
    uint64_t block = i - i / (l->chunk + 1);
    if (bitmap) {
        return 0;
    }
    return p->fixed  ? (l->data + block * p->block) | VHDX_STATE_FULLY_PRESENT
           : p->zero ? VHDX_STATE_ZERO
                     : VHDX_STATE_NOT_PRESENT;
}

/* In pieces: a BAT may have 512 MiB. */
static int write_bat(struct blk *b, const struct params *p, const struct layout *l)
{
    uint8_t *buf = mem_alloc(PIECE * VHDX_BAT_ENTRY_SIZE);
    int ret = 0;
    bool blank = !p->fixed && !p->zero; /* a hole will do */
    for (uint64_t i = 0; i < l->entries && ret == 0 && !blank; i += PIECE) {
        uint64_t n = MIN(l->entries - i, (uint64_t)PIECE);
        for (uint64_t k = 0; k < n; k++) {
            store_le64(buf + k * 8, first_entry(p, l, i + k));
        }
        ret = blk_pwrite(b, (int64_t)(l->bat + i * 8), buf, (int64_t)(n * 8), 0);
    }
    mem_free(buf);
    return ret;
}

static int write_image(struct world *w, struct blk *b, const struct params *p)
{
    struct layout l = lay_out(p);
    uint64_t end = l.data + (p->fixed ? l.blocks * p->block : 0);
    int ret = blk_truncate(b, (int64_t)end, false, PREALLOC_OFF, 0, NULL);
    ret = ret < 0 ? ret : write_identifier(b);
    ret = ret < 0 ? ret : write_headers(w, b, p, &l);
    ret = ret < 0 ? ret : write_regions(b, &l);
    ret = ret < 0 ? ret : write_bat(b, p, &l);
    ret = ret < 0 ? ret : write_metadata(w, b, p, &l);
    return ret < 0 ? ret : blk_flush(b, NULL);
}

/* Gives up the caller's reference to file. */
static int create_on(struct world *w, struct node *file, const struct params *p, struct error **err)
{
    struct blk *b = format_create_blk(w, file, err);
    int ret = -EINVAL;
    if (b) {
        ret = write_image(w, b, p);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not create the VHDX image");
        }
        blk_unref(b);
    }
    node_unref(file);
    return ret;
}

static int take_subformat(const struct value *opts, struct params *p, struct error **err)
{
    const char *s = dict_get_str(opts, "subformat");
    p->fixed = s && !strcmp(s, subformats[1]);
    return !s || p->fixed || !strcmp(s, subformats[0])
               ? 0
               : error_set(err, EINVAL, "Parameter 'subformat' does not accept value '%s'", s);
}

/* As the option text is forgiving: rounded and limited. */
static void round_params(struct params *p)
{
    p->size = p->size > VHDX_MAX_DISK_SIZE ? p->size : ROUND_UP(p->size, 512);
    p->log = p->log > UINT32_MAX ? p->log : ROUND_UP(p->log, VHDX_ALIGN);
    if (p->block == 0) {
        p->block = default_block(p->size);
    }
    p->block = MIN(p->block, (uint64_t)VHDX_MAX_BLOCK_SIZE);
    p->block = ROUND_UP(p->block, VHDX_ALIGN);
}

int vhdx_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    const struct opt_desc *t = vhdx_create_options;
    struct params p = {.zero = true};
    int ret = opts_get_size(t, opts, "size", &p.size, err);
    ret = ret < 0 ? ret : opts_get_size(t, opts, "log_size", &p.log, err);
    ret = ret < 0 ? ret : opts_get_size(t, opts, "block_size", &p.block, err);
    ret = ret < 0 ? ret : opts_get_bool(t, opts, "block_state_zero", &p.zero, err);
    if (ret < 0) {
        return ret;
    }
    struct node *file = format_create_file(w, filename, opts, t, err);
    if (!file) {
        return -EINVAL;
    }
    round_params(&p);
    ret = take_subformat(opts, &p, err);
    ret = ret < 0 ? ret : check_params(&p, err);
    if (ret < 0) {
        node_unref(file);
        return ret;
    }
    return create_on(w, file, &p, err);
}

int vhdx_create_json(struct world *w, struct value *opts, struct error **err)
{
    static const struct opt_desc t[] = {
        {.name = "size", .type = OPT_SIZE},
        {.name = "log-size", .type = OPT_SIZE, .def = DEFAULT_LOG},
        {.name = "block-size", .type = OPT_SIZE, .def = "0"},
        {.name = "block-state-zero", .type = OPT_BOOL, .def = "on"},
        {.name = NULL},
    };
    struct params p = {.zero = true};
    int ret = opts_get_size(t, opts, "size", &p.size, err);
    ret = ret < 0 ? ret : opts_get_size(t, opts, "log-size", &p.log, err);
    ret = ret < 0 ? ret : opts_get_size(t, opts, "block-size", &p.block, err);
    ret = ret < 0 ? ret : opts_get_bool(t, opts, "block-state-zero", &p.zero, err);
    ret = ret < 0 ? ret : take_subformat(opts, &p, err);
    if (ret == 0) {
        p.block = p.block ? p.block : default_block(p.size);
        ret = check_params(&p, err);
    }
    if (ret == 0 && !IS_ALIGNED(p.size, 512)) {
        ret = error_set(err, EINVAL, "Image size must be a multiple of 512 bytes");
    }
    if (ret < 0) {
        return ret;
    }
    struct node *file = format_take_node(w, opts, "file", err);
    return file ? create_on(w, file, &p, err) : -EINVAL;
}
