/*
 * The spec checkers in the oracle of crash states: what a format's promise does not allow is told,
 * also where a repair would hide it; what it allows is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "harness/explore/fault_explore_int.h"
#include "harness/sandbox/promise.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/engine/world.h"

struct state {
    const char *program;
    const char *clause; /* of the finding; NULL: the promise allows it */
    int64_t at;         /* what is changed in the image that the program left */
    unsigned width;
    bool big_endian;
    uint64_t value;
    int64_t cut; /* bytes taken off the file's end */
};

#define QED       "image qed 1M cluster_size=4k,table_size=2\nwrite 0 4k 1\nflush\n"
#define QCOW      "image qcow 1M\nwrite 0 8k 1\nflush\n"
#define VDI       "image vdi 4M\nwrite 0 1100k 1\nflush\n"
#define VPC       "image vpc 4M force_size=on\nwrite 0 4k 1\nflush\n"
#define VHDX      "image vhdx 4M block_size=1M\nwrite 0 4k 1\nflush\n"
#define PARALLELS "image parallels 1M cluster_size=64k\nwrite 0 4k 1\nflush\n"

static const struct state states[] = {
    {QED, NULL, 0, 1, false, 'Q', 0},
    {QED, "CHK-2", 0x4008, 8, false, 0x100000, 0},
    {QCOW, NULL, 0, 1, true, 'Q', 0},
    {QCOW, "TAB-7", 0x3010, 8, true, 0x100000, 0},
    {VDI, NULL, 388, 4, false, 1, 0}, /* MAP-4 */
    {VDI, "MAP-3", 516, 4, false, 0, 0},
    {VPC, NULL, 0, 1, true, 'c', 512}, /* FTR-8 */
    {VPC, "DYN-4", 1535, 1, true, 1, 0},
    {VHDX, NULL, 0x10004, 4, false, 0, 0}, /* HDR-11 */
    {VHDX, "REG-2", 0x4ffff, 1, false, 1, 0},
    {PARALLELS, NULL, 44, 4, false, 0x746f6e59, 0}, /* HDR-9 */
    {PARALLELS, "BAT-3", 68, 4, false, 1000, 0},    /* the repair drops the entry */
};

static void damage(struct disk *d, const struct state *s)
{
    uint8_t bytes[8];
    store_uint(bytes, s->width, s->big_endian, s->value);
    disk_write(d, s->at, bytes, s->width);
    if (s->cut) {
        disk_truncate(d, disk_size(d) - s->cut);
    }
}

static void record(struct sandbox *sb, const char *text, struct program *p, struct disk_set *fresh,
                   struct recording *rec)
{
    assert_int_equal(program_parse(text, p, NULL), 0);
    assert_int_equal(sandbox_create(sb, p, fresh, NULL), 0);
    assert_int_equal(sandbox_record(sb, p, fresh, NULL, true, rec, NULL), 0);
}

static void judge(struct sandbox *sb, const struct state *s)
{
    struct program p;
    struct disk_set fresh = {0};
    struct recording rec;
    struct looked l = {0};
    record(sb, s->program, &p, &fresh, &rec);
    damage(rec.end.disk[0], s);
    bool ok = sandbox_look(sb, &p, &rec.end, &rec.oracle, ORACLE_CRASH, LOOK_SPEC, &l);
    if (ok != !s->clause || (s->clause && !strstr(l.why.s, s->clause))) {
        print_error("%s: %s: %s\n", p.format, s->clause ? s->clause : "lawful",
                    l.why.s ? l.why.s : "nothing told");
        fail();
    }
    strbuf_free(&l.why);
    recording_free(&rec);
    disk_set_free(&fresh);
    program_free(&p);
}

static void test_promises(void **state)
{
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, &profile_reference, PLANT_NONE);
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        judge(sb, &states[i]);
    }
    sandbox_free(sb);
    process_free(process);
}

/* ---- questions to the promise ---- */

static bool leaks(const char *text)
{
    struct program p;
    assert_int_equal(program_parse(text, &p, NULL), 0);
    bool found = promise_leaks(&p);
    program_free(&p);
    return found;
}

static void test_who_leaks(void **state)
{
    assert_true(leaks(QED "resize 64k\n"));
    assert_false(leaks(QED));
    assert_false(leaks("image qcow2 1M\nresize 64k\n"));
    assert_false(leaks("image raw 1M\nresize 64k\n"));
}

static void test_what_comes_first(void **state)
{
    static const struct {
        const char *format;
        enum sandbox_repair repair;
    } all[] = {{"qed", REPAIR_BY_OPENING},
               {"vhdx", REPAIR_BY_OPENING},
               {"parallels", REPAIR_BY_CHECK},
               {"qcow2", REPAIR_NONE},
               {"raw", REPAIR_NONE}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct program p = {.size = 1 << 20};
        strcpy(p.format, all[i].format);
        assert_int_equal(sandbox_repair_of(&p), all[i].repair);
    }
}

static void count(void *opaque, const struct fault_finding *f)
{
    ++*(unsigned *)opaque;
}

/* What a run is told that met an error, and whose second operation ended with `status`. */
static unsigned told(struct sandbox *sb, const struct program *p, struct recording *rec, int status)
{
    int undisturbed[4] = {0};
    unsigned n = 0;
    struct fault_counts *counts = mem_zalloc(sizeof(*counts));
    struct faulting x = {.sb = sb,
                         .p = p,
                         .o = &fault_options_default,
                         .found = count,
                         .opaque = &n,
                         .counts = counts,
                         .status = undisturbed};
    struct fault_plan plan;
    struct fault_entry e = {.kind = FAULT_ERROR, .error = EIO, .label = -1, .nth = 1};
    fault_plan_init(&plan);
    fault_plan_add(&plan, &e);
    plan.entries[0].fired = 1;
    rec->status[1] = status;
    fault_judge(&x, &plan, rec);
    fault_plan_destroy(&plan);
    strbuf_free(&x.looked.why);
    mem_free(counts);
    return n;
}

/* Who may refuse to open what was not closed, and with which error. */
static void test_refusals(void **state)
{
    const struct state mark = {PARALLELS, NULL, 44, 4, false, 0x746f6e59, 0};
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, &profile_reference, PLANT_NONE);
    struct program p;
    struct disk_set fresh = {0};
    struct recording rec;
    record(sb, PARALLELS "reopen\n", &p, &fresh, &rec);
    p.ops[1] = p.ops[2]; /* the second operation is the one that may be refused */
    assert_false(promise_refuses(&p, &rec.end));
    assert_int_equal(told(sb, &p, &rec, -EIO), 0);
    assert_int_equal(told(sb, &p, &rec, -EACCES), 1);
    damage(rec.end.disk[0], &mark);
    assert_true(promise_refuses(&p, &rec.end));
    assert_int_equal(told(sb, &p, &rec, -EACCES), 0);
    assert_int_equal(told(sb, &p, &rec, -EINVAL), 1);
    p.ops[1].kind = OP_FLUSH;
    assert_int_equal(told(sb, &p, &rec, -EACCES), 1);
    recording_free(&rec);
    disk_set_free(&fresh);
    program_free(&p);
    sandbox_free(sb);
    process_free(process);
}

/* The whole campaign met it: the mark could not be taken away. */
static void test_a_mark_that_stays(void **state)
{
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, &profile_optimized, PLANT_NONE);
    struct fault_options o = fault_options_default;
    struct fault_counts *counts = mem_zalloc(sizeof(*counts));
    struct program p;
    unsigned n = 0;
    o.only = "error,label=dirty_flag_clear";
    assert_int_equal(
        program_parse("image parallels 1M cluster_size=64k\nreopen\nflush\n", &p, NULL), 0);
    assert_int_equal(fault_explore(sb, &p, &o, count, &n, counts, NULL), 0);
    assert_int_equal(counts->fired, 1);
    assert_int_equal(n, 0);
    mem_free(counts);
    program_free(&p);
    sandbox_free(sb);
    process_free(process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promises),          cmocka_unit_test(test_who_leaks),
        cmocka_unit_test(test_what_comes_first),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_a_mark_that_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
