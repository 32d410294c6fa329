/*
 * Edges and permissions: accumulation, conflicts, roll-back, cycles, frozen chains, moves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/block/io.h"
#include "ref/block/tests/toy.h"

static struct blk *attach(struct node *n, unsigned perm, unsigned shared)
{
    struct error *err = NULL;
    struct blk *b = blk_new(n->w, perm, shared);
    assert_int_equal(blk_insert(b, n, &err), 0);
    assert_null(err);
    return b;
}

/* What reaches the protocol is the sum of what stands above it, as each driver translates it. */
static void accumulation(struct world *w)
{
    toy_image("a", NULL, NULL, 1);
    struct node *n = toy_open(w, "driver=toyfmt,node-name=top,file.filename=a", OPEN_RDWR);
    struct toy_store *s = toy_store("a");
    /* A writable format owns its file even while nobody uses it. */
    assert_int_equal(s->perm, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE);
    assert_int_equal(s->shared, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);

    struct node *ro = toy_open(w, "driver=toyfilter,file=top,node-name=filter,read-only=on", 0);
    struct blk *b = attach(ro, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_WRITE);
    assert_int_equal(n->used_perm, PERM_CONSISTENT_READ);
    assert_int_equal(n->shared_perm, PERM_ALL & ~PERM_WRITE);
    struct blk *c = attach(n, PERM_CONSISTENT_READ, PERM_ALL);
    struct error *err = NULL;
    assert_int_equal(blk_set_perm(c, PERM_WRITE, PERM_ALL, &err), -EPERM);
    toy_expect_error(
        &err,
        "Permission conflict on node 'top': permissions 'write' are both required by an unnamed "
        "block device (uses node 'top' as 'root' child) and unshared by node 'filter' (uses node "
        "'top' as "
        "'file' child).");
    assert_int_equal(blk_set_name(b, "dev0", &err), 0);
    assert_string_equal(node_device_or_name(ro), "dev0");
    assert_string_equal(node_device_or_name(n), "top");
    blk_unref(b);
    assert_int_equal(blk_set_perm(c, PERM_WRITE | PERM_RESIZE, 0, &err), 0);
    assert_int_equal(n->used_perm, PERM_WRITE | PERM_RESIZE);
    assert_int_equal(n->shared_perm, 0);
    blk_unref(c);
    node_unref(ro);
    node_unref(n);
}

static void read_only_nodes(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=a", 0);
    assert_int_equal(toy_store("a")->perm, PERM_CONSISTENT_READ);
    struct blk *b = blk_new(w, PERM_WRITE, PERM_ALL);
    assert_int_equal(blk_insert(b, n, &err), -EPERM);
    toy_expect_error(&err, "Block node is read-only");
    assert_null(blk_node(b));
    blk_unref(b);
    assert_null(blk_open(w, NULL, NULL, toy_opts("driver=toyfmt,file.filename=a,read-only=on"),
                         OPEN_RDWR, &err));
    toy_expect_error(&err, "Block node is read-only");
    node_unref(n);
}

/* A backing file is read; who allows its data to change allows the backing file's to. */
static void backing_permissions(struct world *w)
{
    toy_image("base", NULL, NULL, 1);
    toy_image("top", "mem:base", "toyfmt", 2);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=top", OPEN_RDWR);
    struct child *c = n->backing;
    assert_non_null(c);
    assert_int_equal(c->perm, 0);
    assert_int_equal(c->shared, PERM_ALL);
    assert_true(c->node->read_only);
    struct blk *b = attach(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_CONSISTENT_READ);
    assert_int_equal(c->perm, PERM_CONSISTENT_READ);
    assert_int_equal(c->shared, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
    blk_unref(b);
    node_unref(n);
}

/* When a driver deep down refuses, every edge and every sum is what it was. */
static void rollback(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    struct node *n =
        toy_open(w, "driver=raw,node-name=top,file.filename=a,file.node-name=low", OPEN_RDWR);
    struct blk *b = attach(n, PERM_CONSISTENT_READ, PERM_ALL);
    unsigned used = node_child(n)->used_perm, shared = node_child(n)->shared_perm;
    toy.fail = "perm";
    strbuf_reset(&toy.log);
    assert_int_equal(blk_set_perm(b, PERM_WRITE, PERM_CONSISTENT_READ, &err), -EIO);
    toy_expect_error(&err, "no permission for 'low'");
    toy.fail = NULL;
    assert_int_equal(blk_root(b)->perm, PERM_CONSISTENT_READ);
    assert_int_equal(blk_root(b)->shared, PERM_ALL);
    assert_int_equal(n->file->perm, PERM_CONSISTENT_READ);
    assert_int_equal(n->file->shared, PERM_ALL);
    assert_int_equal(node_child(n)->used_perm, used);
    assert_int_equal(node_child(n)->shared_perm, shared);
    assert_int_equal(toy_store("a")->perm, used);
    /* A second change list still comes through. */
    assert_int_equal(blk_set_perm(b, PERM_WRITE, PERM_CONSISTENT_READ, &err), 0);
    assert_int_equal(node_child(n)->used_perm, PERM_WRITE);
    assert_int_equal(toy_store("a")->perm, PERM_WRITE);
    blk_unref(b);
    node_unref(n);
}

static void failed_attach(struct world *w)
{
    struct error *err = NULL;
    struct node *low = toy_open(w, "driver=file,filename=a,node-name=low", OPEN_RDWR);
    struct blk *b = attach(low, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ);
    toy_image("a", NULL, NULL, 1);
    toy_open_fails(w, NULL, "driver=toyfmt,node-name=top,file=low", OPEN_RDWR,
                   "Permission conflict on node 'low': permissions 'write, resize' are both "
                   "required by node 'top' (uses "
                   "node 'low' as 'file' child) and unshared by an unnamed block device (uses node "
                   "'low' as 'root' "
                   "child).");
    assert_int_equal(low->refcnt, 2);
    assert_int_equal(low->used_perm, PERM_CONSISTENT_READ);
    blk_unref(b);
    struct node *top =
        node_open(w, NULL, NULL, toy_opts("driver=toyfmt,node-name=top,file=low"), OPEN_RDWR, &err);
    assert_non_null(top);
    node_unref(low);
    node_unref(top);
}

static void cycles(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    toy_image("b", NULL, NULL, 2);
    struct node *a = toy_open(w, "driver=toyfmt,node-name=na,file.filename=a", 0);
    struct node *b = toy_open(w, "driver=toyfmt,node-name=nb,file.filename=b", 0);
    assert_int_equal(graph_set_backing(a, b, &err), 0);
    assert_ptr_equal(a->backing->node, b);
    assert_string_equal(a->backing_file, "mem:b");
    assert_int_equal(graph_set_backing(b, a, &err), -EINVAL);
    toy_expect_error(&err, "Making 'na' a backing child of 'nb' would create a cycle");
    assert_int_equal(graph_set_backing(b, b, &err), -EINVAL);
    toy_expect_error(&err, "Making 'nb' a backing child of 'nb' would create a cycle");
    assert_int_equal(graph_set_backing(a, NULL, &err), 0);
    assert_null(a->backing);
    assert_int_equal(b->refcnt, 1);
    assert_int_equal(graph_set_backing(b, a, &err), 0);
    node_unref(a);
    node_unref(b);
}

static void frozen(struct world *w)
{
    struct error *err = NULL;
    toy_image("base", NULL, NULL, 1);
    toy_image("mid", "mem:base", "toyfmt", 2);
    toy_image("top", "mem:mid", "toyfmt", 3);
    struct node *n = toy_open(w,
                              "driver=toyfmt,node-name=hd2,file.filename=top,backing.node-name=hd1,"
                              "backing.backing.node-name=hd0",
                              0);
    struct node *mid = node_find(w, "hd1"), *base = node_find(w, "hd0");
    assert_true(graph_chain_contains(n, base));
    assert_false(graph_chain_contains(mid, n));
    assert_ptr_equal(graph_find_overlay(n, base), mid);
    assert_ptr_equal(graph_find_overlay(n, mid), n);
    assert_ptr_equal(graph_find_backing_image(n, "mem:base"), base);
    assert_null(graph_find_backing_image(n, "mem:top"));
    assert_int_equal(graph_freeze_chain(n, base, &err), 0);
    assert_int_equal(graph_set_backing(mid, NULL, &err), -EPERM);
    toy_expect_error(&err, "Cannot change frozen 'backing' link from 'hd1' to 'hd0'");
    assert_int_equal(graph_replace_node(mid, base, &err), -EPERM);
    toy_expect_error(&err, "Cannot change frozen 'backing' link from 'hd2' to 'hd1'");
    assert_int_equal(graph_freeze_chain(n, NULL, &err), -EPERM);
    error_clear(&err);
    assert_true(mid->backing->frozen);
    graph_unfreeze_chain(n, base);
    base->never_freeze = true;
    assert_int_equal(graph_freeze_chain(n, base, &err), -EPERM);
    toy_expect_error(&err, "Cannot freeze 'backing' link to 'hd0'");
    assert_false(n->backing->frozen);
    node_unref(n);
}

static uint8_t first_byte(struct node *n)
{
    uint8_t byte = 0;
    struct blk *b = attach(n, PERM_CONSISTENT_READ, PERM_ALL);
    assert_int_equal(blk_pread(b, 0, &byte, 1), 0);
    blk_unref(b);
    return byte;
}

static void replace_and_append(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    toy_image("b", NULL, NULL, 2);
    struct node *a = toy_open(w, "driver=toyfmt,node-name=na,file.filename=a", OPEN_RDWR);
    struct node *b = toy_open(w, "driver=toyfmt,node-name=nb,file.filename=b", OPEN_RDWR);
    struct blk *dev = attach(a, PERM_CONSISTENT_READ, PERM_ALL);
    assert_int_equal(graph_append(b, a, &err), 0);
    assert_ptr_equal(blk_node(dev), b);
    assert_ptr_equal(b->backing->node, a);
    assert_string_equal(b->backing_file, "mem:a");
    /* Replacing b by a would make a its own backing file: that edge stays. */
    assert_int_equal(graph_replace_node(b, a, &err), 0);
    assert_ptr_equal(blk_node(dev), a);
    assert_ptr_equal(b->backing->node, a);
    assert_int_equal(graph_replace_node(a, b, &err), 0);
    assert_ptr_equal(blk_node(dev), b);
    assert_ptr_equal(b->backing->node, a);
    assert_int_equal(first_byte(b), 2);
    assert_int_equal(blk_replace(dev, a, &err), 0);
    assert_ptr_equal(blk_node(dev), a);
    blk_unref(dev);
    node_unref(a);
    node_unref(b);
}

static void insert_filter(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    struct node *a = toy_open(w, "driver=toyfmt,node-name=na,file.filename=a", 0);
    struct blk *dev = attach(a, PERM_CONSISTENT_READ, PERM_ALL);
    struct node *f = graph_insert(a, toy_opts("driver=toyfilter,file=na,node-name=f"), 0, &err);
    assert_non_null(f);
    assert_ptr_equal(blk_node(dev), f);
    assert_ptr_equal(node_skip_filters(f), a);
    assert_int_equal(first_byte(f), 1);
    assert_int_equal(graph_replace_node(f, a, &err), 0);
    assert_ptr_equal(blk_node(dev), a);
    node_unref(f);
    assert_null(graph_insert(a, toy_opts("driver=toyfilter,file=nix"), 0, &err));
    toy_expect_error(&err, "Cannot find device='nix' nor node-name='nix'");
    blk_unref(dev);
    node_unref(a);
}

static struct node *open_chain(struct world *w)
{
    toy_image("base", NULL, NULL, 1);
    toy_image("mid", "mem:base", "toyfmt", 2);
    toy_image("top", "mem:mid", "toyfmt", 3);
    return toy_open(w, "driver=toyfmt,file.filename=top", OPEN_RDWR);
}

static void drop_intermediate(struct world *w)
{
    struct error *err = NULL;
    struct node *n = open_chain(w), *mid = n->backing->node, *base = mid->backing->node;
    assert_int_equal(graph_drop_intermediate(base, mid, NULL, NULL, &err), -EINVAL);
    error_clear(&err);
    toy.fail = "change";
    assert_int_equal(graph_drop_intermediate(mid, base, NULL, NULL, &err), -EIO);
    toy_expect_error(&err, "Could not update backing file link: Input/output error");
    toy.fail = NULL;
    assert_ptr_equal(n->backing->node, mid);
    assert_string_equal(n->backing_file, "mem:mid");
    assert_int_equal(graph_drop_intermediate(mid, base, NULL, NULL, &err), 0);
    assert_ptr_equal(n->backing->node, base);
    assert_string_equal(n->backing_file, "mem:base");
    assert_memory_equal(toy_store("top")->data + 8, "mem:base", 9);
    assert_int_equal(toy_store("mid")->nodes, 0);
    node_unref(n);
}

/* Two overlays: both move, or none; and they can be put back. */
static void drop_under_two(struct world *w)
{
    static const char *const failures[] = {"change:one", "change:two", NULL};
    struct error *err = NULL;
    toy_image("base", NULL, NULL, 1);
    toy_image("mid", "mem:base", "toyfmt", 2);
    toy_image("a", "mem:mid", "toyfmt", 3);
    toy_image("b", "mem:mid", "toyfmt", 4);
    struct node *mid = toy_open(w, "driver=toyfmt,file.filename=mid,node-name=m", 0);
    struct node *n[] = {
        toy_open(w, "driver=toyfmt,file.filename=a,node-name=one,backing=m", OPEN_RDWR),
        toy_open(w, "driver=toyfmt,file.filename=b,node-name=two,backing=m", OPEN_RDWR)};
    struct node *base = mid->backing->node;
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        struct graph_drop *d = NULL;
        toy.fail = failures[i];
        assert_int_equal(graph_drop_intermediate(mid, base, NULL, &d, &err),
                         failures[i] ? -EIO : 0);
        assert_true(!d == !!failures[i]);
        error_clear(&err);
        toy.fail = NULL;
        for (size_t k = 0; d && k < 2; k++) {
            assert_ptr_equal(n[k]->backing->node, base);
            assert_string_equal(n[k]->backing_file, "mem:base");
        }
        if (d) {
            graph_drop_undo(d);
        }
        for (size_t k = 0; k < 2; k++) {
            assert_ptr_equal(n[k]->backing->node, mid);
            assert_string_equal(n[k]->backing_file, "mem:mid");
            assert_memory_equal(toy_store(k ? "b" : "a")->data + 8, "mem:mid", 8);
        }
    }
    node_unref(n[0]);
    node_unref(n[1]);
    node_unref(mid);
}

/* What cannot be put back is told, and stays where it is. */
static void undo_that_fails(struct world *w)
{
    struct node *n = open_chain(w), *mid = n->backing->node, *base = mid->backing->node;
    struct graph_drop *d = NULL;
    assert_int_equal(graph_drop_intermediate(mid, base, NULL, &d, NULL), 0);
    toy.fail = "change";
    graph_drop_undo(d);
    toy.fail = NULL;
    assert_non_null(
        strstr(toy.reports.s, "goes on naming 'mem:base': Could not update backing file link"));
    node_unref(n);
}

static void blockers(struct world *w)
{
    struct error *err = NULL, *reason = NULL, *other = NULL;
    struct node *n = toy_open(w, "driver=file,filename=a,node-name=n", 0);
    error_set(&reason, EBUSY, "busy with tests");
    error_set(&other, EBUSY, "also busy");
    assert_false(node_op_blocked(n, BLOCK_OP_RESIZE, &err));
    node_block_all(n, reason);
    node_block_op(n, BLOCK_OP_RESIZE, other);
    node_unblock_op(n, BLOCK_OP_EJECT, reason);
    assert_false(node_op_blocked(n, BLOCK_OP_EJECT, &err));
    assert_true(node_op_blocked(n, BLOCK_OP_STREAM, &err));
    toy_expect_error(&err, "Node 'n' is busy: busy with tests");
    node_unblock_all(n, reason);
    assert_true(node_op_blocked(n, BLOCK_OP_RESIZE, &err));
    toy_expect_error(&err, "Node 'n' is busy: also busy");
    node_unblock_op(n, BLOCK_OP_RESIZE, other);
    assert_false(node_op_blocked(n, BLOCK_OP_RESIZE, NULL));
    error_free(reason);
    error_free(other);
    node_unref(n);
}

/* An edge that moves to or from a quiesced node takes its parent's pause along. */
static void moves_while_drained(struct world *w)
{
    struct error *err = NULL;
    struct node *a = toy_open(w, "driver=file,filename=a", 0);
    struct node *b = toy_open(w, "driver=file,filename=b", 0);
    struct node *f = toy_open(w, "driver=toyfilter,file.filename=c", 0);
    node_drain_begin(a);
    assert_int_equal(f->quiesce, 0);
    assert_int_equal(graph_set_file(f, a, &err), 0);
    assert_int_equal(f->quiesce, 1);
    assert_int_equal(graph_set_file(f, b, &err), 0);
    assert_int_equal(f->quiesce, 0);
    assert_int_equal(graph_set_file(f, a, &err), 0);
    node_drain_end(a);
    assert_int_equal(f->quiesce, 0);
    node_unref(f);
    node_unref(a);
    node_unref(b);
}

static void activation(struct world *w)
{
    struct error *err = NULL;
    toy_image("a", NULL, NULL, 1);
    struct node *n = toy_open(w, "driver=toyfmt,file.filename=a", OPEN_RDWR);
    assert_int_equal(node_inactivate_all(w), 0);
    assert_true(n->open_flags & OPEN_INACTIVE);
    assert_true(node_child(n)->open_flags & OPEN_INACTIVE);
    assert_true(n->file->shared & PERM_WRITE);
    node_activate_all(w, &err);
    assert_null(err);
    assert_false(n->open_flags & OPEN_INACTIVE);
    assert_false(n->file->shared & PERM_WRITE);
    node_unref(n);
}

static void steps_run_in_order(struct world *w);

struct step_log {
    char text[16];
    size_t n;
};
static struct step_log steps;

static void add_letter(void *arg)
{
    steps.text[steps.n++] = *(char *)arg;
}

static void add_capital(void *arg)
{
    steps.text[steps.n++] = (char)(*(char *)arg - 32);
}

static void add_dot(void *arg)
{
    steps.text[steps.n++] = '.';
}

static void steps_run_in_order(struct world *w)
{
    static const struct graph_action action = {add_letter, add_capital, add_dot};
    char letters[] = "abc", many[400];
    for (int abort = 0; abort < 2; abort++) {
        struct graph_tx *tx = graph_tx_new(w);
        for (int i = 0; i < 3; i++) {
            graph_tx_add(tx, &action, &letters[i], 1);
        }
        memset(&steps, 0, sizeof(steps));
        (abort ? graph_tx_abort : graph_tx_commit)(tx);
        assert_string_equal(steps.text, abort ? "CBA..." : "abc...");
    }
    /* More than the list has room for of its own. */
    struct graph_tx *tx = graph_tx_new(w);
    memset(many, 'z', sizeof(many));
    for (int i = 0; i < 3; i++) {
        many[0] = letters[i];
        assert_memory_equal(graph_tx_add(tx, &action, many, sizeof(many)), many, sizeof(many));
    }
    memset(&steps, 0, sizeof(steps));
    graph_tx_commit(tx);
    assert_string_equal(steps.text, "abc...");
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        toy_run(name);                                                                             \
    }
TEST(accumulation)
TEST(read_only_nodes)
TEST(backing_permissions)
TEST(rollback)
TEST(failed_attach)
TEST(cycles)
TEST(frozen)
TEST(replace_and_append)
TEST(insert_filter)
TEST(drop_intermediate)
TEST(drop_under_two)
TEST(undo_that_fails)
TEST(blockers)
TEST(moves_while_drained)
TEST(activation)
TEST(steps_run_in_order)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accumulation),
        cmocka_unit_test(test_read_only_nodes),
        cmocka_unit_test(test_backing_permissions),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_failed_attach),
        cmocka_unit_test(test_cycles),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_replace_and_append),
        cmocka_unit_test(test_insert_filter),
        cmocka_unit_test(test_drop_intermediate),
        cmocka_unit_test(test_drop_under_two),
        cmocka_unit_test(test_undo_that_fails),
        cmocka_unit_test(test_blockers),
        cmocka_unit_test(test_moves_while_drained),
        cmocka_unit_test(test_activation),
        cmocka_unit_test(test_steps_run_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
