/* I/O vectors: building, slicing, copying, comparing; and the zero test at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "ref/base/iov.h"
#include "ref/base/mem.h"

static void one_piece_needs_no_memory(void **state)
{
    char buf[10] = "abcdefghi", out[10];
    struct iov q;

    iov_single(&q, buf, sizeof(buf));
    assert_int_equal(q.n, 1);
    assert_int_equal(q.size, 10);
    assert_int_equal(iov_to_buf(&q, 2, out, 100), 8);
    assert_memory_equal(out, "cdefghi", 8);
}

/* "abc" "" "de" "fghij" */
static void make(struct iov *q, char *mem)
{
    memcpy(mem, "abcdefghij", 11);
    iov_init(q);
    iov_add(q, mem, 3);
    iov_add(q, mem + 3, 0);
    iov_add(q, mem + 3, 2);
    iov_add(q, mem + 5, 5);
}

static void copies_go_through_all_pieces(void **state)
{
    char mem[11], out[11] = "";
    struct iov q;

    make(&q, mem);
    assert_int_equal(q.n, 4);
    assert_int_equal(q.size, 10);
    for (size_t from = 0; from <= 10; from++) {
        for (size_t len = 0; len <= 12; len++) {
            size_t want = MIN(len, 10 - from);
            assert_int_equal(iov_to_buf(&q, from, out, len), want);
            assert_memory_equal(out, mem + from, want);
        }
    }
    assert_int_equal(iov_from_buf(&q, 2, "XYZW", 4), 4);
    assert_string_equal(mem, "abXYZWghij");
    assert_int_equal(iov_from_buf(&q, 8, "1234", 4), 2);
    assert_string_equal(mem, "abXYZWgh12");
    iov_fill(&q, 1, '-', 5);
    assert_string_equal(mem, "a-----gh12");
    iov_destroy(&q);
    assert_int_equal(q.n, 0);
}

static void slices_share_memory(void **state)
{
    char mem[11], out[7];
    struct iov q, s;

    make(&q, mem);
    iov_init(&s);
    iov_add_slice(&s, &q, 2, 5);
    iov_add_slice(&s, &q, 0, 1);
    iov_add_slice(&s, &q, 10, 0);
    assert_int_equal(s.size, 6);
    assert_int_equal(iov_to_buf(&s, 0, out, 6), 6);
    assert_memory_equal(out, "cdefga", 6);
    iov_fill(&s, 0, 'z', 6);
    assert_string_equal(mem, "zbzzzzzhij");
    iov_reset(&s);
    assert_int_equal(s.size, 0);
    assert_int_equal(s.n, 0);
    iov_add(&s, mem, 1);
    assert_int_equal(s.n, 1);
    iov_destroy(&s);
    iov_destroy(&q);
}

static void borrowed_pieces_are_left_alone(void **state)
{
    char a[4] = "abc", b[4] = "def";
    struct iovec v[2] = {{a, 3}, {b, 3}};
    struct iov q;

    iov_borrow(&q, v, 2);
    assert_int_equal(q.size, 6);
    for (int i = 0; i < 5; i++) {
        iov_add(&q, a, 1); /* copies the vector first */
    }
    assert_int_equal(q.size, 11);
    assert_int_equal(v[1].iov_len, 3);
    iov_destroy(&q);
    iov_borrow(&q, v, 2);
    iov_reset(&q);
    iov_add(&q, b, 2);
    assert_ptr_equal(v[0].iov_base, a);
    iov_destroy(&q);
}

static void comparing_finds_the_first_difference(void **state)
{
    char m1[11], m2[11];
    struct iov a, b, empty;

    make(&a, m1);
    memcpy(m2, m1, 11);
    iov_init(&b);
    iov_add(&b, m2, 1);
    iov_add(&b, m2 + 1, 7);
    iov_add(&b, m2 + 8, 2);
    assert_int_equal(iov_compare(&a, &b), -1);
    for (int i = 0; i < 10; i++) {
        m2[i] ^= 1;
        assert_int_equal(iov_compare(&a, &b), i);
        assert_int_equal(iov_compare(&b, &a), i);
        m2[i] ^= 1;
    }
    iov_init(&empty);
    assert_int_equal(iov_compare(&empty, &empty), -1);
    iov_destroy(&a);
    iov_destroy(&b);
}

static void zero_is_seen_at_any_length_and_place(void **state)
{
    char buf[300] = {0};
    struct iov q;

    for (size_t at = 0; at < 9; at++) {
        for (size_t len = 0; len < 280; len++) {
            buf[at + len] = 1; /* behind the end */
            if (at) {
                buf[at - 1] = 1; /* before the start */
            }
            assert_true(buf_is_zero(buf + at, len));
            buf[at + len] = 0;
            for (size_t i = 0; i<len; i += len> 140 ? 13 : 1) {
                buf[at + i] = (char)0x80;
                assert_false(buf_is_zero(buf + at, len));
                buf[at + i] = 0;
            }
            if (at) {
                buf[at - 1] = 0;
            }
        }
    }
    iov_init(&q);
    iov_add(&q, buf, 100);
    iov_add(&q, buf + 100, 100);
    buf[150] = 1;
    assert_true(iov_is_zero(&q, 0, 150));
    assert_false(iov_is_zero(&q, 0, 151));
    assert_true(iov_is_zero(&q, 151, 49));
    assert_true(iov_is_zero(&q, 150, 0));
    iov_destroy(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_piece_needs_no_memory),
        cmocka_unit_test(copies_go_through_all_pieces),
        cmocka_unit_test(slices_share_memory),
        cmocka_unit_test(borrowed_pieces_are_left_alone),
        cmocka_unit_test(comparing_finds_the_first_difference),
        cmocka_unit_test(zero_is_seen_at_any_length_and_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
