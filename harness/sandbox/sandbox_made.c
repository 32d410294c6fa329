/*
 * Images as create does not make them.  See sandbox_made.h.
 */
#include "harness/sandbox/sandbox_made.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/base/sizes.h"
#include "ref/block/backend.h"
#include "ref/format/crypto/hash.h"
#include "specs/parallels_layout.h"
#include "specs/vmdk_layout.h"
#include "specs/vpc_layout.h"

struct making {
    struct sandbox *sb;
    const struct program *p;
    struct disk_set *set, open; /* open: the disks before the image was closed */
    struct world *w;
    struct error **err;
    int ret;
};

/* ---- left open ---- */

static void write_and_go(void *arg)
{
    struct making *m = arg;
    uint8_t buf[4096];
    struct blk *b = blk_open(m->w, "sim:image", NULL, sandbox_open_options(m->p),
                             OPEN_RDWR | OPEN_RESIZE, m->err);
    memset(buf, ORACLE_MADE, sizeof(buf));
    m->ret = b ? blk_pwrite(b, 0, buf, sizeof(buf), 0) : -EINVAL;
    m->ret = m->ret < 0 ? m->ret : blk_flush(b, NULL);
    m->open = disk_set_clone(m->set);
    blk_unref(b);
}

static int unclosed(struct making *m)
{
    m->w = sandbox_world(m->sb, m->p, m->set, NULL, NULL);
    int ret = world_exec(m->w, write_and_go, m);
    world_free(m->w);
    disk_set_free(m->set);
    *m->set = m->open;
    return ret < 0 ? ret : m->ret;
}

static int cut_off(struct making *m)
{
    int ret = unclosed(m);
    struct disk *d = m->set->disk[0];
    return ret < 0 ? ret : disk_truncate(d, disk_size(d) - 4096);
}

/* ---- parallels ---- */

static int shared(struct making *m)
{
    uint8_t entry[PARALLELS_BAT_ENTRY_SIZE];
    int ret = unclosed(m);
    disk_read(m->set->disk[0], PARALLELS_HEADER_SIZE, entry, sizeof(entry));
    return ret < 0 ? ret
                   : disk_write(m->set->disk[0], PARALLELS_HEADER_SIZE + sizeof(entry), entry,
                                sizeof(entry));
}

/* Of clusters of 64 KiB: behind the header's cluster the bitmap's, then the extension. */
static int extension(struct making *m)
{
    enum { CLUSTER = 64 * KiB, AT = 2 * CLUSTER };
    uint8_t *c = mem_zalloc(CLUSTER), *f = c + PARALLELS_EXT_HEADER_SIZE, place[8];
    parallels_ext_header_set_magic(c, PARALLELS_EXT_MAGIC);
    parallels_feature_set_magic(f, PARALLELS_FEATURE_BITMAP);
    parallels_feature_set_data_size(f, PARALLELS_BITMAP_SIZE + 8);
    f += PARALLELS_FEATURE_SIZE;
    parallels_bitmap_set_size(f, (uint64_t)m->p->size / 512);
    parallels_bitmap_set_granularity(f, 128);
    parallels_bitmap_set_l1_size(f, 1);
    store_le64(f + PARALLELS_BITMAP_SIZE, CLUSTER / 512);
    crypt_digest(HASH_MD5, c + PARALLELS_EXT_HEADER_SIZE, CLUSTER - PARALLELS_EXT_HEADER_SIZE,
                 c + PARALLELS_EXT_HEADER_CHECKSUM_OFF);
    int ret = disk_write(m->set->disk[0], AT, c, CLUSTER);
    mem_free(c);
    store_le64(place, AT / 512);
    return ret < 0
               ? ret
               : disk_write(m->set->disk[0], PARALLELS_HEADER_EXT_OFF_OFF, place, sizeof(place));
}

/* ---- vpc ---- */

/* The footer's copy is where the next block ends, and that block is not empty. */
static int leftover(struct making *m)
{
    struct disk *d = m->set->disk[0];
    uint8_t f[VPC_FOOTER_SIZE], stale[4 * KiB];
    int64_t end = disk_size(d) - VPC_FOOTER_SIZE, block = 512 + 2 * MiB;
    disk_read(d, 0, f, sizeof(f));
    memset(stale, ORACLE_MADE, sizeof(stale));
    int ret = disk_write(d, end + VPC_FOOTER_SIZE, stale, sizeof(stale));
    return ret < 0 ? ret : disk_write(d, end + block, f, sizeof(f));
}

/* ---- vmdk ---- */

/* The header that counts is the footer; the second entry of the directory is empty. */
static int footer(struct making *m)
{
    struct disk *d = m->set->disk[0];
    uint8_t h[VMDK_HEADER_SIZE], tail[3 * 512] = {0}, none[VMDK_GD_ENTRY_SIZE] = {0}, at_end[8];
    int64_t end = disk_size(d);
    disk_read(d, 0, h, sizeof(h));
    uint64_t gd = vmdk_header_get_gd_offset(h) * 512;
    vmdk_marker_set_value(tail, 1);
    vmdk_marker_set_type(tail, VMDK_MARKER_FOOTER);
    memcpy(tail + 512, h, sizeof(h));
    store_le64(at_end, VMDK_GD_AT_END);
    int ret = disk_write(d, end, tail, sizeof(tail));
    ret = ret < 0 ? ret : disk_write(d, VMDK_HEADER_GD_OFFSET_OFF, at_end, sizeof(at_end));
    return ret < 0 ? ret : disk_write(d, (int64_t)gd + VMDK_GD_ENTRY_SIZE, none, sizeof(none));
}

static int cowd(struct making *m)
{
    uint8_t h[VMDK_COWD_SIZE] = {0};
    uint64_t sectors = (uint64_t)m->p->size / 512;
    char *text = str_fmt("# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\n"
                         "createType=\"vmfsSparse\"\n\n# Extent description\n"
                         "RW %llu VMFSSPARSE \"image-flat\"\n",
                         (unsigned long long)sectors);
    vmdk_cowd_set_magic(h, VMDK_COWD_MAGIC);
    vmdk_cowd_set_version(h, 1);
    vmdk_cowd_set_flags(h, 3);
    vmdk_cowd_set_sectors(h, (uint32_t)sectors);
    vmdk_cowd_set_grain_size(h, 128);
    vmdk_cowd_set_gd_offset(h, VMDK_COWD_SIZE / 512);
    vmdk_cowd_set_gd_entries(h, (uint32_t)DIV_ROUND_UP(sectors, 128 * VMDK_COWD_GTES));
    vmdk_cowd_set_free_sector(h, VMDK_COWD_SIZE / 512 + 1);
    int ret = disk_truncate(m->set->disk[1], VMDK_COWD_SIZE + 512);
    ret = ret < 0 ? ret : disk_write(m->set->disk[1], 0, h, sizeof(h));
    ret = ret < 0 ? ret : disk_truncate(m->set->disk[0], 0);
    ret = ret < 0 ? ret : disk_write(m->set->disk[0], 0, text, strlen(text));
    mem_free(text);
    return ret;
}

int sandbox_make_so(struct sandbox *sb, const struct program *p, struct disk_set *set,
                    struct error **err)
{
    static const struct {
        const char *name, *format; /* NULL: any */
        int (*make)(struct making *m);
    } all[] = {
        {"unclosed", NULL, unclosed},    {"cut-off", NULL, cut_off},
        {"shared", "parallels", shared}, {"extension", "parallels", extension},
        {"leftover", "vpc", leftover},   {"footer", "vmdk", footer},
        {"cowd", "vmdk", cowd},
    };
    const char *at = strstr(p->options, "made=");
    struct making m = {.sb = sb, .p = p, .set = set, .err = err};
    if (!at) {
        return 0;
    }
    at += strlen("made=");
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (strlen(all[i].name) == strcspn(at, ",") &&
            !strncmp(all[i].name, at, strlen(all[i].name)) &&
            (!all[i].format || !strcmp(all[i].format, p->format))) {
            int ret = all[i].make(&m);
            return ret < 0 && !*err ? error_set_errno(err, -ret, "the image cannot be made so")
                                    : ret;
        }
    }
    return error_set(err, EINVAL, "no %s image can be 'made=%.*s'", p->format,
                     (int)strcspn(at, ","), at);
}
