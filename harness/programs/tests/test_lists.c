/*
 * The explorers' lists of images: whatever can be written is explored.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "harness/programs/crash_programs.h"
#include "harness/programs/image_kinds.h"
#include "harness/programs/letters.h"
#include "harness/programs/schedule_programs.h"
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"

static bool holds(size_t count, const char *line(size_t i), const struct image_kind *kind)
{
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        struct program p;
        program_start(line(i), &p);
        found = image_kind_of(&p) == kind;
        program_free(&p);
    }
    return found;
}

static void test_every_kind_is_in_each_list(void **state)
{
    for (const struct image_kind *k = image_kinds; k->name; k++) {
        if (!holds(crash_image_count(), crash_image, k) ||
            !holds(schedule_image_count(), schedule_image, k)) {
            fail_msg("no image of kind %s", k->name);
        }
    }
}

/* Of what has no range the shift is no place. */
static void test_letters(void **state)
{
    static const struct letter write = {OP_WRITE, OP_FUA, 4, 1, 8, 2, ""},
                               flush = {OP_FLUSH, 0, 0, 0, 0, 0, ""},
                               size = {OP_RESIZE, 0, 0, 0, 8, 0, ""},
                               snapshot = {OP_SNAPSHOT, 0, 0, 0, 0, 0, "s"};
    struct program p;
    program_start("image qcow2 1M", &p);
    program_add_letter(&p, &flush, 4096, 8192, false);
    program_add_letter(&p, &write, 4096, 8192, true);
    program_add_letter(&p, &size, 4096, 8192, false);
    program_add_letter(&p, &snapshot, 4096, 8192, false);
    struct strbuf text = STRBUF_INIT;
    program_print(&text, &p);
    assert_string_equal(text.s,
                        "image qcow2 1048576\nflush || write 10241 4098 2 fua\nresize 4096\n"
                        "snapshot s\n");
    strbuf_free(&text);
    program_free(&p);
}

static const char *toy_line(size_t i)
{
    static const char *const lines[] = {"image a 1M", "image a 1M x=1", "image b 1M x=1"};
    return lines[i];
}

/* Those that contain the text; but one that is the text stands for itself alone. */
static void test_image_wanted(void **state)
{
    static const struct {
        const char *text;
        bool wanted[3];
    } cases[] = {{NULL, {true, true, true}},
                 {"x=1", {false, true, true}},
                 {"image a", {true, true, false}},
                 {"image a 1M", {true, false, false}},
                 {"image c", {false, false, false}}};
    for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(program_image_wanted(toy_line, 3, i, cases[k].text),
                             cases[k].wanted[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_is_in_each_list),
        cmocka_unit_test(test_letters),
        cmocka_unit_test(test_image_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
