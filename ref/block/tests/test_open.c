/*
 * Opening: options and their messages, references, probing, inheritance, backing chains and loops,
 * creation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/base/options.h"
#include "ref/block/io.h"
#include "ref/block/tests/toy.h"

static void option_messages(struct world *w)
{
    static const struct {
        const char *filename, *opts, *msg;
    } bad[] = {
        {NULL, "", "Must specify either driver or file"},
        {NULL, "foo=bar", "Must specify either driver or file"},
        {NULL, "filename=x", "Must specify either driver or file"},
        {NULL, "driver=nix", "Unknown driver 'nix'"},
        {NULL, "driver=toyfmt", "A block device must be specified for \"file\""},
        {NULL, "driver=toyfmt,file=nix", "Cannot find device='nix' nor node-name='nix'"},
        {NULL, "driver=toyfmt,file=nix,file.filename=x",
         "Cannot reference an existing block device with additional options or a new filename"},
        {NULL, "driver=toyfmt,file.driver=file", "The 'file' block driver requires a file name"},
        {NULL, "driver=file,filename=", "The 'file' block driver requires a file name"},
        {NULL, "driver=raw,file.read-only=on", "Must specify either driver or file"},
        {NULL, "driver=raw,file.filename=missing",
         "Could not open 'missing': No such file or directory"},
        {NULL, "driver=raw,file.filename=a,foo=x",
         "Block format 'raw' does not support the option 'foo'"},
        {NULL, "driver=raw,file.filename=a,file.foo=x",
         "Block protocol 'file' doesn't support the option 'foo'"},
        {NULL, "driver=toyfmt,file.filename=a", "Image is not in toyfmt format"},
        {NULL, "driver=raw,file.filename=a,read-only=x",
         "Parameter 'read-only' expects 'on' or 'off'"},
        {NULL, "driver=raw,file.filename=a,discard=x", "Invalid discard option"},
        {NULL, "driver=raw,file.filename=a,detect-zeroes=x", "invalid parameter value: x"},
        {NULL, "driver=raw,file.filename=a,detect-zeroes=unmap",
         "setting detect-zeroes to unmap is not allowed without setting discard operation to "
         "unmap"},
        {NULL, "driver=raw,file.filename=a,force-share=on,read-only=off",
         "force-share=on can only be used with read-only images"},
        {NULL, "driver=raw,file.filename=a,node-name=1a", "Invalid node-name: '1a'"},
        {NULL, "driver=raw,file.filename=a,node-name=x23456789012345678901234567890123",
         "Node name too long"},
        {NULL, "driver=raw,file.filename=a,node-name=x,file.node-name=x",
         "Duplicate nodes with node-name='x'"},
        {NULL, "driver=raw,file.filename=a,backing=x", "Driver doesn't support backing files"},
        {NULL, "driver=raw,file.filename=a,backing.driver=x",
         "Driver doesn't support backing files"},
        {"mem:a", "file.filename=a",
         "Can't specify 'file' and 'filename' options at the same time"},
        {"nix:a", "", "Unknown protocol 'nix'"},
        {"", "", "The 'file' block driver requires a file name"},
        {"json:", "", "Could not parse the JSON options: Expecting a JSON value"},
        {"json:[]", "", "Invalid JSON object given"},
        {"json:{}", "", "Must specify either driver or file"},
        {"json:{'driver':'raw','file':null}", "", "A block device must be specified for \"file\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        toy_open_fails(w, bad[i].filename, bad[i].opts, 0, bad[i].msg);
    }
    toy_open_fails(w, "mem:a", "driver=raw", OPEN_SNAPSHOT,
                   "Temporary overlays need the driver 'qcow2'");
    toy_open_fails(w, "mem:a", "driver=raw", OPEN_COPY_ON_READ,
                   "Can't use copy-on-read on read-only device");
    toy.fail = "open:mem";
    toy_open_fails(w, "mem:a", "driver=raw", 0, "Could not open 'a': Input/output error");
    toy.fail = NULL;
}

static void references(struct world *w)
{
    struct error *err = NULL;
    struct node *low = toy_open(w, "driver=file,filename=a,node-name=low", 0);
    struct node *n = node_open(w, NULL, "low", NULL, 0, &err);
    assert_ptr_equal(n, low);
    assert_int_equal(low->refcnt, 2);
    node_unref(n);
    struct blk *b = blk_new(w, 0, PERM_ALL);
    assert_int_equal(blk_set_name(b, "dev", &err), 0);
    assert_null(node_open(w, NULL, "dev", NULL, 0, &err));
    toy_expect_error(&err, "Device 'dev' has no medium");
    assert_int_equal(blk_insert(b, low, &err), 0);
    n = toy_open(w, "driver=raw,file=dev,node-name=top", 0);
    assert_ptr_equal(node_child(n), low);
    assert_null(low->inherits_from);
    toy_open_fails(w, NULL, "driver=raw,file=low,node-name=dev", 0,
                   "node-name=dev is conflicting with a device id");
    assert_int_equal(blk_set_name(b, "top", &err), -EEXIST);
    toy_expect_error(&err, "Device name 'top' conflicts with an existing node name");
    node_unref(n);
    blk_unref(b);
    node_unref(low);
}

static void probing(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    struct node *n = node_open(w, "mem:a", NULL, NULL, OPEN_RDWR, &err);
    assert_non_null(n);
    assert_string_equal(n->drv->name, "toyfmt");
    assert_false(n->probed);
    assert_int_equal(toy.reports.len, 0);
    node_unref(n);
    n = node_open(w, "mem:plain", NULL, NULL, 0, &err);
    assert_string_equal(n->drv->name, "raw");
    assert_true(n->probed);
    node_unref(n);
    n = toy_open(w, "file.filename=plain", OPEN_RDWR);
    assert_true(n->probed);
    assert_string_equal(n->filename, "mem:plain");
    node_unref(n);
    n = toy_open(w, "driver=raw,file.filename=plain", OPEN_RDWR);
    assert_false(n->probed);
    assert_int_equal(toy.reports.len, 0);
    node_unref(n);
    toy_store("plain")->size = 0;
    n = node_open(w, "mem:plain", NULL, NULL, 0, &err);
    assert_true(n->probed);
    node_unref(n);
}

/* What children take over, and that their own options win. */
static void inheritance(struct world *w)
{
    toy_image("base", NULL, NULL, 1);
    toy_image("top", "mem:base", "toyfmt", 2);
    struct node *n = toy_open(
        w, "driver=toyfmt,file.filename=top,cache.direct=on,cache.no-flush=on,auto-read-only=on",
        OPEN_RDWR);
    unsigned file = node_child(n)->open_flags, base = n->backing->node->open_flags;
    assert_int_equal(file & (OPEN_NO_CACHE | OPEN_NO_FLUSH | OPEN_RDWR | OPEN_AUTO_RDONLY |
                             OPEN_PROTOCOL | OPEN_UNMAP),
                     OPEN_NO_CACHE | OPEN_NO_FLUSH | OPEN_RDWR | OPEN_AUTO_RDONLY | OPEN_PROTOCOL |
                         OPEN_UNMAP);
    assert_int_equal(base & (OPEN_NO_CACHE | OPEN_NO_FLUSH | OPEN_RDWR | OPEN_AUTO_RDONLY |
                             OPEN_PROTOCOL | OPEN_UNMAP),
                     OPEN_NO_CACHE | OPEN_NO_FLUSH);
    assert_true(n->backing->node->read_only);
    node_unref(n);

    n = toy_open(w,
                 "driver=toyfmt,file.filename=top,file.cache.direct=on,file.discard=ignore,backing."
                 "cache.no-flush=on",
                 OPEN_RDWR);
    assert_false(n->open_flags & (OPEN_NO_CACHE | OPEN_NO_FLUSH));
    assert_true(node_child(n)->open_flags & OPEN_NO_CACHE);
    assert_false(node_child(n)->open_flags & OPEN_UNMAP);
    assert_true(n->backing->node->open_flags & OPEN_NO_FLUSH);
    assert_true(node_child(n->backing->node)->open_flags & OPEN_NO_FLUSH);
    node_unref(n);

    n = toy_open(w, "driver=raw,file.filename=top,detect-zeroes=unmap,discard=unmap,force-share=on",
                 0);
    assert_int_equal(n->detect_zeroes, DETECT_ZEROES_UNMAP);
    assert_int_equal(node_child(n)->detect_zeroes, DETECT_ZEROES_OFF);
    assert_true(node_child(n)->open_flags & OPEN_FORCE_SHARE);
    assert_int_equal(toy_store("top")->shared, PERM_ALL);
    node_unref(n);
}

static void backing_files(struct world *w)
{
    toy_image("base", NULL, NULL, 1);
    toy_image("top", "mem:base", "toyfmt", 2);
    toy_image("other", NULL, NULL, 3);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=top", 0);
    assert_string_equal(n->backing->node->filename, "mem:base");
    assert_string_equal(n->backing->name, "backing");
    assert_ptr_equal(n->backing->node->inherits_from, n);
    node_unref(n);
    n = toy_open(w, "driver=toyfmt,file.filename=top", OPEN_NO_BACKING);
    assert_null(n->backing);
    node_unref(n);
    n = toy_open(w, "driver=toyfmt,file.filename=top,backing=", 0);
    assert_null(n->backing);
    assert_string_equal(
        toy.reports.s,
        "warning: Use of \"backing\": \"\" is deprecated; use \"backing\": null instead\n");
    node_unref(n);
    n = toy_open(
        w, "driver=toyfmt,file.filename=top,backing.driver=raw,backing.file.filename=other", 0);
    assert_string_equal(n->backing->node->drv->name, "raw");
    assert_string_equal(n->backing->node->filename, "mem:other");
    node_unref(n);
    struct node *o = toy_open(w, "driver=toyfmt,file.filename=other,node-name=o", 0);
    n = toy_open(w, "driver=toyfmt,file.filename=top,backing=o", 0);
    assert_ptr_equal(n->backing->node, o);
    node_unref(n);
    node_unref(o);
    toy_open_fails(w, NULL, "driver=toyfmt,file.filename=top,backing=nix", 0,
                   "Could not open backing file: Cannot find device='nix' nor node-name='nix'");
    toy_open_fails(
        w, NULL, "driver=toyfmt,file.filename=top,backing.foo=x", 0,
        "Could not open backing file: Block format 'toyfmt' does not support the option 'foo'");
    toy_open_fails(w, NULL, "driver=toyfmt,file.filename=top,backing.backing.driver=x", 0,
                   "Could not open backing file: Could not open backing file: Unknown driver 'x'");
    toy_open_fails(w, NULL, "driver=toyfmt,file.filename=top,backing.foo=x", OPEN_NO_BACKING,
                   "Block format 'toyfmt' does not support the option 'backing.foo'");
    toy_image("mid", "mem:missing", "raw", 4);
    toy_image("top", "mem:mid", NULL, 4);
    toy_open_fails(w, "mem:top", "", 0,
                   "Could not open backing file: Could not open backing file: Could not open "
                   "'missing': No such file or directory");
    toy_image("top", "mem:mid", "nix", 4);
    toy_open_fails(w, "mem:top", "", 0, "Could not open backing file: Unknown driver 'nix'");
}

static void loops(struct world *w)
{
    struct error *err = NULL;
    toy_image("self", "mem:self", "toyfmt", 1);
    toy_open_fails(w, "mem:self", "", 0, "Backing file 'mem:self' creates an infinite loop.");
    toy_image("one", "mem:two", "toyfmt", 1);
    toy_image("two", "mem:one", "toyfmt", 1);
    toy_open_fails(w, "mem:one", "", 0,
                   "Could not open backing file: Backing file 'mem:one' creates an infinite loop.");
    /* Options that lead back to an image end there: no loop. */
    toy_image("end", NULL, NULL, 1);
    toy_image("over", "mem:end", "toyfmt", 1);
    struct node *n = toy_open(
        w, "driver=toyfmt,file.filename=end,backing.driver=toyfmt,backing.file.filename=over", 0);
    assert_string_equal(n->backing->node->backing->node->filename, "mem:end");
    node_unref(n);
    /* Behind a json: name, and through a filter that opens the loop again as its child. */
    toy_image("json", "json:{\"driver\":\"toyfmt\",\"file.filename\":\"json\"}", NULL, 1);
    assert_null(node_open(w, "mem:json", NULL, NULL, 0, &err));
    assert_non_null(strstr(err->msg, "creates an infinite loop."));
    error_clear(&err);
    toy_image(
        "nest",
        "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"toyfmt\",\"file.filename\":\"nest\"}}",
        NULL, 1);
    assert_null(node_open(w, "mem:nest", NULL, NULL, 0, &err));
    assert_non_null(strstr(err->msg, "creates an infinite loop."));
    error_clear(&err);
}

/* The stack does not grow with the chain, but nesting by options is bounded. */
static void depth(struct world *w)
{
    struct error *err = NULL;
    char name[16], below[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        snprintf(below, sizeof(below), "mem:c%d", i - 1);
        toy_image(name, i ? below : NULL, i ? "toyfmt" : NULL, 1);
    }
    struct node *n = node_open(w, "mem:c19", NULL, NULL, 0, &err);
    assert_non_null(n);
    int levels = 0;
    for (struct node *m = n; m; m = node_backing_chain_next(m)) {
        assert_int_equal(m->open_depth, 0);
        levels++;
    }
    assert_int_equal(levels, 20);
    node_unref(n);
    struct value *nested = value_dict();
    dict_put_str(nested, "driver", "file");
    dict_put_str(nested, "filename", "a");
    for (int i = 0; i < 40; i++) {
        struct value *outer = value_dict();
        dict_put_str(outer, "driver", "raw");
        dict_put(outer, "file", nested);
        nested = outer;
    }
    assert_null(node_open(w, NULL, NULL, nested, 0, &err));
    toy_expect_error(&err, "Block nodes are nested more than 32 deep");
}

static void deny(struct world *w)
{
    toy_image("top", "mem:base", "toyfmt", 2);
    toy_open_fails(
        w, "mem:top", "", 0,
        "Backing file 'mem:base' named by image 'mem:top' is not opened: names in images "
        "are denied");
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=top,backing=", 0);
    node_unref(n);
}

static void auto_read_only(struct world *w)
{
    struct error *err = NULL;
    struct node *n = toy_open(w, "driver=file,filename=a", OPEN_RDWR);
    assert_int_equal(node_apply_auto_read_only(n, "only readable", &err), -EACCES);
    toy_expect_error(&err, "only readable");
    assert_false(n->read_only);
    node_unref(n);
    n = toy_open(w, "driver=file,filename=a,auto-read-only=on", OPEN_RDWR);
    assert_int_equal(node_apply_auto_read_only(n, "only readable", &err), 0);
    assert_true(n->read_only);
    assert_false(n->open_flags & OPEN_RDWR);
    node_unref(n);
}

/* A driver that fails after opening its child leaves nothing behind, nor does a leftover option. */
static void failing_drivers(struct world *w)
{
    toy_image("a", NULL, NULL, 1);
    toy.fail = "open:toyfmt";
    toy_open_fails(w, "mem:a", "driver=toyfmt", 0, "Could not open 'mem:a': Input/output error");
    toy.fail = NULL;
    toy_open_fails(w, "mem:a", "driver=toyfmt,foo=x", 0,
                   "Block format 'toyfmt' does not support the option 'foo'");
    assert_int_equal(toy_store("a")->nodes, 0);
}

static void creating(struct world *w)
{
    struct error *err = NULL;
    static const struct {
        const char *opts, *file, *msg;
    } bad[] = {
        {"foo=1", "mem:x", "Invalid parameter 'foo'"},
        {"size=x", "mem:x", "Parameter 'size' expects a non-negative number below 2^64"},
        {"nocow=x", "mem:x", "Parameter 'nocow' expects 'on' or 'off'"},
        {"size=1", "nix:x", "Unknown protocol 'nix'"},
        {"size=1", "mem:missing", "Could not create 'mem:missing': No such file or directory"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct value *o = toy_opts(bad[i].opts);
        assert_true(image_create(w, &toy_fmt, bad[i].file, o, &err) < 0);
        toy_expect_error(&err, bad[i].msg);
        value_free(o);
    }
    struct value *o = toy_opts("size=1k,nocow=on");
    assert_int_equal(image_create(w, &toy_fmt, "mem:x", o, &err), 0);
    assert_string_equal(toy.log.s, "create:x+nocow ");
    assert_int_equal(image_create(w, &toy_filter, "mem:x", o, &err), -ENOTSUP);
    toy_expect_error(&err, "Format driver 'toyfilter' does not support image creation");
    value_free(o);
    o = toy_opts("mode=c");
    assert_int_equal(image_create_check(w, &toy_fmt, "mem:x", o, &err), 0);
    assert_true(image_create(w, &toy_fmt, "mem:x", o, &err) < 0);
    toy_expect_error(&err, "Parameter 'mode' does not accept value 'c'");
    value_free(o);
}

static void backends(struct world *w)
{
    struct error *err = NULL;
    uint8_t buf[512] = {7};
    toy_image("a", NULL, NULL, 9);
    struct blk *b = blk_open(w, "mem:a", NULL, NULL, OPEN_RDWR, &err);
    assert_non_null(b);
    assert_int_equal(blk_root(b)->perm, PERM_CONSISTENT_READ | PERM_WRITE);
    assert_int_equal(blk_length(b), 4096);
    assert_int_equal(blk_pwrite(b, 512, buf, sizeof(buf), 0), 0);
    assert_int_equal(blk_pread(b, 511, buf, 2), 0);
    assert_int_equal(buf[0], 9);
    assert_int_equal(buf[1], 7);
    assert_int_equal(blk_pread(b, 4096 - 256, buf, 512), -EIO);
    assert_int_equal(blk_pread(b, -512, buf, 512), -EIO);
    assert_int_equal(blk_pread(b, INT64_MAX, buf, 512), -EIO);
    assert_int_equal(blk_pwrite(b, 4096, buf, 1, 0), -EIO);
    blk_remove(b);
    assert_int_equal(blk_pread(b, 0, buf, 1), -ENOMEDIUM);
    assert_int_equal(blk_length(b), -ENOMEDIUM);
    assert_ptr_equal(blk_next(w, NULL), b);
    assert_null(blk_next(w, b));
    blk_unref(b);
    assert_null(blk_next(w, NULL));
}

static void modes(struct world *w)
{
    unsigned flags = OPEN_RDWR;
    bool through = false;
    assert_true(parse_cache_mode("directsync", &flags, &through));
    assert_int_equal(flags, OPEN_RDWR | OPEN_NO_CACHE);
    assert_true(through);
    assert_true(parse_cache_mode("unsafe", &flags, &through));
    assert_int_equal(flags, OPEN_RDWR | OPEN_NO_FLUSH);
    assert_false(through);
    assert_false(parse_cache_mode("nix", &flags, &through));
    assert_true(parse_discard_mode("on", &flags));
    assert_true(flags & OPEN_UNMAP);
    assert_true(parse_discard_mode("ignore", &flags));
    assert_false(flags & OPEN_UNMAP);
    assert_false(parse_discard_mode("nix", &flags));
    assert_true(parse_aio_mode("io_uring", &flags));
    assert_true(flags & OPEN_IO_URING);
    assert_true(parse_aio_mode("native", &flags));
    assert_false(flags & OPEN_IO_URING);
    assert_false(parse_aio_mode("nix", &flags));
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        toy_run(name);                                                                             \
    }
TEST(option_messages)
TEST(references)
TEST(probing)
TEST(inheritance)
TEST(backing_files)
TEST(loops)
TEST(depth)
TEST(auto_read_only)
TEST(failing_drivers)
TEST(creating)
TEST(backends)
TEST(modes)

static void test_deny(void **state)
{
    toy_deny_names = true;
    toy_run(deny);
    toy_deny_names = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_option_messages), cmocka_unit_test(test_references),
        cmocka_unit_test(test_probing),         cmocka_unit_test(test_inheritance),
        cmocka_unit_test(test_backing_files),   cmocka_unit_test(test_loops),
        cmocka_unit_test(test_depth),           cmocka_unit_test(test_deny),
        cmocka_unit_test(test_auto_read_only),  cmocka_unit_test(test_failing_drivers),
        cmocka_unit_test(test_creating),        cmocka_unit_test(test_backends),
        cmocka_unit_test(test_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
