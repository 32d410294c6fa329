/*
 * The rule engine: every semantic detail here was observed on qemu-io 7.2; the texts are interface.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "fault/rules.h"
#include "ref/base/json.h"
#include "ref/base/mem.h"

static struct fault_rules *load(const char *config)
{
    struct fault_rules *r = fault_rules_new();
    struct error *err = NULL;
    assert_int_equal(fault_rules_parse_config(r, config, &err), 0);
    assert_int_equal(fault_rules_build(r, &err), 0);
    fault_rules_event(r, LABEL_NONE, NULL, NULL);
    return r;
}

static int ask(struct fault_rules *r, enum fault_iotype t, int64_t offset, int64_t bytes,
               const char *tag)
{
    struct fault_request q = {t, offset, bytes, tag};
    struct fault_error e = fault_rules_decide(r, &q);
    return e.inject ? e.error : 0;
}

static int rd(struct fault_rules *r)
{
    return ask(r, FAULT_IO_READ, 0, 512, NULL);
}

/* A write as a format driver does it: the event, then the request. */
static int wr(struct fault_rules *r)
{
    struct fault_request q = {FAULT_IO_WRITE, 0, 512, NULL};
    fault_rules_event(r, LABEL_WRITE_AIO, &q, NULL);
    return ask(r, FAULT_IO_WRITE, 0, 512, NULL);
}

#define NONE  "[inject-error]\nevent = \"none\"\n"
#define WRITE "[inject-error]\nevent = \"write_aio\"\n"

static void test_defaults(void **state)
{
    struct fault_rules *r = load(NONE);
    struct fault_request q = {FAULT_IO_READ, 0, 512, NULL};

    for (int t = 0; t < FAULT_IO_COUNT; t++) {
        assert_int_equal(ask(r, t, 0, t == FAULT_IO_FLUSH ? 0 : 512, NULL),
                         t == FAULT_IO_BLOCK_STATUS ? 0 : EIO);
    }
    assert_false(fault_rules_decide(r, &q).immediately);
    fault_rules_free(r);
    r = load(NONE "immediately = \"on\"\n");
    assert_true(fault_rules_decide(r, &q).immediately);
    fault_rules_free(r);
    r = load("");
    assert_int_equal(rd(r), 0);
    fault_rules_free(r);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        int error;
    } t[] = {
        {"28", 28}, {"0x1c", 28}, {"034", 28}, {"1000", 1000}, {"-28", -28}, {"0", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        char *config = str_fmt(NONE "errno = \"%s\"\n", t[i].text);
        struct fault_rules *r = load(config);
        assert_int_equal(rd(r), t[i].error);
        fault_rules_free(r);
        mem_free(config);
    }
    /* Numbers are kept in an int. */
    struct fault_rules *r = load(NONE "state = \"4294967297\"\n");
    assert_int_equal(rd(r), EIO);
    fault_rules_free(r);
    r = load(NONE "state = \"-1\"\n");
    assert_int_equal(rd(r), 0);
    fault_rules_free(r);
}

static void test_first_of_the_file_wins(void **state)
{
    struct fault_rules *r =
        load(WRITE "errno = \"1\"\nonce = \"on\"\n" WRITE "errno = \"28\"\nonce = \"on\"\n" WRITE
                   "errno = \"5\"\nonce = \"yes\"\n");
    assert_int_equal(wr(r), 1);
    assert_int_equal(wr(r), 28);
    assert_int_equal(wr(r), 5);
    assert_int_equal(wr(r), 0);
    fault_rules_free(r);
}

static void test_once_hits_any_later_request(void **state)
{
    struct fault_rules *r = load(WRITE "once = \"on\"\n");
    struct fault_request q = {FAULT_IO_WRITE, 0, 512, NULL};
    assert_int_equal(rd(r), 0);
    fault_rules_event(r, LABEL_WRITE_AIO, &q, NULL);
    assert_int_equal(rd(r), EIO);
    assert_int_equal(ask(r, FAULT_IO_WRITE, 0, 512, NULL), 0);
    fault_rules_free(r);
}

static void test_errno_zero_hides_and_stays(void **state)
{
    struct fault_rules *r = load(NONE "errno = \"0\"\nonce = \"on\"\n" NONE "errno = \"28\"\n");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rd(r), 0);
    }
    fault_rules_free(r);
    r = load(NONE "errno = \"28\"\n" NONE "errno = \"0\"\n");
    assert_int_equal(rd(r), 28);
    fault_rules_free(r);
}

static void test_sector_is_its_first_byte(void **state)
{
    struct fault_rules *r = load(NONE "sector = \"3\"\n");
    static const struct {
        int64_t at, n;
        int error;
    } t[] = {
        {1600, 1, 0},
        {1535, 1, 0},
        {1536, 1, EIO},
        {2047, 1, 0},
        {2048, 1, 0},
        {1500, 40, EIO},
        {1500, 36, 0},
        {1500, 37, EIO},
        {0, 1 << 20, EIO},
        {1536, 0, 0},
        {INT64_MAX - 512, 512, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        assert_int_equal(ask(r, FAULT_IO_READ, t[i].at, t[i].n, NULL), t[i].error);
    }
    assert_int_equal(ask(r, FAULT_IO_FLUSH, 0, 0, NULL), 0);
    fault_rules_free(r);
    r = load(NONE "iotype = \"flush\"\nsector = \"0\"\n");
    assert_int_equal(ask(r, FAULT_IO_FLUSH, 0, 0, NULL), 0);
    fault_rules_free(r);
    r = load(NONE "iotype = \"flush\"\nsector = \"-1\"\n");
    assert_int_equal(ask(r, FAULT_IO_FLUSH, 0, 0, NULL), EIO);
    fault_rules_free(r);
    r = load(NONE "sector = \"-2\"\n");
    assert_int_equal(rd(r), 0);
    fault_rules_free(r);
}

static void test_iotype(void **state)
{
    for (int t = 0; t < FAULT_IO_COUNT; t++) {
        char *config = str_fmt(NONE "iotype = \"%s\"\n", fault_iotype_name(t));
        struct fault_rules *r = load(config);
        for (int q = 0; q < FAULT_IO_COUNT; q++) {
            assert_int_equal(ask(r, q, 0, 512, NULL), q == t ? EIO : 0);
        }
        assert_int_equal(fault_iotype_parse(fault_iotype_name(t)), t);
        fault_rules_free(r);
        mem_free(config);
    }
    assert_int_equal(fault_iotype_parse("zero"), -1);
}

static void test_active_set_is_replaced_only_by_a_match(void **state)
{
    struct fault_rules *r =
        load("[inject-error]\nevent = \"write_aio\"\nstate = \"1\"\niotype = \"read\"\n"
             "[set-state]\nevent = \"write_aio\"\nstate = \"1\"\nnew_state = \"2\"\n"
             "[inject-error]\nevent = \"write_aio\"\nstate = \"3\"\n"
             "[inject-error]\nevent = \"l2_load\"\niotype = \"discard\"\n");
    assert_int_equal(wr(r), 0);
    assert_int_equal(rd(r), EIO);
    assert_int_equal(wr(r), 0); /* state 2: no rule matches, the set stays */
    assert_int_equal(rd(r), EIO);
    fault_rules_event(r, LABEL_L2_UPDATE, NULL, NULL);
    assert_int_equal(rd(r), EIO);
    fault_rules_event(r, LABEL_L2_LOAD, NULL, NULL);
    assert_int_equal(rd(r), 0); /* replaced */
    assert_int_equal(ask(r, FAULT_IO_DISCARD, 0, 1, NULL), EIO);
    fault_rules_free(r);
}

static void test_states(void **state)
{
    /* The new state counts from the next event on. */
    struct fault_rules *r =
        load("[set-state]\nevent = \"write_aio\"\nstate = \"1\"\nnew_state = \"2\"\n" WRITE
             "state = \"2\"\n");
    assert_int_equal(wr(r), 0);
    assert_int_equal(wr(r), EIO);
    fault_rules_free(r);
    /* Of two, the first of the file decides. */
    r = load("[set-state]\nevent = \"write_aio\"\nnew_state = \"2\"\n"
             "[set-state]\nevent = \"write_aio\"\nnew_state = \"3\"\n" WRITE
             "state = \"2\"\nerrno = \"1\"\n" WRITE "state = \"3\"\nerrno = \"28\"\n");
    assert_int_equal(wr(r), 0);
    assert_int_equal(wr(r), 1);
    assert_int_equal(wr(r), 1);
    fault_rules_free(r);
    /* new_state is 0 unless said otherwise. */
    r = load("[set-state]\nevent = \"write_aio\"\n" WRITE "state = \"1\"\nonce = \"on\"\n");
    assert_int_equal(wr(r), EIO);
    assert_int_equal(wr(r), 0);
    fault_rules_free(r);
}

/* ---- reading ---- */

static const char *config_error(const char *config, char out[256])
{
    struct fault_rules *r = fault_rules_new();
    struct error *err = NULL;
    int ret = fault_rules_parse_config(r, config, &err);

    if (ret == 0) {
        ret = fault_rules_build(r, &err);
    }
    assert_true(ret == 0 || ret == -EINVAL);
    assert_int_equal(ret < 0, err != NULL);
    strcpy(out, err ? err->msg : "");
    error_free(err);
    fault_rules_free(r);
    return out;
}

static void test_config_texts(void **state)
{
    static const char *const t[][2] = {
        {"[inject-error]\n", "Missing event name for rule"},
        {"[set-state]\nnew_state = \"1\"\n", "Missing event name for rule"},
        {"[inject-error]\niotype = \"bad\"\n", "Missing event name for rule"},
        {"[inject-error]\nevent = \"foo\"\n", "invalid parameter value: foo"},
        {"[inject-error]\nevent = none\n", "invalid parameter value: "},
        {"[inject-error]\nevent\n", "invalid parameter value: "},
        {"[inject-error]\nevent x = \"none\"\n", "invalid parameter value: "},
        {"[inject-error]\nevent = \"bad\"\niotype = \"bad2\"\n", "invalid parameter value: bad"},
        {NONE "iotype = \"bad\"\n", "invalid parameter value: bad"},
        {"[set-state]\nevent = \"bad\"\n[inject-error]\nevent = \"bad2\"\n",
         "invalid parameter value: bad2"},
        {"[inject-error]\nevent=\"none\"\n", "Invalid parameter 'event=\"none\"'"},
        {"[inject-error]\n;comment\n", "Invalid parameter ';comment'"},
        {"[inject-error]\n #x\n", "Invalid parameter '#x'"},
        {NONE "new_state = \"2\"\n", "Invalid parameter 'new_state'"},
        {"[set-state]\nevent = \"none\"\nerrno = \"2\"\n", "Invalid parameter 'errno'"},
        {"[inject-error]\nfoo = \"1\"\nerrno = \"x\"\n", "Parameter 'errno' expects a number"},
        {"[inject-error]\nerrno = \"28\n", "Parameter 'errno' expects a number"},
        {NONE "errno = \"\"\n", "Parameter 'errno' expects a number"},
        {NONE "errno = \"5k\"\n", "Parameter 'errno' expects a number"},
        {NONE "sector = \"x\"\n", "Parameter 'sector' expects a number"},
        {NONE "once = \"foo\"\n", "Parameter 'once' expects 'on' or 'off'"},
        {"[set-state]\nevent = \"none\"\nnew_state = \"x\"\n",
         "Parameter 'new_state' expects a number"},
        {"[foo]\nevent = \"none\"\n", "There is no option group 'foo'"},
        {"[inject-error]\nevent = \"bad\"\n[foo]\n", "There is no option group 'foo'"},
        {"[inject-error\nevent = \"none\"\n", "There is no option group 'inject-error\n'"},
        {"[ inject-error ]\n", "There is no option group ' inject-error '"},
        {"event = \"none\"\n", "no group defined"},
        {" [inject-error]\n", "no group defined"},
        {"[]\nevent = \"none\"\n", "no group defined"},
        {"[inject-error]\nevent = \"bad\"\n  \n", "parse error"},
        {"[inject-error \"1a\"]\nevent = \"none\"\n", "Parameter 'id' expects an identifier"},
        {"[inject-error \"a\nevent = \"none\"\n", "Parameter 'id' expects an identifier"},
        {"[inject-error \"a\"]\nevent = \"none\"\n[inject-error \"a\"]\nevent = \"none\"\n",
         "Duplicate ID 'a' for inject-error"},
        /* Fine: */
        {"# comment\n\n[inject-error]\n  event   =   \"none\"\n# c2\n", ""},
        {"[inject-error] x\nevent = \"none\" # x\n", ""},
        {"[inject-error]\r\nevent = \"none\"\r\n", ""},
        {"[inject-error]\n\tevent\t=\t\"none\"\n", ""},
        {"[inject-error \"id1\"]\nevent = \"none\"\n[set-state \"id1\"]\nevent = \"none\"\n", ""},
        {NONE "id = \"a\"\n", ""},
        {NONE "errno = \"28", ""},
    };
    char text[256];
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        assert_string_equal(config_error(t[i][0], text), t[i][1]);
    }
}

/* The message that options give, or what is left of them. */
static char *options_result(const char *json)
{
    struct fault_rules *r = fault_rules_new();
    struct error *err = NULL;
    struct value *v = json_parse(json, &err);
    char *out;

    assert_non_null(v);
    int ret = fault_rules_take_options(r, v, &err);
    if (ret == 0) {
        ret = fault_rules_build(r, &err);
    }
    out = ret < 0 ? str_dup(err->msg) : json_text(v, false);
    error_free(err);
    value_free(v);
    fault_rules_free(r);
    return out;
}

static void test_option_texts(void **state)
{
    static const char *const t[][2] = {
        {"{'inject-error':[{'event':'nonex'}]}", "invalid parameter value: nonex"},
        {"{'inject-error':[{'event':5}]}", "invalid parameter value: 5"},
        {"{'inject-error':[{}]}", "Missing event name for rule"},
        {"{'inject-error':[{'event':'none','foo':1}]}",
         "[inject-error] section doesn't support the option 'foo'"},
        {"{'inject-error':[{'event':'none','foo':null}]}",
         "[inject-error] section doesn't support the option 'foo'"},
        {"{'inject-error':[{'event':'none','foo':[]}]}",
         "[inject-error] section doesn't support the option 'foo'"},
        {"{'set-state':[{'event':'none','a':1,'b':2}]}",
         "[set-state] section doesn't support the option 'a'"},
        {"{'inject-error':[{'event':'none','once':{'a':1}}]}",
         "[inject-error] section doesn't support the option 'once.a'"},
        {"{'inject-error':[{'event':'none','foo':'x','errno':'y'}]}",
         "Parameter 'errno' expects a number"},
        {"{'inject-error':[{'event':'none','errno':1.5}]}", "Parameter 'errno' expects a number"},
        {"{'inject-error':[{'event':'none','errno':'99999999999999999999999'}]}",
         "Value '99999999999999999999999' is too large for parameter 'errno'"},
        {"{'inject-error':[{'event':'none','once':'maybe'}]}",
         "Parameter 'once' expects 'on' or 'off'"},
        {"{'inject-error.1.event':'none'}", "Unused option '1.event' for [inject-error]"},
        {"{'inject-error.foo.event':'none'}", "Unused option 'foo.event' for [inject-error]"},
        {"{'inject-error':[{'event':'none'}],'inject-error.foo':1}",
         "Unused option 'foo' for [inject-error]"},
        {"{'inject-error':{'event':'none'},'inject-error.0.errno':1}",
         "Unknown option '0.errno' for [inject-error]"},
        {"{'inject-error':[5]}", "[inject-error] section (index 0) does not consist of keys"},
        {"{'inject-error':[[]]}", "[inject-error] section (index 0) does not consist of keys"},
        {"{'inject-error':[{'event':'none'}, 5]}",
         "[inject-error] section (index 1) does not consist of keys"},
        {"{'inject-error':[{'event':'bad'},{'event':'none','x':1}]}",
         "[inject-error] section doesn't support the option 'x'"},
        {"{'inject-error':[{'event':'none'}],'set-state':[{'event':'bad'}]}",
         "invalid parameter value: bad"},
        /* Not ours to judge: */
        {"{'inject-error':5}", "{\"inject-error\": 5}"},
        {"{'inject-error':[]}", "{\"inject-error\": []}"},
        {"{'inject-errors':[{'event':'none'}]}", "{\"inject-errors\": [{\"event\": \"none\"}]}"},
        /* Fine: */
        {"{'inject-error':[{'event':'none','once':null,'errno':null}]}", "{}"},
        {"{'inject-error':[{'event':'none','once':true,'errno':-5}]}", "{}"},
        {"{'inject-error.0.event':'none','inject-error.0.errno':'28','set-state.0.event':'none'}",
         "{}"},
        {"{'inject-error':{'event':'none'}}", "{}"},
        {"{'inject-error.event':'none'}", "{}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        char *got = options_result(t[i][0]);
        assert_string_equal(got, t[i][1]);
        mem_free(got);
    }
}

static void test_config_before_options(void **state)
{
    struct fault_rules *r = fault_rules_new();
    struct value *v = json_parse("{'inject-error':[{'event':'none','errno':28,'once':true},"
                                 "{'event':'none','errno':7,'once':true}]}",
                                 NULL);
    assert_int_equal(fault_rules_parse_config(r, NONE "errno = \"1\"\nonce = \"on\"\n", NULL), 0);
    assert_int_equal(fault_rules_take_options(r, v, NULL), 0);
    assert_int_equal(fault_rules_build(r, NULL), 0);
    fault_rules_event(r, LABEL_NONE, NULL, NULL);
    assert_int_equal(rd(r), 1);
    assert_int_equal(rd(r), 28);
    assert_int_equal(rd(r), 7);
    assert_int_equal(rd(r), 0);
    value_free(v);
    fault_rules_free(r);
}

/* ---- our extension ---- */

static void test_label_and_scope(void **state)
{
    struct fault_rules *r = load(WRITE "label = \"A*\"\n");
    struct fault_request a = {FAULT_IO_WRITE, 0, 512, "A/cow_read"},
                         b = {FAULT_IO_WRITE, 0, 512, "B"};
    char text[256];

    fault_rules_event(r, LABEL_WRITE_AIO, &b, NULL);
    fault_rules_event(r, LABEL_WRITE_AIO, NULL, NULL);
    assert_int_equal(rd(r), 0);
    fault_rules_event(r, LABEL_WRITE_AIO, &a, NULL);
    assert_int_equal(rd(r), EIO); /* active for everyone */
    fault_rules_free(r);

    r = load(WRITE "label = \"A*\"\nscope = \"request\"\n");
    fault_rules_event(r, LABEL_WRITE_AIO, &a, NULL);
    assert_int_equal(rd(r), 0);
    assert_int_equal(ask(r, FAULT_IO_WRITE, 0, 512, "B"), 0);
    assert_int_equal(ask(r, FAULT_IO_WRITE, 0, 512, "A"), EIO);
    fault_rules_free(r);
    assert_string_equal(config_error(WRITE "scope = \"request\"\n", text),
                        "scope \"request\" needs a label");
    assert_string_equal(config_error(WRITE "scope = \"x\"\n", text), "invalid parameter value: x");
    assert_string_equal(config_error("[set-state]\nscope = \"request\"\n", text),
                        "Invalid parameter 'scope'");
}

/* ---- breakpoints ---- */

struct seen {
    char text[256];
};

static void on_change(void *opaque, bool suspended, const char *tag, void *owner)
{
    struct seen *s = opaque;
    strcat(strcat(s->text, suspended ? "+" : "-"), tag);
}

static int fire(struct fault_rules *r, enum label ev, void *owner)
{
    struct fault_request q = {FAULT_IO_WRITE, 0, 512, "T"};
    return fault_rules_event(r, ev, &q, owner);
}

static void test_breaks(void **state)
{
    struct fault_rules *r = load("");
    struct seen seen = {""};
    int one, two;
    void *owner = NULL;

    fault_break_on_change(r, on_change, &seen);
    assert_int_equal(fault_break_set(r, "foo", "A", NULL), -ENOENT);
    assert_int_equal(fault_break_set(r, "write_aio", "A", NULL), 0);
    assert_int_equal(fault_break_set(r, "write_aio", "B", NULL), 0);
    assert_int_equal(fire(r, LABEL_READ_AIO, &one), 0);
    /* Both hold the same request, the last set first; the next request passes. */
    assert_int_equal(fire(r, LABEL_WRITE_AIO, &one), 2);
    assert_int_equal(fire(r, LABEL_WRITE_AIO, &two), 0);
    assert_string_equal(seen.text, "+B+A");
    assert_true(fault_break_suspended(r, "A") && fault_break_suspended(r, "B"));
    assert_int_equal(fault_break_resume(r, "A", &owner), 0);
    assert_ptr_equal(owner, &one);
    assert_int_equal(fault_suspended(r, &one), 1);
    assert_int_equal(fault_break_resume(r, "A", NULL), -ENOENT);
    assert_int_equal(fault_break_resume(r, "B", NULL), 0);
    assert_int_equal(fault_suspended(r, &one), 0);
    assert_string_equal(seen.text, "+B+A-A-B");
    fault_rules_free(r);
}

static void test_break_remove_and_resume_order(void **state)
{
    struct fault_rules *r = load("");
    int one, two;
    void *owner = NULL;

    assert_int_equal(fault_break_remove(r, "X"), -ENOENT);
    fault_break_set(r, "write_aio", "A", NULL);
    fire(r, LABEL_WRITE_AIO, &one);
    fault_break_set(r, "write_aio", "A", NULL);
    fire(r, LABEL_WRITE_AIO, &two);
    assert_int_equal(fault_break_resume(r, "A", &owner), 0); /* the newest suspension goes first */
    assert_ptr_equal(owner, &two);
    fault_break_set(r, "write_aio", "A", NULL);
    fire(r, LABEL_WRITE_AIO, &two);
    /* Used up: resumed, yet not found. */
    assert_int_equal(fault_break_remove(r, "A"), -ENOENT);
    assert_int_equal(fault_suspended(r, &one) + fault_suspended(r, &two), 0);
    fault_break_set(r, "write_aio", "A", NULL);
    fault_break_set(r, "read_aio", "A", NULL);
    assert_int_equal(fault_break_remove(r, "A"), 0);
    assert_int_equal(fire(r, LABEL_WRITE_AIO, &one) + fire(r, LABEL_READ_AIO, &one), 0);
    fault_break_set(r, "write_aio", "A", NULL);
    fire(r, LABEL_WRITE_AIO, &one);
    fault_break_resume_all(r);
    assert_int_equal(fault_suspended(r, &one), 0);
    fault_rules_free(r);
}

static void test_activation_comes_before_suspension(void **state)
{
    struct fault_rules *r = load(WRITE "once = \"on\"\n");
    int one;

    fault_break_set(r, "write_aio", "A", NULL);
    assert_int_equal(fire(r, LABEL_WRITE_AIO, &one), 1);
    assert_int_equal(rd(r), EIO);
    fault_break_resume_all(r);
    fault_rules_free(r);
}

static void test_break_filters(void **state)
{
    struct fault_rules *r = load("");
    struct fault_request a = {FAULT_IO_WRITE, 1024, 512, "A/l2_update"},
                         b = {FAULT_IO_WRITE, 0, 512, "B"};
    int one;

    assert_int_equal(fault_break_set(r, "-", "X", NULL), -EINVAL);
    fault_break_set(r, "-", "X", &(struct fault_break_filter){.label = "A*", .sector = -1});
    assert_int_equal(fault_rules_submit(r, &b, &one), 0);
    assert_int_equal(fault_rules_event(r, LABEL_WRITE_AIO, &a, &one), 0);
    assert_int_equal(fault_rules_submit(r, &a, &one), 1);
    fault_break_resume_all(r);

    fault_break_set(r, "write_aio", "N", &(struct fault_break_filter){.nth = 3, .sector = 2});
    assert_int_equal(fault_rules_event(r, LABEL_WRITE_AIO, &a, &one), 0);
    assert_int_equal(fault_rules_event(r, LABEL_WRITE_AIO, &b, &one), 0);
    assert_int_equal(fault_rules_event(r, LABEL_WRITE_AIO, &a, &one), 0);
    assert_int_equal(fault_rules_event(r, LABEL_WRITE_AIO, &a, &one), 1);
    fault_break_resume_all(r);
    fault_rules_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_first_of_the_file_wins),
        cmocka_unit_test(test_once_hits_any_later_request),
        cmocka_unit_test(test_errno_zero_hides_and_stays),
        cmocka_unit_test(test_sector_is_its_first_byte),
        cmocka_unit_test(test_iotype),
        cmocka_unit_test(test_active_set_is_replaced_only_by_a_match),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_config_texts),
        cmocka_unit_test(test_option_texts),
        cmocka_unit_test(test_config_before_options),
        cmocka_unit_test(test_label_and_scope),
        cmocka_unit_test(test_breaks),
        cmocka_unit_test(test_break_remove_and_resume_order),
        cmocka_unit_test(test_activation_comes_before_suspension),
        cmocka_unit_test(test_break_filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
