/*
 * The layout of a vvfat disk: its geometry, partition table and reserved sectors.
 *
 * Models: the four disks of QEMU 7.2 (hard disks of 31.5 MiB with 12 bits and 504 MiB else,
 * floppies of 1.44 MB with 12 bits asked for and 2.88 MB else), clusters of 8 KiB.  Where that many
 * clusters make another width of FAT entries than the one asked for (LAY-3), clusters are smaller;
 * where no size of clusters helps it is refused.  A FAT of 32 bits has what one needs: a copy of
 * the boot sector, a free-cluster sector, a root directory in clusters.
 */
#include "ref/protocol/vvfat/vvfat.h"

#include <errno.h>

#define VOLUME_ID       0xfabe1afdu
#define DISK_ID         0xbe1afdfau
#define CLUSTER_SECTORS 16
#define ROOT_ENTRIES    512
#define FATS            2
#define RESERVED_32     32
#define INFO_SECTOR     1
#define BACKUP_SECTOR   6
#define ROOT_CLUSTER    FAT_FIRST_CLUSTER
#define FROM_DISK       0x80 /* drive number and partition status */

uint32_t fat_disk_sectors(const struct fat_layout *l)
{
    return l->cylinders * l->heads * l->track_sectors;
}

uint32_t fat_cluster_bytes(const struct fat_layout *l)
{
    return l->cluster_sectors * FAT_SECTOR;
}

uint32_t fat_root_sector(const struct fat_layout *l)
{
    return l->reserved + FATS * l->fat_sectors;
}

uint32_t fat_data_sector(const struct fat_layout *l)
{
    return fat_root_sector(l) + l->root_entries * FAT_ENTRY_SIZE / FAT_SECTOR;
}

/* Divides the volume for a cluster size: the smallest FAT that has an entry for every cluster. */
static void divide(struct fat_layout *l, uint32_t cluster_sectors)
{
    l->cluster_sectors = cluster_sectors;
    for (l->fat_sectors = 1;; l->fat_sectors++) {
        l->clusters = (l->sectors - fat_data_sector(l)) / cluster_sectors;
        uint64_t fat_bits = (uint64_t)(l->clusters + FAT_FIRST_CLUSTER) * l->bits;
        if (fat_bits <= (uint64_t)l->fat_sectors * FAT_SECTOR * 8) {
            return;
        }
    }
}

static unsigned width_by_clusters(uint32_t clusters)
{
    return clusters < FAT_MIN_CLUSTERS_16 ? 12 : clusters < FAT_MIN_CLUSTERS_32 ? 16 : 32;
}

int fat_layout_choose(struct fat_layout *l, unsigned bits, bool floppy, struct error **err)
{
    *l = (struct fat_layout){.bits = bits ? bits : floppy ? 12 : 16, .floppy = floppy};
    l->cylinders = floppy ? 80 : l->bits == 12 ? 64 : 1024;
    l->heads = floppy ? 2 : 16;
    l->track_sectors = !floppy ? 63 : bits == 12 ? 18 : 36;
    l->start = floppy ? 0 : l->track_sectors;
    l->sectors = fat_disk_sectors(l) - l->start;
    l->reserved = l->bits == 32 ? RESERVED_32 : 1;
    l->root_entries = l->bits == 32 ? 0 : ROOT_ENTRIES;
    for (uint32_t c = CLUSTER_SECTORS; c; c /= 2) {
        divide(l, c);
        if (width_by_clusters(l->clusters) == l->bits) {
            return 0;
        }
    }
    return error_set(err, EINVAL, "A disk of %.2f MB has too few clusters for FAT%u",
                     l->sectors / 2000.0, l->bits);
}

/* ---- sectors ---- */

void fat_put_mbr(const struct fat_layout *l, uint8_t *buf)
{
    uint8_t *p = buf + FAT_MBR_PARTITIONS_OFF;
    uint32_t last = l->cylinders - 1;
    fat_mbr_set_disk_id(buf, DISK_ID);
    fat_mbr_set_signature(buf, FAT_SIGNATURE);
    fat_partition_set_status(p, FROM_DISK);
    fat_partition_set_first_head(p, 1);
    fat_partition_set_first_sector(p, 1);
    fat_partition_set_type(p, l->bits == 12   ? FAT_PARTITION_FAT12
                              : l->bits == 16 ? FAT_PARTITION_FAT16
                                              : FAT_PARTITION_FAT32);
    fat_partition_set_last_head(p, (uint8_t)(l->heads - 1));
    fat_partition_set_last_sector(p, (uint8_t)l->track_sectors);
    fat_partition_set_last_cylinder_high(p, (uint8_t)(last >> 8));
    fat_partition_set_last_cylinder(p, (uint8_t)last);
    fat_partition_set_start(p, l->start);
    fat_partition_set_sectors(p, l->sectors);
}

static void put_boot_16(const struct fat_layout *l, const uint8_t *label, uint8_t *b)
{
    fat_boot_set_fat_sectors_16(b, (uint16_t)l->fat_sectors);
    fat_boot_16_set_drive(b, l->floppy ? 0 : FROM_DISK);
    fat_boot_16_set_extended(b, FAT_EXTENDED_BOOT);
    fat_boot_16_set_volume_id(b, VOLUME_ID);
    memcpy(b + FAT_BOOT_16_LABEL_OFF, label, FAT_BOOT_16_LABEL_WIDTH);
    memcpy(b + FAT_BOOT_16_TYPE_NAME_OFF, l->bits == 12 ? "FAT12   " : "FAT16   ",
           FAT_BOOT_16_TYPE_NAME_WIDTH);
}

static void put_boot_32(const struct fat_layout *l, const uint8_t *label, uint8_t *b)
{
    fat_boot_32_set_fat_sectors(b, l->fat_sectors);
    fat_boot_32_set_root_cluster(b, ROOT_CLUSTER);
    fat_boot_32_set_info_sector(b, INFO_SECTOR);
    fat_boot_32_set_backup_sector(b, BACKUP_SECTOR);
    fat_boot_32_set_drive(b, FROM_DISK);
    fat_boot_32_set_extended(b, FAT_EXTENDED_BOOT);
    fat_boot_32_set_volume_id(b, VOLUME_ID);
    memcpy(b + FAT_BOOT_32_LABEL_OFF, label, FAT_BOOT_32_LABEL_WIDTH);
    memcpy(b + FAT_BOOT_32_TYPE_NAME_OFF, "FAT32   ", FAT_BOOT_32_TYPE_NAME_WIDTH);
}

static void put_boot(const struct fat_layout *l, const uint8_t *label, uint8_t *b)
{
    static const uint8_t jump[] = {0xeb, 0x3e, 0x90}, jump_32[] = {0xeb, 0x58, 0x90};
    bool wide = l->bits == 32 || l->sectors > UINT16_MAX;
    memcpy(b, l->bits == 32 ? jump_32 : jump, FAT_BOOT_JUMP_WIDTH);
    memcpy(b + FAT_BOOT_OEM_NAME_OFF, "MSWIN4.1", FAT_BOOT_OEM_NAME_WIDTH);
    fat_boot_set_sector_bytes(b, FAT_SECTOR);
    fat_boot_set_cluster_sectors(b, (uint8_t)l->cluster_sectors);
    fat_boot_set_reserved_sectors(b, (uint16_t)l->reserved);
    fat_boot_set_fats(b, FATS);
    fat_boot_set_root_entries(b, (uint16_t)l->root_entries);
    fat_boot_set_sectors_16(b, wide ? 0 : (uint16_t)l->sectors);
    fat_boot_set_media(b, l->floppy ? FAT_MEDIA_REMOVABLE : FAT_MEDIA_FIXED);
    fat_boot_set_track_sectors(b, (uint16_t)l->track_sectors);
    fat_boot_set_heads(b, (uint16_t)l->heads);
    fat_boot_set_hidden_sectors(b, l->start);
    fat_boot_set_sectors_32(b, wide ? l->sectors : 0);
    fat_boot_set_signature(b, FAT_SIGNATURE);
    if (l->bits == 32) {
        put_boot_32(l, label, b);
    } else {
        put_boot_16(l, label, b);
    }
}

static void put_info(const struct fat_layout *l, uint32_t used, uint8_t *b)
{
    fat_info_set_lead(b, FAT_INFO_LEAD);
    fat_info_set_struct_signature(b, FAT_INFO_STRUCT);
    fat_info_set_free_clusters(b, l->clusters - used);
    fat_info_set_next_free(b, used < l->clusters ? FAT_FIRST_CLUSTER + used : FAT_INFO_UNKNOWN);
    fat_info_set_trail(b, FAT_INFO_TRAIL);
}

void fat_put_reserved(const struct fat_layout *l, uint32_t i, const uint8_t *label, uint32_t used,
                      uint8_t *buf)
{
    if (l->bits == 32 && i >= BACKUP_SECTOR) {
        i -= BACKUP_SECTOR; /* the copy, with its own free-cluster sector (BPB-14) */
    }
    if (i == 0) {
        put_boot(l, label, buf);
    } else if (l->bits == 32 && i == INFO_SECTOR) {
        put_info(l, used, buf);
    }
}
