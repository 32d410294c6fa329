/* Byte order at odd addresses, and intrusive lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ref/base/bytes.h"
#include "ref/base/list.h"

static void loads_and_stores_agree_with_the_bytes(void **state)
{
    uint8_t b[10] = {0xEE, 1, 2, 3, 4, 5, 6, 7, 8, 0xEE};

    assert_int_equal(load_be16(b + 1), 0x0102);
    assert_int_equal(load_be32(b + 1), 0x01020304);
    assert_true(load_be64(b + 1) == 0x0102030405060708ULL);
    assert_int_equal(load_le16(b + 1), 0x0201);
    assert_int_equal(load_le32(b + 1), 0x04030201);
    assert_true(load_le64(b + 1) == 0x0807060504030201ULL);
    for (unsigned width = 1; width <= 8; width++) {
        for (int big = 0; big < 2; big++) {
            uint64_t v = load_uint(b + 1, width, big);
            assert_int_equal(big ? v & 0xFF : v >> 8 * (width - 1), width);
            uint8_t c[10] = {0};
            store_uint(c + 1, width, big, v);
            assert_memory_equal(c + 1, b + 1, width);
            assert_int_equal(c[0] | c[width + 1], 0);
        }
    }
}

static void stores_write_the_named_order(void **state)
{
    uint8_t b[8];

    store_be16(b, 0x0102);
    assert_memory_equal(b, "\x01\x02", 2);
    store_be32(b, 0x01020304);
    assert_memory_equal(b, "\x01\x02\x03\x04", 4);
    store_be64(b, 0x0102030405060708ULL);
    assert_memory_equal(b, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    store_le16(b, 0x0102);
    assert_memory_equal(b, "\x02\x01", 2);
    store_le32(b, 0x01020304);
    assert_memory_equal(b, "\x04\x03\x02\x01", 4);
    store_le64(b, 0x0102030405060708ULL);
    assert_memory_equal(b, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
}

struct item {
    int n;
    struct list link;
};

static void lists_keep_their_order(void **state)
{
    struct item a = {1, {0}}, b = {2, {0}}, c = {3, {0}}, *it, *tmp;
    struct list head;
    int sum = 0;

    list_init(&head);
    assert_true(list_empty(&head));
    list_push(&head, &b.link);
    list_push(&head, &c.link);
    list_push_front(&head, &a.link);
    LIST_FOREACH (it, &head, link) {
        sum = sum * 10 + it->n;
    }
    assert_int_equal(sum, 123);
    assert_ptr_equal(LIST_FIRST(&head, struct item, link), &a);
    LIST_FOREACH_SAFE (it, tmp, &head, link) {
        if (it->n == 2) {
            list_remove(&it->link);
        }
    }
    assert_true(list_empty(&b.link));
    list_remove(&b.link); /* twice is fine */
    list_remove(&a.link);
    list_remove(&c.link);
    assert_true(list_empty(&head));
}

static void test_skip_zero(void **state)
{
    uint8_t raw[8 * 40 + 3] = {0}, *words = raw + 3; /* at any alignment */
    assert_int_equal(words_skip_zero(words, 0, 0), 0);
    assert_int_equal(words_skip_zero(words, 0, 40), 40);
    assert_int_equal(words_skip_zero(words, 7, 8), 8);
    for (size_t at = 0; at < 40; at++) {
        words[8 * at + at % 8] = 0x80;
        for (size_t i = 0; i <= at; i++) {
            assert_int_equal(words_skip_zero(words, i, 40), at);
            assert_int_equal(words_skip_zero(words, i, at), at);
        }
        words[8 * at + at % 8] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_and_stores_agree_with_the_bytes),
        cmocka_unit_test(stores_write_the_named_order),
        cmocka_unit_test(lists_keep_their_order),
        cmocka_unit_test(test_skip_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
