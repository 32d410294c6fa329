/* The growing string. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"

static void it_grows_and_stays_terminated(void **state)
{
    struct strbuf b = STRBUF_INIT;

    for (int i = 0; i < 1000; i++) {
        strbuf_putc(&b, (char)('a' + i % 26));
        assert_int_equal(b.len, i + 1);
        assert_int_equal(b.s[b.len], '\0');
    }
    strbuf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.s, "");
    strbuf_puts(&b, "x=");
    strbuf_printf(&b, "%d,%s", 12, "y");
    strbuf_add(&b, "\0z", 2);
    strbuf_add(&b, NULL, 0);
    assert_int_equal(b.len, 8);
    assert_memory_equal(b.s, "x=12,y\0z", 9);
    strbuf_free(&b);
    assert_null(b.s);
    strbuf_reset(&b);
    strbuf_free(&b);
}

static void taking_hands_it_over(void **state)
{
    struct strbuf b = STRBUF_INIT;
    char *empty = strbuf_take(&b);

    assert_string_equal(empty, "");
    strbuf_puts(&b, "abc");
    char *s = strbuf_take(&b);
    assert_string_equal(s, "abc");
    assert_null(b.s);
    assert_int_equal(b.len, 0);
    mem_free(empty);
    mem_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows_and_stays_terminated),
        cmocka_unit_test(taking_hands_it_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
