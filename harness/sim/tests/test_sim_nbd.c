/*
 * Simulated disks over NBD: handshake, requests in flight together, FUA, faults, hostile clients.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness/sim/sim_nbd.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

enum { READ, WRITE, DISC, FLUSH, TRIM, WRITE_ZEROES = 6 };

struct served {
    struct sim_store *store;
    struct sim_nbd *nbd;
    struct disk_log *log;
    char dir[40], path[64];
};

static void begin(struct served *s)
{
    struct error *err = NULL;
    memset(s, 0, sizeof(*s));
    memcpy(s->dir, "/tmp/simnbd.XXXXXX", 19);
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof(s->path), "%s/socket", s->dir);
    s->store = sim_store_new();
    assert_int_equal(sim_store_open(s->store, "image", true), 0);
    disk_truncate(sim_store_set(s->store)->disk[0], 65536);
    s->log = disk_log_new(sim_store_pool(s->store));
    sim_store_log(s->store, s->log);
    s->nbd = sim_nbd_new(s->store, s->path, &err);
    assert_non_null(s->nbd);
}

static void end(struct served *s)
{
    sim_nbd_free(s->nbd);
    disk_log_free(s->log);
    sim_store_free(s->store);
    assert_int_equal(rmdir(s->dir), 0);
}

static int dial(const struct served *s)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(addr.sun_path, s->path, sizeof(s->path));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static bool take(int fd, void *buf, size_t len)
{
    return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static void put(int fd, const void *buf, size_t len)
{
    assert_int_equal(send(fd, buf, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void put_option(int fd, uint32_t option, const void *data, uint32_t len)
{
    uint8_t head[16];
    store_be64(head, 0x49484156454f5054ULL);
    store_be32(head + 8, option);
    store_be32(head + 12, len);
    put(fd, head, sizeof(head));
    if (len) {
        put(fd, data, len);
    }
}

/* The reply's type; its data are passed over. */
static uint32_t take_option_reply(int fd)
{
    uint8_t head[20], data[256];
    assert_true(take(fd, head, sizeof(head)));
    assert_int_equal(load_be64(head), 0x3e889045565a9ULL);
    uint32_t len = load_be32(head + 16);
    assert_true(len <= sizeof(data) && (!len || take(fd, data, len)));
    return load_be32(head + 12);
}

static int hello(const struct served *s)
{
    uint8_t greeting[18], flags[4] = {0, 0, 0, 3};
    int fd = dial(s);
    assert_true(take(fd, greeting, sizeof(greeting)));
    assert_memory_equal(greeting, "NBDMAGICIHAVEOPT", 16);
    put(fd, flags, sizeof(flags));
    return fd;
}

static int ready(const struct served *s)
{
    static const uint8_t image[] = {0, 0, 0, 5, 'i', 'm', 'a', 'g', 'e', 0, 0};
    int fd = hello(s);
    put_option(fd, 7, image, sizeof(image));
    assert_int_equal(take_option_reply(fd), 3);
    assert_int_equal(take_option_reply(fd), 1);
    return fd;
}

static void put_request(int fd, unsigned type, unsigned flags, uint64_t offset, uint32_t len,
                        const void *data)
{
    uint8_t buf[28 + 8192];
    store_be32(buf, 0x25609513);
    store_be16(buf + 4, (uint16_t)flags);
    store_be16(buf + 6, (uint16_t)type);
    store_be64(buf + 8, 100 + offset);
    store_be64(buf + 16, offset);
    store_be32(buf + 24, len);
    size_t n = 28;
    if (type == WRITE) {
        memcpy(buf + 28, data, len);
        n += len;
    }
    put(fd, buf, n);
}

static uint32_t take_reply(int fd, uint64_t offset)
{
    uint8_t head[16];
    assert_true(take(fd, head, sizeof(head)));
    assert_int_equal(load_be32(head), 0x67446698);
    assert_int_equal(load_be64(head + 8), 100 + offset);
    return load_be32(head + 4);
}

static void test_requests(void **state)
{
    struct served s;
    uint8_t data[512], got[512];
    begin(&s);
    int fd = ready(&s);
    memset(data, 7, sizeof(data));
    put_request(fd, WRITE, 1, 1024, 512, data);
    assert_int_equal(take_reply(fd, 1024), 0);
    put_request(fd, READ, 0, 1024, 512, NULL);
    assert_int_equal(take_reply(fd, 1024), 0);
    assert_true(take(fd, got, sizeof(got)));
    assert_memory_equal(got, data, sizeof(data));
    put_request(fd, TRIM, 0, 1024, 512, NULL);
    assert_int_equal(take_reply(fd, 1024), 0);
    put_request(fd, WRITE_ZEROES, 2, 2048, 512, NULL);
    assert_int_equal(take_reply(fd, 2048), 0);
    put_request(fd, FLUSH, 0, 0, 0, NULL);
    assert_int_equal(take_reply(fd, 0), 0);
    static const struct {
        enum disk_op_kind kind;
        unsigned flags;
    } want[] = {{DISK_OP_WRITE, DISK_OP_FUA},
                {DISK_OP_DISCARD, 0},
                {DISK_OP_ZERO, DISK_OP_ALLOCATE},
                {DISK_OP_FLUSH, 0}};
    assert_int_equal(disk_log_len(s.log), ARRAY_SIZE(want));
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        assert_int_equal(disk_log_op(s.log, i)->kind, want[i].kind);
        assert_int_equal(disk_log_op(s.log, i)->flags, want[i].flags);
    }
    put_request(fd, READ, 0, 65536, 1, NULL);
    assert_int_equal(take_reply(fd, 65536), EINVAL);
    put_request(fd, WRITE, 0, 65535, 2, data);
    assert_int_equal(take_reply(fd, 65535), ENOSPC);
    put_request(fd, 77, 0, 0, 0, NULL);
    assert_int_equal(take_reply(fd, 0), EINVAL);
    put_request(fd, DISC, 0, 0, 0, NULL);
    assert_false(take(fd, got, 1));
    close(fd);
    end(&s);
}

/* What was sent ahead is in flight together. */
static void test_in_flight_together(void **state)
{
    struct served s;
    uint8_t two[2 * (28 + 512)], data[512] = {1};
    begin(&s);
    int fd = ready(&s);
    for (int i = 0; i < 2; i++) {
        uint8_t *p = two + i * (28 + 512);
        memset(p, 0, 28);
        store_be32(p, 0x25609513);
        store_be16(p + 6, WRITE);
        store_be64(p + 8, 100 + 512 * (uint64_t)i);
        store_be64(p + 16, 512 * (uint64_t)i);
        store_be32(p + 24, 512);
        memcpy(p + 28, data, 512);
    }
    put(fd, two, sizeof(two));
    assert_int_equal(take_reply(fd, 0), 0);
    assert_int_equal(take_reply(fd, 512), 0);
    const struct disk_op *a = disk_log_op(s.log, 0), *b = disk_log_op(s.log, 1);
    assert_true(a->issued < b->completed && b->issued < a->completed);
    close(fd);
    end(&s);
}

static void test_faults(void **state)
{
    struct served s;
    struct fault_plan p;
    uint8_t data[512] = {1};
    begin(&s);
    fault_plan_init(&p);
    assert_int_equal(fault_plan_parse(&p, "error,errno=28,io=write;hung,io=flush", NULL), 0);
    sim_store_plan(s.store, &p);
    int fd = ready(&s);
    put_request(fd, WRITE, 0, 0, 512, data);
    assert_int_equal(take_reply(fd, 0), ENOSPC);
    put_request(fd, FLUSH, 0, 0, 0, NULL);
    put_request(fd, WRITE, 0, 512, 512, data);
    assert_int_equal(take_reply(fd, 512), 0);
    sim_store_release(s.store);
    assert_int_equal(take_reply(fd, 0), EIO);
    close(fd);
    sim_nbd_free(s.nbd);
    s.nbd = NULL;
    fault_plan_destroy(&p);
    end(&s);
}

static void test_handshake(void **state)
{
    static const uint8_t unknown[] = {0, 0, 0, 1, 'x', 0, 0}, broken[] = {255, 255, 255, 255, 0, 0};
    struct served s;
    uint8_t reply[10];
    begin(&s);
    int fd = hello(&s);
    put_option(fd, 8, NULL, 0);
    assert_int_equal(take_option_reply(fd), 0x80000001);
    put_option(fd, 7, unknown, sizeof(unknown));
    assert_int_equal(take_option_reply(fd), 0x80000006);
    put_option(fd, 6, broken, sizeof(broken));
    assert_int_equal(take_option_reply(fd), 0x80000003);
    put_option(fd, 6, broken, 3);
    assert_int_equal(take_option_reply(fd), 0x80000003);
    put_option(fd, 3, NULL, 0);
    assert_int_equal(take_option_reply(fd), 2);
    assert_int_equal(take_option_reply(fd), 1);
    put_option(fd, 1, "/image", 6);
    assert_true(take(fd, reply, sizeof(reply)));
    assert_int_equal(load_be64(reply), 65536);
    close(fd);
    fd = hello(&s);
    put_option(fd, 2, NULL, 0);
    assert_int_equal(take_option_reply(fd), 1);
    assert_false(take(fd, reply, 1));
    close(fd);
    fd = hello(&s);
    put(fd, "nonsense nonsense", 17); /* no option */
    assert_false(take(fd, reply, 1));
    close(fd);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_in_flight_together),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
