/* Errors: codes, texts, hints, and who owns what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/base/error.h"

static int set_va(struct error **err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int ret = error_setv(err, ENOENT, fmt, ap);
    va_end(ap);
    return ret;
}

static void setting_fills_code_and_message(void **state)
{
    struct error *e = NULL;

    assert_int_equal(error_set(&e, EINVAL, "bad %s", "thing"), -EINVAL);
    assert_int_equal(e->code, EINVAL);
    assert_int_equal(e->class, ERROR_GENERIC);
    assert_string_equal(e->msg, "bad thing");
    assert_null(e->hint);
    error_clear(&e);
    assert_null(e);
    assert_int_equal(set_va(&e, "%d", 5), -ENOENT);
    assert_string_equal(e->msg, "5");
    error_clear(&e);
}

static void nobody_listening_is_fine(void **state)
{
    struct error *none = NULL;

    assert_int_equal(error_set(NULL, EIO, "x"), -EIO);
    assert_int_equal(error_set_errno(NULL, EIO, "x"), -EIO);
    assert_int_equal(error_set_class(NULL, ERROR_DEVICE_NOT_FOUND, "x"), -ENODEV);
    error_prepend(NULL, "x");
    error_prepend(&none, "x");
    error_hint(NULL, "x");
    error_hint(&none, "x");
    error_clear(NULL);
    error_clear(&none);
    error_free(NULL);
    assert_null(error_clone(NULL));
    assert_null(none);
}

static void errno_text_follows_the_message(void **state)
{
    struct error *e = NULL;

    assert_int_equal(error_set_errno(&e, ENOSPC, "Could not write '%s'", "f"), -ENOSPC);
    assert_string_equal(e->msg, "Could not write 'f': No space left on device");
    assert_int_equal(e->code, ENOSPC);
    error_free(e);
}

static void classes_have_their_qmp_names(void **state)
{
    struct error *e = NULL;

    assert_int_equal(error_set_class(&e, ERROR_COMMAND_NOT_FOUND, "no %d", 1), -EINVAL);
    assert_int_equal(e->class, ERROR_COMMAND_NOT_FOUND);
    error_free(e);
    assert_string_equal(error_class_name(ERROR_GENERIC), "GenericError");
    assert_string_equal(error_class_name(ERROR_COMMAND_NOT_FOUND), "CommandNotFound");
    assert_string_equal(error_class_name(ERROR_DEVICE_NOT_ACTIVE), "DeviceNotActive");
    assert_string_equal(error_class_name(ERROR_DEVICE_NOT_FOUND), "DeviceNotFound");
    assert_string_equal(error_class_name(ERROR_KVM_MISSING_CAP), "KVMMissingCap");
}

static void prefixes_and_hints_accumulate(void **state)
{
    struct error *e = NULL;

    error_set(&e, EINVAL, "inner");
    error_prepend(&e, "%s: ", "middle");
    error_prepend(&e, "outer: ");
    error_hint(&e, "try %d\n", 1);
    error_hint(&e, "or 2\n");
    assert_string_equal(e->msg, "outer: middle: inner");
    assert_string_equal(e->hint, "try 1\nor 2\n");
    struct error *c = error_clone(e);
    error_free(e);
    assert_string_equal(c->msg, "outer: middle: inner");
    assert_string_equal(c->hint, "try 1\nor 2\n");
    assert_int_equal(c->code, EINVAL);
    error_free(c);
}

static void the_first_error_wins_when_propagated(void **state)
{
    struct error *dst = NULL, *a = NULL, *b = NULL, *c = NULL;

    error_set(&a, EIO, "a");
    error_set(&b, EIO, "b");
    error_set(&c, EIO, "c");
    error_propagate(&dst, a);
    error_propagate(&dst, b);
    error_propagate(NULL, c);
    error_propagate(&dst, NULL);
    assert_ptr_equal(dst, a);
    error_free(dst);
    dst = NULL;
    error_propagate(&dst, NULL);
    assert_null(dst);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_fills_code_and_message),
        cmocka_unit_test(nobody_listening_is_fine),
        cmocka_unit_test(errno_text_follows_the_message),
        cmocka_unit_test(classes_have_their_qmp_names),
        cmocka_unit_test(prefixes_and_hints_accumulate),
        cmocka_unit_test(the_first_error_wins_when_propagated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
