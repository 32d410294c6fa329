/*
 * The crash and fault explorers: quiet on the reference, loud on planted defects; findings can be
 * looked at again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "harness/campaign/explore_stages.h"
#include "harness/explore/label_cover.h"
#include "harness/programs/crash_programs.h"
#include "ref/base/mem.h"
#include "ref/tools/drivers.h"

struct heard {
    unsigned n;
    char *id, *why;
};

static void hear(struct heard *h, const char *id, const char *why)
{
    if (h->n++ == 0) {
        h->id = str_dup(id);
        h->why = str_dup(why);
    }
}

static void hear_crash(void *opaque, const struct crash_finding *f)
{
    hear(opaque, f->id, f->why);
}

static void hear_fault(void *opaque, const struct fault_finding *f)
{
    hear(opaque, f->fault, f->why);
}

static void forget(struct heard *h)
{
    mem_free(h->id);
    mem_free(h->why);
}

/* Findings of one program, by both explorers or one. */
static struct heard explore(const char *text, const struct profile *profile, enum planted planted,
                            bool crash, const char *only, uint64_t *count)
{
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, profile, planted);
    struct heard h = {0};
    struct program p;
    struct error *err = NULL;
    int ret;
    assert_int_equal(program_parse(text, &p, NULL), 0);
    if (crash) {
        struct crash_options o = crash_options_default;
        struct crash_counts n = {0};
        o.only = only;
        ret = crash_explore(sb, &p, &o, hear_crash, &h, &n, &err);
        *count = n.distinct;
        uint64_t epochs = 0;
        for (unsigned e = 0; e < CRASH_EPOCHS; e++) {
            epochs += n.epoch[e];
        }
        assert_int_equal(epochs, only ? 0 : n.distinct);
        assert_true(only || n.findings || (n.epoch[0] && n.epoch[1]));
    } else {
        struct fault_options o = fault_options_default;
        struct fault_counts *n = mem_zalloc(sizeof(*n));
        o.only = only;
        ret = fault_explore(sb, &p, &o, hear_fault, &h, n, &err);
        *count = n->fired;
        mem_free(n);
    }
    assert_int_equal(ret, 0);
    program_free(&p);
    sandbox_free(sb);
    process_free(process);
    return h;
}

static const char two_writes[] =
    "image qcow2 1M cluster_size=4k\nwrite 0 8k 17\nflush\nwrite 512 4k 34\nread 0 16k\n";

static void test_reference_keeps_its_promise(void **state)
{
    static const char *const programs[] = {
        two_writes,
        "image raw 1M\nwrite 0 8k 17\nflush\nwrite 512 4k 34 fua\ndiscard 0 4k\n",
        "image qcow2 1M cluster_size=4k,lazy_refcounts=on\nwrite 0 8k 1\nflush\nwrite 0 12k 3\n",
        "image qcow2 1M cluster_size=4k\nwrite 0 64k 1\nsnapshot s\nwrite 0 8k 2\nflush\napply "
        "s\ndelsnap s\n",
        "image qcow2 1M backing cluster_size=4k\nwrite 0 8k 1\nflush\nresize 4k\nresize 2M\nwrite "
        "1M 4k 2\n",
        /* what a commit empties is given back behind the references to it, in a data file, too */
        "image qcow2 64k backing cluster_size=4k,data_file=data\nwrite 0 16k 1\nflush\ncommit\n",
    };
    const struct profile *const profiles[] = {&profile_reference, &profile_optimized};
    uint64_t count;
    for (size_t i = 0; i < ARRAY_SIZE(programs) * 2; i++) {
        struct heard h = explore(programs[i / 2], profiles[i % 2], PLANT_NONE, true, NULL, &count);
        if (h.n) {
            print_error("%s: %s\n", h.id, h.why);
        }
        assert_int_equal(h.n, 0);
        assert_true(count > 4);
        h = explore(programs[i / 2], profiles[i % 2], PLANT_NONE, false, NULL, &count);
        if (h.n) {
            print_error("%s: %s\n", h.id, h.why);
        }
        assert_int_equal(h.n, 0);
        assert_true(count > 4);
    }
}

static void test_planted_defects_are_found(void **state)
{
    static const enum planted defects[] = {PLANT_FLIP_BYTE, PLANT_DROP_FLUSH, PLANT_LEAK_CLUSTER};
    uint64_t count;
    for (size_t i = 0; i < ARRAY_SIZE(defects) * 2; i++) {
        struct heard h =
            explore(two_writes, &profile_reference, defects[i / 2], i % 2, NULL, &count);
        assert_true(h.n > 0);
        forget(&h);
    }
}

/* On every image of the set: what was flushed is judged byte by byte, encrypted or in an extent. */
static void test_every_image_is_judged(void **state)
{
    static const enum planted defects[] = {PLANT_NONE, PLANT_FLIP_BYTE, PLANT_DROP_FLUSH};
    for (size_t i = 0; i < crash_image_count() * ARRAY_SIZE(defects); i++) {
        const char *image = crash_image(i / ARRAY_SIZE(defects));
        enum planted planted = defects[i % ARRAY_SIZE(defects)];
        char *text = str_fmt("%s\nwrite 0 4k 17\nwrite 128k 64k 18\nflush\n", image);
        struct process *process = process_new();
        struct sandbox *sb = sandbox_new(process, &profile_reference, planted);
        struct crash_options o = crash_options_default;
        struct crash_counts n = {0};
        struct heard h = {0};
        struct program p;
        o.bounds.max_states = 500;
        o.bounds.max_built = 2000;
        assert_int_equal(program_parse(text, &p, NULL), 0);
        assert_int_equal(crash_explore(sb, &p, &o, hear_crash, &h, &n, NULL), 0);
        if ((h.n > 0) != (planted != PLANT_NONE)) {
            fail_msg("%s: %u findings, planted %s: %s", image, h.n, planted_names[planted],
                     h.n ? h.why : "-");
        }
        forget(&h);
        program_free(&p);
        sandbox_free(sb);
        process_free(process);
        mem_free(text);
    }
}

static void test_images_made_by_hand(void **state)
{
    static const char *const bad[] = {"image qcow2 1M made=nothing\n",
                                      "image qcow2 1M made=shared\n", "image vpc 8M made=cow\n"};
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, &profile_reference, PLANT_NONE);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error *err = NULL;
        struct disk_set set;
        struct program p;
        assert_int_equal(program_parse(bad[i], &p, NULL), 0);
        assert_int_equal(sandbox_create(sb, &p, &set, &err), -EINVAL);
        assert_non_null(strstr(err->msg, "made="));
        error_free(err);
        program_free(&p);
    }
    sandbox_free(sb);
    process_free(process);
}

static void test_a_state_can_be_seen_again(void **state)
{
    uint64_t count;
    struct heard h = explore(two_writes, &profile_reference, PLANT_DROP_FLUSH, true, NULL, &count);
    assert_int_equal(h.id[0], 'c');
    struct heard again =
        explore(two_writes, &profile_reference, PLANT_DROP_FLUSH, true, h.id, &count);
    assert_int_equal(again.n, 1);
    assert_string_equal(again.id, h.id);
    assert_string_equal(again.why, h.why);
    forget(&again);
    /* The same power cut harms nobody whose flushes work. */
    again = explore(two_writes, &profile_reference, PLANT_NONE, true, "c5", &count);
    assert_int_equal(again.n, 0);
    forget(&h);
}

static void test_same_states_each_time(void **state)
{
    uint64_t a, b;
    struct heard h = explore(two_writes, &profile_optimized, PLANT_NONE, true, NULL, &a);
    assert_int_equal(h.n, 0);
    h = explore(two_writes, &profile_optimized, PLANT_NONE, true, NULL, &b);
    assert_int_equal(h.n, 0);
    assert_int_equal(a, b);
}

/* Bugs that these explorers found in the reference; each is a program and a fault that lost
 * something, or never came to an end. */
static void test_failed_steps_that_once_lost_data(void **state)
{
    static const struct {
        const char *program, *fault;
    } cases[] = {
        /* The L1 entry was on disk, its table's cluster was freed. */
        {"image qcow2 1M cluster_size=4k\nwrite 0 4k 3\nwrite 64k 4k 4\n",
         "error,label=none,nth=3"},
        /* The header named the new L1 table, entries went to the old one. */
        {"image qcow2 1M cluster_size=512\nresize 2M\nwrite 0 512 2\n", "error,label=none,nth=3"},
        {"image qcow2 1M cluster_size=512\nwrite 0 1k 1\nflush\nresize 2M\nwrite 101 700 4\n",
         "error,label=none,nth=8"},
        /* References were raised while flags on disk said that there was one. */
        {"image qcow2 1M cluster_size=4k\nwrite 0 4k 1\nsnapshot s\n",
         "error,label=l1_update,nth=3"},
        /* The header named the snapshot, its L1 table was freed. */
        {"image qcow2 1M cluster_size=4k\nsnapshot s\nflush\nwrite 549 700 3\n",
         "error,label=none,nth=7"},
        {"image qcow2 1M cluster_size=4k,preallocation=metadata\nsnapshot s\nsnapshot s\n",
         "error,label=l1_update,nth=2"},
        /* The snapshot's L1 table was on disk, the old one was used on. */
        {"image qcow2 1M cluster_size=4k\nwrite 0 16k 1\nsnapshot s\nwrite 0 4k 2\napply s\nwrite "
         "8k 4k 3\nflush\n",
         "short:512,label=l1_update,nth=5"},
        /* A timer that waited for the end of the drain let the clock run on for ever. */
        {"image qed 1M cluster_size=4k,table_size=2\nwrite 0 8k 1\nflush\nresize 2M\n",
         "hung,label=flush_to_disk,nth=3"},
    };
    uint64_t count;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct heard h = explore(cases[i].program, &profile_reference, PLANT_NONE, false,
                                 cases[i].fault, &count);
        if (h.n) {
            print_error("%zu %s: %s\n", i, h.id, h.why);
        }
        assert_int_equal(h.n, 0);
    }
}

/* Every kind of operation is carried out, not just refused: their statuses are 0. */
static void test_operations_are_carried_out(void **state)
{
    static const char *const texts[] = {
        "image qcow2 1M backing cluster_size=4k\nwrite 0 8k 1\nzero 8k 8k\nflush\ncommit\n"
        "discard 0 8k\nread 0 1M\n",
        "image qcow2 1M cluster_size=4k\nwrite 0 8k 1\nzero 0 4k\namend compat=0.10\n"
        "amend compat=1.1,refcount_bits=64\nread 0 1M\nsnapshot s\nwritec 64k 4k 3\napply s\n"
        "delsnap s\nresize 2M\nreopen\nread 0 2M\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct process *process = process_new();
        struct sandbox *sb = sandbox_new(process, &profile_reference, PLANT_NONE);
        struct recording rec;
        struct disk_set base;
        struct program p;
        assert_int_equal(program_parse(texts[i], &p, NULL), 0);
        assert_int_equal(sandbox_create(sb, &p, &base, NULL), 0);
        assert_int_equal(sandbox_record(sb, &p, &base, NULL, false, &rec, NULL), 0);
        for (size_t k = 0; k < p.n_ops; k++) {
            assert_int_equal(rec.status[k], 0);
        }
        assert_false(rec.wrong);
        recording_free(&rec);
        disk_set_free(&base);
        program_free(&p);
        sandbox_free(sb);
        process_free(process);
    }
}

/* Power goes again while leaks are repaired: refcounts are stable before flags rely on them. */
static void test_repairs_that_are_cut(void **state)
{
    static const char text[] = "image qcow2 1M cluster_size=4k\nwrite 0 8k 1\nflush\nsnapshot s\n";
    static const struct profile *const profiles[] = {&profile_reference, &profile_optimized};
    for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
        struct process *process = process_new();
        struct sandbox *sb = sandbox_new(process, profiles[i], PLANT_NONE);
        struct crash_options o = crash_options_default;
        struct crash_counts n = {0};
        struct heard h = {0};
        struct program p;
        assert_int_equal(program_parse(text, &p, NULL), 0);
        o.nested_every = 1;
        assert_int_equal(crash_explore(sb, &p, &o, hear_crash, &h, &n, NULL), 0);
        assert_int_equal(h.n, 0);
        assert_true(n.nested > 10);
        o.only = "c44/c4";
        assert_int_equal(crash_explore(sb, &p, &o, hear_crash, &h, &n, NULL), 0);
        assert_int_equal(h.n, 0);
        o.only = "c44/nonsense";
        assert_int_equal(crash_explore(sb, &p, &o, hear_crash, &h, &n, NULL), -EINVAL);
        program_free(&p);
        sandbox_free(sb);
        process_free(process);
    }
}

static void test_programs_parse_again(void **state)
{
    for (size_t i = 0; i < crash_image_count(); i++) {
        for (size_t n = 0; n < crash_program_count(2); n += 5) {
            struct program p, q;
            struct strbuf text = STRBUF_INIT;
            crash_program(i, 2, n, &p);
            program_print(&text, &p);
            assert_int_equal(program_parse(text.s, &q, NULL), 0);
            assert_int_equal(q.n_ops, p.n_ops);
            program_free(&p);
            program_free(&q);
            strbuf_free(&text);
        }
    }
}

static void expect_fine(void *opaque, const struct label_line *l)
{
    if (l->wrong) {
        fail_msg("%s, label %s: %s", l->format, label_name(l->label), l->wrong);
    }
}

struct covered {
    unsigned fine, missing, stray;
};

static void hear_label(void *opaque, const struct label_line *l)
{
    struct covered *c = opaque;
    assert_string_equal(l->format, "qcow2");
    c->fine += !l->wrong;
    c->missing += l->label == LABEL_JOURNAL_LOAD && l->wrong;
    c->stray += l->label == LABEL_L2_UPDATE && l->wrong;
}

/* A label that no program reaches, and one that the driver does not name, are findings. */
static void test_label_cover(void **state)
{
    static const enum label labels[] = {LABEL_L2_LOAD, LABEL_JOURNAL_LOAD, LABEL_COUNT};
    static const struct block_driver planted = {.name = "qcow2", .labels = labels};
    static const struct block_driver silent = {.name = "file"};
    static const struct driver_entry entries[] = {{.drv = &silent}, {.drv = &planted}, {0}};
    struct label_cover *c = label_cover_new(&(struct driver_list){entries});
    struct label_cover *sum = label_cover_new(&(struct driver_list){entries});
    struct fault_counts *n = mem_zalloc(sizeof(*n));
    struct covered found = {0};
    n->reached[LABEL_L2_LOAD] = n->reached[LABEL_NONE] = n->reached[LABEL_L2_UPDATE] = 1;
    label_cover_add(c, "raw", n);
    label_cover_add(c, "qcow2", n);
    label_cover_sum(sum, c);
    label_cover_each(sum, hear_label, &found);
    assert_int_equal(found.fine, 2);
    assert_int_equal(found.missing, 1);
    assert_int_equal(found.stray, 1);
    assert_string_equal(label_cover_format(c, 0), "qcow2");
    assert_null(label_cover_format(c, 1));
    mem_free(n);
    label_cover_free(sum);
    label_cover_free(c);
}

/* Each label that a driver names is reached by a hand-made program, on either profile. */
static void test_labels_reached(void **state)
{
    struct label_cover *cover = label_cover_new(&all_drivers);
    struct fault_options o = fault_options_default;
    o.only = "none";
    for (int i = 0; i < 2; i++) {
        struct process *process = process_new();
        struct sandbox *sb = sandbox_new(process, i ? &profile_optimized : &profile_reference, 0);
        for (size_t k = 0; k < crash_special_count(); k++) {
            struct fault_counts *n = mem_zalloc(sizeof(*n));
            struct heard h = {0};
            struct program p;
            crash_special(k, &p);
            assert_int_equal(fault_explore(sb, &p, &o, hear_fault, &h, n, NULL), 0);
            assert_int_equal(h.n, 0);
            label_cover_add(cover, p.format, n);
            program_free(&p);
            mem_free(n);
        }
        sandbox_free(sb);
        process_free(process);
    }
    label_cover_each(cover, expect_fine, NULL);
    label_cover_free(cover);
}

/* Every way to go wrong fires somewhere in a program that reads, copies and flushes. */
static void test_ways_to_go_wrong(void **state)
{
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, &profile_reference, PLANT_NONE);
    struct fault_options o = fault_options_default;
    struct fault_counts *n = mem_zalloc(sizeof(*n));
    struct heard h = {0};
    struct program p;
    o.kmax = 3;
    o.pairs = 5;
    assert_int_equal(program_parse("image qcow2 1M cluster_size=4k\nwrite 0 8k 1\nsnapshot s\n"
                                   "write 512 4k 2\nread 0 8k\n",
                                   &p, NULL),
                     0);
    assert_int_equal(fault_explore(sb, &p, &o, hear_fault, &h, n, NULL), 0);
    assert_int_equal(h.n, 0);
    for (int m = 0; m < FAULT_MODES; m++) {
        uint64_t fired = 0;
        for (int l = 0; l < LABEL_COUNT; l++) {
            fired += n->failed[l][m];
        }
        assert_true(fired > 0);
    }
    assert_true(n->pairs > 0 && n->silent > 0 && n->noticed > 0);
    assert_int_equal(n->cut_off, 1);
    /* The same in a process of its own. */
    struct fault_counts *apart = mem_zalloc(sizeof(*apart));
    o.apart = true;
    assert_int_equal(fault_explore(sb, &p, &o, hear_fault, &h, apart, NULL), 0);
    assert_memory_equal(n, apart, sizeof(*n));
    forget(&h);
    mem_free(n);
    mem_free(apart);
    program_free(&p);
    sandbox_free(sb);
    process_free(process);
}

static void test_modes_parse(void **state)
{
    assert_int_equal(fault_modes_parse("EIO"), 1);
    assert_int_equal(fault_modes_parse("EIO+,ENOSPC"), 6);
    assert_int_equal(fault_modes_parse("all"), FAULT_MODES_ALL);
    assert_int_equal(fault_modes_parse("EIO,EFOO"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_keeps_its_promise),
        cmocka_unit_test(test_planted_defects_are_found),
        cmocka_unit_test(test_every_image_is_judged),
        cmocka_unit_test(test_images_made_by_hand),
        cmocka_unit_test(test_a_state_can_be_seen_again),
        cmocka_unit_test(test_same_states_each_time),
        cmocka_unit_test(test_failed_steps_that_once_lost_data),
        cmocka_unit_test(test_operations_are_carried_out),
        cmocka_unit_test(test_repairs_that_are_cut),
        cmocka_unit_test(test_programs_parse_again),
        cmocka_unit_test(test_ways_to_go_wrong),
        cmocka_unit_test(test_label_cover),
        cmocka_unit_test(test_labels_reached),
        cmocka_unit_test(test_modes_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
