/*
 * Layouts: sizes of QEMU 7.2's disks, their first sectors as QEMU was seen to write them (read with
 * qemu-img convert), and what FAT of 32 bits needs by its document.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/protocol/vvfat/vvfat.h"

static const uint8_t *const label = (const uint8_t *)"QEMU VVFAT ";

static void test_sizes(void **state)
{
    static const struct {
        unsigned bits;
        bool floppy;
        unsigned got;
        uint32_t disk, start, cluster, fat, data, clusters;
    } cases[] = {
        {0, false, 16, 1032192, 63, 16, 252, 537, 64474},
        {16, false, 16, 1032192, 63, 16, 252, 537, 64474},
        {12, false, 12, 64512, 63, 16, 12, 57, 4024},
        {0, true, 12, 5760, 0, 16, 2, 37, 357},
        {12, true, 12, 2880, 0, 16, 1, 35, 177},
        {16, true, 16, 5760, 0, 1, 23, 79, 5681},            /* ours: clusters of a sector, LAY-3 */
        {32, false, 32, 1032192, 63, 8, 1006, 2044, 128760}, /* ours: clusters of 4 KiB */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fat_layout l;
        struct error *err = NULL;
        assert_int_equal(fat_layout_choose(&l, cases[i].bits, cases[i].floppy, &err), 0);
        assert_int_equal(l.bits, cases[i].got);
        assert_int_equal(fat_disk_sectors(&l), cases[i].disk);
        assert_int_equal(l.start, cases[i].start);
        assert_int_equal(l.sectors, cases[i].disk - cases[i].start);
        assert_int_equal(l.cluster_sectors, cases[i].cluster);
        assert_int_equal(l.fat_sectors, cases[i].fat);
        assert_int_equal(fat_data_sector(&l), cases[i].data);
        assert_int_equal(l.clusters, cases[i].clusters);
        unsigned by_count = l.clusters < 4085 ? 12 : l.clusters < 65525 ? 16 : 32;
        assert_int_equal(by_count, l.bits); /* LAY-3 */
        assert_true((l.clusters + 2) * (uint64_t)l.bits <= l.fat_sectors * 512 * 8ull);
    }
    struct fat_layout l;
    struct error *err = NULL;
    assert_int_equal(fat_layout_choose(&l, 32, true, &err), -EINVAL);
    assert_string_equal(err->msg, "A disk of 2.88 MB has too few clusters for FAT32");
    error_free(err);
}

static void boot_sector(unsigned bits, bool floppy, uint8_t *buf)
{
    struct fat_layout l;
    memset(buf, 0, 512);
    assert_int_equal(fat_layout_choose(&l, bits, floppy, NULL), 0);
    fat_put_reserved(&l, 0, label, 0, buf);
    assert_memory_equal(buf + 510, "\x55\xaa", 2);
}

static void test_boot_sectors(void **state)
{
    /* clang-format off */
    static const uint8_t fat16[] = {
        0xeb, 0x3e, 0x90, 0x4d, 0x53, 0x57, 0x49, 0x4e, 0x34, 0x2e, 0x31, 0x00, 0x02, 0x10, 0x01, 0x00,
        0x02, 0x00, 0x02, 0x00, 0x00, 0xf8, 0xfc, 0x00, 0x3f, 0x00, 0x10, 0x00, 0x3f, 0x00, 0x00, 0x00,
        0xc1, 0xbf, 0x0f, 0x00, 0x80, 0x00, 0x29, 0xfd, 0x1a, 0xbe, 0xfa, 0x51, 0x45, 0x4d, 0x55, 0x20,
        0x56, 0x56, 0x46, 0x41, 0x54, 0x20, 0x46, 0x41, 0x54, 0x31, 0x36, 0x20, 0x20, 0x20, 0x00, 0x00};
    static const uint8_t fat12_16_to_47[] = {
        0x02, 0x00, 0x02, 0xc1, 0xfb, 0xf8, 0x0c, 0x00, 0x3f, 0x00, 0x10, 0x00, 0x3f, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x29, 0xfd, 0x1a, 0xbe, 0xfa, 0x51, 0x45, 0x4d, 0x55, 0x20};
    static const uint8_t floppy_16_to_47[] = {
        0x02, 0x00, 0x02, 0x80, 0x16, 0xf0, 0x02, 0x00, 0x24, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x29, 0xfd, 0x1a, 0xbe, 0xfa, 0x51, 0x45, 0x4d, 0x55, 0x20};
    static const uint8_t floppy12_16_to_31[] = {
        0x02, 0x00, 0x02, 0x40, 0x0b, 0xf0, 0x01, 0x00, 0x12, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00};
    /* clang-format on */
    uint8_t buf[512];
    boot_sector(16, false, buf);
    assert_memory_equal(buf, fat16, sizeof(fat16));
    assert_true(buf_is_zero(buf + 64, 446));
    boot_sector(12, false, buf);
    assert_memory_equal(buf, fat16, 16);
    assert_memory_equal(buf + 16, fat12_16_to_47, sizeof(fat12_16_to_47));
    assert_memory_equal(buf + 54, "FAT12   ", 8);
    boot_sector(0, true, buf);
    assert_memory_equal(buf, fat16, 16);
    assert_memory_equal(buf + 16, floppy_16_to_47, sizeof(floppy_16_to_47));
    boot_sector(12, true, buf);
    assert_memory_equal(buf + 16, floppy12_16_to_31, sizeof(floppy12_16_to_31));
}

static void test_partition_table(void **state)
{
    static const struct {
        unsigned bits;
        uint8_t entry[16];
    } cases[] = {
        {16, {0x80, 1, 1, 0, 0x06, 0x0f, 0xff, 0xff, 0x3f, 0, 0, 0, 0xc1, 0xbf, 0x0f, 0}},
        {12, {0x80, 1, 1, 0, 0x01, 0x0f, 0x3f, 0x3f, 0x3f, 0, 0, 0, 0xc1, 0xfb, 0x00, 0}},
        {32, {0x80, 1, 1, 0, 0x0b, 0x0f, 0xff, 0xff, 0x3f, 0, 0, 0, 0xc1, 0xbf, 0x0f, 0}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct fat_layout l;
        uint8_t buf[512] = {0};
        assert_int_equal(fat_layout_choose(&l, cases[i].bits, false, NULL), 0);
        fat_put_mbr(&l, buf);
        assert_true(buf_is_zero(buf, 440));
        assert_memory_equal(buf + 440, "\xfa\xfd\x1a\xbe\0\0", 6);
        assert_memory_equal(buf + 446, cases[i].entry, 16);
        assert_true(buf_is_zero(buf + 462, 48));
        assert_memory_equal(buf + 510, "\x55\xaa", 2);
    }
}

/* The copy of the boot sector, the free-cluster sector (BPB-14, INF-2), and nothing in between. */
static void test_reserved_32(void **state)
{
    struct fat_layout l;
    assert_int_equal(fat_layout_choose(&l, 32, false, NULL), 0);
    for (uint32_t i = 0; i < l.reserved; i++) {
        uint8_t buf[512] = {0};
        fat_put_reserved(&l, i, label, 3, buf);
        if (i == 0 || i == 6) {
            assert_int_equal(fat_boot_get_cluster_sectors(buf), 8);
            assert_int_equal(fat_boot_get_reserved_sectors(buf), 32);
            assert_int_equal(fat_boot_get_root_entries(buf), 0);
            assert_int_equal(fat_boot_get_sectors_16(buf), 0);
            assert_int_equal(fat_boot_get_fat_sectors_16(buf), 0);
            assert_int_equal(fat_boot_get_sectors_32(buf), 1032129);
            assert_int_equal(fat_boot_32_get_fat_sectors(buf), 1006);
            assert_int_equal(fat_boot_32_get_root_cluster(buf), 2);
            assert_int_equal(fat_boot_32_get_info_sector(buf), 1);
            assert_int_equal(fat_boot_32_get_backup_sector(buf), 6);
            assert_memory_equal(buf + 71, "QEMU VVFAT FAT32   ", 19);
            assert_memory_equal(buf + 510, "\x55\xaa", 2);
        } else if (i == 1 || i == 7) {
            assert_memory_equal(buf, "RRaA", 4);
            assert_int_equal(fat_info_get_free_clusters(buf), 128757);
            assert_int_equal(fat_info_get_next_free(buf), 5);
            assert_memory_equal(buf + 508, "\0\0\x55\xaa", 4);
        } else {
            assert_true(buf_is_zero(buf, sizeof(buf)));
        }
    }
    uint8_t buf[512] = {0};
    fat_put_reserved(&l, 1, label, l.clusters, buf); /* full */
    assert_int_equal(fat_info_get_free_clusters(buf), 0);
    assert_int_equal(fat_info_get_next_free(buf), 0xffffffff);
}

/* Tables of a tree with a bare root, a file in clusters 2 to 342 and one in 343. */
static void test_tables(void **state)
{
    struct fat_file files[] = {
        {.first = 2},
        {.first = 2, .count = 341, .size = 1},
        {.first = 343, .count = 1, .size = 1},
    };
    struct fat_tree t = {.files = files, .count = 3, .used = 342};
    struct fat_layout l;
    uint8_t buf[512] = {0};
    assert_int_equal(fat_layout_choose(&l, 12, true, NULL), 0);
    fat_put_table(&l, &t, 0, buf);
    assert_memory_equal(buf, "\xf0\xff\xff\x03\x40\x00\x05\x60\x00", 9);
    /* Entry 341 lies across sectors: 342 is 0x156, of which a half byte is here. */
    assert_memory_equal(buf + 507, "\x53\x41\x15\x55\x61", 5);
    memset(buf, 0, sizeof(buf));
    fat_put_table(&l, &t, 1, buf);
    assert_memory_equal(buf, "\x15\xff\xff\xff\x00\x00", 6);

    assert_int_equal(fat_layout_choose(&l, 16, false, NULL), 0);
    memset(buf, 0, sizeof(buf));
    fat_put_table(&l, &t, 1, buf);
    assert_memory_equal(buf, "\x01\x01\x02\x01", 4);
    assert_memory_equal(buf + 2 * (342 - 256), "\xff\xff\xff\xff\x00\x00", 6);
    memset(buf, 0, sizeof(buf));
    fat_put_table(&l, &t, 0, buf);
    assert_memory_equal(buf, "\xf8\xff\xff\xff\x03\x00", 6);

    assert_int_equal(fat_layout_choose(&l, 32, false, NULL), 0);
    memset(buf, 0, sizeof(buf));
    fat_put_table(&l, &t, 0, buf);
    assert_memory_equal(buf, "\xf8\xff\xff\x0f\xff\xff\xff\x0f\x03\0\0\0", 12);
    memset(buf, 0, sizeof(buf));
    fat_put_table(&l, &t, 2, buf);
    assert_memory_equal(buf + 4 * (342 - 256), "\xff\xff\xff\x0f\xff\xff\xff\x0f\0\0\0\0", 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),           cmocka_unit_test(test_boot_sectors),
        cmocka_unit_test(test_partition_table), cmocka_unit_test(test_reserved_32),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
