/*
 * What info says, as value and as text; internal snapshots and VM state through the layers above
 * them.
 *
 * Texts are those that qemu-img 7.2 prints.
 */
#include "ref/block/tests/io_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "ref/base/json.h"
#include "ref/block/block_state.h"
#include "ref/block/image_info.h"
#include "ref/block/snapshot.h"

static struct snapshot_info table[2] = {
    {.id = "1",
     .name = "snap1",
     .vm_state_size = 1023 * MiB + 5,
     .date_sec = 1795235751,
     .date_nsec = 875066000,
     .vm_clock_nsec = 4444441207000000,
     .icount = UINT64_MAX},
    {.id = "2", .name = "long name with blanks and more", .date_sec = 1795235751, .icount = 7},
};

struct snap_state {
    struct memcow cow;
    char did[600];
    int count, fail;
};

static int snap_create(struct node *n, struct snapshot_info *sn)
{
    struct snap_state *s = n->state;
    snprintf(s->did, sizeof(s->did), "create %s", sn->name);
    return 0;
}

static int snap_goto(struct node *n, const char *id)
{
    struct snap_state *s = n->state;
    snprintf(s->did, sizeof(s->did), "goto %s", id);
    s->cow.clusters = 2;
    return s->fail;
}

static int snap_delete(struct node *n, const char *id, const char *name, struct error **err)
{
    struct snap_state *s = n->state;
    snprintf(s->did, sizeof(s->did), "delete %s %s", id ? id : "-", name ? name : "-");
    return 0;
}

static int snap_list(struct node *n, struct snapshot_info **out)
{
    struct snap_state *s = n->state;
    if (s->fail) {
        return s->fail;
    }
    *out = mem_dup(table, sizeof(table));
    return s->count;
}

static int snap_load(struct node *n, const char *id, const char *name, struct error **err)
{
    struct snap_state *s = n->state;
    snprintf(s->did, sizeof(s->did), "load %s %s", id ? id : "-", name ? name : "-");
    return 0;
}

static int snap_vmstate(struct node *n, const struct request *r)
{
    struct snap_state *s = n->state;
    snprintf(s->did, sizeof(s->did), "vmstate %d+%d", (int)r->offset, (int)r->bytes);
    if (r->op == REQ_READ) {
        iov_fill(r->iov, 0, 0x33, (size_t)r->bytes);
    }
    return 0;
}

static struct value *snap_specific(struct node *n, struct error **err)
{
    return json_parse(
        "{'type': 'x', 'data': {'compat': '1.1', 'lazy-refcounts': false, 'bits': 16, "
        "'format': '', 'slots': [{'active': true}, 5]}}",
        err);
}

static int64_t snap_size(struct node *n)
{
    return 212 * K;
}

static struct node *snap_new(struct world *w, struct block_driver *drv, struct node *file)
{
    *drv = driver_memcow;
    drv->name = "snapper";
    drv->state_size = sizeof(struct snap_state);
    drv->snapshot_create = snap_create;
    drv->snapshot_goto = snap_goto;
    drv->snapshot_delete = snap_delete;
    drv->snapshot_list = snap_list;
    drv->snapshot_load = snap_load;
    drv->load_vmstate = drv->save_vmstate = snap_vmstate;
    drv->specific_info = snap_specific;
    drv->allocated_size = snap_size;
    struct node *n = node_new(w, drv, "snapper", NULL);
    node_new_state(n);
    struct snap_state *s = n->state;
    s->cow = (struct memcow){.cluster = 65536, .clusters = 160, .map = mem_zalloc(160)};
    s->count = 2;
    n->open_flags = OPEN_RDWR;
    assert_non_null(graph_attach(n, file, "file", ROLE_IMAGE | ROLE_PRIMARY, NULL));
    assert_int_equal(node_refresh_length(n), 0);
    mem_free(file->exact_filename);
    file->exact_filename = str_dup("a.img");
    return n;
}

static void expect_text(const struct value *v, const char *text)
{
    struct strbuf b = STRBUF_INIT;
    image_info_text(&b, v);
    assert_string_equal(b.s, text);
    strbuf_free(&b);
}

TEST(test_info)
{
    struct fixture *f = arg;
    struct block_driver drv;
    struct error *err = NULL;
    struct node *n = snap_new(f->m.w, &drv, memdisk_new(f->m.w, "d", 4096));
    struct value *v = image_info(n, &err);
    assert_null(err);
    char *text = json_text(v, false);
    assert_string_equal(
        text, "{\"snapshots\": [{\"vm-clock-nsec\": 207000000, \"name\": \"snap1\", \"date-sec\": "
              "1795235751, "
              "\"date-nsec\": 875066000, \"vm-clock-sec\": 4444441, \"id\": \"1\", "
              "\"vm-state-size\": 1072693253}, "
              "{\"icount\": 7, \"vm-clock-nsec\": 0, \"name\": \"long name with blanks and more\", "
              "\"date-sec\": 1795235751, \"date-nsec\": 0, \"vm-clock-sec\": 0, \"id\": \"2\", "
              "\"vm-state-size\": 0}], "
              "\"virtual-size\": 10485760, \"filename\": \"a.img\", \"cluster-size\": 65536, "
              "\"format\": \"snapper\", "
              "\"actual-size\": 217088, \"format-specific\": {\"type\": \"x\", \"data\": "
              "{\"compat\": \"1.1\", "
              "\"bits\": 16, \"lazy-refcounts\": false, \"format\": \"\", \"slots\": [{\"active\": "
              "true}, 5]}}, "
              "\"dirty-flag\": false}");
    mem_free(text);
    expect_text(
        v, "image: a.img\n"
           "file format: snapper\n"
           "virtual size: 10 MiB (10485760 bytes)\n"
           "disk size: 212 KiB\n"
           "cluster_size: 65536\n"
           "Snapshot list:\n"
           "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n"
           "1         snap1            0.999 GiB 2026-11-21 04:35:511234:34:01.207           \n"
           "2         long name with blanks and more      0 B 2026-11-21 04:35:51 00:00:00.000     "
           "     7\n"
           "Format specific information:\n"
           "    compat: 1.1\n"
           "    bits: 16\n"
           "    lazy refcounts: false\n"
           "    format: \n"
           "    slots:\n"
           "        [0]:\n"
           "            active: true\n"
           "        [1]: 5\n");
    value_free(v);
    ((struct snap_state *)n->state)->fail = -EIO;
    assert_null(image_info(n, &err));
    assert_string_equal(err->msg, "Can't list snapshots of device '': Input/output error");
    error_clear(&err);
    node_unref(n);
}

/* What is not known is left out; what is set is told. */
static void test_info_lines(void **state)
{
    struct value *v = json_parse("{'filename': 'x', 'format': 'raw', 'virtual-size': 512}", NULL);
    expect_text(
        v, "image: x\nfile format: raw\nvirtual size: 512 B (512 bytes)\ndisk size: unavailable\n");
    value_free(v);
    v = json_parse("{'filename': 'x', 'format': 'f', 'virtual-size': 1024, 'actual-size': 0, "
                   "'encrypted': true, "
                   "'cluster-size': 512, 'dirty-flag': true, 'backing-filename': 'b', "
                   "'full-backing-filename': 'd/b', 'backing-filename-format': 'raw'}",
                   NULL);
    expect_text(v, "image: x\nfile format: f\nvirtual size: 1 KiB (1024 bytes)\ndisk size: 0 "
                   "B\nencrypted: yes\n"
                   "cluster_size: 512\ncleanly shut down: no\nbacking file: b (actual path: d/b)\n"
                   "backing file format: raw\n");
    dict_put_str(v, "full-backing-filename", "b");
    dict_del(v, "encrypted");
    expect_text(v, "image: x\nfile format: f\nvirtual size: 1 KiB (1024 bytes)\ndisk size: 0 "
                   "B\ncluster_size: 512\n"
                   "cleanly shut down: no\nbacking file: b\nbacking file format: raw\n");
    dict_del(v, "full-backing-filename");
    dict_del(v, "backing-filename-format");
    expect_text(v, "image: x\nfile format: f\nvirtual size: 1 KiB (1024 bytes)\ndisk size: 0 "
                   "B\ncluster_size: 512\n"
                   "cleanly shut down: no\nbacking file: b (cannot determine actual path)\n");
    value_free(v);
}

TEST(test_snapshots_through_layers)
{
    struct fixture *f = arg;
    struct block_driver drv;
    struct error *err = NULL;
    struct node *n = snap_new(f->m.w, &drv, memdisk_new(f->m.w, "d", 4096));
    struct snap_state *s = n->state;
    struct node *top = memfilter_new(f->m.w, "filter", n);
    struct snapshot_info sn = {.name = "new"}, *list;
    struct child *c = mem_root(top);

    assert_true(snapshot_can(top));
    assert_int_equal(snapshot_create(top, &sn), 0);
    assert_string_equal(s->did, "create new");
    assert_int_equal(snapshot_list(top, &list), 2);
    assert_string_equal(list[1].id, "2");
    mem_free(list);
    assert_int_equal(snapshot_find(top, &sn, "snap1"), 1);
    assert_string_equal(sn.id, "1");
    assert_int_equal(snapshot_find(top, &sn, "2"), 0); /* an id is no name */
    assert_int_equal(snapshot_find(top, &sn, "long name with blanks and more"), 1);
    assert_int_equal(sn.icount, 7);
    assert_int_equal(snapshot_find(top, &sn, "3"), 0);
    assert_int_equal(snapshot_find_by_id_and_name(top, "1", "snap1", &sn, &err), 1);
    assert_int_equal(snapshot_find_by_id_and_name(top, "2", "snap1", &sn, &err), 0);
    assert_int_equal(snapshot_delete(top, "1", NULL, &err), 0);
    assert_string_equal(s->did, "delete 1 -");
    assert_int_equal(snapshot_delete(top, NULL, NULL, &err), -EINVAL);
    error_clear(&err);
    assert_int_equal(snapshot_goto(top, "snap1", &err), 0);
    assert_int_equal(node_length(n), 2 * 65536);
    s->fail = -ENOENT;
    assert_int_equal(snapshot_goto(top, "x", &err), -ENOENT);
    assert_string_equal(err->msg, "Failed to load snapshot: No such file or directory");
    error_clear(&err);
    assert_int_equal(snapshot_load(n, "1", NULL, &err), -EINVAL);
    error_clear(&err);
    n->read_only = true;
    assert_int_equal(snapshot_load(n, "1", NULL, &err), 0);
    assert_string_equal(s->did, "load 1 -");
    n->read_only = false;
    mem_root_drop(c);
}

TEST(test_snapshots_refused)
{
    struct fixture *f = arg;
    struct error *err = NULL;
    struct snapshot_info sn = {.name = "new"}, *list;
    with_disk(f);
    assert_false(snapshot_can(f->n));
    assert_int_equal(snapshot_create(f->n, &sn), -ENOTSUP);
    assert_int_equal(snapshot_list(f->n, &list), -ENOTSUP);
    assert_null(list);
    assert_int_equal(snapshot_goto(f->n, "x", &err), -ENOTSUP);
    assert_string_equal(err->msg, "Block driver does not support snapshots");
    error_clear(&err);
    f->n->read_only = true;
    assert_int_equal(snapshot_load(f->n, "x", NULL, &err), -ENOTSUP);
    assert_string_equal(
        err->msg, "Block format 'memdisk' used by device '' does not support temporarily loading "
                  "internal snapshots");
    error_clear(&err);
    f->n->read_only = false;
    mem_root_drop(f->c);
}

TEST(test_vmstate)
{
    struct fixture *f = arg;
    struct block_driver drv;
    struct iov q;
    struct node *n = snap_new(f->m.w, &drv, memdisk_new(f->m.w, "d", 4096));
    struct snap_state *s = n->state;
    struct node *top = memfilter_new(f->m.w, "filter", n);
    iov_single(&q, f->buf, 100);
    assert_int_equal(node_save_vmstate(top, &q, 7), 0);
    assert_string_equal(s->did, "vmstate 7+100");
    assert_int_equal(node_load_vmstate(top, &q, 9), 0);
    assert_int_equal(f->buf[99], 0x33);
    assert_int_equal(node_load_vmstate(top, &q, -9), -EIO);
    assert_int_equal(node_load_vmstate(n->file->node, &q, 0), -ENOTSUP);
    node_unref(top);
}

static int in_utc(void **state)
{
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_info),
        cmocka_unit_test(test_info_lines),
        T(test_snapshots_through_layers),
        T(test_snapshots_refused),
        T(test_vmstate),
    };
    return cmocka_run_group_tests(tests, in_utc, NULL);
}
