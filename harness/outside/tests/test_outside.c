/*
 * An unmodified QEMU on simulated disks: quiet where it keeps its word, loud when the disk forgets
 * flushes; captures repeat.  Skipped where there is no QEMU or no FUSE.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/outside/outside_explore.h"
#include "harness/programs/outside_programs.h"
#include "ref/base/mem.h"

struct fixture {
    struct outside *x; /* NULL: no QEMU */
    bool fuse;
    char dir[40];
};

struct heard {
    unsigned n;
    char *id, *why;
};

static void hear(void *opaque, const struct crash_finding *f)
{
    struct heard *h = opaque;
    if (h->n++ == 0) {
        h->id = str_dup(f->id);
        h->why = str_dup(f->why);
    }
}

static void hear_fault(void *opaque, const struct fault_finding *f, const struct capture *c)
{
    struct heard *h = opaque;
    print_error("%s %s: %s\n", f->fault, f->state ? f->state : "", f->why);
    h->n++;
}

static void forget(struct heard *h)
{
    mem_free(h->id);
    mem_free(h->why);
    memset(h, 0, sizeof(*h));
}

static int begin(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    struct error *err = NULL;
    signal(SIGPIPE, SIG_IGN);
    memcpy(f->dir, "/tmp/outside.XXXXXX", 20);
    assert_non_null(mkdtemp(f->dir));
    f->x = outside_new("qemu", NULL, f->dir, &err);
    f->fuse = f->x && !outside_no_capture(f->x);
    if (!f->fuse) {
        print_message("skipped: %s\n", f->x ? outside_no_capture(f->x) : err->msg);
    }
    error_free(err);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    outside_free(f->x);
    assert_int_equal(rmdir(f->dir), 0);
    mem_free(f);
    return 0;
}

static const char plain[] = "image qcow2 1M cluster_size=4k\nwrite 0 8k 17\nflush\nwrite 512 4k "
                            "34\nwrite 64k 4k 5\nflush\n";

static struct heard explore(struct outside *x, const char *text, bool drop_flushes,
                            struct outside_counts *n, char **capture)
{
    struct outside_options o = outside_options_default;
    struct heard h = {0};
    struct program p;
    struct error *err = NULL;
    o.crash.bounds.max_states = drop_flushes ? 100 : 16;
    o.crash.max_findings = 1;
    o.drop_flushes = drop_flushes;
    assert_int_equal(program_parse(text, &p, NULL), 0);
    memset(n, 0, sizeof(*n));
    int ret = outside_crash_program(x, &p, &o, hear, &h, n, capture, &err);
    if (ret < 0) {
        print_error("%s\n", err->msg);
    }
    assert_int_equal(ret, 0);
    program_free(&p);
    return h;
}

#define NEED_QEMU(f)                                                                               \
    struct fixture *f = *state;                                                                    \
    if (!f->x) {                                                                                   \
        skip();                                                                                    \
    }
#define NEED(f)                                                                                    \
    struct fixture *f = *state;                                                                    \
    if (!f->fuse) {                                                                                \
        skip();                                                                                    \
    }

static void test_quiet(void **state)
{
    static const char *const programs[] = {
        plain,
        "image qcow2 1M cluster_size=4k,data_file=data\nwrite 0 8k 17\nflush\nwrite 4k 8k 3\n",
        "image qcow2 1M backing cluster_size=4k\nwrite 512 1k 17\nflush\nzero 8k 4k\nreopen\n",
        "image qcow2 1M backing cluster_size=4k\nwrite 0 8k 17\nflush\ncommit\n", /* dirty meanwhile
                                                                                   */
        "image qed 1M cluster_size=4k\nwrite 0 8k 17\nflush\nwrite 64k 4k 3\nflush\n",
        "image raw 1M\nwrite 0 8k 17\nflush\nwrite 4k 8k 3 fua\ndiscard 0 4k\nresize 2M\nflush\n",
    };
    struct outside_counts n;
    NEED(f);
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        struct heard h = explore(f->x, programs[i], false, &n, NULL);
        if (h.n) {
            print_error("%s: %s\n", h.id, h.why);
        }
        assert_int_equal(h.n, 0);
        assert_true(n.crash.distinct > 2 && n.looked > 0);
    }
}

/* Who does not flush is caught, whatever the format. */
static void test_lost_flushes_are_found(void **state)
{
    static const char *const programs[] = {
        plain,
        "image qed 1M cluster_size=4k\nwrite 0 8k 17\nflush\n",
        "image raw 1M\nwrite 0 8k 17\nflush\n",
        "image parallels 1M cluster_size=64k\nwrite 0 8k 17\nflush\n",
        "image vpc 1M subformat=fixed,force_size=on\nwrite 0 8k 17\nflush\n",
    };
    struct outside_counts n;
    NEED(f);
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        struct heard h = explore(f->x, programs[i], true, &n, NULL);
        assert_true(h.n > 0);
        forget(&h);
    }
}

/* Over NBD FUA and discards come as such; a disk that forgets flushes is caught as well. */
static void test_nbd(void **state)
{
    static const char *const programs[] = {
        "image raw 1M\nwrite 0 8k 1\nflush\nwrite 4k 8k 2 fua\nzero 0 4k\ndiscard 64k 64k\n",
        "image qcow2 1M cluster_size=4k\nwrite 0 8k 1\nflush\nwrite 4k 8k 2 fua\n",
    };
    struct outside_options o = outside_options_default;
    struct program p;
    NEED_QEMU(f);
    o.nbd = true;
    o.crash.bounds.max_states = 30;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(programs); i++) {
        struct outside_counts n = {0};
        struct heard h = {0};
        o.drop_flushes = i % 2;
        assert_int_equal(program_parse(programs[i / 2], &p, NULL), 0);
        assert_int_equal(outside_crash_program(f->x, &p, &o, hear, &h, &n, NULL, NULL), 0);
        if (h.n && !o.drop_flushes) {
            print_error("%s: %s\n", h.id, h.why);
        }
        assert_int_equal(h.n > 0, o.drop_flushes);
        forget(&h);
        program_free(&p);
    }
}

/* vhdx: each image that is made has ids of its own. */
static void test_an_image_is_made_once(void **state)
{
    static const char *const programs[] = {
        "image vhdx 4M block_size=1M,log_size=1M\nwrite 0 8k 17\nflush\n",
        "image vhdx 4M block_size=1M,log_size=1M\nwrite 1M 8k 18\n",
        "image vhdx 5M block_size=1M,log_size=1M\nwrite 0 8k 17\n",
        "image vhdx 4M block_size=1M,log_size=1M\nwrite 0 8k 17\n",
    };
    const bool same[] = {true, true, false, false};
    struct capture first, c;
    struct program p[2];
    NEED(f);
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        struct program *q = &p[i > 0];
        assert_int_equal(program_parse(programs[i], q, NULL), 0);
        struct capture_how how = {.close_flush = true};
        assert_int_equal(outside_capture(f->x, q, &how, i ? &c : &first, NULL), 0);
        if (i) {
            const struct disk *made = c.rec.base.disk[0];
            assert_int_equal(disk_equal(made, first.rec.base.disk[0]), same[i]);
            assert_false(disk_equal(made, c.rec.end.disk[0]));
            capture_free(&c);
            program_free(q);
        }
    }
    capture_free(&first);
    program_free(&p[0]);
}

static void test_captures_repeat(void **state)
{
    struct outside_options o = outside_options_default;
    struct outside_counts n;
    struct capture c;
    struct program p;
    struct strbuf again = STRBUF_INIT;
    char *text;
    NEED(f);
    struct heard h = explore(f->x, plain, true, &n, &text), second = {0};
    assert_true(h.n > 0);
    assert_non_null(text);
    assert_true(capture_is_in(text));
    assert_int_equal(program_parse(plain, &p, NULL), 0);
    assert_int_equal(capture_scan(f->x, text, &p, &c, NULL), 0);
    capture_print(&c, &again);
    assert_string_equal(again.s, text);
    o.crash.only = h.id;
    memset(&n, 0, sizeof(n));
    assert_int_equal(outside_crash(f->x, &c, &o, hear, &second, &n, NULL), 0);
    assert_int_equal(second.n, 1);
    assert_string_equal(second.why, h.why);
    capture_free(&c);
    program_free(&p);
    strbuf_free(&again);
    mem_free(text);
    forget(&h);
    forget(&second);
}

static void test_hostile_captures_are_refused(void **state)
{
    static const char *const texts[] = {
        "#| disk 0 10\n",
        "#| disk 0 10\n#| note file 0 ../x\n",
        "#| disk 0 10\n#| note file 9 x\n",
        "#| disk 0 10\n#| note file 0 x\n#| note begin 77\n",
        "#| disk 0 10\n#| note file 0 x\n#| note sing 0\n",
    };
    struct program p;
    NEED_QEMU(f);
    assert_int_equal(program_parse(plain, &p, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct capture c;
        struct error *err = NULL;
        assert_true(capture_scan(f->x, texts[i], &p, &c, &err) < 0);
        assert_non_null(err);
        error_free(err);
    }
    program_free(&p);
}

static void test_faults(void **state)
{
    struct outside_fault_counts n = {0};
    struct fault_options o = fault_options_default;
    struct heard h = {0};
    struct program p;
    NEED(f);
    o.modes = fault_modes_parse("ENOSPC");
    assert_int_equal(
        program_parse("image qcow2 1M cluster_size=4k\nwrite 0 4k 1\nflush\n", &p, NULL), 0);
    assert_int_equal(outside_faults(f->x, &p, &o, hear_fault, &h, &n, NULL), 0);
    assert_int_equal(h.n, 0);
    assert_true(n.fired > 5);
    /* A disk that loses an acknowledged write is noticed. */
    program_free(&p);
    assert_int_equal(
        program_parse("image qcow2 1M cluster_size=4k\nwrite 0 4k 1\nflush\nwrite 0 4k 2 "
                      "fua\n",
                      &p, NULL),
        0);
    o.only = "lost,io=write,range=20480-24576,nth=2";
    o.max_findings = 1;
    assert_int_equal(outside_faults(f->x, &p, &o, hear_fault, &h, &n, NULL), 0);
    assert_int_equal(h.n, 1);
    program_free(&p);
}

static void test_programs_parse_again(void **state)
{
    for (size_t i = 0; i < outside_image_count(); i++) {
        for (size_t n = 0; n < outside_program_count(i, 2); n += 11) {
            struct program p, q;
            struct strbuf text = STRBUF_INIT;
            outside_program(i, 2, n, &p);
            program_print(&text, &p);
            assert_int_equal(program_parse(text.s, &q, NULL), 0);
            assert_int_equal(q.n_ops, p.n_ops);
            for (size_t k = 0; k < p.n_ops; k++) {
                assert_true(p.ops[k].kind == OP_RESIZE ||
                            p.ops[k].offset + p.ops[k].bytes <= p.size);
            }
            program_free(&p);
            program_free(&q);
            strbuf_free(&text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_lost_flushes_are_found),
        cmocka_unit_test(test_nbd),
        cmocka_unit_test(test_an_image_is_made_once),
        cmocka_unit_test(test_captures_repeat),
        cmocka_unit_test(test_hostile_captures_are_refused),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_programs_parse_again),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
