/*
 * LUKS volumes and encrypted qcow and qcow2 images on simulated disks: creation, random programs
 * beside a shadow, key slots, secrets, hostile headers, power cuts while key slots change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "fault/crash.h"
#include "ref/base/bytes.h"
#include "ref/base/rng.h"
#include "ref/block/secret.h"
#include "ref/format/crypto/secret_object.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"
#include "specs/luks_layout.h"
#include "specs/qcow2_layout.h"
#include "specs/runtime/luks_check.h"
#include "specs/runtime/qcow2_check.h"

static const struct block_driver *const drivers[] = {&driver_sim,  &driver_raw,   &driver_luks,
                                                     &driver_qcow, &driver_qcow2, NULL};
#define RW   (OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP)
#define SIZE (1 * MiB)

static void secrets(struct rig *r)
{
    static const char *const ids[] = {"s0", "s1", "s2"}, *const words[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(secret_add(r->w, ids[i], words[i], strlen(words[i]), NULL), 0);
    }
}

static int try_make(struct rig *r, const struct block_driver *drv, const char *options,
                    struct error **err)
{
    struct value *o = opts_parse(options, NULL, err);
    if (!r->disk[0]) {
        rig_disk(r, 0, 0);
        secrets(r);
    }
    int ret = image_create(r->w, drv, "sim:d0", o, err);
    value_free(o);
    return ret;
}

static void make(struct rig *r, const struct block_driver *drv, const char *options)
{
    struct error *err = NULL;
    int ret = try_make(r, drv, options, &err);
    if (err) {
        print_error("%s\n", err->msg);
    }
    assert_int_equal(ret, 0);
}

static void poke(struct rig *r, int64_t offset, uint64_t v, unsigned width)
{
    uint8_t bytes[8];
    store_uint(bytes, width, 1, v);
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", RW);
    assert_int_equal(blk_pwrite(b, offset, bytes, width, 0), 0);
    blk_unref(b);
}

static uint64_t peek(struct rig *r, int64_t offset, unsigned width)
{
    uint8_t bytes[8];
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", 0);
    assert_int_equal(blk_pread(b, offset, bytes, width), 0);
    blk_unref(b);
    return load_uint(bytes, width, 1);
}

/* ---- random programs ---- */

struct shadow {
    uint8_t data[SIZE];
};

static void step(struct blk *b, struct rng *rng, struct shadow *s)
{
    uint8_t buf[80000];
    int64_t offset = (int64_t)rng_below(rng, SIZE - 1),
            bytes = 1 + (int64_t)rng_below(rng, rng_below(rng, 2) ? 2000 : sizeof(buf));
    bytes = MIN(bytes, SIZE - offset);
    uint8_t value = (uint8_t)rng_next(rng);
    switch (rng_below(rng, 4)) {
    case 0:
        assert_int_equal(blk_pread(b, offset, buf, bytes), 0);
        assert_memory_equal(buf, s->data + offset, (size_t)bytes);
        break;
    case 1:
        assert_int_equal(blk_pwrite_zeroes(b, offset, bytes, 0, NULL), 0);
        memset(s->data + offset, 0, (size_t)bytes);
        break;
    default:
        assert_int_equal(rig_fill(b, offset, bytes, value), 0);
        memset(s->data + offset, value, (size_t)bytes);
    }
}

/* What is on the disk is nowhere the guest's: no sector of one value but zero is left as it is. */
static void is_encrypted(struct rig *r)
{
    uint8_t buf[512];
    int64_t size = disk_size(r->disk[0]);
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", 0);
    for (int64_t at = 0; at + 512 <= size; at += 512) {
        assert_int_equal(blk_pread(b, at, buf, 512), 0);
        assert_false(buf[0] != 0 && memcmp(buf, buf + 1, 511) == 0);
    }
    blk_unref(b);
}

static void program(struct rig *r, const struct block_driver *drv, const char *create,
                    const char *open, uint64_t seed)
{
    struct rng rng;
    struct shadow *s = mem_zalloc(sizeof(*s));
    make(r, drv, create);
    rng_seed(&rng, seed);
    struct blk *b = rig_open(r, "sim:d0", open, RW);
    assert_true(blk_node(b)->encrypted);
    assert_int_equal(blk_pwrite_zeroes(b, 0, SIZE, 0, NULL), 0);
    for (int i = 0; i < 60; i++) {
        step(b, &rng, s);
        if (i % 20 == 19) {
            blk_unref(b);
            b = rig_open(r, "sim:d0", open, RW);
        }
    }
    uint8_t *all = mem_alloc(SIZE);
    assert_int_equal(blk_pread(b, 0, all, SIZE), 0);
    assert_memory_equal(all, s->data, SIZE);
    blk_unref(b);
    is_encrypted(r);
    mem_free(all);
    mem_free(s);
}

#define LUKS_OPEN "driver=luks,key-secret=s0"

static void luks_programs(struct rig *r)
{
    static const char *const create[] = {
        "size=1M,key-secret=s0",
        "size=1M,key-secret=s0,cipher-alg=aes-192,cipher-mode=cbc",
        "size=1M,key-secret=s0,cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=plain",
        "size=1M,key-secret=s0,cipher-alg=serpent-192,cipher-mode=ctr,hash-alg=ripemd160",
        "size=1M,key-secret=s0,cipher-alg=twofish-256,cipher-mode=cbc,ivgen-alg=essiv",
        "size=1M,key-secret=s0,ivgen-alg=essiv,ivgen-hash-alg=md5,hash-alg=sha512",
    };
    for (size_t i = 0; i < ARRAY_SIZE(create); i++) {
        program(r, &driver_luks, create[i], LUKS_OPEN, i + 1);
    }
}

static void qcow2_programs(struct rig *r)
{
    static const char *const create[] = {
        "size=1M,encrypt.key-secret=s0,encrypt.format=aes",
        "size=1M,encrypt.key-secret=s0,encryption=on,cluster_size=4k",
        "size=1M,encrypt.key-secret=s0,encrypt.format=luks",
        "size=1M,encrypt.key-secret=s0,encrypt.format=luks,cluster_size=512,compat=0.10",
        "size=1M,encrypt.key-secret=s0,encrypt.format=luks,extended_l2=on,encrypt.cipher-alg=aes-"
        "128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv",
    };
    for (size_t i = 0; i < ARRAY_SIZE(create); i++) {
        program(r, &driver_qcow2, create[i], "driver=qcow2,encrypt.key-secret=s0", i + 1);
        struct check_result res = {0};
        struct blk *b = rig_open(r, "sim:d0", "driver=qcow2,encrypt.key-secret=s0", 0);
        assert_int_equal(driver_qcow2.check(blk_node(b), &res, 0), 0);
        assert_int_equal(res.corruptions + res.leaks + res.check_errors, 0);
        blk_unref(b);
    }
}

static int amend(struct rig *r, const char *open, const char *changes, bool force,
                 struct error **err)
{
    struct blk *b = rig_open(r, "sim:d0", open, RW);
    struct value *o = opts_parse(changes, NULL, err);
    int ret = blk_node(b)->drv->amend(blk_node(b), o, NULL, NULL, force, err);
    value_free(o);
    blk_unref(b);
    return ret;
}

static void amend_ok(struct rig *r, const char *open, const char *changes, bool force)
{
    struct error *err = NULL;
    int ret = amend(r, open, changes, force, &err);
    if (err) {
        print_error("%s: %s\n", changes, err->msg);
    }
    assert_int_equal(ret, 0);
}

/* Version 2 has no zero clusters: what takes their place reads as zeroes, deciphered. */
static void qcow2_downgrade(struct rig *r)
{
    static const char open[] = "driver=qcow2,encrypt.key-secret=s0";
    make(r, &driver_qcow2, "size=1M,cluster_size=4k,encrypt.key-secret=s0,encrypt.format=aes");
    struct blk *b = rig_open(r, "sim:d0", open, RW);
    assert_int_equal(rig_fill(b, 8 * KiB, 64 * KiB, 1), 0);
    assert_int_equal(blk_pwrite_zeroes(b, 16 * KiB, 8 * KiB, 0, NULL), 0);
    blk_unref(b);
    amend_ok(r, open, "compat=0.10", false);
    b = rig_open(r, "sim:d0", open, 0);
    rig_check(b, 8 * KiB, 8 * KiB, 1);
    rig_check(b, 16 * KiB, 8 * KiB, 0);
    rig_check(b, 24 * KiB, 48 * KiB, 1);
    blk_unref(b);
}

static void qcow_programs(struct rig *r)
{
    program(r, &driver_qcow, "size=1M,encrypt.key-secret=s0,encrypt.format=aes",
            "driver=qcow,encrypt.key-secret=s0", 1);
    program(r, &driver_qcow, "size=1M,encrypt.key-secret=s0,encryption=on",
            "driver=qcow,encrypt.key-secret=s0", 2);
}

/* ---- key slots ---- */

static void amend_fails(struct rig *r, const char *changes, const char *msg)
{
    struct error *err = NULL;
    assert_true(amend(r, LUKS_OPEN, changes, false, &err) < 0);
    rig_expect(&err, msg);
}

#define WRONG "Invalid password, cannot unlock any keyslot"

static void key_slots(struct rig *r)
{
    make(r, &driver_luks, "size=64k,key-secret=s0");
    struct blk *b = rig_open(r, "sim:d0", LUKS_OPEN, RW);
    assert_int_equal(rig_fill(b, 0, 65536, 7), 0);
    blk_unref(b);
    rig_open_fails(r, "sim:d0", "driver=luks,key-secret=s1", 0, WRONG);
    amend_ok(r, LUKS_OPEN, "state=active,new-secret=s1,keyslot=5", false);
    amend_ok(r, LUKS_OPEN, "state=active,new-secret=s2", false); /* the first free one: 1 */
    b = rig_open(r, "sim:d0", "driver=luks,key-secret=s1", 0);
    rig_check(b, 0, 65536, 7);
    blk_unref(b);
    int64_t slot1 = LUKS_SLOTS_OFFSET + LUKS_KEY_SLOT_SIZE;
    assert_int_equal(peek(r, slot1, 4), LUKS_KEY_ENABLED);
    amend_ok(r, "driver=luks,key-secret=s1", "state=inactive,old-secret=s2", false);
    assert_int_equal(peek(r, slot1, 4), LUKS_KEY_DISABLED);
    assert_int_equal(peek(r, slot1 + 4, 4), 0);
    rig_open_fails(r, "sim:d0", "driver=luks,key-secret=s2", 0, WRONG);
    amend_ok(r, "driver=luks,key-secret=s1", "state=inactive,keyslot=0", false);
    rig_open_fails(r, "sim:d0", LUKS_OPEN, 0, WRONG);
    /* Erased is erased: the old header, put back, gives nothing. */
    poke(r, LUKS_SLOTS_OFFSET, LUKS_KEY_ENABLED, 4);
    poke(r, LUKS_SLOTS_OFFSET + 4, 1000, 4);
    rig_open_fails(r, "sim:d0", LUKS_OPEN, 0, WRONG);
    b = rig_open(r, "sim:d0", "driver=luks,key-secret=s1", 0);
    rig_check(b, 0, 65536, 7);
    blk_unref(b);
    amend_ok(r, "driver=luks,key-secret=s1", "state=inactive,keyslot=5", true);
    rig_open_fails(r, "sim:d0", "driver=luks,key-secret=s1", 0, WRONG);
}

static void key_slot_refusals(struct rig *r)
{
    static const struct {
        const char *changes, *msg;
    } cases[] = {
        {"keyslot=1", "Parameter 'state' is missing"},
        {"state=foo", "Parameter 'state' does not accept value 'foo'"},
        {"state=active", "'new-secret' is required to activate a keyslot"},
        {"state=active,new-secret=s1,old-secret=s0",
         "'old-secret' must not be given when activating keyslots"},
        {"state=active,new-secret=s1,keyslot=8",
         "Invalid keyslot 8 specified, must be between 0 and 7"},
        {"state=active,new-secret=s1,keyslot=0",
         "Refusing to overwrite active keyslot 0 - please erase it first"},
        {"state=active,new-secret=none", "No secret with id 'none'"},
        {"state=active,new-secret=s1,iter-time=9999999999999999999",
         "Parameter 'iter-time' expects integer"},
        {"state=inactive", "To erase keyslot(s), either explicit keyslot index or the password "
                           "currently contained in them must be given"},
        {"state=inactive,keyslot=3", "Given keyslot 3 is already erased (inactive) "},
        {"state=inactive,keyslot=0",
         "Attempt to erase the only active keyslot 0 which will erase all the data in the image "
         "irreversibly - refusing operation"},
        {"state=inactive,old-secret=s0",
         "All the active keyslots match the (old) password that was given and erasing them will "
         "erase all the data in the image irreversibly - refusing operation"},
        {"state=inactive,old-secret=s1",
         "No keyslots match given (old) password for erase operation"},
        {"state=inactive,old-secret=s1,keyslot=0",
         "Given keyslot 0 doesn't contain the given old password for erase operation"},
        {"state=inactive,new-secret=s1,keyslot=0",
         "'new-secret' must not be given when erasing keyslots"},
        {"state=inactive,iter-time=10,keyslot=0",
         "'iter-time' must not be given when erasing keyslots"},
    };
    make(r, &driver_luks, "size=64k,key-secret=s0");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        amend_fails(r, cases[i].changes, cases[i].msg);
    }
    for (int i = 1; i < 8; i++) {
        amend_ok(r, LUKS_OPEN, "state=active,new-secret=s1", false);
    }
    amend_fails(r, "state=active,new-secret=s1", "Can't add a keyslot - all keyslots are in use");
    amend_ok(r, LUKS_OPEN, "state=active,new-secret=s2,keyslot=0", true);
    rig_open_fails(r, "sim:d0", LUKS_OPEN, 0, WRONG);
}

/* While key slots change nobody else may read the header. */
static void key_slots_alone(struct rig *r)
{
    struct error *err = NULL;
    make(r, &driver_luks, "size=64k,key-secret=s0");
    struct blk *a = rig_open(r, "sim:d0", "driver=raw,node-name=file0", OPEN_RDWR),
               *b = rig_open(r, NULL, "driver=luks,key-secret=s0,file=file0", RW);
    struct value *o = opts_parse("state=active,new-secret=s1", NULL, &err);
    assert_true(driver_luks.amend(blk_node(b), o, NULL, NULL, false, &err) < 0);
    assert_non_null(strstr(err->msg, "consistent read"));
    error_clear(&err);
    blk_unref(a);
    assert_int_equal(driver_luks.amend(blk_node(b), o, NULL, NULL, false, &err), 0);
    value_free(o);
    blk_unref(b);
}

/* ---- layout, info, measure, resize ---- */

static void layout(struct rig *r)
{
    uint8_t h[LUKS_HEADER_SIZE];
    struct spec_report report = {0};
    make(r, &driver_luks, "size=1M,key-secret=s0");
    assert_int_equal(disk_size(r->disk[0]), 4040 * 512 + SIZE); /* as QEMU and cryptsetup */
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", 0);
    assert_int_equal(blk_pread(b, 0, h, sizeof(h)), 0);
    blk_unref(b);
    spec_luks_check(h, (uint64_t)disk_size(r->disk[0]), false, &report);
    assert_int_equal(report.nr_findings, 0);
    assert_string_equal((char *)h + LUKS_HEADER_CIPHER_NAME_OFF, "aes");
    assert_string_equal((char *)h + LUKS_HEADER_CIPHER_MODE_OFF, "xts-plain64");
    assert_string_equal((char *)h + LUKS_HEADER_HASH_SPEC_OFF, "sha256");
    assert_int_equal(luks_header_get_key_bytes(h), 64);
    assert_int_equal(luks_header_get_payload_offset(h), 4040);
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        const uint8_t *s = h + LUKS_SLOTS_OFFSET + i * LUKS_KEY_SLOT_SIZE;
        assert_int_equal(luks_key_slot_get_key_material_offset(s), 8 + i * 504);
        assert_int_equal(luks_key_slot_get_stripes(s), 4000);
    }
    make(r, &driver_luks, "size=1M,key-secret=s0,cipher-mode=cbc,ivgen-hash-alg=sha1");
    assert_int_equal(peek(r, 104, 4), 8 + 8 * 256);
    b = rig_open(r, "sim:d0", LUKS_OPEN, RW);
    assert_int_equal(blk_length(b), SIZE);
    struct error *err = NULL;
    assert_int_equal(blk_truncate(b, 2 * SIZE, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(blk_length(b), 2 * SIZE);
    assert_int_equal(rig_fill(b, SIZE, SIZE, 9), 0);
    struct value *v = driver_luks.specific_info(blk_node(b), &err), *d = dict_get(v, "data");
    assert_string_equal(dict_get_str(d, "cipher-alg"), "aes-256");
    assert_int_equal(dict_get_int(d, "payload-offset", 0), (8 + 8 * 256) * 512);
    assert_false(dict_has(d, "ivgen-hash-alg")); /* told of essiv alone */
    assert_int_equal(list_len(dict_get(d, "slots")), 8);
    value_free(v);
    blk_unref(b);
    struct value *o = opts_parse("size=1G,key-secret=s0", NULL, &err);
    v = driver_luks.measure(r->w, o, NULL, &err);
    assert_int_equal(dict_get_int(v, "required", 0), 1 * GiB + 4040 * 512);
    value_free(v);
    value_free(o);
}

/* Only its information: no key is needed, and none is there. */
static void without_key(struct rig *r)
{
    struct error *err = NULL;
    make(r, &driver_luks, "size=64k,key-secret=s0");
    struct node *n = node_open(r->w, "sim:d0", NULL, NULL, OPEN_NO_IO, &err);
    assert_non_null(n);
    assert_string_equal(n->drv->name, "luks");
    assert_int_equal(node_length(n), 65536);
    node_unref(n);
    rig_open_fails(r, "sim:d0", "driver=luks", 0, "Parameter 'key-secret' is required for cipher");
    rig_open_fails(r, "sim:d0", "driver=luks,key-secret=x", 0, "No secret with id 'x'");
    make(r, &driver_qcow2, "size=64k,encrypt.key-secret=s0,encrypt.format=luks");
    n = node_open(r->w, "sim:d0", NULL, NULL, OPEN_NO_IO, &err);
    assert_non_null(n);
    assert_true(n->encrypted);
    node_unref(n);
    rig_open_fails(r, "sim:d0", "driver=qcow2", 0,
                   "Parameter 'encrypt.key-secret' is required for cipher");
}

static void creation_refusals(struct rig *r)
{
    static const struct {
        const struct block_driver *drv;
        const char *options, *msg;
    } cases[] = {
        {&driver_luks, "size=1M", "Parameter 'key-secret' is required for cipher"},
        {&driver_luks, "size=1M,key-secret=x", "No secret with id 'x'"},
        {&driver_luks, "size=1M,key-secret=s0,cipher-alg=foo",
         "Parameter 'cipher-alg' does not accept value 'foo'"},
        {&driver_luks, "size=1M,key-secret=s0,cipher-alg=3des", "Algorithm '3des' not supported"},
        {&driver_luks, "size=1M,key-secret=s0,cipher-alg=cast5-128", "Unsupported cipher mode xts"},
        {&driver_luks, "size=1M,key-secret=s0,cipher-alg=cast5-128,ivgen-alg=essiv",
         "Cipher cast5-128 not supported with essiv"},
        {&driver_luks, "size=1M,key-secret=s0,ivgen-alg=essiv,ivgen-hash-alg=sha512",
         "No AES cipher with key size 64 available"},
        {&driver_qcow2, "size=1M,encrypt.format=aes",
         "Parameter 'encrypt.key-secret' is required for cipher"},
        {&driver_qcow2, "size=1M,encrypt.key-secret=s0", "Parameter 'encrypt.format' is missing"},
        {&driver_qcow2, "size=1M,encryption=on,encrypt.format=aes,encrypt.key-secret=s0",
         "'encrypt.format' and its alias 'encryption' can't be used at the same time"},
        {&driver_qcow2, "size=1M,encrypt.format=foo,encrypt.key-secret=s0",
         "Parameter 'format' does not accept value 'foo'"},
        {&driver_qcow2, "size=1M,encrypt.format=aes,encrypt.key-secret=s0,encrypt.hash-alg=md5",
         "Parameter 'encrypt.hash-alg' is unexpected"},
        {&driver_qcow, "size=1M,encrypt.format=luks,encrypt.key-secret=s0",
         "Unsupported encryption format"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error *err = NULL;
        assert_true(try_make(r, cases[i].drv, cases[i].options, &err) < 0);
        rig_expect(&err, cases[i].msg);
    }
}

static void open_refusals(struct rig *r)
{
    make(r, &driver_qcow2, "size=1M,encrypt.key-secret=s0,encrypt.format=aes");
    rig_open_fails(r, "sim:d0", "driver=qcow2,encrypt.format=luks,encrypt.key-secret=s0", 0,
                   "Header reported 'aes' encryption format but options specify 'luks'");
    rig_open_fails(r, "sim:d0", "driver=qcow2,encrypt.foo=luks,encrypt.key-secret=s0", 0,
                   "Parameter 'foo' is unexpected");
    struct error *err = NULL;
    assert_true(amend(r, "driver=qcow2,encrypt.key-secret=s0",
                      "encrypt.state=active,encrypt.new-secret=s1", false, &err) < 0);
    rig_expect(&err, "Only LUKS encryption options can be amended");
    make(r, &driver_qcow2, "size=1M");
    rig_open_fails(r, "sim:d0", "driver=qcow2,encrypt.format=luks", 0,
                   "No encryption in image header, but options specified format 'luks'");
}

/* ---- hostile headers ---- */

static void hostile_luks(struct rig *r)
{
    enum { S = LUKS_SLOTS_OFFSET };
    static const struct {
        int64_t offset;
        uint64_t value;
        unsigned width;
        const char *msg;
    } cases[] = {
        {0, 0, 1, "Volume is not in LUKS format"},
        {6, 2, 2, "LUKS version 2 is not supported"},
        {8, 0x62626262, 4, "Algorithm 'bbbb' with key size 32 bytes not supported"},
        {40, 0x61620000, 4, "Unexpected cipher mode string format 'ab'"},
        {40, 0x2d2d2d2d, 4, "Cipher mode '' not supported"},
        {72, 0x61620000, 4, "Hash algorithm 'ab' not supported"},
        {104, 0, 4, "LUKS payload is overlapping with the header"},
        {104, 4039, 4, "Keyslot 7 is overlapping with the encrypted payload"},
        {104, 0xffffffff, 4, NULL},
        {108, 0, 4, "Algorithm 'aes' with key size 0 bytes not supported"},
        {108, 63, 4, "Algorithm 'aes' with key size 31 bytes not supported"},
        {108, 128, 4, "Keyslots 0 and 1 are overlapping in the header"},
        {108, 0xffffffff, 4, "Keyslot 0 is overlapping with the encrypted payload"},
        {164, 0, 4, "LUKS key iteration count is zero"},
        {164, 0xffffffff, 4, NULL},
        {S, 5, 4, "Keyslot 0 state (active/disable) is corrupted"},
        {S + 4, 0, 4, "Keyslot 0 iteration count is zero"},
        {S + 44, 0, 4, "Keyslot 0 is corrupted (stripes 0 != 4000)"},
        {S + 44, 0xffffffff, 4, "Keyslot 0 is corrupted (stripes -1 != 4000)"},
        {S + 40, 7, 4, "Keyslot 0 is overlapping with the LUKS header"},
        {S + 40, 0xffffffff, 4, "Keyslot 0 is overlapping with the encrypted payload"},
        {S + 48 + 40, 8, 4, "Keyslots 0 and 1 are overlapping in the header"},
        {S + 48 + 40, 0xfffffe08, 4, "Keyslot 1 is overlapping with the encrypted payload"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make(r, &driver_luks, "size=64k,key-secret=s0");
        if (!cases[i].msg) {
            continue; /* lawful, only dear: see the tests below */
        }
        poke(r, cases[i].offset, cases[i].value, cases[i].width);
        rig_open_fails(r, "sim:d0", LUKS_OPEN, 0, cases[i].msg);
    }
    static const int64_t texts[] = {8, 40, 72};
    static const char *const names[] = {"cipher name", "cipher mode", "hash spec"};
    for (int t = 0; t < 3; t++) {
        char msg[80];
        make(r, &driver_luks, "size=64k,key-secret=s0");
        for (int i = 0; i < 32; i += 4) {
            poke(r, texts[t] + i, 0x61616161, 4);
        }
        snprintf(msg, sizeof(msg), "LUKS header %s is not NUL terminated", names[t]);
        rig_open_fails(r, "sim:d0", LUKS_OPEN, 0, msg);
    }
}

static void truncated(struct rig *r)
{
    static const int64_t sizes[] = {0, 7, 100, 591, 592, 5000, 300000};
    struct error *err = NULL;
    make(r, &driver_luks, "size=64k,key-secret=s0");
    for (size_t i = ARRAY_SIZE(sizes); i-- > 0;) {
        struct blk *b = rig_open(r, "sim:d0", "driver=raw", RW);
        assert_int_equal(blk_truncate(b, sizes[i], false, PREALLOC_OFF, 0, &err), 0);
        blk_unref(b);
        struct value *o = opts_parse(LUKS_OPEN, NULL, &err);
        assert_null(blk_open(r->w, "sim:d0", NULL, o, 0, &err));
        assert_non_null(err);
        error_clear(&err);
    }
}

static void hostile_qcow2(struct rig *r)
{
    static const struct {
        int64_t offset;
        uint64_t value;
        unsigned width;
        const char *msg;
    } cases[] = {
        {32, 0, 4, "CRYPTO header extension only expected with LUKS encryption method"},
        {32, 1, 4, "CRYPTO header extension only expected with LUKS encryption method"},
        {32, 3, 4, "Unsupported encryption method 3"},
        {0x70, 0x12345678, 4, "Missing CRYPTO header for crypt method 2"},
        {0x74, 8, 4, "CRYPTO header extension size 8, but expected size 16"},
        {0x78, 0x40200, 8,
         "Encryption header offset '262656' is not a multiple of cluster size '65536'"},
        {0x78, UINT64_C(0x7fffffffffff0000), 8,
         "Could not read encryption header: Input/output error"},
        {0x78, 0, 8, "Volume is not in LUKS format"},
        {0x80, 0, 8, "Request for data outside of extension header"},
        {0x80, 592, 8, "Request for data outside of extension header"},
        {0x80, UINT64_MAX, 8, "Could not read encryption header: Input/output error"},
        {0x40000 + 104, 8, 4, "Keyslot 0 is overlapping with the encrypted payload"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make(r, &driver_qcow2, "size=64k,encrypt.key-secret=s0,encrypt.format=luks");
        assert_int_equal(peek(r, 0x70, 4), QCOW2_EXT_CRYPTO);
        assert_int_equal(peek(r, 0x78, 8), 0x40000);
        poke(r, cases[i].offset, cases[i].value, cases[i].width);
        rig_open_fails(r, "sim:d0", "driver=qcow2,encrypt.key-secret=s0", 0, cases[i].msg);
    }
}

/* ---- power cuts ---- */

/* Opens with the secret, and then reads as it should. */
static bool opens(struct rig *r, const char *file, const char *options)
{
    struct error *err = NULL;
    struct value *o = opts_parse(options, NULL, &err);
    struct blk *b = blk_open(r->w, file, NULL, o, 0, &err);
    if (!b) {
        rig_expect(&err, WRONG);
        return false;
    }
    rig_check(b, 0, 4096, 7);
    blk_unref(b);
    return true;
}

/* Half-written key material is no news: the header is what must not tear. */
static bool is_header(const struct disk_op *op, void *opaque)
{
    return op->bytes <= 1024;
}

/* What each cut leaves while key slots change: the old password opens it, or the new one does. */
static void cut_amend(struct rig *r, const char *open, const char *changes, const char *after)
{
    struct crash_bounds bounds = crash_bounds_default;
    struct disk_set base = {.n = 1, .disk = {disk_clone(r->disk[0])}};
    struct crash_state st;
    unsigned before = 0, behind = 0;
    disk_log_reset(r->log);
    amend_ok(r, open, changes, false);
    bounds.tearable = is_header;
    struct crash_iter *it = crash_iter_new(&base, r->log, &bounds);
    while (crash_iter_next(it, &st)) {
        struct disk *copy = disk_clone(st.set->disk[0]);
        struct sim_disk d = {.disk = copy};
        sim_register(r->w, "cut", &d);
        bool old = opens(r, "sim:cut", open), new = opens(r, "sim:cut", after);
        assert_true(old || new);
        before += old;
        behind += new;
        sim_unregister(r->w, "cut");
        disk_free(copy);
    }
    assert_true(before > 0 && behind > 0);
    assert_true(crash_iter_stats(it).distinct > 2);
    crash_iter_free(it);
    disk_free(base.disk[0]);
}

static void fill_some(struct rig *r, const char *open)
{
    struct blk *b = rig_open(r, "sim:d0", open, RW);
    assert_int_equal(rig_fill(b, 0, 4096, 7), 0);
    blk_unref(b);
}

static void cuts(struct rig *r)
{
    make(r, &driver_luks, "size=64k,key-secret=s0");
    fill_some(r, LUKS_OPEN);
    cut_amend(r, LUKS_OPEN, "state=active,new-secret=s1", "driver=luks,key-secret=s1");
    cut_amend(r, LUKS_OPEN, "state=inactive,old-secret=s0", "driver=luks,key-secret=s1");
    make(r, &driver_qcow2, "size=64k,encrypt.key-secret=s0,encrypt.format=luks");
    fill_some(r, "driver=qcow2,encrypt.key-secret=s0");
    cut_amend(r, "driver=qcow2,encrypt.key-secret=s0", "encrypt.state=active,encrypt.new-secret=s1",
              "driver=qcow2,encrypt.key-secret=s1");
    cut_amend(r, "driver=qcow2,encrypt.key-secret=s0", "encrypt.state=inactive,encrypt.keyslot=0",
              "driver=qcow2,encrypt.key-secret=s1");
}

/* ---- secrets ---- */

static int add_secret(struct rig *r, const char *props, struct error **err)
{
    struct value *v = opts_parse(props, NULL, err);
    int ret = secret_create(r->w, v, err);
    value_free(v);
    return ret;
}

static void secret_forms(struct rig *r)
{
    static const struct {
        const char *props, *msg;
    } bad[] = {
        {"id=x", "Either 'file' or 'data' must be provided"},
        {"id=x,data=a,file=b", "'file' and 'data' are mutually exclusive"},
        {"id=x,data=!,format=base64", "Base64 data contains invalid characters"},
        {"id=x,data=a,format=hex", "Parameter 'format' does not accept value 'hex'"},
        {"id=x,data=a,keyid=none", "No secret with id 'none'"},
        {"id=x,data=a,keyid=raw", "Key should be 32 bytes in length"},
        {"id=x,data=a,keyid=key", "IV is required to decrypt secret"},
        {"id=x,data=a,keyid=key,iv=YWJj", "IV should be 16 bytes in length not 3"},
        {"id=x,data=YWJj,keyid=key,iv=aWlpaWlpaWlpaWlpaWlpaQ==,format=base64",
         "Length 3 must be a multiple of block size 16"},
        {"id=x,data=YWJjZGVmZ2hpamtsbW5vcA==,keyid=key,iv=aWlpaWlpaWlpaWlpaWlpaQ==,format=base64",
         "Incorrect number of padding bytes (43) found on decrypted data"},
        {"id=raw,data=a", "attempt to add duplicate property 'raw' to object (type 'container')"},
        {"id=x,data=a,loaded=on", "Property 'secret.loaded' is not writable"},
        {"id=x,file=/nonexistent-folder/x",
         "Unable to read /nonexistent-folder/x: Failed to open file “/nonexistent-folder/x”: No "
         "such file or directory"},
    };
    struct error *err = NULL;
    size_t len;
    assert_int_equal(add_secret(r, "id=raw,data=letmein", &err), 0);
    assert_int_equal(add_secret(r, "id=b64,data=bGV0bWVpbg==,format=base64", &err), 0);
    assert_string_equal((const char *)secret_find(r->w, "b64", &len, &err), "letmein");
    assert_int_equal(len, 7);
    assert_int_equal(
        add_secret(r, "id=key,data=a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=,format=base64",
                   &err),
        0);
    /* "letmein" by openssl enc -aes-256-cbc -K 6b6b.. -iv 6969.. */
    assert_int_equal(add_secret(r,
                                "id=enc,data=el5Ej1ROV0Rd+o5FvQy/Zg==,keyid=key,iv="
                                "aWlpaWlpaWlpaWlpaWlpaQ==,format=base64",
                                &err),
                     0);
    assert_string_equal((const char *)secret_find(r->w, "enc", &len, &err), "letmein");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_true(add_secret(r, bad[i].props, &err) < 0);
        rig_expect(&err, bad[i].msg);
    }
    assert_int_equal(secret_remove(r->w, "raw", &err), 0);
    assert_null(secret_find(r->w, "raw", &len, &err));
    rig_expect(&err, "No secret with id 'raw'");
}

#define TEST(fn)                                                                                   \
    static void test_##fn(void **state)                                                            \
    {                                                                                              \
        rig_run(drivers, fn);                                                                      \
    }
TEST(luks_programs)
TEST(qcow2_programs)
TEST(qcow2_downgrade)
TEST(qcow_programs)
TEST(key_slots)
TEST(key_slot_refusals)
TEST(key_slots_alone)
TEST(layout)
TEST(without_key)
TEST(creation_refusals)
TEST(open_refusals)
TEST(hostile_luks)
TEST(truncated)
TEST(hostile_qcow2)
TEST(cuts)
TEST(secret_forms)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_luks_programs),
        cmocka_unit_test(test_qcow2_programs),
        cmocka_unit_test(test_qcow2_downgrade),
        cmocka_unit_test(test_qcow_programs),
        cmocka_unit_test(test_key_slots),
        cmocka_unit_test(test_key_slot_refusals),
        cmocka_unit_test(test_key_slots_alone),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_without_key),
        cmocka_unit_test(test_creation_refusals),
        cmocka_unit_test(test_open_refusals),
        cmocka_unit_test(test_hostile_luks),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_hostile_qcow2),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_secret_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
