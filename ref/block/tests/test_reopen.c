/*
 * Reopening: what may change, what children take over, new children, all or nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/block/io.h"
#include "ref/block/tests/toy.h"

static void reopen(struct node *n, const char *opts, bool keep_old)
{
    struct error *err = NULL;
    int r = node_reopen(n, toy_opts(opts), keep_old, &err);
    if (err) {
        fail_msg("%s: %s", opts, err->msg);
    }
    assert_int_equal(r, 0);
}

static void reopen_fails(struct node *n, struct value *opts, bool keep_old, const char *msg)
{
    struct error *err = NULL;
    assert_true(node_reopen(n, opts, keep_old, &err) < 0);
    toy_expect_error(&err, msg);
    assert_null(n->reopening);
}

static void messages(struct world *w)
{
    static const struct {
        const char *opts, *msg;
    } bad[] = {
        {"driver=raw", "Cannot change the option 'driver'"},
        {"node-name=x", "Cannot change the option 'node-name'"},
        {"force-share=on", "Cannot change the option 'force-share'"},
        {"foo=x", "Cannot change the option 'foo'"},
        {"fixed=b", "Cannot change the option 'fixed'"},
        {"file.foo=x", "Cannot change the option 'foo'"},
        {"file.filename=b", "Cannot change the option 'filename'"},
        {"file.driver=raw", "Cannot change the option 'driver'"},
        {"file=nix", "Cannot find device='' nor node-name='nix'"},
        {"file=", "Cannot find device='' nor node-name=''"},
        {"backing=nix", "Cannot find device='' nor node-name='nix'"},
        {"read-only=x", "Parameter 'read-only' expects 'on' or 'off'"},
        {"cache.direct=x", "Parameter 'cache.direct' expects 'on' or 'off'"},
        {"discard=x", "Invalid discard option"},
        {"detect-zeroes=unmap", "setting detect-zeroes to unmap is not allowed without setting "
                                "discard operation to unmap"},
    };
    toy_image("a", NULL, NULL, 1);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=a,fixed=a,node-name=n", 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        reopen_fails(n, toy_opts(bad[i].opts), true, bad[i].msg);
    }
    struct value *o = toy_opts("driver=toyfmt,fixed=a");
    dict_put(o, "file", value_null());
    reopen_fails(n, o, false, "Invalid parameter type for 'file', expected: BlockdevRef");
    node_unref(n);
}

static void unchanged(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=a,fixed=a,node-name=n,runtime=1", 0);
    reopen(n, "", true);
    reopen(n, "driver=toyfmt,node-name=n,fixed=a,file.filename=a,file.driver=file", true);
    reopen(n, "runtime=2", true);
    assert_string_equal(dict_get_str(n->options, "runtime"), "2");
    assert_string_equal(dict_get_str(n->options, "fixed"), "a");
    struct value *o = toy_opts("");
    dict_put_int(o, "fixed", 1);
    assert_true(node_reopen(n, o, true, &err) < 0); /* another type is another value */
    toy_expect_error(&err, "Cannot change the option 'fixed'");
    node_unref(n);
}

static void defaults_come_back(struct world *w)
{
    toy_image("a", NULL, NULL, 1);
    struct node *n =
        toy_open(w,
                 "driver=toyfmt,file.filename=a,fixed=a,runtime=1,cache.direct=on,read-only=on,"
                 "detect-zeroes=on",
                 0);
    reopen_fails(n, toy_opts("file.filename=a"), false,
                 "Option 'fixed' cannot be reset to its default value");
    assert_true(n->read_only);
    reopen(n, "fixed=a,file.filename=a", false);
    assert_false(dict_has(n->options, "runtime"));
    assert_false(n->open_flags & OPEN_NO_CACHE);
    assert_false(node_child(n)->open_flags & OPEN_NO_CACHE);
    assert_int_equal(n->detect_zeroes, DETECT_ZEROES_OFF);
    assert_false(n->read_only);
    assert_false(node_child(n)->read_only);
    assert_int_equal(n->file->perm & PERM_WRITE, PERM_WRITE);
    node_unref(n);
}

static void read_only_and_back(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    struct blk *b = blk_open(w, "mem:a", NULL, NULL, OPEN_RDWR, &err);
    struct node *n = blk_node(b);
    char *msg = str_fmt("Read-only block node '%s' cannot support read-write users", n->node_name);
    reopen_fails(n, toy_opts("read-only=on"), true, msg);
    mem_free(msg);
    assert_false(n->read_only);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ, PERM_ALL, &err), 0);
    assert_int_equal(node_set_read_only(n, true, &err), 0);
    assert_true(n->read_only);
    assert_true(node_child(n)->read_only);
    assert_int_equal(toy_store("a")->perm, PERM_CONSISTENT_READ);
    assert_int_equal(blk_set_perm(b, PERM_WRITE, PERM_ALL, &err), -EPERM);
    toy_expect_error(&err, "Block node is read-only");
    assert_int_equal(node_set_read_only(n, false, &err), 0);
    assert_int_equal(blk_set_perm(b, PERM_WRITE, PERM_ALL, &err), 0);
    assert_true(toy_store("a")->perm & PERM_WRITE);
    blk_unref(b);
}

static void children_inherit(struct world *w)
{
    toy_image("base", NULL, NULL, 1);
    toy_image("top", "mem:base", "toyfmt", 2);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=top,file.cache.no-flush=off", 0);
    reopen(n, "cache.direct=on,cache.no-flush=on", true);
    assert_true(node_child(n)->open_flags & OPEN_NO_CACHE);
    assert_false(node_child(n)->open_flags & OPEN_NO_FLUSH); /* said otherwise when opened */
    struct node *base = n->backing->node;
    assert_true(base->open_flags & OPEN_NO_CACHE && base->open_flags & OPEN_NO_FLUSH);
    assert_true(node_child(base)->open_flags & OPEN_NO_FLUSH);
    assert_true(base->read_only);
    reopen(n, "backing.cache.direct=off,file.detect-zeroes=on", true);
    assert_false(base->open_flags & OPEN_NO_CACHE);
    assert_false(node_child(base)->open_flags & OPEN_NO_CACHE);
    assert_true(n->open_flags & OPEN_NO_CACHE);
    assert_int_equal(node_child(n)->detect_zeroes, DETECT_ZEROES_ON);
    assert_true(node_child(base)->open_flags & OPEN_PROTOCOL);
    node_unref(n);
}

/* A driver at the bottom that refuses leaves everything as it was, and those that had prepared hear
 * of it. */
static void all_or_nothing(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    toy_image("b", NULL, NULL, 2);
    struct node *a =
        toy_open(w, "driver=toyfmt,node-name=na,file.filename=a,file.node-name=fa", OPEN_RDWR);
    struct node *b =
        toy_open(w, "driver=toyfmt,node-name=nb,file.filename=b,file.node-name=fb", OPEN_RDWR);
    struct node *both[2] = {a, b};
    struct value *opts[2] = {toy_opts("read-only=on"), toy_opts("read-only=on")};
    toy.fail = "reopen";
    strbuf_reset(&toy.log);
    assert_true(nodes_reopen(w, both, opts, 2, true, &err) < 0);
    toy_expect_error(&err, "failed while preparing to reopen image 'mem:a'");
    assert_string_equal(toy.log.s, "prepare:na prepare:fa undo:na ");
    toy.fail = "perm";
    strbuf_reset(&toy.log);
    struct value *again[2] = {toy_opts("read-only=on"), toy_opts("read-only=on")};
    assert_true(nodes_reopen(w, both, again, 2, true, &err) < 0);
    assert_true(strncmp(err->msg, "no permission for 'f", 20) == 0);
    error_clear(&err);
    assert_non_null(strstr(toy.log.s, "undo:fb undo:nb undo:fa undo:na "));
    toy.fail = NULL;
    assert_false(a->read_only || b->read_only || node_child(a)->read_only);
    assert_true(a->file->perm & PERM_WRITE);
    strbuf_reset(&toy.log);
    struct value *good[2] = {toy_opts("read-only=on"), toy_opts("")};
    assert_int_equal(nodes_reopen(w, both, good, 2, true, &err), 0);
    assert_true(a->read_only);
    assert_false(b->read_only);
    assert_non_null(strstr(toy.log.s, "commit:fb commit:nb commit:fa commit:na "));
    node_unref(a);
    node_unref(b);
}

static void new_backing(struct world *w)
{
    struct error *err = NULL;
    toy_image("base", NULL, NULL, 1);
    toy_image("top", "mem:base", "toyfmt", 2);
    toy_image("other", NULL, NULL, 3);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=top,node-name=n", 0);
    struct node *o = toy_open(w, "driver=toyfmt,file.filename=other,node-name=o", 0);
    reopen_fails(n, toy_opts("file.filename=top"), false, "backing is missing for 'n'");
    struct value *none = toy_opts("file.filename=top");
    dict_put(none, "backing", value_null());
    assert_int_equal(node_reopen(n, none, false, &err), 0);
    assert_null(n->backing);
    assert_int_equal(toy_store("base")->nodes, 0);
    reopen(n, "backing=o", true);
    assert_ptr_equal(n->backing->node, o);
    assert_null(o->inherits_from);
    reopen_fails(o, toy_opts("backing=n"), true,
                 "Making 'n' a backing child of 'o' would create a cycle");
    reopen_fails(n, toy_opts("file.filename=top,backing.driver=toyfmt"), false,
                 "Cannot change the option 'backing.driver'");
    assert_int_equal(graph_freeze_chain(n, o, &err), 0);
    none = toy_opts("");
    dict_put(none, "backing", value_null());
    reopen_fails(n, none, true, "Cannot change frozen 'backing' link from 'n' to 'o'");
    reopen(n, "backing=o", true);
    graph_unfreeze_chain(n, o);
    struct node *r = toy_open(w, "driver=raw,file.filename=x,node-name=r", 0);
    reopen_fails(r, toy_opts("backing=o"), true,
                 "Driver 'raw' of node 'r' does not support backing files");
    node_unref(r);
    node_unref(n);
    node_unref(o);
}

static void new_file(struct world *w)
{
    toy_image("a", NULL, NULL, 1);
    struct node *a = toy_open(w, "driver=file,filename=a,node-name=fa", OPEN_RDWR);
    struct node *b = toy_open(w, "driver=file,filename=b,node-name=fb", OPEN_RDWR);
    struct node *n = toy_open(w, "driver=raw,file=fa,node-name=n", OPEN_RDWR);
    reopen(n, "file=fb", true);
    assert_ptr_equal(node_child(n), b);
    assert_int_equal(a->refcnt, 1);
    assert_string_equal(n->file->name, "file");
    reopen(n, "file=fb", true);
    toy_image("b", NULL, NULL, 1);
    toy_image("c", NULL, NULL, 1);
    struct node *t = toy_open(w, "driver=toyfmt,file.filename=c,node-name=t", OPEN_RDWR);
    struct node *u = toy_open(w, "driver=toyfmt,file=fa,node-name=u", 0);
    reopen_fails(t, toy_opts("file=fa"), true,
                 "Permission conflict on node 'fa': permissions 'write, resize' are both "
                 "required by node 't' (uses node 'fa' as 'file' child) and unshared by node 'u' "
                 "(uses node 'fa' as 'file' "
                 "child).");
    assert_string_equal(node_child(t)->filename, "mem:c");
    node_unref(u);
    node_unref(t);
    node_unref(n);
    node_unref(a);
    node_unref(b);
}

static void unable(struct world *w)
{
    struct node *n = toy_open(w, "driver=bare,file.filename=a,node-name=n", 0);
    reopen_fails(n, toy_opts(""), true,
                 "Block format 'bare' used by node 'n' does not support reopening files");
    node_unref(n);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        toy_run(name);                                                                             \
    }
TEST(messages)
TEST(unchanged)
TEST(defaults_come_back)
TEST(read_only_and_back)
TEST(children_inherit)
TEST(all_or_nothing)
TEST(new_backing)
TEST(new_file)
TEST(unable)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_unchanged),
        cmocka_unit_test(test_defaults_come_back),
        cmocka_unit_test(test_read_only_and_back),
        cmocka_unit_test(test_children_inherit),
        cmocka_unit_test(test_all_or_nothing),
        cmocka_unit_test(test_new_backing),
        cmocka_unit_test(test_new_file),
        cmocka_unit_test(test_unable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
