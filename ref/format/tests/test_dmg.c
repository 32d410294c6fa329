/*
 * dmg: images built here from chunks, as property list and as resource fork, read back; damaged
 * chunks fail alone; what must be refused or warned of, with its message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <bzlib.h>
#include <errno.h>
#include <zlib.h>
#include "ref/base/bytes.h"
#include "ref/base/strbuf.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_raw, &driver_dmg, NULL};

#define ON_D0 "driver=dmg,file.driver=sim,file.disk=d0,read-only=on"
#define CHUNK 1024 /* bytes of a chunk unpacked: two sectors */

enum {
    ZERO = 0,
    RAW = 1,
    IGNORE = 2,
    ADC = (int)0x80000004,
    ZLIB,
    BZIP2,
    LZFSE,
    COMMENT = 0x7ffffffe,
    END = -1
};

/* An image in the making: data fork, one table of chunks, and what the trailer says. */
struct image {
    uint8_t data[4096], table[1024], trailer[512];
    size_t data_len, table_len;
    const char *text; /* in place of the property list, or NULL */
    bool fork;        /* table in a resource fork */
};

static void start(struct image *im)
{
    memset(im, 0, sizeof(*im));
    memcpy(im->table, "mish", 4);
    im->table_len = 204;
    memcpy(im->trailer, "koly", 4);
    store_be64(im->trailer + 0x1ec, 12);
}

static void chunk(struct image *im, int type, uint64_t sector, uint64_t sectors, uint64_t offset,
                  uint64_t length)
{
    uint8_t *p = im->table + im->table_len;
    store_be32(p, (uint32_t)type);
    store_be64(p + 8, sector);
    store_be64(p + 16, sectors);
    store_be64(p + 24, offset);
    store_be64(p + 32, length);
    im->table_len += 40;
}

/* Two sectors of one value, packed. */
static void packed(struct image *im, int type, uint64_t sector, int value)
{
    uint8_t plain[CHUNK], *out = im->data + im->data_len;
    size_t room = sizeof(im->data) - im->data_len;
    memset(plain, value, sizeof(plain));
    if (type == ZLIB) {
        uLongf len = room;
        assert_int_equal(compress(out, &len, plain, CHUNK), Z_OK);
        room = len;
    } else if (type == BZIP2) {
        unsigned len = (unsigned)room;
        assert_int_equal(BZ2_bzBuffToBuffCompress((char *)out, &len, (char *)plain, CHUNK, 1, 0, 0),
                         BZ_OK);
        room = len;
    } else {
        memcpy(out, plain, CHUNK);
        room = CHUNK;
    }
    chunk(im, type, sector, 2, im->data_len, room);
    im->data_len += room;
}

static void base64(struct strbuf *b, const uint8_t *p, size_t len)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v =
            (uint32_t)p[i] << 16 | (i + 1 < len ? p[i + 1] << 8 : 0) | (i + 2 < len ? p[i + 2] : 0);
        strbuf_printf(b, "%c%c%c%c%s", set[v >> 18], set[v >> 12 & 63],
                      i + 1 < len ? set[v >> 6 & 63] : '=', i + 2 < len ? set[v & 63] : '=',
                      i % 45 == 42 ? "\n\t" : "");
    }
}

/* Data, fork or list, trailer to d0. */
static void put(struct rig *r, struct image *im)
{
    struct error *err = NULL;
    struct strbuf text = {0};
    uint8_t fork[0x100 + 4 + sizeof(im->table)] = {0, 0, 1, 0};
    const void *part = fork;
    size_t len = 0x104 + im->table_len;
    if (im->fork) {
        store_be32(fork + 8, (uint32_t)im->table_len + 4);
        store_be32(fork + 0x100, (uint32_t)im->table_len);
        memcpy(fork + 0x104, im->table, im->table_len);
    } else {
        strbuf_printf(&text, "<plist><data>\n");
        base64(&text, im->table, im->table_len);
        strbuf_printf(&text, "\n</data></plist>");
        part = im->text ? im->text : text.s;
        len = strlen(part);
    }
    uint8_t *at = im->trailer + (im->fork ? 0x28 : 0xd8);
    if (!load_be64(at)) {
        store_be64(at, im->data_len);
        store_be64(at + 8, len);
    }
    if (!r->disk[0]) {
        rig_disk(r, 0, 0);
    }
    int64_t size = (int64_t)(im->data_len + len + 512);
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", OPEN_RDWR | OPEN_RESIZE);
    assert_int_equal(blk_truncate(b, 0, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(blk_truncate(b, size, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(blk_pwrite(b, 0, im->data, (int64_t)im->data_len, 0), 0);
    assert_int_equal(blk_pwrite(b, (int64_t)im->data_len, part, (int64_t)len, 0), 0);
    assert_int_equal(blk_pwrite(b, size - 512, im->trailer, 512, 0), 0);
    blk_unref(b);
    strbuf_free(&text);
}

static void full(struct image *im)
{
    start(im);
    packed(im, RAW, 0, 'A');
    packed(im, ZLIB, 2, 'B');
    packed(im, BZIP2, 4, 'C');
    chunk(im, ZERO, 6, 2, 0, 0);
    chunk(im, COMMENT, 8, 2, 0, 0);
    chunk(im, IGNORE, 8, 1, 0, 0);
    chunk(im, END, 9, 0, 0, 0);
}

static void check_full(struct rig *r, struct image *im)
{
    uint8_t buf[9 * 512];
    put(r, im);
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    assert_int_equal(blk_length(b), 12 * 512);
    rig_check(b, 0, CHUNK, 'A');
    rig_check(b, CHUNK, CHUNK, 'B');
    rig_check(b, 2 * CHUNK, CHUNK, 'C');
    rig_check(b, 3 * CHUNK, CHUNK + 512, 0);
    assert_int_equal(blk_pread(b, 9 * 512, buf, 512), -EIO); /* no chunk */
    assert_int_equal(blk_pread(b, 100, buf, sizeof(buf) - 100), 0);
    for (int i = 100; i < 9 * 512; i++) {
        assert_int_equal(buf[i - 100], i < 3 * CHUNK ? 'A' + i / CHUNK : 0);
    }
    blk_unref(b);
}

static void plist(struct rig *r)
{
    struct image im;
    full(&im);
    check_full(r, &im);
    assert_int_equal(r->out.len, 0);
    rig_open_fails(r, NULL, "driver=dmg,file.driver=sim,file.disk=d0", OPEN_RDWR,
                   "Image is read-only");
}

static void resource_fork(struct rig *r)
{
    struct image im;
    full(&im);
    im.fork = true;
    check_full(r, &im);
}

/* Offsets and sectors count from those of the table, and from the data fork. */
static void moved(struct rig *r)
{
    struct image im;
    start(&im);
    packed(&im, RAW, 0, 'A');
    packed(&im, RAW, 2, 'B');
    store_be64(im.table + 8, 4);       /* first sector */
    store_be64(im.table + 24, 24);     /* data offset */
    store_be64(im.trailer + 24, 1000); /* data fork */
    put(r, &im);
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    rig_check(b, 4 * 512, CHUNK, 'B');
    blk_unref(b);
}

/* A chunk that does not unpack to just its sectors fails; the others do not. */
static void damaged(struct rig *r)
{
    uint8_t buf[512];
    struct image im;
    start(&im);
    packed(&im, ZLIB, 0, 'A');
    im.data[im.data_len - 1] ^= 1;
    packed(&im, BZIP2, 2, 'B');
    im.data[im.data_len - 1] ^= 0x55;
    im.data[im.data_len - 3] ^= 0x55;
    packed(&im, ZLIB, 4, 'C');
    chunk(&im, ZLIB, 6, 2, 0, 0);
    chunk(&im, BZIP2, 8, 2, INT64_MAX - 10, 64 << 20);
    chunk(&im, RAW, 10, 1, INT64_MAX - 10, 512);
    chunk(&im, RAW, 11, 1, 1 << 30, 512); /* behind the end of the file */
    put(r, &im);
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    static const int fails[] = {0, 2, 6, 8, 10};
    for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
        assert_int_equal(blk_pread(b, fails[i] * 512, buf, 512), -EIO);
    }
    rig_check(b, 4 * 512, CHUNK, 'C');
    rig_check(b, 11 * 512, 512, 0);
    blk_unref(b);
    /* As they are, but more or less than the chunk's sectors (CVE-2014-0145). */
    for (int sectors = 1; sectors <= 3; sectors += 2) {
        start(&im);
        packed(&im, RAW, 0, 'A');
        packed(&im, ZLIB, 4, 'C');
        store_be64(im.table + 204 + 16, (uint64_t)sectors);
        put(r, &im);
        b = rig_open(r, NULL, ON_D0, 0);
        rig_check(b, 0, 512, 'A');
        rig_check(b, (sectors - 1) * 512, 512, sectors == 1 ? 'A' : 0);
        rig_check(b, 4 * 512, CHUNK, 'C');
        blk_unref(b);
    }
    /* Longer and shorter than the chunk. */
    for (int sectors = 1; sectors <= 3; sectors += 2) {
        start(&im);
        packed(&im, ZLIB, 0, 'A');
        store_be64(im.table + 204 + 16, (uint64_t)sectors);
        put(r, &im);
        b = rig_open(r, NULL, ON_D0, 0);
        assert_int_equal(blk_pread(b, 0, buf, 512), -EIO);
        blk_unref(b);
    }
}

static void cannot_unpack(struct rig *r)
{
    uint8_t buf[512];
    struct image im;
    start(&im);
    chunk(&im, ADC, 0, 2, 0, 10);
    chunk(&im, ADC, 2, 2, 0, 10);
    chunk(&im, LZFSE, 4, 2, 0, 10);
    chunk(&im, LZFSE, 6, 2, 0, 10);
    packed(&im, RAW, 8, 'A');
    put(r, &im);
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    for (int s = 0; s < 8; s++) {
        assert_int_equal(blk_pread(b, s * 512, buf, 512), -EIO);
    }
    rig_check(b, 8 * 512, CHUNK, 'A');
    blk_unref(b);
    const char *said = r->out.s,
               *lzfse = strstr(said, "dmg-lzfse module is missing, accessing lzfse "
                                     "compressed blocks will result in I/O errors");
    assert_non_null(strstr(
        said, "Image contains chunks of unknown type 80000004, accessing them will result in "
              "I/O errors"));
    assert_non_null(lzfse);
    assert_null(strstr(lzfse + 1, "dmg-lzfse")); /* once */
}

#define REFUSED "Could not open 'sim:d0': Invalid argument"

static void bad_chunks(struct rig *r)
{
    static const struct {
        int type;
        uint64_t sectors, length;
        const char *said;
    } rows[] = {
        {RAW, 131073, 10, "sector count 131073 for chunk 1 is larger than max (131072)"},
        {ZLIB, UINT64_MAX, 10,
         "sector count 18446744073709551615 for chunk 1 is larger than max (131072)"},
        {BZIP2, 1ULL << 55, 10,
         "sector count 36028797018963968 for chunk 1 is larger than max (131072)"},
        {RAW, 1, (64 << 20) + 1, "length 67108865 for chunk 1 is larger than max (67108864)"},
        {ZERO, 1, 1ULL << 63,
         "length 9223372036854775808 for chunk 1 is larger than max (67108864)"},
    };
    struct image im;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        start(&im);
        packed(&im, RAW, 0, 'A');
        chunk(&im, rows[i].type, 2, rows[i].sectors, 0, rows[i].length);
        put(r, &im);
        rig_open_fails(r, "sim:d0", "driver=dmg,read-only=on", 0, REFUSED);
        assert_non_null(strstr(r->out.s, rows[i].said));
    }
    /* Zeroes may be as long as they like. */
    start(&im);
    chunk(&im, ZERO, 0, UINT64_MAX, 0, 0);
    put(r, &im);
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    rig_check(b, 0, 12 * 512, 0);
    blk_unref(b);
}

static void bad_trailers(struct rig *r)
{
    static const struct {
        int at;
        uint64_t bad;
        const char *msg;
    } rows[] = {
        {0, 0, "Could not locate UDIF trailer in dmg file"},
        {0x18, 1 << 30, REFUSED},
        {0x18, 1ULL << 63, REFUSED},
        {0x28, 1 << 30, REFUSED},
        {0x30, 1 << 30, REFUSED},
        {0x28, UINT64_MAX, REFUSED},
        {0x30, UINT64_MAX, REFUSED},
        {0xd8, 1 << 30, REFUSED},
        {0xd8, UINT64_MAX, REFUSED},
        {0x1ec, 1ULL << 63, REFUSED},
        {0x1ec, 1ULL << 54, "Could not refresh total sector count: File too large"},
        {0x1ec, INT64_MAX, "Could not refresh total sector count: File too large"},
    };
    struct image im;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        full(&im);
        store_be64(im.trailer + rows[i].at, rows[i].bad);
        put(r, &im);
        rig_open_fails(r, "sim:d0", "driver=dmg,read-only=on", 0, rows[i].msg);
    }
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", OPEN_RDWR | OPEN_RESIZE);
    struct error *err = NULL;
    assert_int_equal(blk_truncate(b, 0, true, PREALLOC_OFF, 0, &err), 0);
    blk_unref(b);
    rig_open_fails(r, "sim:d0", "driver=dmg,read-only=on", 0,
                   "dmg file must be at least 512 bytes long");
}

/* Neither text nor items that are no tables harm: there are just no chunks. */
static void no_chunks(struct rig *r)
{
    static const char *const texts[] = {"hello",
                                        "<data>!!!!</data>",
                                        "<data></data>",
                                        "<data>bWlzaA==</data>",
                                        "<DATA>bWlzaA==</DATA>",
                                        NULL};
    uint8_t buf[512];
    struct image im;
    for (int i = 0; i < (int)ARRAY_SIZE(texts); i++) {
        full(&im);
        im.text = texts[i];
        im.table_len = texts[i] ? im.table_len : 204;
        put(r, &im);
        struct blk *b = rig_open(r, NULL, ON_D0, 0);
        assert_int_equal(blk_pread(b, 0, buf, 512), -EIO);
        assert_int_equal(blk_pread(b, 11 * 512, buf, 512), -EIO);
        blk_unref(b);
    }
    full(&im);
    im.text = "<data>bWlzaA==";
    put(r, &im);
    rig_open_fails(r, "sim:d0", "driver=dmg,read-only=on", 0, REFUSED);
}

static void probing(struct rig *r)
{
    assert_int_equal(driver_dmg.probe(NULL, 0, "a.dmg"), 2);
    assert_int_equal(driver_dmg.probe(NULL, 0, ".dmg"), 0);
    assert_int_equal(driver_dmg.probe(NULL, 0, "a.dmg.gz"), 0);
    assert_int_equal(driver_dmg.probe(NULL, 0, NULL), 0);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(plist)
TEST(resource_fork)
TEST(moved)
TEST(damaged)
TEST(cannot_unpack)
TEST(bad_chunks)
TEST(bad_trailers)
TEST(no_chunks)
TEST(probing)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plist),         cmocka_unit_test(test_resource_fork),
        cmocka_unit_test(test_moved),         cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_cannot_unpack), cmocka_unit_test(test_bad_chunks),
        cmocka_unit_test(test_bad_trailers),  cmocka_unit_test(test_no_chunks),
        cmocka_unit_test(test_probing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
