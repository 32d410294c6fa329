/*
 * Tests of operations beside each other: their text, the oracle of groups, the schedule explorer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "harness/explore/schedule_explore.h"
#include "harness/oracle/oracle_group.h"
#include "harness/programs/schedule_programs.h"
#include "harness/programs/shrink.h"
#include "ref/base/mem.h"
#include "ref/engine/world.h"

#define IMAGE "image qcow2 256k cluster_size=4k\n"

struct outcome {
    char schedule[512], why[256];
    unsigned n;
};

static void remember(void *opaque, const struct schedule_finding *f)
{
    struct outcome *out = opaque;
    if (!out->n++) {
        snprintf(out->schedule, sizeof(out->schedule), "%s", f->schedule);
        snprintf(out->why, sizeof(out->why), "%s", f->why);
    }
}

static struct program parse(const char *text)
{
    struct program p;
    assert_int_equal(program_parse(text, &p, NULL), 0);
    return p;
}

static struct outcome explore(const char *text, const struct schedule_options *o,
                              enum planted planted, struct schedule_counts *counts)
{
    struct program p = parse(text);
    struct outcome out = {.n = 0};
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, &profile_optimized, planted);
    memset(counts, 0, sizeof(*counts));
    assert_int_equal(schedule_explore(sb, &p, o, remember, &out, counts, NULL), 0);
    sandbox_free(sb);
    process_free(process);
    program_free(&p);
    return out;
}

/* ---- text ---- */

static void test_lines_of_operations(void **state)
{
    static const char text[] = IMAGE "write 0 4096 1 || read 0 512 || flush\nflush\n";
    struct program p = parse("image qcow2 256k cluster_size=4k\n"
                             "write 0 4k 1||read 0 512  ||  flush # together\nflush\n");
    struct strbuf out = STRBUF_INIT;
    assert_int_equal(p.n_ops, 4);
    assert_int_equal(program_group(&p, 0), 3);
    assert_int_equal(program_group(&p, 3), 1);
    program_print(&out, &p);
    assert_string_equal(out.s + 18, text + 16); /* behind the size, which is printed in bytes */
    strbuf_reset(&out);
    program_cut(&p, 0, 1); /* what was beside it begins the line */
    assert_false(p.ops[0].beside);
    assert_int_equal(program_group(&p, 0), 2);
    strbuf_free(&out);
    program_free(&p);
}

static void test_lines_that_are_refused(void **state)
{
    static const char *const bad[] = {
        IMAGE "write 0 4k 1 || reopen\n", IMAGE "commit || discard 0 4k\n", IMAGE "flush ||\n",
        IMAGE "|| flush\n",
        IMAGE "flush||flush||flush||flush||flush||flush||flush||flush||flush\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct program p;
        struct error *err = NULL;
        assert_int_equal(program_parse(bad[i], &p, &err), -EINVAL);
        error_free(err);
    }
}

/* ---- the oracle of groups ---- */

struct judged {
    struct program p;
    struct oracle o;
    struct oracle_group g;
};

static void judged_start(struct judged *j, const char *line)
{
    char text[256];
    snprintf(text, sizeof(text), IMAGE "%s\n", line);
    j->p = parse(text);
    oracle_init(&j->o, &j->p);
    oracle_group_init(&j->g, &j->o);
}

static bool lawful(struct judged *j, enum oracle_view view, uint8_t byte)
{
    uint8_t buf[512];
    memset(buf, byte, sizeof(buf));
    return oracle_judge(&j->o, view, 0, sizeof(buf), buf, false, NULL) < 0;
}

static void judged_end(struct judged *j)
{
    oracle_group_free(&j->g);
    oracle_free(&j->o);
    program_free(&j->p);
}

static void test_overlapping_writes_have_either_order(void **state)
{
    struct judged j;
    judged_start(&j, "write 0 512 1 || write 0 512 2");
    oracle_group_begin(&j.g, &j.p.ops[0]);
    oracle_group_begin(&j.g, &j.p.ops[1]);
    oracle_group_end(&j.g, 1, 0, NULL);
    oracle_group_end(&j.g, 0, 0, NULL);
    assert_true(oracle_group_judge(&j.g, false, NULL));
    assert_true(lawful(&j, ORACLE_LIVE, 1));
    assert_true(lawful(&j, ORACLE_LIVE, 2));
    assert_false(lawful(&j, ORACLE_LIVE, 0));
    judged_end(&j);
}

static void test_a_write_that_ended_comes_first(void **state)
{
    struct judged j;
    judged_start(&j, "write 0 512 1 || write 0 512 2");
    oracle_group_begin(&j.g, &j.p.ops[0]);
    oracle_group_end(&j.g, 0, 0, NULL);
    oracle_group_begin(&j.g, &j.p.ops[1]);
    oracle_group_end(&j.g, 1, 0, NULL);
    assert_true(oracle_group_judge(&j.g, false, NULL));
    assert_false(lawful(&j, ORACLE_LIVE, 1));
    assert_true(lawful(&j, ORACLE_LIVE, 2));
    judged_end(&j);
}

static void test_a_flush_covers_what_ended_before_it_began(void **state)
{
    struct judged j;
    judged_start(&j, "write 0 512 1 || flush");
    oracle_group_begin(&j.g, &j.p.ops[0]);
    oracle_group_begin(&j.g, &j.p.ops[1]);
    oracle_group_end(&j.g, 0, 0, NULL);
    oracle_group_end(&j.g, 1, 0, NULL);
    assert_true(lawful(&j, ORACLE_CRASH, 0)); /* the write may have come behind it */
    assert_true(lawful(&j, ORACLE_CRASH, 1));
    judged_end(&j);
    judged_start(&j, "write 0 512 1 || flush");
    oracle_group_begin(&j.g, &j.p.ops[0]);
    oracle_group_end(&j.g, 0, 0, NULL);
    oracle_group_begin(&j.g, &j.p.ops[1]);
    oracle_group_end(&j.g, 1, 0, NULL);
    assert_false(lawful(&j, ORACLE_CRASH, 0));
    assert_true(lawful(&j, ORACLE_CRASH, 1));
    judged_end(&j);
}

static bool read_gives(uint8_t byte, bool write_ended)
{
    struct judged j;
    uint8_t *data = mem_alloc(512);
    memset(data, byte, 512);
    judged_start(&j, "write 0 512 1 || read 0 512");
    oracle_group_begin(&j.g, &j.p.ops[0]);
    if (write_ended) {
        oracle_group_end(&j.g, 0, 0, NULL);
    }
    oracle_group_begin(&j.g, &j.p.ops[1]);
    oracle_group_end(&j.g, 1, 0, data);
    if (!write_ended) {
        oracle_group_end(&j.g, 0, 0, NULL);
    }
    bool ok = oracle_group_judge(&j.g, false, NULL);
    judged_end(&j);
    return ok;
}

static void test_reads_beside_a_write(void **state)
{
    assert_true(read_gives(0, false));
    assert_true(read_gives(1, false));
    assert_false(read_gives(0, true));
    assert_true(read_gives(1, true));
    assert_false(read_gives(2, false));
}

static void test_an_error_beside_others_is_a_finding(void **state)
{
    struct judged j;
    struct strbuf why = STRBUF_INIT;
    judged_start(&j, "write 0 512 1 || flush");
    oracle_group_begin(&j.g, &j.p.ops[0]);
    oracle_group_begin(&j.g, &j.p.ops[1]);
    oracle_group_end(&j.g, 0, -EIO, NULL);
    oracle_group_end(&j.g, 1, 0, NULL);
    assert_false(oracle_group_judge(&j.g, false, &why));
    assert_true(lawful(&j, ORACLE_LIVE, 0));
    assert_true(lawful(&j, ORACLE_LIVE, 1));
    strbuf_free(&why);
    judged_end(&j);
}

/* ---- the explorer ---- */

static const char two_blocks[] = IMAGE "write 0 4k 9\nflush\nwrite 0 512 1 || write 1k 512 2\n";

static void test_a_race_is_found_and_shrunk(void **state)
{
    struct schedule_counts counts;
    struct schedule_options o = schedule_options_default;
    struct outcome found = explore(two_blocks, &o, PLANT_RACE, &counts);
    assert_true(found.n > 0);
    assert_string_not_equal(found.schedule, "-");
    assert_non_null(strstr(found.why, "lawful"));
    /* The same schedule again. */
    o.only = found.schedule;
    struct outcome again = explore(two_blocks, &o, PLANT_RACE, &counts);
    assert_int_equal(counts.schedules, 1);
    assert_int_equal(again.n, 1);
    assert_string_equal(again.why, found.why);
    /* Without the race nothing is wrong with it. */
    assert_int_equal(explore(two_blocks, &o, PLANT_NONE, &counts).n, 0);
}

static bool race_fails(const struct program *p, void *opaque)
{
    struct schedule_counts counts;
    struct schedule_options o = schedule_options_default;
    struct strbuf text = STRBUF_INIT;
    program_print(&text, p);
    struct outcome out = explore(text.s, &o, PLANT_RACE, &counts);
    strbuf_free(&text);
    return out.n > 0;
}

static void test_the_minimiser_keeps_the_two(void **state)
{
    struct program p = parse(IMAGE "write 64k 4k 3\nread 0 4k\nwrite 0 512 1 || flush || write 1k "
                                   "512 2 || read 128k 4k\nflush\n");
    shrink_program(&p, race_fails, NULL, 60);
    assert_int_equal(p.n_ops, 2);
    assert_int_equal(program_group(&p, 0), 2);
    program_free(&p);
}

static void test_no_race_no_finding(void **state)
{
    struct schedule_counts counts;
    struct schedule_options o = schedule_options_default;
    assert_int_equal(explore(two_blocks, &o, PLANT_NONE, &counts).n, 0);
    assert_true(counts.schedules > 20);
    assert_int_equal(explore(IMAGE "write 0 4k 1 || write 2k 4k 2\n", &o, PLANT_NONE, &counts).n,
                     0);
    assert_true(counts.schedules > 100);
    assert_true(counts.skipped > 0);
}

static void test_same_seed_same_schedules(void **state)
{
    struct schedule_counts a, b;
    struct schedule_options o = schedule_options_default;
    o.cuts = 2;
    explore(IMAGE "write 0 4k 1 || zero 0 100 || flush\n", &o, PLANT_NONE, &a);
    explore(IMAGE "write 0 4k 1 || zero 0 100 || flush\n", &o, PLANT_NONE, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_true(a.states > a.schedules);
}

static void test_more_preemptions_more_schedules(void **state)
{
    struct schedule_counts none, one, two, all;
    struct schedule_options o = schedule_options_default;
    o.pct = 0;
    o.preemptions = 0;
    explore(two_blocks, &o, PLANT_NONE, &none);
    assert_true(none.schedules >= 2); /* one or the other begins */
    o.preemptions = 1;
    explore(two_blocks, &o, PLANT_NONE, &one);
    o.preemptions = 2;
    explore(two_blocks, &o, PLANT_NONE, &two);
    o.reduce = false;
    explore(two_blocks, &o, PLANT_NONE, &all);
    assert_true(none.schedules < one.schedules && one.schedules < two.schedules);
    assert_true(two.schedules < all.schedules);
}

#define OUTCOMES 256

struct outcomes {
    uint64_t seen[OUTCOMES];
    unsigned n;
};

static void ignore(void *opaque, const struct schedule_finding *f)
{
    fail_msg("%s: %s", f->schedule, f->why);
}

/* What the operations returned, and every byte of the image. */
static void note_outcome(void *opaque, const struct recording *rec)
{
    struct outcomes *all = opaque;
    uint64_t h = disk_hash(rec->end.disk[0]);
    for (size_t i = 0; i < rec->program->n_ops; i++) {
        h = h * UINT64_C(0x100000001b3) ^ (uint32_t)rec->status[i];
    }
    for (unsigned i = 0; i < all->n; i++) {
        if (all->seen[i] == h) {
            return;
        }
    }
    assert_true(all->n < OUTCOMES);
    all->seen[all->n++] = h;
}

static uint64_t outcomes_of(const char *text, bool reduce, struct outcomes *out)
{
    struct schedule_options o = schedule_options_default;
    struct schedule_counts counts = {0};
    struct program p = parse(text);
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, &profile_reference, PLANT_NONE);
    o.reduce = reduce;
    o.pct = 0;
    o.max = 0;
    o.promised = false;
    o.ran = note_outcome;
    memset(out, 0, sizeof(*out));
    assert_int_equal(schedule_explore(sb, &p, &o, ignore, out, &counts, NULL), 0);
    sandbox_free(sb);
    process_free(process);
    program_free(&p);
    return counts.schedules;
}

static bool has(const struct outcomes *o, uint64_t h)
{
    bool found = false;
    for (unsigned i = 0; i < o->n; i++) {
        found |= o->seen[i] == h;
    }
    return found;
}

/* Fewer schedules, and nothing that may come out is missed. */
static void test_reduction_keeps_outcomes(void **state)
{
    static const struct {
        const char *text;
        bool less; /* not all of it depends on all the rest */
    } programs[] = {
        {IMAGE "write 0 4k 9\nflush\nwrite 0 512 1 || write 1k 512 2\n", true},
        {IMAGE "write 0 4k 9\nflush\nwrite 0 1k 1 || write 512 1k 2\n", true},
        {"image raw 64k\nwrite 0 4k 1 || write 8k 4k 2 || zero 1k 4k\n", true},
        {"image raw 64k\nwrite 0 4k 1 || write 2k 4k 2\n", false},
        {"image vdi 4M\nwrite 0 4k 1 || write 1M 4k 2\n", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        struct outcomes all, some;
        uint64_t whole = outcomes_of(programs[i].text, false, &all);
        uint64_t reduced = outcomes_of(programs[i].text, true, &some);
        assert_true(programs[i].less ? reduced < whole : reduced <= whole);
        assert_int_equal(some.n, all.n);
        for (unsigned k = 0; k < all.n; k++) {
            assert_true(has(&some, all.seen[k]));
        }
    }
}

/* Two writes that take two locks in different orders wait for each other in some schedules; what
 * they hold then nobody can free: in a process of its own. */
static void test_a_deadlock_is_found(void **state)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct schedule_counts counts;
        struct schedule_options o = schedule_options_default;
        o.preemptions = 1;
        o.max_findings = 1;
        struct outcome out =
            explore(IMAGE "write 0 4k 1 || write 64k 4k 2\n", &o, PLANT_DEADLOCK, &counts);
        _exit(out.n == 1 && strstr(out.why, "hangs") && counts.schedules > 1 ? 0 : 1);
    }
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

static void test_random_schedules_find_the_race(void **state)
{
    struct schedule_counts counts;
    struct schedule_options o = schedule_options_default;
    o.preemptions = 0;
    assert_true(explore(two_blocks, &o, PLANT_RACE, &counts).n > 0);
    assert_true(counts.random > 0);
}

static void test_faults_and_cuts_of_schedules(void **state)
{
    struct schedule_counts counts;
    struct schedule_options o = schedule_options_default;
    o.max = 10;
    o.pct = 5;
    o.cuts = 2;
    o.fail_max = 1;
    struct outcome out = explore(IMAGE "write 0 4k 1 || write 8k 4k 2\n", &o, PLANT_NONE, &counts);
    assert_string_equal(out.why, "");
    assert_true(counts.faults > 5);
    assert_true(counts.states > 100);
}

static void test_every_program_can_be_made(void **state)
{
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < schedule_image_count(); i++) {
        struct program p;
        for (size_t n = 0; n < schedule_pair_count(); n += 7) {
            schedule_pair(i, n, &p);
            assert_true(p.n_ops >= 4 && p.ops[p.n_ops - 3].beside); /* then read, flush */
            program_free(&p);
        }
        for (size_t n = 0; n < schedule_close_count(); n += 5) {
            schedule_close(i, n, &p);
            assert_true(p.ops[p.n_ops - 3].beside && !p.ops[p.n_ops - 4].beside);
            program_free(&p);
        }
        for (size_t n = 0; n < schedule_reuse_count(); n++) {
            schedule_reuse(i, n, &p);
            assert_int_equal(program_group(&p, p.n_ops - 5), 3);
            program_free(&p);
        }
        for (size_t n = 0; n < schedule_reliant_count(); n++) {
            schedule_reliant(i, n, &p);
            assert_int_equal(program_group(&p, p.n_ops - 4), 2);
            program_free(&p);
        }
        for (size_t n = 0; n < schedule_drain_count(); n++) {
            schedule_drain(i, n, &p);
            assert_int_equal(program_group(&p, p.n_ops - 4), 2);
            program_free(&p);
        }
        schedule_random(i, &rng, &p);
        program_free(&p);
    }
}

/* Of each program more than `least` schedules, and nothing is found in any. */
static void finds_nothing(const char *const *texts, size_t count, const struct schedule_options *o,
                          uint64_t least)
{
    for (size_t i = 0; i < count; i++) {
        struct schedule_counts n;
        struct outcome out = explore(texts[i], o, PLANT_NONE, &n);
        if (out.n) {
            fail_msg("%s: %s: %s", texts[i], out.schedule, out.why);
        }
        assert_true(n.schedules > least);
    }
}

/* A write goes on to a cluster that the snapshot shares by now; a snapshot is deleted while it is
 * applied. */
static void test_snapshots_beside_others(void **state)
{
    static const char *const texts[] = {
        IMAGE "write 0 128 1\nzero 0 6144\nwrite 0 64 4 || snapshot t\n",
        "image qcow2 1M extended_l2=on\nwrite 0 256 1\nzero 0 3072\nsnapshot t || write 0 6 8\n",
        "image qcow2 128k\nwrite 0 16 1\nsnapshot s\napply s || delsnap s\n"};
    finds_nothing(texts, ARRAY_SIZE(texts), &schedule_options_default, 10);
}

/* Who looks an entry up waits for the page of the table; who allocates gave it up meanwhile: memory
 * that was freed, which the sanitizers tell. */
static void test_lookups_beside_allocations(void **state)
{
    static const char *const texts[] = {
        "image vhdx 4M block_size=1M\nreopen\nwrite 0 4k 1 || read 0 8k || read 1M 4k\nflush\n",
        "image vhdx 4M block_size=1M\nwrite 0 4k 1 || write 1M 4k 2 || read 0 4k\nflush\n"};
    struct schedule_options o = schedule_options_default;
    o.max = 400;
    o.pct = 40;
    finds_nothing(texts, ARRAY_SIZE(texts), &o, 40);
}

/* Nothing is written behind the end that a resize beside it sets, and no length is a third one. */
static void test_resizes_beside_others(void **state)
{
    static const char *const texts[] = {
        "image raw 256k\nwrite 0 16k 1\nflush\nread 0 8k || resize 4k || write 24k 8k 5\nflush\n",
        "image raw 256k\nresize 4k || resize 8k || resize 300k || write 250k 10k 5\nflush\n",
        "image raw 256k\nresize 1 || write 0 4k 1\nread 0 512\nflush\n",
        "image raw 256k\nresize 300k\nwrite 250k 10k 3 || flush\n"};
    struct schedule_options o = schedule_options_default;
    o.max = 100;
    o.pct = 20;
    o.cuts = 8;
    finds_nothing(texts, ARRAY_SIZE(texts), &o, 10);
}

/* A block that one request has entered in memory serves others only when the entry is written: who
 * wrote to it would have been told success, and lost its data when the entry was taken back. */
static void test_nobody_relies_on_what_may_fail(void **state)
{
    static const char *const texts[] = {
        "image vdi 4M\nwrite 0 4k 1 || write 4k 4k 2\nread 0 8k\nflush\n",
        "image parallels 4M cluster_size=1M\nwrite 0 4k 1 || write 4k 4k 2\nread 0 8k\nflush\n"};
    struct schedule_options o = schedule_options_default;
    o.max = 20;
    o.pct = 0;
    o.fail_max = 1;
    finds_nothing(texts, ARRAY_SIZE(texts), &o, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookups_beside_allocations),
        cmocka_unit_test(test_resizes_beside_others),
        cmocka_unit_test(test_nobody_relies_on_what_may_fail),
        cmocka_unit_test(test_snapshots_beside_others),
        cmocka_unit_test(test_lines_of_operations),
        cmocka_unit_test(test_lines_that_are_refused),
        cmocka_unit_test(test_overlapping_writes_have_either_order),
        cmocka_unit_test(test_a_write_that_ended_comes_first),
        cmocka_unit_test(test_a_flush_covers_what_ended_before_it_began),
        cmocka_unit_test(test_reads_beside_a_write),
        cmocka_unit_test(test_an_error_beside_others_is_a_finding),
        cmocka_unit_test(test_a_race_is_found_and_shrunk),
        cmocka_unit_test(test_the_minimiser_keeps_the_two),
        cmocka_unit_test(test_no_race_no_finding),
        cmocka_unit_test(test_same_seed_same_schedules),
        cmocka_unit_test(test_more_preemptions_more_schedules),
        cmocka_unit_test(test_reduction_keeps_outcomes),
        cmocka_unit_test(test_a_deadlock_is_found),
        cmocka_unit_test(test_random_schedules_find_the_race),
        cmocka_unit_test(test_faults_and_cuts_of_schedules),
        cmocka_unit_test(test_every_program_can_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
