/*
 * blkref-system: the block side of qemu-system, without a monitor yet.
 *
 * Models: -drive (if=none), -blockdev and -device with our front-ends: images are opened,
 * permissions and locks are held until a signal ends the program.  Answers -machine help, -drive
 * format=help, -device help, --help, --version. Leaves out: monitors, guests, every other option
 * (refused).
 */
#include "ref/tools/cli.h"

#include <errno.h>
#include <signal.h>
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "ref/device/front_end.h"
#include "ref/engine/host.h"
#include "ref/tools/release.h"

static const char usage[] =
    "usage: qemu-system-x86_64 [options]\n"
    "  -h, --help            show this text\n"
    "  -version              show the version\n"
    "  -machine help         list machine types (pc and none are accepted: no guest runs)\n"
    "  -drive OPTIONS        open an image as a named drive (if=none); format=help lists formats\n"
    "  -blockdev OPTIONS     open a node from options or a JSON object\n"
    "  -device OPTIONS       attach a front-end; help lists them\n"
    "  -accel qtest, -nodefaults, -display none, -vga none, -nographic, -serial none, -monitor "
    "none, -S\n"
    "                        accepted: they ask for nothing beyond what is here\n";

/* Options whose argument must be one of a few words; they change nothing for a block layer without
 * a guest. */
static const struct {
    const char *option;
    const char *words; /* "|a|b|"; NULL: takes no argument */
} inert[] = {
    {"accel", "|qtest|"},  {"display", "|none|"}, {"vga", "|none|"},   {"serial", "|none|"},
    {"monitor", "|none|"}, {"nodefaults", NULL},  {"nographic", NULL}, {"S", NULL},
};

struct session {
    struct tool *t;
    struct front_end *fronts[64];
    size_t n_fronts;
    struct blk *drives[64];
    size_t n_drives;
    struct node *nodes[64];
    size_t n_nodes;
    bool ended;
    struct waitq end;
};

static void machine_help(void)
{
    const struct release *r = release_current();
    printf("Supported machines are:\n");
    printf("%-20s no guest: block devices only (alias of %s)\n", r->machine_alias, r->machine);
    printf("%-20s no guest: block devices only (default)\n", r->machine);
    printf("%-20s empty machine\n", "none");
}

static bool has_word(const char *words, const char *arg)
{
    char *quoted = str_fmt("|%s|", arg);
    bool found = strstr(words, quoted);
    mem_free(quoted);
    return found;
}

static int add_drive(struct session *s, const char *text, struct error **err)
{
    struct value *opts = opts_parse(text, NULL, err);
    if (!opts) {
        return -EINVAL;
    }
    const char *interface = dict_get_str(opts, "if");
    if (!interface || strcmp(interface, "none")) {
        value_free(opts);
        return error_set(err, ENOTSUP, "only if=none is supported");
    }
    dict_del(opts, "if");
    struct value *file = dict_take(opts, "file"), *id = dict_take(opts, "id");
    struct value *format = dict_take(opts, "format");
    if (format) {
        dict_put(opts, "driver", format);
    }
    struct blk *b = NULL;
    if (!id || s->n_drives == ARRAY_SIZE(s->drives)) {
        error_set(err, EINVAL, id ? "too many drives" : "a drive with if=none needs an id");
        value_free(opts);
    } else {
        b = blk_open(s->t->w, file ? value_get_str(file) : NULL, NULL, opts, OPEN_RDWR, err);
    }
    int ret = b ? blk_set_name(b, value_get_str(id), err) : -EINVAL;
    value_free(file);
    value_free(id);
    if (ret < 0) {
        if (b) {
            blk_unref(b);
        }
        return ret;
    }
    s->drives[s->n_drives++] = b;
    return 0;
}

static int add_blockdev(struct session *s, const char *text, struct error **err)
{
    struct value *opts = text[0] == '{' ? json_parse(text, err) : opts_parse(text, "driver", err);
    if (!opts) {
        return -EINVAL;
    }
    if (value_type(opts) != VALUE_DICT || !dict_has(opts, "node-name")) {
        value_free(opts);
        return error_set(err, EINVAL, "'node-name' must be specified for the root node");
    }
    if (s->n_nodes == ARRAY_SIZE(s->nodes)) {
        value_free(opts);
        return error_set(err, E2BIG, "too many nodes");
    }
    dict_flatten(opts);
    struct node *n = node_open(s->t->w, NULL, NULL, opts, OPEN_RDWR, err);
    if (!n) {
        return -EINVAL;
    }
    s->nodes[s->n_nodes++] = n;
    return 0;
}

static int add_device(struct session *s, const char *text, struct error **err)
{
    struct value *opts = opts_parse(text, "driver", err);
    if (!opts) {
        return -EINVAL;
    }
    if (s->n_fronts == ARRAY_SIZE(s->fronts)) {
        value_free(opts);
        return error_set(err, E2BIG, "too many devices");
    }
    struct front_end *f = front_end_new(s->t->w, opts, err);
    if (!f) {
        return -EINVAL;
    }
    s->fronts[s->n_fronts++] = f;
    return 0;
}

static void on_signal(void *arg, int signo)
{
    struct session *s = arg;
    s->ended = true;
    waitq_wake_all(s->t->w, &s->end);
}

/* Returns 1 when the program is to end at once (help was printed, or an error reported). */
static int take_option(struct session *s, const char *option, const char *arg)
{
    struct tool *t = s->t;
    struct error *err = NULL;
    int ret = 0;
    if (!strcmp(option, "machine") || !strcmp(option, "M")) {
        if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
            machine_help();
            return 1;
        }
        if (strcmp(arg, "none") && strcmp(arg, release_current()->machine_alias) &&
            strcmp(arg, release_current()->machine)) {
            tool_error(t, "unsupported machine type");
            world_report(t->w, REPORT_PLAIN, "Use -machine help to list supported machines\n");
            t->status = 1;
            return 1;
        }
    } else if (!strcmp(option, "drive")) {
        if (!strcmp(arg, "format=help") || !strcmp(arg, "format=?")) {
            cli_print_formats(t);
            return 1;
        }
        ret = add_drive(s, arg, &err);
    } else if (!strcmp(option, "blockdev")) {
        ret = add_blockdev(s, arg, &err);
    } else if (!strcmp(option, "device")) {
        if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
            device_models_print();
            return 1;
        }
        ret = add_device(s, arg, &err);
    }
    if (ret < 0) {
        error_prepend(&err, "-%s %s: ", option, arg);
        tool_report(t, err);
        t->status = 1;
        return 1;
    }
    return 0;
}

/* 0: not inert; 1: taken; -1: refused with a message. *takes_arg says whether an argument was used.
 */
static int take_inert(struct session *s, const char *option, const char *arg, bool *takes_arg)
{
    for (size_t i = 0; i < ARRAY_SIZE(inert); i++) {
        if (strcmp(inert[i].option, option)) {
            continue;
        }
        *takes_arg = inert[i].words != NULL;
        if (inert[i].words && (!arg || !has_word(inert[i].words, arg))) {
            tool_error(s->t, "-%s %s: not supported by this build", option, arg ? arg : "");
            s->t->status = 1;
            return -1;
        }
        return 1;
    }
    return 0;
}

static bool takes_argument(const char *option)
{
    static const char *const with_argument[] = {"machine", "M", "drive", "blockdev", "device"};
    for (size_t i = 0; i < ARRAY_SIZE(with_argument); i++) {
        if (!strcmp(option, with_argument[i])) {
            return true;
        }
    }
    return false;
}

/* Returns 1 when the program is to end. */
static int parse_command_line(struct session *s)
{
    struct tool *t = s->t;
    for (int i = 1; i < t->argc; i++) {
        const char *option = t->argv[i];
        const char *arg = i + 1 < t->argc ? t->argv[i + 1] : NULL;
        bool inert_arg = false;
        if (option[0] == '-') {
            option += option[1] == '-' ? 2 : 1;
        }
        if (!strcmp(option, "help") || !strcmp(option, "h")) {
            fputs(usage, stdout);
            return 1;
        }
        if (!strcmp(option, "version")) {
            cli_version("QEMU emulator version");
            return 1;
        }
        int taken = take_inert(s, option, arg, &inert_arg);
        if (taken) {
            if (taken < 0) {
                return 1;
            }
            i += inert_arg;
            continue;
        }
        if (!takes_argument(option)) {
            tool_error(t, "%s: invalid option, or not supported by this build", t->argv[i]);
            t->status = 1;
            return 1;
        }
        if (!arg) {
            tool_error(t, "%s: requires an argument", t->argv[i]);
            t->status = 1;
            return 1;
        }
        if (take_option(s, option, arg)) {
            return 1;
        }
        i++;
    }
    return 0;
}

void system_body(struct tool *t)
{
    struct session s = {.t = t};
    if (!parse_command_line(&s)) {
        host_on_signal(t->w, SIGTERM, on_signal, &s);
        host_on_signal(t->w, SIGINT, on_signal, &s);
        while (!s.ended) {
            waitq_wait(t->w, &s.end);
        }
    }
    while (s.n_fronts) {
        front_end_free(s.fronts[--s.n_fronts]);
    }
    while (s.n_drives) {
        blk_unref(s.drives[--s.n_drives]);
    }
    while (s.n_nodes) {
        node_unref(s.nodes[--s.n_nodes]);
    }
}
