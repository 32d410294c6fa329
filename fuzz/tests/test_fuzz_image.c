/*
 * A deterministic fuzzer for every `make check`: seeded mutations of valid images of each format,
 * no crash, no hang, no broken word.  And each judge sees a planted defect.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "fuzz/seeds_int.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "specs/qcow2_layout.h"
#include "specs/runtime/checkers.h"
#include "specs/vhdx_layout.h"

enum { ROUNDS = 60 }; /* of a seed image of qcow2 */

static struct process *process;

static int set_up(void **state)
{
    process = process_new();
    return 0;
}

static int tear_down(void **state)
{
    process_free(process);
    return 0;
}

static void start(struct fuzz *f, const struct fuzz_format *format, const struct profile *profile)
{
    struct error *err = NULL;
    if (fuzz_start(f, process, profile, format, &err) < 0) {
        fail_msg("%s: %s", format->name, err->msg);
    }
}

static void take_seed(struct fuzz *f, const struct fuzz_recipe *r, struct fuzz_seed *s)
{
    struct error *err = NULL;
    if (fuzz_seed_make(f, r, s, &err) < 0) {
        fail_msg("%s %s: %s", f->format->name, r->name, err->msg);
    }
    assert_true(disk_size(s->image) > 0 && disk_size(s->image) <= FUZZ_MAX_IMAGE);
    assert_true(s->n_sectors > 0);
}

static void expect_valid(struct fuzz *f, const struct fuzz_recipe *r)
{
    struct fuzz_seed s;
    struct error *err = NULL;
    take_seed(f, r, &s);
    f->opened = f->clean = f->wrote = 0;
    if (fuzz_image(f, s.image, &err) < 0) {
        fail_msg("%s %s: %s", f->format->name, r->name, err->msg);
    }
    bool names = r->flags & SEED_NAMES, unclean = r->flags & SEED_UNCLEAN;
    if (f->opened != !names && !unclean) {
        fail_msg("%s %s: does not open", f->format->name, r->name);
    }
    if (f->clean != !names && !unclean) {
        fail_msg("%s %s: clean %d", f->format->name, r->name, (int)f->clean);
    }
    fuzz_seed_free(&s);
}

static void test_seeds_are_valid(void **state)
{
    for (const struct fuzz_format *format = fuzz_formats; format->name; format++) {
        struct fuzz f;
        start(&f, format, &profile_reference);
        assert_non_null(spec_checker_find(format->driver));
        uint64_t wrote = 0;
        for (const struct fuzz_recipe *r = format->recipes; r->name; r++) {
            expect_valid(&f, r);
            wrote += f.wrote;
        }
        assert_int_equal(wrote > 0, !format->read_only);
        fuzz_end(&f);
    }
}

static void mutate_seed(struct fuzz *f, const struct fuzz_recipe *r, unsigned rounds)
{
    struct fuzz_seed s;
    struct rng rng;
    rng_seed(&rng, (uint64_t)(r - f->format->recipes) + 1);
    take_seed(f, r, &s);
    for (unsigned k = 0; k < rounds; k++) {
        struct error *err = NULL;
        struct disk *d = disk_clone(s.image);
        fuzz_mutate(&rng, f->format, &s, d);
        if (fuzz_image(f, d, &err) < 0) {
            fail_msg("%s, seed image %s, round %u: %s", f->format->name, r->name, k, err->msg);
        }
        disk_free(d);
    }
    fuzz_seed_free(&s);
}

static void mutate_all(const struct profile *profile)
{
    for (const struct fuzz_format *format = fuzz_formats; format->name; format++) {
        struct fuzz f;
        start(&f, format, profile);
        for (const struct fuzz_recipe *r = format->recipes; r->name; r++) {
            mutate_seed(&f, r, MAX(ROUNDS * format->share / 100, 4));
        }
        /* Mutations that all were refused at once would test nothing. */
        if (f.opened < f.runs / 5) {
            fail_msg("%s: of %d images %d open", format->name, (int)f.runs, (int)f.opened);
        }
        assert_true(f.kept > 0);
        fuzz_end(&f);
    }
}

static void test_mutations_reference(void **state)
{
    mutate_all(&profile_reference);
}

static void test_mutations_optimized(void **state)
{
    mutate_all(&profile_optimized);
}

/* ---- planted defects ---- */

static void expect_seen(const struct fuzz_format *format, const struct fuzz_recipe *r,
                        enum fuzz_plant plant, const char *said)
{
    struct fuzz f;
    struct fuzz_seed s;
    struct error *err = NULL;
    start(&f, format, &profile_reference);
    take_seed(&f, r, &s);
    f.plant = plant;
    assert_true(fuzz_image(&f, s.image, &err) < 0);
    if (!strstr(err->msg, said)) {
        fail_msg("%s: %s, not: %s", format->name, err->msg, said);
    }
    error_free(err);
    fuzz_seed_free(&s);
    fuzz_end(&f);
}

static void test_flipped_byte_is_found(void **state)
{
    for (const struct fuzz_format *format = fuzz_formats; format->name; format++) {
        expect_seen(format, format->recipes, FUZZ_PLANT_FLIP_BYTE, "does not read back");
    }
}

static void test_judges_see_what_is_planted(void **state)
{
    const struct fuzz_format *qcow2 = fuzz_format_find("qcow2"), *vhdx = fuzz_format_find("vhdx");
    expect_seen(qcow2, qcow2->recipes, FUZZ_PLANT_MEMORY, "more memory than the format's limits");
    expect_seen(vhdx, vhdx->recipes, FUZZ_PLANT_MEMORY, "more memory than the format's limits");
    expect_seen(qcow2, qcow2->recipes, FUZZ_PLANT_ALIGNMENT, "a cluster that lies across two");
    expect_seen(qcow2, qcow2->recipes, FUZZ_PLANT_NAME, "a file that the image names was opened");
    expect_seen(vhdx, vhdx->recipes, FUZZ_PLANT_HANG, "waits for one that never comes");
}

/* ---- mutations and images as text ---- */

static void test_mutations_are_the_same_each_time(void **state)
{
    struct fuzz f;
    struct fuzz_seed s;
    struct rng ra, rb;
    start(&f, fuzz_format_find("vmdk"), &profile_reference);
    take_seed(&f, &f.format->recipes[1], &s);
    rng_seed(&ra, 7);
    rng_seed(&rb, 7);
    for (int i = 0; i < 50; i++) {
        struct disk *a = disk_clone(s.image), *b = disk_clone(s.image);
        fuzz_mutate(&ra, f.format, &s, a);
        fuzz_mutate(&rb, f.format, &s, b);
        assert_true(disk_equal(a, b));
        disk_free(a);
        disk_free(b);
    }
    fuzz_seed_free(&s);
    fuzz_end(&f);
}

/* The walk meets a snapshot's number of L1 entries at 2^20 and at 2^31, and ends. */
static void test_extremes(void **state)
{
    struct fuzz f;
    struct fuzz_seed s;
    start(&f, fuzz_format_find("qcow2"), &profile_reference);
    const struct fuzz_recipe *r = f.format->recipes;
    while (!(r->flags & SEED_SNAPSHOT)) {
        r++;
    }
    take_seed(&f, r, &s);
    int64_t at = (int64_t)fuzz_get(s.image, QCOW2_HEADER_SNAPSHOTS_OFFSET_OFF, 8, true);
    unsigned n = 0, met = 0;
    for (bool more = true; more; n++) {
        struct disk *d = disk_clone(s.image);
        more = fuzz_extreme(f.format, n, d);
        uint64_t entries = fuzz_get(d, at + 8, 4, true);
        met |= entries == 1u << 20 ? 1u : entries == 1u << 31 ? 2u : 0;
        assert_true(more || disk_equal(d, s.image));
        disk_free(d);
    }
    assert_true(n > 100 && met == 3);
    fuzz_seed_free(&s);
    fuzz_end(&f);
}

/* A mutation without new checksums would be refused by both copies at once. */
static void test_checksums_are_made_right(void **state)
{
    struct fuzz f;
    struct fuzz_seed s;
    start(&f, fuzz_format_find("vhdx"), &profile_reference);
    take_seed(&f, &f.format->recipes[1], &s);
    fuzz_put(s.image, VHDX_HEADER1_OFFSET + 100, 1, false, 1);
    fuzz_put(s.image, VHDX_HEADER2_OFFSET + 100, 1, false, 1);
    assert_int_equal(fuzz_image(&f, s.image, NULL), 0);
    assert_int_equal(f.opened, 0);
    f.format->seal(s.image);
    assert_int_equal(fuzz_image(&f, s.image, NULL), 0);
    assert_int_equal(f.opened, 1);
    fuzz_seed_free(&s);
    fuzz_end(&f);
}

static void same_again(struct fuzz *f, const struct fuzz_recipe *r)
{
    struct fuzz_seed s;
    struct strbuf text = STRBUF_INIT;
    const struct fuzz_format *found = NULL;
    uint8_t *packed;
    take_seed(f, r, &s);
    size_t len = fuzz_pack(s.image, &packed);
    assert_true(len < FUZZ_MAX_INPUT);
    struct disk *d = fuzz_unpack(f->pool, packed, len);
    assert_true(disk_equal(d, s.image));
    disk_free(d);
    fuzz_print(f->format, s.image, &text);
    d = fuzz_parse(f->pool, text.s, &found, NULL);
    assert_true(d && disk_equal(d, s.image) && found == f->format);
    disk_free(d);
    mem_free(packed);
    strbuf_free(&text);
    fuzz_seed_free(&s);
}

static void test_images_as_bytes_and_text(void **state)
{
    struct fuzz f;
    for (const struct fuzz_format *format = fuzz_formats; format->name; format++) {
        start(&f, format, &profile_reference);
        for (const struct fuzz_recipe *r = format->recipes; r->name; r++) {
            same_again(&f, r);
        }
        fuzz_end(&f);
    }
    start(&f, fuzz_formats, &profile_reference);
    const struct fuzz_format *found = NULL;
    struct disk *d = fuzz_parse(f.pool, "stage\n# fuzz: hex\n5146\n49fb\n", &found, NULL);
    assert_true(d && disk_size(d) == 4 && found == fuzz_format_find("qcow2"));
    assert_int_equal(fuzz_get(d, 0, 4, true), QCOW2_MAGIC);
    disk_free(d);
    static const char *const bad[] = {"", "# fuzz: hex vvfat 512\n", "# fuzz: hex qed -1\n",
                                      "# fuzz: hex qed 99999999999\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error *err = NULL;
        assert_null(fuzz_parse(f.pool, bad[i], &found, &err));
        assert_non_null(err);
        error_free(err);
    }
    d = fuzz_unpack(f.pool, (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                    12);
    assert_int_equal(disk_size(d), FUZZ_MAX_IMAGE);
    disk_free(d);
    fuzz_end(&f);
}

static void test_dictionary_has_the_magic(void **state)
{
    struct strbuf d = STRBUF_INIT;
    fuzz_dictionary(fuzz_format_find("qcow2"), &d);
    assert_non_null(strstr(d.s, "\\x51\\x46\\x49\\xfb"));
    fuzz_dictionary(fuzz_format_find("qed"), &d);
    assert_non_null(strstr(d.s, "\\x51\\x45\\x44\\x00"));
    strbuf_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds_are_valid),
        cmocka_unit_test(test_mutations_reference),
        cmocka_unit_test(test_mutations_optimized),
        cmocka_unit_test(test_flipped_byte_is_found),
        cmocka_unit_test(test_judges_see_what_is_planted),
        cmocka_unit_test(test_mutations_are_the_same_each_time),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_checksums_are_made_right),
        cmocka_unit_test(test_images_as_bytes_and_text),
        cmocka_unit_test(test_dictionary_has_the_magic),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
