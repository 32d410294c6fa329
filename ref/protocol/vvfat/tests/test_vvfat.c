/*
 * The driver on directories made for it: what the disk holds, file contents read when asked for,
 * files that changed since, options, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "ref/block/node.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"
#include "ref/protocol/vvfat/vvfat.h"

static const struct block_driver *const drivers[] = {&driver_vvfat, NULL};
#define FLOPPY   "driver=vvfat,dir=d,floppy=on,fat-type=12"
#define ROOT     (3 * 512)  /* of such a floppy */
#define CLUSTERS (35 * 512) /* cluster 2 */
#define CLUSTER  8192

/* A directory "d" in a place of its own for each test, entered and left again. */
static char place[] = "/tmp/blkref-vvfat-XXXXXX";

static int enter_place(void **state)
{
    setenv("TZ", "UTC", 1);
    tzset();
    strcpy(place + strlen(place) - 6, "XXXXXX");
    return mkdtemp(place) && chdir(place) == 0 ? mkdir("d", 0700) : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int leave_place(void **state)
{
    return chdir("/") == 0 ? nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS) : -1;
}

static void put_file(const char *path, const void *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
}

/* Modification and access times; an inode's change cannot be set. */
static void put_times(const char *path, time_t t)
{
    struct timespec ts[2] = {{.tv_sec = t}, {.tv_sec = t}};
    assert_int_equal(utimensat(AT_FDCWD, path, ts, AT_SYMLINK_NOFOLLOW), 0);
}

/* The disk of a floppy of 1.44 MB with 12 bits. */
static uint8_t *read_floppy(struct blk *b)
{
    uint8_t *buf = mem_alloc(2880 * 512);
    assert_int_equal(blk_length(b), 2880 * 512);
    assert_int_equal(blk_pread(b, 0, buf, 2880 * 512), 0);
    return buf;
}

/* An entry without its creation time, which the host chooses. */
static void expect_entry(const uint8_t *e, const char *name, int attributes, const char *tail)
{
    assert_memory_equal(e, name, 11);
    assert_int_equal(e[11], attributes);
    assert_int_equal(e[12], 0);
    assert_int_equal(e[13], 0);
    assert_memory_equal(e + 18, tail, 14);
}

/* 2020-01-02 03:04:06: accessed, 0, written, cluster, size */
#define TAIL(cluster, size) "\x22\x50\0\0\x83\x18\x22\x50" cluster size

static void contents(struct rig *r)
{
    static const uint8_t hello_name[] = {0x41, 'h', 0,    'e',  0, 'l', 0,    'l',  0,    'o', 0,
                                         0x0f, 0,   0xf1, '.',  0, 't', 0,    'x',  0,    't', 0,
                                         0,    0,   0xff, 0xff, 0, 0,   0xff, 0xff, 0xff, 0xff};
    char big[CLUSTER + 10];
    memset(big, 'B', sizeof(big));
    assert_int_equal(mkdir("d/sub", 0700), 0);
    put_file("d/sub/inner", "inside", 6);
    put_file("d/BIG", big, sizeof(big));
    put_file("d/hello.txt", "hello\n", 6);
    put_file("d/none", "", 0);
    assert_int_equal(symlink("nothing", "d/dangling"), 0);
    assert_int_equal(mkfifo("d/pipe", 0600), 0);
    const char *const all[] = {"d/sub/inner", "d/BIG", "d/hello.txt", "d/none", "d/sub", "d/pipe"};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        put_times(all[i], 1577934246);
    }
    struct blk *b = rig_open(r, NULL, FLOPPY, 0);
    put_times("d/sub", 1577934246); /* listing it was an access */
    uint8_t *p = read_floppy(b), *e = p + ROOT;
    expect_entry(e, "QEMU VVFAT ", 0x28, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    expect_entry(e + 64, "BIG        ", 0x20, TAIL("\2\0", "\x0a\x20\0\0"));
    assert_memory_equal(e + 96, hello_name, 32);
    expect_entry(e + 128, "HELLO   TXT", 0x20, TAIL("\4\0", "\6\0\0\0"));
    expect_entry(e + 192, "NONE       ", 0x20, TAIL("\0\0", "\0\0\0\0"));
    expect_entry(e + 256, "PIPE       ", 0x20, TAIL("\0\0", "\0\0\0\0"));
    expect_entry(e + 320, "SUB        ", 0x10, TAIL("\5\0", "\0\0\0\0"));
    assert_true(buf_is_zero(e + 352, 512 * 32 - 352)); /* dangling is not there */
    assert_memory_equal(p + 512, "\xf0\xff\xff\x03\xf0\xff\xff\xff\xff\xff\x0f\0", 12);
    assert_memory_equal(p + 512, p + 1024, 512);

    uint8_t *c = p + CLUSTERS;
    assert_memory_equal(c, big, sizeof(big));
    assert_true(buf_is_zero(c + sizeof(big), 2 * CLUSTER - sizeof(big)));
    assert_memory_equal(c + 2 * CLUSTER, "hello\n", 7);
    assert_true(buf_is_zero(c + 2 * CLUSTER + 6, CLUSTER - 6));
    expect_entry(c + 3 * CLUSTER, ".          ", 0x10, TAIL("\5\0", "\0\0\0\0"));
    assert_memory_equal(c + 3 * CLUSTER + 32, "..         \x10", 12);
    assert_int_equal(fat_entry_get_cluster_low(c + 3 * CLUSTER + 32), 0); /* DIR-7 */
    expect_entry(c + 3 * CLUSTER + 96, "INNER      ", 0x20, TAIL("\6\0", "\6\0\0\0"));
    assert_memory_equal(c + 4 * CLUSTER, "inside", 7);
    assert_true(buf_is_zero(c + 5 * CLUSTER, 2880 * 512 - CLUSTERS - 5 * CLUSTER));
    mem_free(p);
    blk_unref(b);
}

/* Any piece of the disk is what a read of all of it holds there. */
static void pieces(struct rig *r)
{
    char text[3 * CLUSTER];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)('a' + i % 23);
    }
    put_file("d/a", text, sizeof(text));
    put_file("d/b", text, 700);
    struct blk *b = rig_open(r, NULL, FLOPPY, 0);
    uint8_t *all = read_floppy(b), part[40000];
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 0; i < 300; i++) {
        int64_t at = (int64_t)rng_below(&rng, 60000), n = 1 + (int64_t)rng_below(&rng, 39999);
        assert_int_equal(blk_pread(b, at, part, n), 0);
        assert_memory_equal(part, all + at, n);
    }
    struct status st;
    assert_int_equal(node_block_status(blk_node(b), true, 512, 4096, &st), 0);
    assert_int_equal(st.flags, STATUS_DATA | STATUS_ALLOCATED);
    assert_int_equal(st.bytes, 4096);
    mem_free(all);
    blk_unref(b);
}

/* What nothing can be found out about is left out, and told; what leads nowhere just left out. */
static void left_out(struct rig *r)
{
    char target[300];
    memset(target, 'x', sizeof(target) - 1);
    target[sizeof(target) - 1] = '\0';
    assert_int_equal(symlink(target, "d/long"), 0);
    assert_int_equal(symlink("loop", "d/loop"), 0);
    assert_int_equal(symlink("nothing", "d/dangling"), 0);
    struct blk *b = rig_open(r, NULL, FLOPPY, 0);
    assert_string_equal(r->out.s, "'d/long' is left out: File name too long");
    uint8_t *p = read_floppy(b);
    assert_true(buf_is_zero(p + ROOT + 32, 512 * 32 - 32));
    mem_free(p);
    blk_unref(b);
}

/* Contents are the host's of now; what is missing of them is an error, in that file alone. */
static void changed_files(struct rig *r)
{
    char text[600];
    uint8_t buf[1024];
    memset(text, 'x', sizeof(text));
    put_file("d/a", text, sizeof(text));
    put_file("d/b", text, sizeof(text));
    put_file("d/c", text, sizeof(text));
    struct blk *b = rig_open(r, NULL, FLOPPY, 0);
    put_file("d/a", "new", 3);
    assert_int_equal(truncate("d/a", 600), 0);
    assert_int_equal(blk_pread(b, CLUSTERS, buf, sizeof(buf)), 0);
    assert_memory_equal(buf, "new\0", 4);
    assert_int_equal(truncate("d/a", 900), 0);
    put_file("d/a", text, sizeof(text));
    assert_int_equal(blk_pread(b, CLUSTERS, buf, sizeof(buf)), 0);
    assert_true(buf_is_zero(buf + 600, 424)); /* it grew: the entry says 600 */

    assert_int_equal(truncate("d/b", 599), 0);
    assert_int_equal(blk_pread(b, CLUSTERS + CLUSTER, buf, 512), 0); /* still there */
    assert_int_equal(blk_pread(b, CLUSTERS + CLUSTER, buf, 1024), -EIO);
    assert_int_equal(blk_pread(b, CLUSTERS + CLUSTER + 1024, buf, 1024), 0); /* behind the file */
    assert_int_equal(unlink("d/c"), 0);
    assert_int_equal(blk_pread(b, CLUSTERS + 2 * CLUSTER, buf, 512), -ENOENT);
    assert_int_equal(mkfifo("d/c", 0600), 0); /* does not wait for a writer */
    assert_int_equal(blk_pread(b, CLUSTERS + 2 * CLUSTER, buf, 512), -EIO);
    assert_int_equal(blk_pread(b, CLUSTERS, buf, 512), 0);
    blk_unref(b);
}

static void labels(struct rig *r)
{
    static const struct {
        const char *option, *boot, *entry;
    } cases[] = {
        {"", "QEMU VVFAT ", "QEMU VVFAT "},
        {",label=ABCDEFGHIJK", "ABCDEFGHIJK", "ABCDEFGHIJK"},
        {",label=a b", "a b        ", "a b        "},
        {",label=\xe5x", "\xe5x         ", "\x05x         "},
        {",label=", "NO NAME    ", NULL}, /* DIR-8 */
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *options = str_fmt(FLOPPY "%s", cases[i].option);
        struct blk *b = rig_open(r, NULL, options, 0);
        uint8_t *p = read_floppy(b);
        assert_memory_equal(p + 43, cases[i].boot, 11);
        assert_int_equal(p[ROOT + 11], cases[i].entry ? 0x28 : 0);
        assert_memory_equal(p + ROOT, cases[i].entry ? cases[i].entry : "\0\0\0\0\0\0\0\0\0\0\0",
                            11);
        mem_free(p);
        mem_free(options);
        blk_unref(b);
    }
}

/* Days that FAT cannot say become the nearest that it can. */
static void dates(struct rig *r)
{
    static const struct {
        time_t t;
        uint16_t date, time;
    } cases[] = {
        {315532799, 0x0021, 0},       /* the second before 1980 */
        {315532800, 0x0021, 0},       /* 1980-01-01 */
        {-86400 * 3650, 0x0021, 0},   /* 1960 */
        {1577934246, 0x5022, 0x1883}, /* 2020-01-02 03:04:06 */
        {4354819199, 0xff9f, 0xbf7d}, /* 2107-12-31 23:59:59 */
        {4354819200, 0xff9f, 0xbf7d},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct stat st = {.st_mtime = cases[i].t, .st_atime = cases[i].t, .st_ctime = cases[i].t};
        struct strbuf dir = STRBUF_INIT;
        fat_add_entry(&dir, (const uint8_t *)"A          ", 0x20, &st, 0);
        const uint8_t *e = (const uint8_t *)dir.s;
        assert_int_equal(fat_entry_get_written_date(e), cases[i].date);
        assert_int_equal(fat_entry_get_written_time(e), cases[i].time);
        assert_int_equal(fat_entry_get_created_date(e), cases[i].date);
        assert_int_equal(fat_entry_get_created_time(e), cases[i].time);
        assert_int_equal(fat_entry_get_accessed_date(e), cases[i].date);
        strbuf_free(&dir);
    }
}

/* A directory of more than a cluster, and a root that is full to the last entry. */
static void many_entries(struct rig *r)
{
    char name[64];
    assert_int_equal(mkdir("d/s", 0700), 0);
    for (int i = 0; i < 254; i++) {
        snprintf(name, sizeof(name), "d/s/f%03d", i);
        put_file(name, "", 0);
        snprintf(name, sizeof(name), "d/g%03d", i);
        put_file(name, "", 0);
    }
    struct blk *b = rig_open(r, NULL, FLOPPY, 0);
    uint8_t *p = read_floppy(b); /* 1 + 255 * 2 entries in the root, 2 + 254 * 2 in s */
    assert_memory_equal(p + ROOT + 510 * 32, "S          ", 11);
    assert_memory_equal(p + 512, "\xf0\xff\xff\x03\xf0\xff\0", 7);
    assert_memory_equal(p + CLUSTERS + 509 * 32, "F253       ", 11);
    mem_free(p);
    blk_unref(b);
    put_file("d/one more", "", 0);
    rig_open_fails(r, NULL, FLOPPY, 0, "Could not read directory d");
    assert_non_null(strstr(r->out.s, "Too many entries in root directory\n"));
}

static void names_and_options(struct rig *r)
{
    static const struct {
        const char *name, *shown;
        int64_t sectors;
    } cases[] = {
        {"fat:d",
         "{\"fat-type\": 0, \"dir\": \"d\", \"driver\": \"vvfat\", \"floppy\": false, \"rw\": "
         "false}",
         1032192},
        {"fat:floppy:d",
         "{\"fat-type\": 0, \"dir\": \"d\", \"driver\": \"vvfat\", \"floppy\": true, "
         "\"rw\": false}",
         5760},
        {"fat:12:d",
         "{\"fat-type\": 12, \"dir\": \"d\", \"driver\": \"vvfat\", \"floppy\": false, "
         "\"rw\": false}",
         64512},
        {"fat:floppy:x:12:d",
         "{\"fat-type\": 12, \"dir\": \"d\", \"driver\": \"vvfat\", \"floppy\": "
         "true, \"rw\": false}",
         2880},
        {"fat:12:16:d",
         "{\"fat-type\": 16, \"dir\": \"d\", \"driver\": \"vvfat\", \"floppy\": false, "
         "\"rw\": false}",
         1032192},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct blk *b = rig_open(r, cases[i].name, NULL, OPEN_PROTOCOL);
        node_refresh_filename(blk_node(b));
        assert_int_equal(strncmp(blk_node(b)->filename, "json:", 5), 0);
        assert_string_equal(blk_node(b)->filename + 5, cases[i].shown);
        assert_int_equal(blk_length(b), cases[i].sectors * 512);
        assert_int_equal(node_allocated_size(blk_node(b)), -ENOTSUP);
        blk_unref(b);
    }
}

static void refusals(struct rig *r)
{
    put_file("file", "", 0);
    rig_open_fails(r, NULL, "driver=vvfat", 0, "vvfat block driver requires a 'dir' option");
    rig_open_fails(r, NULL, "driver=vvfat,dir=d,fat-type=13,label=123456789012", 0,
                   "vvfat label cannot be longer than 11 bytes");
    rig_open_fails(r, NULL, "driver=vvfat,dir=d,fat-type=13,rw=on", 0,
                   "Valid FAT types are only 12, 16 and 32");
    rig_open_fails(r, NULL, "driver=vvfat,dir=none,rw=on", 0,
                   "Unable to set VVFAT to 'rw' when drive is read-only");
    rig_open_fails(r, "fat:rw:d", NULL, OPEN_RDWR | OPEN_PROTOCOL,
                   "vvfat cannot be written yet: 'rw' is not supported");
    rig_open_fails(r, "fat:d", NULL, OPEN_RDWR | OPEN_PROTOCOL, "Image is read-only");
    rig_open_fails(r, NULL, "driver=vvfat,dir=none", 0, "Could not read directory none");
    rig_open_fails(r, NULL, "driver=vvfat,dir=file", 0, "Could not read directory file");
    rig_open_fails(r, NULL, "driver=vvfat,dir=d,floppy=on,fat-type=32", 0,
                   "A disk of 2.88 MB has too few clusters for FAT32");
    rig_open_fails(r, NULL, "driver=vvfat,dir=d,bogus=1", 0,
                   "Block protocol 'vvfat' doesn't support the option 'bogus'");
    rig_open_fails(r, "d", "driver=vvfat", OPEN_PROTOCOL,
                   "File name string must start with 'fat:'");
}

/* Sizes: exactly full, one cluster more, a file of 2 GiB, a tree that leads back into itself. */
static void limits(struct rig *r)
{
    put_file("d/a", "", 0);
    assert_int_equal(truncate("d/a", 177 * CLUSTER), 0);
    blk_unref(rig_open(r, NULL, FLOPPY, 0));
    assert_int_equal(truncate("d/a", 177 * CLUSTER + 1), 0);
    rig_open_fails(r, NULL, FLOPPY, 0, "Directory does not fit in FAT12 (capacity 1.44 MB)");
    blk_unref(rig_open(r, NULL, "driver=vvfat,dir=d,floppy=on", 0));
    assert_int_equal(truncate("d/a", 2 * GiB), 0);
    rig_open_fails(r, NULL, FLOPPY, 0, "Could not read directory d");
    assert_non_null(strstr(r->out.s, "File d/a is larger than 2GB\n"));
    assert_int_equal(truncate("d/a", 2 * GiB - 1), 0);
    rig_open_fails(r, NULL, "driver=vvfat,dir=d", 0,
                   "Directory does not fit in FAT16 (capacity 516.06 MB)");
    assert_int_equal(truncate("d/a", 0), 0);
    assert_int_equal(mkdir("d/s", 0700), 0);
    assert_int_equal(symlink("..", "d/s/up"), 0);
    rig_open_fails(r, NULL, FLOPPY, 0, "Directory d/s/up leads back to a directory around it");
}

/* Directories that lead to each other twice at each level would be 2^30. */
static void doubling(struct rig *r)
{
    char name[64], target[32];
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(mkdir(name, 0700), 0);
        snprintf(target, sizeof(target), "../%d", i + 1);
        for (int j = 0; j < 2 && i < 29; j++) {
            snprintf(name, sizeof(name), "%d/%c", i, 'a' + j);
            assert_int_equal(symlink(target, name), 0);
        }
    }
    rig_open_fails(r, NULL, "driver=vvfat,dir=0,floppy=on", 0,
                   "Directory does not fit in FAT12 (capacity 2.88 MB)");
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(contents)
TEST(pieces)
TEST(left_out)
TEST(changed_files)
TEST(labels)
TEST(dates)
TEST(many_entries)
TEST(names_and_options)
TEST(refusals)
TEST(limits)
TEST(doubling)

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, enter_place, leave_place)
    const struct CMUnitTest tests[] = {
        T(left_out),     T(contents),          T(pieces),   T(changed_files), T(labels),   T(dates),
        T(many_entries), T(names_and_options), T(refusals), T(limits),        T(doubling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
