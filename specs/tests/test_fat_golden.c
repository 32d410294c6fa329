/*
 * Golden bytes of the FAT structures, transcribed by hand from Microsoft's document and from
 * volumes of mkfs.fat, not from specs/fat.yaml: read by the generated accessors and built again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "specs/fat_layout.h"
#include "specs/runtime/spec.h"

/* clang-format off */
static const uint8_t partition[16] = {
    0x80, 1, 0x42, 0x23,                      /* 0 status; head 1, sector 2, cylinder 0x123 */
    0x0b, 15, 0xff, 0xfe,                     /* 4 type; head 15, sector 63, cylinder 0x3fe */
    63, 1, 2, 3,                              /* 8 start */
    0xc1, 0xbf, 0x0f, 4,                      /* 12 sectors */
};
static const uint8_t boot[62] = {
    0xeb, 0x3e, 0x90, 'M', 'S', 'W', 'I', 'N', '4', '.', '1',
    0, 2,                                     /* 11 bytes of a sector */
    16,                                       /* 13 sectors of a cluster */
    1, 0,                                     /* 14 reserved sectors */
    2,                                        /* 16 FATs */
    0, 3,                                     /* 17 entries of the root directory */
    0x40, 0x0b,                               /* 19 sectors, 16 bits */
    0xf8,                                     /* 21 media */
    0xfc, 0x01,                               /* 22 sectors of a FAT */
    63, 0x10,                                 /* 24 sectors of a track */
    16, 0x20,                                 /* 26 heads */
    0x3f, 1, 2, 3,                            /* 28 hidden sectors */
    0xc1, 0xbf, 0x0f, 4,                      /* 32 sectors, 32 bits */
    0x80, 0x11, 0x29,                         /* 36 drive, reserved, extended */
    0xfd, 0x1a, 0xbe, 0xfa,                   /* 39 volume id */
    'N', 'O', ' ', 'N', 'A', 'M', 'E', ' ', ' ', ' ', ' ',
    'F', 'A', 'T', '1', '6', ' ', ' ', ' ',   /* 54 type name */
};
static const uint8_t boot_32[54] = {          /* from offset 36 on */
    0xf1, 0x03, 1, 2,                         /* 36 sectors of a FAT */
    0x80, 3,                                  /* 40 flags */
    4, 5,                                     /* 42 version */
    2, 6, 7, 8,                               /* 44 first cluster of the root directory */
    1, 9,                                     /* 48 free-cluster sector */
    6, 10,                                    /* 50 copy of the boot sector */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x80, 0x21, 0x29,                         /* 64 drive, reserved, extended */
    0x31, 0x32, 0x33, 0x34,                   /* 67 volume id */
    'Q', 'E', 'M', 'U', ' ', 'V', 'V', 'F', 'A', 'T', ' ',
    'F', 'A', 'T', '3', '2', ' ', ' ', ' ',   /* 82 type name */
};
static const uint8_t short_entry[32] = {
    'R', 'E', 'A', 'D', 'M', 'E', '~', '1', 'T', 'X', 'T',
    0x27, 0x18, 199,                          /* 11 attributes, reserved, tenths */
    0x01, 0x02, 0x03, 0x04,                   /* 14 created: time, date */
    0x05, 0x06,                               /* 18 accessed */
    0x07, 0x08,                               /* 20 cluster, upper half */
    0x09, 0x0a, 0x0b, 0x0c,                   /* 22 written: time, date */
    0x0d, 0x0e,                               /* 26 cluster, lower half */
    0x11, 0x12, 0x13, 0x14,                   /* 28 size */
};
static const uint8_t long_entry[32] = {
    0x42,                                     /* 0 second and last part */
    'h', 0, 'e', 0, 'l', 0, 'l', 0, 'o', 0,   /* 1 five characters */
    0x0f, 0, 0xa5,                            /* 11 attributes, type, checksum */
    '.', 0, 't', 0, 'x', 0, 't', 0, 0, 0, 0xff, 0xff, /* 14 six */
    0, 0,                                     /* 26 cluster */
    0xff, 0xff, 0xff, 0xff,                   /* 28 two */
};
/* clang-format on */

static void test_partition(void **state)
{
    uint8_t p[16] = {0};
    assert_int_equal(fat_partition_get_first_sector(partition), 2);
    assert_int_equal(fat_partition_get_first_cylinder_high(partition), 1);
    assert_int_equal(fat_partition_get_last_sector(partition), 63);
    assert_int_equal(fat_partition_get_last_cylinder_high(partition), 3);
    fat_partition_set_status(p, 0x80);
    fat_partition_set_first_head(p, 1);
    fat_partition_set_first_sector(p, 2);
    fat_partition_set_first_cylinder_high(p, 1);
    fat_partition_set_first_cylinder(p, 0x23);
    fat_partition_set_type(p, FAT_PARTITION_FAT32);
    fat_partition_set_last_head(p, 15);
    fat_partition_set_last_sector(p, 63);
    fat_partition_set_last_cylinder_high(p, 3);
    fat_partition_set_last_cylinder(p, 0xfe);
    fat_partition_set_start(p, 0x0302013f);
    fat_partition_set_sectors(p, 0x040fbfc1);
    assert_memory_equal(p, partition, sizeof(p));

    static const uint8_t disk_id[4] = {0xfa, 0xfd, 0x1a, 0xbe};
    uint8_t mbr[FAT_MBR_SIZE] = {0};
    fat_mbr_set_disk_id(mbr, 0xbe1afdfa);
    fat_mbr_set_signature(mbr, FAT_SIGNATURE);
    assert_int_equal(FAT_MBR_SIZE, 512);
    assert_memory_equal(mbr + 440, disk_id, 4);
    assert_memory_equal(mbr + 510, "\x55\xaa", 2);
    assert_int_equal(FAT_MBR_PARTITIONS_OFF, 446);
}

static void test_boot(void **state)
{
    uint8_t b[512] = {0};
    memcpy(b, boot, 11);
    fat_boot_set_sector_bytes(b, 512);
    fat_boot_set_cluster_sectors(b, 16);
    fat_boot_set_reserved_sectors(b, 1);
    fat_boot_set_fats(b, 2);
    fat_boot_set_root_entries(b, 0x300);
    fat_boot_set_sectors_16(b, 0xb40);
    fat_boot_set_media(b, FAT_MEDIA_FIXED);
    fat_boot_set_fat_sectors_16(b, 0x1fc);
    fat_boot_set_track_sectors(b, 0x103f);
    fat_boot_set_heads(b, 0x2010);
    fat_boot_set_hidden_sectors(b, 0x0302013f);
    fat_boot_set_sectors_32(b, 0x040fbfc1);
    fat_boot_set_signature(b, FAT_SIGNATURE);
    fat_boot_16_set_drive(b, 0x80);
    fat_boot_16_set_reserved(b, 0x11);
    fat_boot_16_set_extended(b, FAT_EXTENDED_BOOT);
    fat_boot_16_set_volume_id(b, 0xfabe1afd);
    memcpy(b + FAT_BOOT_16_LABEL_OFF, "NO NAME    ", FAT_BOOT_16_LABEL_WIDTH);
    memcpy(b + FAT_BOOT_16_TYPE_NAME_OFF, "FAT16   ", FAT_BOOT_16_TYPE_NAME_WIDTH);
    assert_memory_equal(b, boot, sizeof(boot));
    assert_memory_equal(b + 510, "\x55\xaa", 2);
}

static void test_boot_32(void **state)
{
    uint8_t b[90] = {0};
    fat_boot_32_set_fat_sectors(b, 0x020103f1);
    fat_boot_32_set_flags(b, 0x380);
    fat_boot_32_set_version(b, 0x504);
    fat_boot_32_set_root_cluster(b, 0x08070602);
    fat_boot_32_set_info_sector(b, 0x901);
    fat_boot_32_set_backup_sector(b, 0xa06);
    fat_boot_32_set_drive(b, 0x80);
    fat_boot_32_set_reserved_1(b, 0x21);
    fat_boot_32_set_extended(b, FAT_EXTENDED_BOOT);
    fat_boot_32_set_volume_id(b, 0x34333231);
    memcpy(b + FAT_BOOT_32_LABEL_OFF, "QEMU VVFAT ", FAT_BOOT_32_LABEL_WIDTH);
    memcpy(b + FAT_BOOT_32_TYPE_NAME_OFF, "FAT32   ", FAT_BOOT_32_TYPE_NAME_WIDTH);
    assert_memory_equal(b + 36, boot_32, sizeof(boot_32));

    uint8_t i[FAT_INFO_SIZE] = {0};
    fat_info_set_lead(i, FAT_INFO_LEAD);
    fat_info_set_struct_signature(i, FAT_INFO_STRUCT);
    fat_info_set_free_clusters(i, 0x01020304);
    fat_info_set_next_free(i, 0x05060708);
    fat_info_set_trail(i, FAT_INFO_TRAIL);
    assert_memory_equal(i, "RRaA", 4);
    assert_memory_equal(i + 484, "rrAa\4\3\2\1\x08\7\6\5", 12);
    assert_memory_equal(i + 508, "\0\0\x55\xaa", 4);
}

static void test_entries(void **state)
{
    uint8_t e[32] = {0}, l[32] = {0};
    memcpy(e + FAT_ENTRY_NAME_OFF, "README~1TXT", FAT_ENTRY_NAME_WIDTH);
    fat_entry_set_attributes(e, FAT_ATTR_READ_ONLY | FAT_ATTR_HIDDEN | FAT_ATTR_SYSTEM |
                                    FAT_ATTR_ARCHIVE);
    fat_entry_set_reserved(e, 0x18);
    fat_entry_set_created_tenths(e, 199);
    fat_entry_set_created_time(e, 0x0201);
    fat_entry_set_created_date(e, 0x0403);
    fat_entry_set_accessed_date(e, 0x0605);
    fat_entry_set_cluster_high(e, 0x0807);
    fat_entry_set_written_time(e, 0x0a09);
    fat_entry_set_written_date(e, 0x0c0b);
    fat_entry_set_cluster_low(e, 0x0e0d);
    fat_entry_set_size(e, 0x14131211);
    assert_memory_equal(e, short_entry, 32);
    assert_int_equal(FAT_ATTR_VOLUME | FAT_ATTR_DIRECTORY, 0x18);

    fat_long_entry_set_order(l, 2);
    fat_long_entry_set_last(l, 1);
    memcpy(l + FAT_LONG_ENTRY_FIRST_CHARS_OFF, "h\0e\0l\0l\0o", 10);
    fat_long_entry_set_attributes(l, FAT_LONG_ATTRIBUTES);
    fat_long_entry_set_checksum(l, 0xa5);
    memcpy(l + FAT_LONG_ENTRY_MIDDLE_CHARS_OFF, ".\0t\0x\0t\0\0\0\xff\xff", 12);
    memset(l + FAT_LONG_ENTRY_LAST_CHARS_OFF, 0xff, FAT_LONG_ENTRY_LAST_CHARS_WIDTH);
    assert_memory_equal(l, long_entry, 32);
    assert_int_equal(l[0], FAT_LONG_LAST | 2);
}

/* 2020-01-02 03:04:06 */
static void test_dates(void **state)
{
    uint8_t d[2] = {0}, t[2] = {0};
    fat_date_set_year(d, 2020 - FAT_YEAR_0);
    fat_date_set_month(d, 1);
    fat_date_set_day(d, 2);
    assert_memory_equal(d, "\x22\x50", 2);
    fat_time_set_hour(t, 3);
    fat_time_set_minute(t, 4);
    fat_time_set_half_seconds(t, 3);
    assert_memory_equal(t, "\x83\x18", 2);
}

/* The tables judge by the same positions. */
static void test_tables(void **state)
{
    struct fat_params small = {.clusters = 4084}, large = {.clusters = 65525};
    struct spec_report r = {0};
    uint8_t b[512] = {0};
    memcpy(b, boot, sizeof(boot));
    fat_boot_set_sectors_32(b, 0);
    fat_boot_set_signature(b, FAT_SIGNATURE);
    const struct spec_structure *s = spec_structure_find(spec_fat(), "boot");
    assert_non_null(s);
    assert_int_equal(spec_structure_check(s, b, &small, 0, &r), 0);
    assert_int_equal(spec_structure_check(s, b, &large, 0, &r), 3); /* BPB-6, BPB-7, BPB-9 */
    fat_boot_set_cluster_sectors(b, 24);
    assert_int_equal(spec_structure_check(s, b, &small, 0, &r), 1); /* BPB-3 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partition), cmocka_unit_test(test_boot),
        cmocka_unit_test(test_boot_32),   cmocka_unit_test(test_entries),
        cmocka_unit_test(test_dates),     cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
