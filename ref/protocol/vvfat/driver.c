/*
 * vvfat: a directory of the host as a disk with a FAT volume, read only (specs/fat.yaml).
 *
 * Models: "fat:[12:|16:|32:][floppy:][rw:]DIR" and the options of QEMU 7.2; partition table, boot
 * sector, tables and directories made at opening, contents of files read when they are asked for.
 * What a file has lost since then is an I/O error, and so is a file that cannot be opened: never
 * zeroes, and never what another file has.  Leaves out: writing (rw=on is refused).
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "ref/block/open.h"
#include "ref/engine/host.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/vvfat/vvfat.h"

#define PREFIX        "fat:"
#define DEFAULT_LABEL "QEMU VVFAT"
#define NO_LABEL      "NO NAME    "
#define LABEL_BYTES   FAT_BOOT_16_LABEL_WIDTH

struct vvfat {
    struct fat_layout layout;
    struct fat_tree tree;
    uint8_t label[LABEL_BYTES]; /* as the boot sector has it */
};

static const struct opt_desc vvfat_options[] = {
    {.name = "dir", .type = OPT_STRING, .help = "Host directory to map to the vvfat device"},
    {.name = "fat-type",
     .type = OPT_NUMBER,
     .help = "FAT type (12, 16 or 32; default: depends on the disk)"},
    {.name = "floppy",
     .type = OPT_BOOL,
     .help = "Create a floppy rather than a hard disk image (default: off)"},
    {.name = "label", .type = OPT_STRING, .help = "Use a volume label other than " DEFAULT_LABEL},
    {.name = "rw", .type = OPT_BOOL, .help = "Make the image writable (refused; default: off)"},
    {.name = NULL},
};

static const char *const vvfat_strong_options[] = {"dir",   "fat-type", "floppy",
                                                   "label", "rw",       NULL};

/* Words may stand in any order, unknown ones are skipped; the directory is behind the last colon.
 */
static int vvfat_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    if (strncmp(filename, PREFIX, strlen(PREFIX)) != 0) {
        return error_set(err, EINVAL, "File name string must start with 'fat:'");
    }
    int bits = strstr(filename, ":32:")   ? 32
               : strstr(filename, ":16:") ? 16
               : strstr(filename, ":12:") ? 12
                                          : 0;
    dict_put_int(opts, "fat-type", bits);
    dict_put_bool(opts, "floppy", strstr(filename, ":floppy:") != NULL);
    dict_put_bool(opts, "rw", strstr(filename, ":rw:") != NULL);
    dict_put_str(opts, "dir", strrchr(filename, ':') + 1);
    return 0;
}

/* ---- opening ---- */

static int take_label(struct vvfat *s, const char *label, struct error **err)
{
    size_t len = strlen(label);
    if (len > LABEL_BYTES) {
        return error_set(err, EINVAL, "vvfat label cannot be longer than 11 bytes");
    }
    memset(s->label, ' ', LABEL_BYTES);
    memcpy(s->label, len ? label : NO_LABEL, len ? len : LABEL_BYTES);
    return 0;
}

/* QEMU's order: of several mistakes it reports the same one. */
static int take_options(struct node *n, const struct value *o, unsigned flags, const char **dir,
                        bool *labelled, struct error **err)
{
    struct vvfat *s = n->state;
    uint64_t bits = 0;
    bool floppy = false, rw = false;
    const char *label = dict_get_str(o, "label");
    int ret = opts_get_number(vvfat_options, o, "fat-type", &bits, err);
    ret = ret < 0 ? ret : opts_get_bool(vvfat_options, o, "floppy", &floppy, err);
    ret = ret < 0 ? ret : opts_get_bool(vvfat_options, o, "rw", &rw, err);
    if (ret < 0) {
        return ret;
    }
    *dir = dict_get_str(o, "dir");
    if (!*dir) {
        return error_set(err, EINVAL, "vvfat block driver requires a 'dir' option");
    }
    label = label ? label : DEFAULT_LABEL;
    *labelled = *label != '\0';
    ret = take_label(s, label, err);
    if (ret < 0) {
        return ret;
    }
    if (bits != 0 && bits != 12 && bits != 16 && bits != 32) {
        return error_set(err, EINVAL, "Valid FAT types are only 12, 16 and 32");
    }
    if (bits == 32) {
        world_warn(n->w, "FAT32 has not been tested. You are welcome to do so!"); /* as QEMU */
    }
    if (rw && !(flags & OPEN_RDWR)) {
        return error_set(err, EINVAL, "Unable to set VVFAT to 'rw' when drive is read-only");
    }
    if (rw) {
        return error_set(err, ENOTSUP, "vvfat cannot be written yet: 'rw' is not supported");
    }
    ret = fat_layout_choose(&s->layout, (unsigned)bits, floppy, err);
    return ret < 0 ? ret : node_apply_auto_read_only(n, NULL, err);
}

static int vvfat_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct vvfat *s = n->state;
    struct value *mine = opts_take(vvfat_options, opts);
    const char *dir = NULL;
    bool labelled = false;
    int ret = take_options(n, mine, flags, &dir, &labelled, err);
    if (ret == 0) {
        ret = fat_tree_read(n->w, &s->layout, dir, labelled ? s->label : NULL, &s->tree, err);
    }
    value_free(mine);
    return ret;
}

static void vvfat_close(struct node *n)
{
    struct vvfat *s = n->state;
    fat_tree_free(&s->tree);
}

/* ---- reading ---- */

/* A file of the host, which may be another by now than at opening; fd or -errno. */
static int open_content(struct world *w, const char *path)
{
    struct stat st;
    int fd = host_open(w, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    int ret = fd < 0 ? fd : host_fstat(w, fd, &st);
    if (ret == 0 && !S_ISREG(st.st_mode)) {
        ret = -EIO;
    }
    if (ret < 0 && fd >= 0) {
        host_close(w, fd);
    }
    return ret < 0 ? ret : fd;
}

/* Bytes [offset, offset + bytes) of the file; what is behind its end, as it was, is zeroes. */
static int read_content(struct node *n, const struct fat_file *f, int64_t offset,
                        const struct iov *q, size_t q_off, size_t bytes)
{
    struct vvfat *s = n->state;
    size_t there = offset < f->size ? MIN(bytes, (size_t)(f->size - offset)) : 0;
    iov_fill(q, q_off + there, 0, bytes - there);
    if (!there) {
        return 0;
    }
    char *path = fat_tree_path(&s->tree, f);
    int fd = open_content(n->w, path);
    mem_free(path);
    if (fd < 0) {
        return fd;
    }
    ssize_t done = host_preadv(n->w, fd, q, q_off, there, offset);
    host_close(n->w, fd);
    return done < 0 ? (int)done : (size_t)done < there ? -EIO : 0;
}

/* A piece of the disk from `sector` on: at most `max` sectors to q at q_off.  Their number, -errno.
 */
static int64_t read_clusters(struct node *n, uint32_t sector, uint32_t max, const struct iov *q,
                             size_t q_off)
{
    struct vvfat *s = n->state;
    const struct fat_layout *l = &s->layout;
    uint32_t cluster = FAT_FIRST_CLUSTER + sector / l->cluster_sectors, until = 0;
    if (cluster >= FAT_FIRST_CLUSTER + s->tree.used) { /* files have no gaps between them */
        iov_fill(q, q_off, 0, (size_t)max * FAT_SECTOR);
        return max;
    }
    const struct fat_file *f = fat_tree_find(&s->tree, cluster, &until);
    uint32_t first = (f->first - FAT_FIRST_CLUSTER) * l->cluster_sectors;
    uint32_t count = MIN(max, f->count * l->cluster_sectors - (sector - first));
    int64_t offset = (int64_t)(sector - first) * FAT_SECTOR;
    if (f->is_dir) {
        uint8_t buf[FAT_SECTOR];
        fat_dir_read(f, (size_t)offset, buf, sizeof(buf));
        iov_from_buf(q, q_off, buf, sizeof(buf));
        return 1;
    }
    int ret = read_content(n, f, offset, q, q_off, (size_t)count * FAT_SECTOR);
    return ret < 0 ? ret : (int64_t)count;
}

/* One sector in front of the clusters, counted from the volume's start. */
static void put_sector(const struct vvfat *s, uint32_t sector, uint8_t *buf)
{
    const struct fat_layout *l = &s->layout;
    uint32_t root = fat_root_sector(l);
    if (sector < l->reserved) {
        fat_put_reserved(l, sector, s->label, s->tree.used, buf);
    } else if (sector < root) {
        fat_put_table(l, &s->tree, (sector - l->reserved) % l->fat_sectors, buf);
    } else {
        fat_dir_read(s->tree.files, (size_t)(sector - root) * FAT_SECTOR, buf, FAT_SECTOR);
    }
}

static int64_t read_piece(struct node *n, uint32_t sector, uint32_t max, const struct iov *q,
                          size_t q_off)
{
    struct vvfat *s = n->state;
    const struct fat_layout *l = &s->layout;
    uint32_t data = l->start + fat_data_sector(l);
    uint8_t buf[FAT_SECTOR] = {0};
    if (sector >= data) {
        return read_clusters(n, sector - data, max, q, q_off);
    }
    if (sector >= l->start) {
        put_sector(s, sector - l->start, buf);
    } else if (sector == 0) {
        fat_put_mbr(l, buf);
    }
    iov_from_buf(q, q_off, buf, sizeof(buf));
    return 1;
}

static int vvfat_read(struct node *n, const struct request *r)
{
    uint32_t sector = (uint32_t)(r->offset / FAT_SECTOR);
    uint32_t left = (uint32_t)(r->bytes / FAT_SECTOR);
    size_t q_off = r->iov_off;
    while (left) {
        int64_t done = read_piece(n, sector, left, r->iov, q_off);
        if (done < 0) {
            return (int)done;
        }
        sector += (uint32_t)done;
        left -= (uint32_t)done;
        q_off += (size_t)done * FAT_SECTOR;
    }
    return 0;
}

/* ---- the rest ---- */

/* All of it is there, nowhere in a file of the host. */
static int vvfat_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                              struct status *out)
{
    *out = (struct status){.flags = STATUS_DATA, .bytes = bytes};
    return 0;
}

static int64_t vvfat_length(struct node *n)
{
    const struct vvfat *s = n->state;
    return (int64_t)fat_disk_sectors(&s->layout) * FAT_SECTOR;
}

static int64_t vvfat_allocated_size(struct node *n)
{
    return -ENOTSUP;
}

static void vvfat_refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = FAT_SECTOR;
}

/* Options say what the name said, and only they are shown. */
static void vvfat_refresh_filename(struct node *n)
{
    mem_free(n->exact_filename);
    n->exact_filename = str_dup("");
}

const struct block_driver driver_vvfat = {
    .name = "vvfat",
    .protocol = "fat",
    .kind = DRIVER_PROTOCOL,
    .state_size = sizeof(struct vvfat),
    .open_options = vvfat_options,
    .strong_options = vvfat_strong_options,
    .parse_filename = vvfat_parse_filename,
    .open = vvfat_open,
    .close = vvfat_close,
    .read = vvfat_read,
    .block_status = vvfat_block_status,
    .length = vvfat_length,
    .allocated_size = vvfat_allocated_size,
    .refresh_limits = vvfat_refresh_limits,
    .refresh_filename = vvfat_refresh_filename,
};
