/*
 * Names: paths and protocols as text, and what nodes are called: plain, or json:{...} when that is
 * not enough.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/base/json.h"
#include "ref/block/tests/toy.h"

static void test_protocol_prefix(void **state)
{
    assert_true(path_has_protocol("nbd:x"));
    assert_true(path_has_protocol("nbd://x/y"));
    assert_true(path_has_protocol(":"));
    assert_false(path_has_protocol(""));
    assert_false(path_has_protocol("a"));
    assert_false(path_has_protocol("./a:b"));
    assert_false(path_has_protocol("/a:b"));
    assert_false(path_has_protocol("dir/a:b"));
}

static void test_combine(void **state)
{
    static const struct {
        const char *base, *name, *want;
    } t[] = {
        {"a", "b", "b"},         {"dir/a", "b", "dir/b"},         {"/dir/a", "b", "/dir/b"},
        {"/a", "b", "/b"},       {"dir/a", "/b", "/b"},           {"dir/a", "nbd:b", "nbd:b"},
        {"nbd:a", "b", "nbd:b"}, {"nbd://h/a", "b", "nbd://h/b"}, {"nbd:d/a", "b", "nbd:d/b"},
        {"", "b", "b"},          {"dir/a", "../b", "dir/../b"},   {"dir/", "b", "dir/b"},
        {"a:b/c", "d", "a:b/d"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        char *s = path_combine(t[i].base, t[i].name);
        assert_string_equal(s, t[i].want);
        mem_free(s);
    }
}

static void test_full_backing(void **state)
{
    struct error *err = NULL;
    char *s = full_backing_filename("dir/a", "b", &err);
    assert_string_equal(s, "dir/b");
    mem_free(s);
    assert_null(full_backing_filename("dir/a", "", &err));
    assert_null(err);
    s = full_backing_filename("json:{}", "/b", &err);
    assert_string_equal(s, "/b");
    mem_free(s);
    assert_null(full_backing_filename("json:{}", "b", &err));
    toy_expect_error(&err, "Cannot use relative backing file names for 'json:{}'");
}

static void expect_name(struct world *w, const char *opts, unsigned flags, const char *name)
{
    struct node *n = toy_open(w, opts, flags);
    node_refresh_filename(n);
    assert_string_equal(n->filename, name);
    /* Whatever it is, it opens the same again. */
    struct error *err = NULL;
    struct node *again = node_open(w, n->filename, NULL, NULL, flags, &err);
    assert_null(err);
    node_refresh_filename(again);
    assert_string_equal(again->filename, name);
    node_unref(again);
    node_unref(n);
}

static void plain_and_json(struct world *w)
{
    toy_image("base", NULL, NULL, 1);
    toy_image("top", "mem:base", "toyfmt", 2);
    toy_image("other", NULL, NULL, 2);
    expect_name(w, "driver=file,filename=a", 0, "mem:a");
    expect_name(w, "driver=toyfmt,file.filename=top", 0, "mem:top");
    expect_name(w, "driver=toyfmt,file.filename=top,runtime=1,fixed=1,cache.direct=on", 0,
                "mem:top");
    expect_name(w, "driver=toyfmt,file.filename=top,strong=1", 0,
                "json:{\"strong\": \"1\", \"driver\": \"toyfmt\", \"file\": {\"driver\": \"file\", "
                "\"filename\": \"top\"}}");
    expect_name(w, "driver=toyfilter,file.filename=top", 0,
                "json:{\"driver\": \"toyfilter\", \"file\": {\"driver\": \"file\", \"filename\": "
                "\"top\"}}");
    expect_name(w, "driver=toyfmt,file.driver=toyfilter,file.file.filename=other", 0,
                "json:{\"driver\": \"toyfmt\", \"file\": {\"driver\": \"toyfilter\", \"file\": "
                "{\"driver\": \"file\", "
                "\"filename\": \"other\"}}}");
    expect_name(w, "driver=raw,file.driver=raw,file.file.filename=other", 0,
                "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"raw\", \"file\": {\"driver\": "
                "\"file\", "
                "\"filename\": \"other\"}}}");
}

static void overridden_backing(struct world *w)
{
    struct error *err = NULL;
    toy_image("base", NULL, NULL, 1);
    toy_image("top", "mem:base", "toyfmt", 2);
    toy_image("other", NULL, NULL, 2);
    expect_name(
        w, "driver=toyfmt,file.filename=top,backing.driver=toyfmt,backing.file.filename=other", 0,
        "json:{\"backing\": {\"driver\": \"toyfmt\", \"file\": {\"driver\": \"file\", "
        "\"filename\": \"other\"}}, "
        "\"driver\": \"toyfmt\", \"file\": {\"driver\": \"file\", \"filename\": \"top\"}}");
    /* The same file as the header says is no override. */
    expect_name(w,
                "driver=toyfmt,file.filename=top,backing.driver=toyfmt,backing.file.filename=base",
                0, "mem:top");
    struct node *n = node_open(w, "json:{'driver':'toyfmt','backing':null,'file.filename':'top'}",
                               NULL, NULL, 0, &err);
    node_refresh_filename(n);
    assert_string_equal(
        n->filename,
        "json:{\"backing\": null, \"driver\": \"toyfmt\", \"file\": {\"driver\": \"file\", "
        "\"filename\": \"top\"}}");
    node_unref(n);
    /* Opened for its metadata alone, the missing chain does not count. */
    n = toy_open(w, "driver=toyfmt,file.filename=top", OPEN_NO_BACKING | OPEN_NO_IO);
    node_refresh_filename(n);
    assert_string_equal(n->filename, "mem:top");
    node_unref(n);
    /* After a graph change the header still names the old one, until it is rewritten. */
    n = toy_open(w, "driver=toyfmt,file.filename=top", OPEN_RDWR);
    struct node *o = toy_open(w, "driver=toyfmt,file.filename=other,node-name=o", 0);
    assert_int_equal(node_reopen(n, toy_opts("backing=o"), true, &err), 0);
    node_refresh_filename(n);
    assert_true(strncmp(n->filename, "json:{\"backing\": {", 18) == 0);
    assert_int_equal(node_change_backing_file(n, "mem:other", "toyfmt", false), 0);
    node_refresh_filename(n);
    assert_string_equal(n->filename, "mem:top");
    node_unref(n);
    node_unref(o);
}

static void backing_directory(struct world *w)
{
    struct error *err = NULL;
    toy_image("dir/top", "base", NULL, 1);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=dir/top", OPEN_NO_BACKING);
    char *s = node_full_backing_filename(n, &err);
    assert_string_equal(s, "mem:dir/base");
    mem_free(s);
    node_unref(n);
    toy_image("dir/base", NULL, NULL, 1);
    n = node_open(w, "mem:dir/top", NULL, NULL, 0, &err);
    assert_string_equal(n->backing->node->filename, "mem:dir/base");
    node_refresh_filename(n);
    assert_string_equal(n->filename, "mem:dir/top");
    node_unref(n);
}

static void json_parsing(struct world *w)
{
    struct error *err = NULL;
    struct value *v = parse_json_filename("json:{'a':{'b':1},'c':[true,null]}", &err);
    assert_int_equal(value_get_int(dict_get(v, "a.b")), 1);
    assert_true(value_get_bool(dict_get(v, "c.0")));
    assert_int_equal(value_type(dict_get(v, "c.1")), VALUE_NULL);
    value_free(v);
    assert_null(parse_json_filename("json:{'a':1,'a':2}", &err));
    toy_expect_error(&err, "Could not parse the JSON options: JSON parse error, duplicate key");
    assert_null(parse_json_filename("x", &err));
    error_clear(&err);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        toy_run(name);                                                                             \
    }
TEST(plain_and_json)
TEST(overridden_backing)
TEST(backing_directory)
TEST(json_parsing)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocol_prefix),    cmocka_unit_test(test_combine),
        cmocka_unit_test(test_full_backing),       cmocka_unit_test(test_plain_and_json),
        cmocka_unit_test(test_overridden_backing), cmocka_unit_test(test_backing_directory),
        cmocka_unit_test(test_json_parsing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
