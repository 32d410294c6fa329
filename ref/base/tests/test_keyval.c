/* Dotted options, with the texts of qemu-storage-daemon 7.2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "ref/base/options.h"

/* The compact JSON of what `text` makes, or "!" and the error. */
static void expect(const char *text, const char *want)
{
    struct error *e = NULL;
    struct value *v = keyval_parse(text, "driver", NULL, &e),
                 *w = *want == '!' ? NULL : json_parse(want, NULL);

    assert_true(!v == !!e);
    if (!v != !w || (v && !value_equal(v, w)) || (e && strcmp(e->msg, want + 1) != 0)) {
        fail_msg("%s gave %s, not %s", text, v ? json_text(v, false) : e->msg, want);
    }
    value_free(v);
    value_free(w);
    error_free(e);
}

static void keys_nest_at_dots(void **state)
{
    expect("", "{}");
    expect("driver=null-co,", "{'driver': 'null-co'}");
    expect("null-co,node-name=a", "{'driver': 'null-co', 'node-name': 'a'}");
    expect("null-co", "{'driver': 'null-co'}");
    expect("driver=a,driver=b", "{'driver': 'b'}");
    expect("a=x,,y,b==", "{'a': 'x,y', 'b': '='}");
    expect("q,file.driver=f,file.x.y=1",
           "{'driver': 'q', 'file': {'driver': 'f', 'x': {'y': '1'}}}");
    expect("l.0=a,l.1.x=b,l.2.0=c", "{'l': ['a', {'x': 'b'}, ['c']]}");
    expect("l.1=b,l.0=a", "{'l': ['a', 'b']}");
    expect("l.00=a", "{'l': ['a']}");
    expect("a.__org.foo_x.b=1,__-a_x=2", "{'a': {'__org.foo_x': {'b': '1'}}, '__-a_x': '2'}");
    expect("a-=1,Ab_=2", "{'a-': '1', 'Ab_': '2'}");
    expect("nbd,help=1", "{'driver': 'nbd', 'help': '1'}");
}

static void offences_have_qemus_words(void **state)
{
    static const char *const invalid[] = {
        "a.",
        ".a",
        "a..b",
        "1a",
        "0.a",
        "a.1a",
        "a.-1",
        "-a",
        "_a",
        "_",
        "a b",
        "a\xc3\xa9"
        "b",
        "a:b",
        "a.b:",
        "__org",
        "__org_",
        "__",
        "__1.x_",
        "__a_1",
        "",
    };

    for (size_t i = 0; i < ARRAY_SIZE(invalid); i++) {
        char *text = str_fmt("x,%s=1", invalid[i]),
             *want = str_fmt("!Invalid parameter '%s'", invalid[i]);
        expect(text, want);
        mem_free(text);
        mem_free(want);
    }
    expect(",", "!Invalid parameter ''");
    expect("=", "!Invalid parameter ''");
    expect("secret,,x", "!Invalid parameter ''");
    expect("x,read-zeroes", "!Expected '=' after parameter 'read-zeroes'");
    expect("x,a.b", "!Expected '=' after parameter 'a.b'");
    expect("x,b,,c=1", "!Expected '=' after parameter 'b'");
    expect("driver=x,a", "!Expected '=' after parameter 'a'");
    expect("cache=1,cache.direct=on", "!Parameters 'cache.*' used inconsistently");
    expect("cache.direct=on,cache=1", "!Parameters 'cache.*' used inconsistently");
    expect("a.b.c=a,a.b=1", "!Parameters 'a.b.*' used inconsistently");
    expect("a.b=1,a.b.c=a", "!Parameters 'a.b.*' used inconsistently");
    expect("a.b=1,a.0=1", "!Parameters 'a.*' used inconsistently");
    expect("a.0=1,a.2=1", "!Parameter 'a.1' missing");
    expect("a.9999999999=1", "!Parameter 'a.0' missing");
    expect("a.99999999999999999999=1", "!Parameter 'a.0' missing");
    expect("a.0.b=1,a.0.c.1=2", "!Parameter 'a.0.c.0' missing");
    expect("a.b.1=1,a.0=1", "!Parameter 'a.b.0' missing");
}

static void help_needs_somebody_to_give_it(void **state)
{
    static const char *const asks[] = {"help", "?", "nbd,help", "nbd,?", "nbd,help,foo=1"};
    bool help = false;

    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        expect(asks[i], "!Help is not available for this option");
        struct value *v = keyval_parse(asks[i], "driver", &help, NULL);
        assert_true(help);
        assert_int_equal(dict_has(v, "driver"), i > 1);
        value_free(v);
    }
    value_free(keyval_parse("nbd,help=1", "driver", &help, NULL));
    assert_false(help);
    expect("help,nbd", "!Expected '=' after parameter 'nbd'");
    expect("nbd,helpx", "!Expected '=' after parameter 'helpx'");
    expect("nbd,help,foo", "!Expected '=' after parameter 'foo'");
}

static void long_and_deep_keys_are_refused(void **state)
{
    char part[130], text[200], want[200];

    memset(part, 'a', 127);
    part[127] = '\0';
    for (int more = 0; more < 2; more++) {
        snprintf(text, sizeof(text), "%s=1", part);
        snprintf(want, sizeof(want), more ? "!Parameter '%s' is too long" : "{'%s': '1'}", part);
        expect(text, want);
        snprintf(text, sizeof(text), "b.%s=1", part);
        snprintf(want, sizeof(want),
                 more ? "!Parameter fragment '%s' is too long" : "{'b': {'%s': '1'}}", part);
        expect(text, want);
        strcat(part, "a");
    }
    char deep[20003];
    for (size_t i = 0; i < 20000; i++) {
        deep[i] = i % 2 ? '.' : 'a';
    }
    strcpy(deep + 19999, "=1");
    struct error *e = NULL;
    assert_null(keyval_parse(deep, NULL, NULL, &e));
    assert_non_null(strstr(e->msg, "has more than 512 parts"));
    error_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_nest_at_dots),
        cmocka_unit_test(offences_have_qemus_words),
        cmocka_unit_test(help_needs_somebody_to_give_it),
        cmocka_unit_test(long_and_deep_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
