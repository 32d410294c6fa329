/*
 * The spec checkers in the oracle of crash states: what a format's promise does not allow is told,
 * also where a repair would hide it; what it allows is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "harness/sandbox.h"
#include "ref/base/bytes.h"

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

static void judge(struct sandbox *sb, const struct state *s)
{
    struct program p;
    struct disk_set fresh = {0};
    struct recording rec;
    struct looked l = {0};
    assert_int_equal(program_parse(s->program, &p, NULL), 0);
    assert_int_equal(sandbox_create(sb, &p, &fresh, NULL), 0);
    assert_int_equal(sandbox_record(sb, &p, &fresh, NULL, true, &rec, NULL), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_promises)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
