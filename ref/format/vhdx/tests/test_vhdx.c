/*
 * vhdx on simulated disks: random programs against a shadow, the BAT around the edges of its
 * sectors and chunks, replay of the log at every power cut, hostile files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "fault/crash.h"
#include "ref/base/bytes.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/format/vhdx/vhdx.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/sim.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_vhdx, NULL};
#define RW    (OPEN_RDWR | OPEN_RESIZE)
#define DISK  (20 * MiB)
#define IMAGE "driver=vhdx"
#define LOG   (1 * MiB)
#define BAT   (2 * MiB)
#define META  (3 * MiB)

static void make(struct rig *r, const char *options)
{
    struct error *err = NULL;
    struct value *opts = opts_parse(options, NULL, &err);
    if (r->disk[0]) {
        disk_truncate(r->disk[0], 0);
    } else {
        rig_disk(r, 0, 0);
    }
    assert_int_equal(image_create(r->w, &driver_vhdx, "sim:d0", opts, &err), 0);
    value_free(opts);
}

static void poke(struct rig *r, int64_t at, uint64_t v, unsigned width)
{
    uint8_t le[8];
    store_le64(le, v);
    disk_write(r->disk[0], at, le, width);
}

/* Both copies of a header, or of a region table, with a new checksum. */
static void poke_sealed(struct rig *r, int64_t first, size_t bytes, int64_t at, uint64_t v,
                        unsigned width)
{
    uint8_t *p = mem_alloc(bytes);
    for (int i = 0; i < 2; i++, first += 65536) {
        poke(r, first + at, v, width);
        disk_read(r->disk[0], first, p, bytes);
        vhdx_seal(p, bytes);
        disk_write(r->disk[0], first, p, bytes);
    }
    mem_free(p);
}

static uint64_t peek(struct rig *r, int64_t at)
{
    uint8_t le[8];
    disk_read(r->disk[0], at, le, 8);
    return load_le64(le);
}

static void assert_sound(struct rig *r)
{
    struct check_result res = {0};
    struct blk *b = rig_open(r, "sim:d0", IMAGE, OPEN_CHECK);
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    assert_int_equal(res.corruptions, 0);
    blk_unref(b);
}

static void program(struct rig *r)
{
    rig_program(r, IMAGE, DISK, 1500000, 40, 99);
    assert_sound(r);
}

static void programs(struct rig *r)
{
    make(r, "size=20M");
    program(r);
    make(r, "size=20M,block_size=1M,log_size=2M");
    program(r);
    make(r, "size=20M,subformat=fixed");
    program(r);
    make(r, "size=20M,block_state_zero=off,block_size=2M");
    program(r);
}

/* Entries 511 and 512 lie in different sectors of 4 KiB; 4096 is the sector bitmap's. */
static void bat_edges(struct rig *r)
{
    uint8_t buf[512];
    static const int64_t blocks[] = {0, 510, 511, 512, 513, 4095, 4096, 4097, 8190, 8191, 8192};
    make(r, "size=9G,block_size=1M");
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        assert_int_equal(rig_fill(b, blocks[i] * MiB, 512, (uint8_t)(i + 1)), 0);
    }
    blk_unref(b);
    assert_int_equal(peek(r, BAT + 8 * 4096), 0);
    assert_int_equal(peek(r, BAT + 8 * 4097) & 7, VHDX_STATE_FULLY_PRESENT);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
        assert_int_equal(blk_pread(b, blocks[i] * MiB, buf, 512), 0);
        assert_int_equal(buf[511], i + 1);
        assert_int_equal(blk_pread(b, blocks[i] * MiB + 512, buf, 512), 0);
        assert_int_equal(buf[0], 0);
    }
    blk_unref(b);
    assert_sound(r);
}

/* Sectors of 4 KiB: the chunk is eight times as large, requests are aligned to them. */
static void sectors_4k(struct rig *r)
{
    uint8_t buf[4096];
    make(r, "size=9G,block_size=1M");
    poke(r, META + 65536 + 32, 4096, 4);
    poke(r, META + 65536 + 36, 4096, 4);
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 4096 * MiB + 512, 512, 7), 0);
    blk_unref(b);
    assert_int_equal(peek(r, BAT + 8 * 4096) & 7, VHDX_STATE_FULLY_PRESENT);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    assert_int_equal(blk_pread(b, 4096 * MiB, buf, 4096), 0);
    assert_int_equal(buf[511], 0);
    assert_int_equal(buf[512], 7);
    blk_unref(b);
}

/* What a cut leaves: acknowledged bytes are there, others are old, new or zero. */
static void judge_state(struct rig *r, const struct disk *state, size_t marks)
{
    uint8_t buf[512];
    disk_assign(r->disk[1], state);
    struct blk *b = rig_open(r, "sim:d1", IMAGE, RW);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(blk_pread(b, (int64_t)i * MiB, buf, 512), 0);
        assert_true(buf[0] == i + 1 || (i >= marks && buf[0] == 0));
        assert_int_equal(buf[0], buf[511]);
    }
    struct check_result res = {0};
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    assert_int_equal(res.corruptions, 0);
    blk_unref(b);
    b = rig_open(r, "sim:d1", IMAGE, 0); /* nothing is left in the log */
    blk_unref(b);
}

/* Power is cut at every point of three allocating writes, each acknowledged by a flush. */
static void power_cuts(struct rig *r)
{
    make(r, "size=4M,block_size=1M");
    rig_disk(r, 1, 0);
    struct disk_set base = {.n = 1, .disk = {disk_clone(r->disk[0])}};
    struct disk_log *log = disk_log_new(disk_pool_of(r->disk[0]));
    struct sim_disk d = {.disk = r->disk[0], .log = log};
    sim_register(r->w, "d0", &d);
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_fill(b, i * MiB, 512, (uint8_t)(i + 1)), 0);
        assert_int_equal(blk_flush(b, NULL), 0);
        disk_log_mark(log, "flush");
    }
    blk_unref(b);
    struct crash_iter *it = crash_iter_new(&base, log, &crash_bounds_default);
    struct crash_state s;
    unsigned n = 0;
    for (; crash_iter_next(it, &s); n++) {
        judge_state(r, s.set->disk[0], s.marks);
    }
    assert_true(n > 30);
    crash_iter_free(it);
    disk_set_free(&base);
    d.log = NULL;
    sim_register(r->w, "d0", &d);
    disk_log_free(log);
}

/* A log that needs replaying: entry 0 of the BAT becomes a block at 8 MiB. */
static void put_log(struct rig *r, uint64_t target, uint64_t length)
{
    uint8_t e[8192] = {0}, *d = e + VHDX_LOG_ENTRY_SIZE;
    poke_sealed(r, VHDX_HEADER1_OFFSET, VHDX_HEADER_BYTES, VHDX_HEADER_LOG_GUID_OFF, 0x77, 8);
    vhdx_log_entry_set_signature(e, VHDX_LOG_SIGNATURE);
    vhdx_log_entry_set_entry_length(e, (uint32_t)length);
    vhdx_log_entry_set_sequence_number(e, 5);
    vhdx_log_entry_set_descriptor_count(e, 1);
    e[VHDX_LOG_ENTRY_LOG_GUID_OFF] = 0x77;
    vhdx_log_entry_set_last_file_offset(e, 16 * MiB);
    vhdx_log_desc_set_signature(d, VHDX_DESC_SIGNATURE);
    vhdx_log_desc_set_leading(d, 8 * MiB | VHDX_STATE_FULLY_PRESENT);
    vhdx_log_desc_set_file_offset(d, target);
    vhdx_log_desc_set_sequence_number(d, 5);
    vhdx_log_data_set_signature(e + 4096, VHDX_DATA_SIGNATURE);
    vhdx_log_data_set_sequence_low(e + 4096, 5);
    vhdx_seal(e, sizeof(e));
    disk_write(r->disk[0], LOG, e, sizeof(e));
}

static void replay(struct rig *r)
{
    make(r, "size=4M");
    put_log(r, BAT, 8192);
    rig_open_fails(r, "sim:d0", IMAGE, 0,
                   "VHDX image file 'sim:d0' opened read-only, but contains a log that needs to be "
                   "replayed");
    struct check_result res = {0};
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW | OPEN_CHECK);
    assert_int_equal(node_check(blk_node(b), &res, FIX_ERRORS), 0);
    assert_int_equal(res.corruptions_fixed, 1);
    blk_unref(b);
    assert_int_equal(peek(r, BAT), 8 * MiB | VHDX_STATE_FULLY_PRESENT);
    assert_int_equal(disk_size(r->disk[0]), 16 * MiB);
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
    /* Targets that no log may have: the headers, the log itself, half a sector. */
    static const uint64_t bad[] = {VHDX_HEADER1_OFFSET, LOG + 4096, BAT + 512, UINT64_MAX - 4095};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        make(r, "size=4M");
        put_log(r, bad[i], 8192);
        rig_open_fails(r, "sim:d0", IMAGE, RW, "Could not replay the VHDX log: Invalid argument");
    }
    /* An entry that is not sound is none. */
    make(r, "size=4M");
    put_log(r, BAT, 4096);
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
    make(r, "size=4M");
    put_log(r, BAT, 2 * LOG);
    blk_unref(rig_open(r, "sim:d0", IMAGE, RW));
    assert_int_equal(peek(r, BAT), VHDX_STATE_ZERO);
}

static void headers(struct rig *r)
{
    make(r, "size=4M");
    poke(r, VHDX_HEADER2_OFFSET + 100, 1, 1); /* the other one does */
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    blk_unref(b);
    poke(r, VHDX_HEADER1_OFFSET + 100, 1, 1); /* both were written */
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
    poke(r, VHDX_HEADER2_OFFSET + 100, 1, 1);
    rig_open_fails(r, "sim:d0", IMAGE, 0, "No valid VHDX header found");
    make(r, "size=4M");
    poke(r, VHDX_REGION1_OFFSET + 100, 1, 1); /* the second region table stands in */
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
    poke(r, VHDX_REGION2_OFFSET + 100, 1, 1);
    rig_open_fails(r, "sim:d0", IMAGE, 0, "No valid VHDX region table found");
    make(r, "size=4M");
    poke_sealed(r, VHDX_HEADER1_OFFSET, VHDX_HEADER_BYTES, 8, UINT64_MAX, 8);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), -EOVERFLOW);
    blk_unref(b);
}

static void hostile(struct rig *r)
{
    static const struct {
        int64_t at;
        uint64_t value;
        unsigned width;
        const char *why;
    } cases[] = {
        {0, 'X', 1, "Image not in VHDX format"},
        {META, 'x', 1, "VHDX metadata table is not valid"},
        {META + 10, 2048, 2, "VHDX metadata table is not valid"},
        {META + 10, 4, 2, "VHDX metadata lacks an item that is required"},
        {META + 48, 100, 4, "VHDX metadata item at 0x64 is not valid"},
        {META + 48, 0xfffffff0, 4, "VHDX metadata item at 0xfffffff0 is not valid"},
        {META + 65536, 0, 4, "VHDX block size 0 is not valid"},
        {META + 65536, 3 << 20, 4, "VHDX block size 3145728 is not valid"},
        {META + 65536, 1 << 29, 4, "VHDX block size 536870912 is not valid"},
        {META + 65540, 2, 4, "VHDX differencing images are not supported"},
        {META + 65544, UINT64_C(65) << 40, 8, "VHDX disk size 71468255805440 is not valid"},
        {META + 65544, UINT64_MAX - 511, 8, "VHDX disk size 18446744073709551104 is not valid"},
        {META + 65544, UINT64_C(1) << 55, 8,
         "VHDX disk size 36028797018963968 is not valid"}, /* 2^32 blocks */
        {META + 65544, UINT64_C(1) << 46, 8, "VHDX BAT has no room for 8404991 entries"},
        {META + 65568, 0, 4, "VHDX logical sector size 0 is not supported"},
        {META + 65568, 513, 4, "VHDX logical sector size 513 is not supported"},
        {BAT, UINT64_C(1) << 40 | 6, 8, "VHDX BAT is corrupt"},
        {BAT, META | 6, 8, "VHDX BAT is corrupt"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make(r, "size=4M");
        poke(r, cases[i].at, cases[i].value, cases[i].width);
        rig_open_fails(r, "sim:d0", IMAGE, 0, cases[i].why);
    }
    static const struct {
        int64_t at;
        uint64_t value;
        unsigned width;
        const char *why;
    } regions[] = {
        {8, 2048, 4, "No valid VHDX region table found"},
        {8, 1, 4, "VHDX region table lacks the BAT or the metadata"},
        {16, 0, 8, "A VHDX region that is required is not known"},
        {32, META, 8, "VHDX regions overlap"},
        {32, UINT64_MAX - 0xfffff, 8, "VHDX region 0xfffffffffff00000+0x100000 is not valid"},
        {40, 0, 4, "VHDX region 0x200000+0x0 is not valid"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(regions); i++) {
        make(r, "size=4M");
        poke_sealed(r, VHDX_REGION1_OFFSET, VHDX_TABLE_BYTES, regions[i].at, regions[i].value,
                    regions[i].width);
        rig_open_fails(r, "sim:d0", IMAGE, 0, regions[i].why);
    }
    make(r, "size=4M");
    poke(r, BAT, 7, 8); /* partially present, without a parent */
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    uint8_t buf[512];
    assert_int_equal(blk_pread(b, 0, buf, 512), -EIO);
    assert_int_equal(rig_fill(b, 0, 512, 1), -EIO);
    blk_unref(b);
    make(r, "size=4M,block_size=1M,subformat=fixed"); /* two entries with one block, with a half */
    poke(r, BAT + 8, peek(r, BAT), 8);
    rig_open_fails(r, "sim:d0", IMAGE, 0, "VHDX BAT is corrupt");
    make(r, "size=8M,block_size=2M,subformat=fixed");
    poke(r, BAT + 8, peek(r, BAT) + MiB, 8);
    rig_open_fails(r, "sim:d0", IMAGE, 0, "VHDX BAT is corrupt");
}

static void test_crc32c(void **state)
{
    assert_int_equal(vhdx_crc32c(0, "123456789", 9), 0xe3069283); /* the check value */
    assert_int_equal(vhdx_crc32c(vhdx_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(programs)
TEST(bat_edges)
TEST(sectors_4k)
TEST(power_cuts)
TEST(replay)
TEST(headers)
TEST(hostile)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),     cmocka_unit_test(test_programs),
        cmocka_unit_test(test_bat_edges),  cmocka_unit_test(test_sectors_4k),
        cmocka_unit_test(test_power_cuts), cmocka_unit_test(test_replay),
        cmocka_unit_test(test_headers),    cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
