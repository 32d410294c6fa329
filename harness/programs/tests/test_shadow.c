/*
 * The shadow, the generator and the minimiser.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "harness/programs/generate.h"
#include "harness/programs/shrink.h"
#include "harness/subject/shadow.h"
#include "ref/base/mem.h"

static struct op parsed(const char *line)
{
    struct op op;
    assert_int_equal(op_parse(line, &op, NULL), 0);
    return op;
}

static void apply(struct shadow *sh, const char *line)
{
    struct op op = parsed(line);
    shadow_apply(sh, &op);
}

static void test_shadow_follows(void **state)
{
    struct program p;
    struct shadow sh;
    struct shadow_run run;
    assert_int_equal(program_parse("image qcow2 256k backing\n", &p, NULL), 0);
    assert_int_equal(shadow_init(&sh, &p, NULL), 0);
    assert_int_equal(sh.data[0], 0xb0);
    assert_int_equal(sh.data[64 * 1024], 0xb1);
    apply(&sh, "write 1000 3000 7");
    apply(&sh, "snapshot a");
    apply(&sh, "zero 0 2000");
    assert_true(shadow_is_zero(&sh, 0, 2000));
    assert_true(shadow_run_at(&sh, 2000, &run));
    assert_int_equal(run.value, 7);
    assert_int_equal(run.bytes, 2000);
    apply(&sh, "apply a");
    assert_int_equal(sh.data[1000], 7);
    apply(&sh, "resize 512k");
    assert_int_equal(sh.size, 512 * 1024);
    assert_true(shadow_is_zero(&sh, 256 * 1024, 256 * 1024));
    assert_int_equal(sh.adopt_bytes, 0);
    shadow_free(&sh);
    program_free(&p);
}

/* A discard may leave old or zero, and nothing else. */
static void test_shadow_adopts(void **state)
{
    struct program p;
    struct shadow sh;
    struct error *err = NULL;
    uint8_t bytes[1024] = {0};
    assert_int_equal(program_parse("image raw 4k\n", &p, NULL), 0);
    assert_int_equal(shadow_init(&sh, &p, NULL), 0);
    apply(&sh, "write 0 4k 9");
    apply(&sh, "discard 0 1k");
    memset(bytes, 9, 512);
    assert_int_equal(shadow_adopt(&sh, bytes, &err), 0);
    assert_int_equal(sh.data[511], 9);
    assert_int_equal(sh.data[512], 0);
    apply(&sh, "discard 1k 1k");
    memset(bytes, 8, sizeof(bytes));
    assert_true(shadow_adopt(&sh, bytes, &err) < 0);
    error_clear(&err);
    shadow_free(&sh);
    program_free(&p);
}

/* What a shrink cut off may come back within its cluster, or be zero; nothing else, nowhere else.
 */
static void test_shadow_judges_regrown(void **state)
{
    struct program p;
    struct shadow sh;
    struct error *err = NULL;
    static uint8_t bytes[4096];
    assert_int_equal(program_parse("image qcow2 64k cluster_size=4k\n", &p, NULL), 0);
    assert_int_equal(shadow_init(&sh, &p, NULL), 0);
    apply(&sh, "write 0 64k 9");
    apply(&sh, "resize 6k");
    apply(&sh, "resize 5k");
    apply(&sh, "resize 64k");
    assert_int_equal(sh.adopt_offset, 5 * 1024);
    assert_int_equal(sh.adopt_bytes, 3 * 1024);
    assert_true(shadow_is_zero(&sh, 8 * 1024, 56 * 1024));
    memset(bytes, 9, 1024);
    assert_int_equal(shadow_adopt(&sh, bytes, &err), 0);
    assert_int_equal(sh.data[5 * 1024], 9);
    assert_true(shadow_is_zero(&sh, 6 * 1024, 58 * 1024));
    apply(&sh, "resize 5k");
    apply(&sh, "resize 64k");
    memset(bytes, 8, 1024);
    assert_true(shadow_adopt(&sh, bytes, &err) < 0);
    error_clear(&err);
    apply(&sh, "snapshot a"); /* whose last cluster is unknown once it comes back */
    apply(&sh, "resize 5k");
    apply(&sh, "apply a");
    apply(&sh, "resize 5k");
    apply(&sh, "resize 64k");
    assert_true(sh.adopt_whole);
    shadow_free(&sh);
    program_free(&p);
}

static void test_same_seed_same_program(void **state)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct strbuf text[2] = {STRBUF_INIT, STRBUF_INIT};
        for (int i = 0; i < 2; i++) {
            struct rng r;
            struct program p, again;
            rng_seed(&r, seed);
            generate_program(&r, 12, 0, NULL, &p);
            program_print(&text[i], &p);
            assert_int_equal(program_parse(text[i].s, &again, NULL), 0);
            assert_int_equal(again.n_ops, p.n_ops);
            program_free(&again);
            program_free(&p);
        }
        assert_string_equal(text[0].s, text[1].s);
        strbuf_free(&text[0]);
        strbuf_free(&text[1]);
    }
}

/* A share of each kind; a kind alone where it is asked for. */
static void test_every_kind(void **state)
{
    unsigned seen[32] = {0}, shares = 0, qcow2 = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct rng r;
        struct program p;
        rng_seed(&r, seed);
        generate_program(&r, 12, 0, NULL, &p);
        seen[image_kind_of(&p) - image_kinds]++;
        qcow2 += !strcmp(p.format, "qcow2");
        program_free(&p);
    }
    assert_true(qcow2 > 500);
    for (const struct image_kind *k = image_kinds; k->name; k++) {
        struct rng r;
        struct program p;
        shares += k->share;
        assert_true(seen[k - image_kinds] > 0);
        rng_seed(&r, 7);
        generate_program(&r, 12, 0, k, &p);
        assert_ptr_equal(image_kind_of(&p), k);
        program_free(&p);
    }
    assert_int_equal(shares, 100);
}

/* Operations go by what the image takes. */
static void test_what_images_take(void **state)
{
    struct program p;
    unsigned kinds = 0, last = 0;
    for (unsigned n = 0; generate_image(n, &p); n++) {
        struct rng r;
        unsigned can = image_abilities(&p), at = (unsigned)(image_kind_of(&p) - image_kinds);
        assert_true(!p.backing || can & IMAGE_HAS_BACKING);
        kinds += n == 0 || at != last;
        last = at;
        rng_seed(&r, n);
        generate_operations(&r, 40, 0, &p);
        for (size_t i = 0; i < p.n_ops && p.ops[i].kind != OP_OVERLAY; i++) {
            enum op_kind k = p.ops[i].kind;
            assert_true(k != OP_SNAPSHOT || can & IMAGE_SNAPSHOTS);
            assert_true(k != OP_WRITE_COMPRESSED || can & IMAGE_COMPRESSES);
            assert_true(k != OP_AMEND || can & IMAGE_AMENDS);
            assert_true(k != OP_RESIZE || can & IMAGE_GROWS);
        }
        program_free(&p);
    }
    assert_int_equal(kinds, 11); /* each format, and encrypted qcow2 */
    assert_false(image_abilities(&(struct program){.format = "vdi"}) & IMAGE_GROWS);
}

/* Ranges stay inside the image where errors are not wanted. */
static void test_no_errors_wanted(void **state)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rng r;
        struct program p;
        rng_seed(&r, seed);
        generate_program(&r, 12, GEN_NO_ERRORS, image_kind_named("qcow2"), &p);
        for (size_t i = 0; i < p.n_ops; i++) {
            assert_true(p.ops[i].kind != OP_WRITE || p.ops[i].bytes > 0);
            assert_true(p.ops[i].offset >= 0 && p.ops[i].offset + p.ops[i].bytes <= 64 * MiB);
        }
        program_free(&p);
    }
}

/* Fails when a discard follows a write that touches byte 100000. */
static bool fails(const struct program *p, void *opaque)
{
    bool written = false;
    for (size_t i = 0; i < p->n_ops; i++) {
        const struct op *op = &p->ops[i];
        if (op->kind == OP_DISCARD && written) {
            return true;
        }
        written |= op->kind == OP_WRITE && op->offset <= 100000 && op->offset + op->bytes > 100000;
    }
    return false;
}

static void test_shrink(void **state)
{
    struct program p;
    assert_int_equal(
        program_parse("image qcow2 1M backing compat=1.1,lazy_refcounts=on\n"
                      "flush\nwrite 0 512 1\nwrite 65536 262144 2 fua\nreopen\nflush\nzero 0 4k\n"
                      "snapshot a\ndiscard 4096 65536\nreopen\nwrite 0 512 3\nread 0 512\nflush\n",
                      &p, NULL),
        0);
    assert_true(shrink_program(&p, fails, NULL, 1000) < 1000);
    assert_true(fails(&p, NULL));
    assert_int_equal(p.n_ops, 2);
    assert_false(p.backing);
    assert_string_equal(p.options, "");
    assert_int_equal(p.ops[0].flags, 0);
    assert_int_equal(p.ops[1].offset, 0);
    assert_int_equal(p.ops[1].bytes, 1);
    program_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shadow_follows),        cmocka_unit_test(test_shadow_adopts),
        cmocka_unit_test(test_shadow_judges_regrown), cmocka_unit_test(test_same_seed_same_program),
        cmocka_unit_test(test_no_errors_wanted),      cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_what_images_take),      cmocka_unit_test(test_shrink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
