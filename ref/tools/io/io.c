/*
 * qemu-io: options, `-c` commands, the prompt.
 */
#include "ref/tools/io/io.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/base/strbuf.h"
#include "ref/engine/host.h"
#include "ref/tools/cli.h"

static const char usage[] = "Usage: qemu-io [OPTIONS]... [-c STRING]... [file]\n"
                            "Exercises a disk image, command by command\n"
                            "\n"
                            "  --object OBJECTDEF   define an object that images refer to\n"
                            "  --image-opts         the file is a list of options\n"
                            "  -c, --cmd STRING     run a command; may be given several times\n"
                            "  -f, --format FMT     the image's format\n"
                            "  -r, --read-only      open read-only\n"
                            "  -s, --snapshot       changes go to a temporary file\n"
                            "  -n, --nocache        no host cache, short for -t none\n"
                            "  -C, --copy-on-read   copy on read\n"
                            "  -m, --misalign       buffers off their alignment\n"
                            "  -k, --native-aio     kernel AIO (better: -i)\n"
                            "  -i, --aio=MODE       threads, native or io_uring\n"
                            "  -t, --cache=MODE     cache mode of the image\n"
                            "  -d, --discard=MODE   discard mode of the image\n"
                            "  -T, --trace          trace events; this build has none\n"
                            "  -U, --force-share    open although others may be writing\n"
                            "  -h, --help           show this text\n"
                            "  -V, --version        show the version\n"
                            "\n"
                            "'qemu-io -c help' lists the commands.\n";

struct command_line {
    const char *format, *file;
    char **commands;
    size_t n_commands;
    unsigned flags;
    bool writethrough, read_only, image_opts, force_share, misalign;
};

static int bad_option(struct tool *t, const char *what, const char *value)
{
    tool_error(t, "Invalid %s option: %s", what, value);
    t->status = 1;
    return -1;
}

enum { OPT_OBJECT = 256, OPT_IMAGE_OPTS };

/* 0 to go on, -1 when the program ends (status is set). */
static int take_option(struct tool *t, struct command_line *l, int c)
{
    struct error *err = NULL;
    switch (c) {
    case 's':
        l->flags |= OPEN_SNAPSHOT;
        break;
    case 'n':
        l->flags |= OPEN_NO_CACHE;
        l->writethrough = false;
        break;
    case 'C':
        l->flags |= OPEN_COPY_ON_READ;
        break;
    case 'd':
        return parse_discard_mode(optarg, &l->flags) ? 0 : bad_option(t, "discard", optarg);
    case 'f':
        l->format = optarg;
        break;
    case 'c':
        l->commands = mem_realloc(l->commands, (l->n_commands + 1) * sizeof(*l->commands));
        l->commands[l->n_commands++] = optarg;
        break;
    case 'r':
        l->read_only = true;
        break;
    case 'm':
        l->misalign = true;
        break;
    case 'k':
        l->flags |= OPEN_NATIVE_AIO;
        break;
    case 'i':
        return parse_aio_mode(optarg, &l->flags) ? 0 : bad_option(t, "aio", optarg);
    case 't':
        return parse_cache_mode(optarg, &l->flags, &l->writethrough)
                   ? 0
                   : bad_option(t, "cache", optarg);
    case 'U':
        l->force_share = true;
        break;
    case OPT_OBJECT:
        if (tool_add_object(t, optarg, &err) < 0) {
            tool_report(t, err);
            t->status = 1;
            return -1;
        }
        break;
    case OPT_IMAGE_OPTS:
        l->image_opts = true;
        break;
    case 'V':
        cli_version("qemu-io version");
        return -1;
    case 'h':
        fputs(usage, stdout);
        return -1;
    case 'T':
        return cli_trace(t, optarg);
    default:
        fputs(usage, stdout);
        t->status = 1;
        return -1;
    }
    return 0;
}

static int parse_command_line(struct tool *t, struct command_line *l)
{
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {"cmd", required_argument, NULL, 'c'},
        {"format", required_argument, NULL, 'f'},
        {"read-only", no_argument, NULL, 'r'},
        {"snapshot", no_argument, NULL, 's'},
        {"nocache", no_argument, NULL, 'n'},
        {"copy-on-read", no_argument, NULL, 'C'},
        {"misalign", no_argument, NULL, 'm'},
        {"native-aio", no_argument, NULL, 'k'},
        {"aio", required_argument, NULL, 'i'},
        {"discard", required_argument, NULL, 'd'},
        {"cache", required_argument, NULL, 't'},
        {"trace", required_argument, NULL, 'T'},
        {"force-share", no_argument, NULL, 'U'},
        {"object", required_argument, NULL, OPT_OBJECT},
        {"image-opts", no_argument, NULL, OPT_IMAGE_OPTS},
        {NULL, 0, NULL, 0},
    };
    int c;
    opterr = 1;
    while ((c = getopt_long(t->argc, t->argv, "hVc:d:f:rsnCmki:t:T:U", long_options, NULL)) != -1) {
        if (take_option(t, l, c) < 0) {
            return -1;
        }
    }
    if (t->argc - optind > 1) {
        fputs(usage, stdout);
        t->status = 1;
        return -1;
    }
    if (l->format && l->image_opts) {
        tool_error(t, "--image-opts and -f are mutually exclusive");
        t->status = 1;
        return -1;
    }
    l->file = optind < t->argc ? t->argv[optind] : NULL;
    return 0;
}

static int open_first_file(struct tool *t, struct io_session *s, struct command_line *l)
{
    unsigned flags = l->flags | (l->read_only ? 0 : OPEN_RDWR);
    struct value *options = NULL;
    struct error *err = NULL;
    if (l->image_opts) {
        options = tool_parse_options(s->w, l->file, NULL, &err);
        if (!options) {
            tool_report(t, err);
            return -EINVAL;
        }
        return io_open_file(s, NULL, flags, l->writethrough, l->force_share, options);
    }
    if (l->format) {
        options = value_dict();
        dict_put_str(options, "driver", l->format);
    }
    return io_open_file(s, l->file, flags, l->writethrough, l->force_share, options);
}

/* Standard input by lines; other coroutines run while it waits. */
struct line_reader {
    struct io_session *s;
    struct strbuf held;
    size_t used;
    bool end;
};

/* Until there is some, aio requests report what they did. */
static void wait_for_input(struct io_session *s)
{
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&fd, 1, 0) != 0) {
        return;
    }
    s->polling = true;
    io_poll(s);
    fflush(stdout);
    host_poll(s->w, STDIN_FILENO, POLLIN, -1);
    s->polling = false;
}

/* The next line without its newline, valid until the next call; NULL at the end. */
static char *read_line(struct line_reader *r)
{
    for (;;) {
        char *line = r->held.s + r->used;
        char *newline = r->held.len > r->used ? memchr(line, '\n', r->held.len - r->used) : NULL;
        if (newline) {
            *newline = 0;
            r->used += (size_t)(newline - line) + 1;
            return line;
        }
        if (r->end) {
            bool rest = r->held.len > r->used;
            r->used = r->held.len;
            return rest ? line : NULL;
        }
        if (r->used) {
            memmove(r->held.s, r->held.s + r->used, r->held.len - r->used + 1);
            r->held.len -= r->used;
            r->used = 0;
        }
        char buf[65536];
        wait_for_input(r->s);
        ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            r->end = true;
        } else if (n > 0) {
            strbuf_add(&r->held, buf, (size_t)n);
        }
    }
}

/* Runs commands from standard input; returns the last failure, 0 when there was none. */
static int prompt(struct io_session *s)
{
    struct line_reader r = {.s = s, .held = STRBUF_INIT};
    int status = 0;
    char *line;
    while (!s->quit) {
        fputs("qemu-io> ", stdout);
        fflush(stdout);
        line = read_line(&r);
        if (!line) {
            break;
        }
        int ret = io_run_line(s, line);
        if (ret < 0) {
            status = ret;
        }
    }
    strbuf_free(&r.held);
    return status;
}

static int run_commands(struct io_session *s, const struct command_line *l)
{
    int status = 0;
    if (!l->n_commands) {
        return prompt(s);
    }
    for (size_t i = 0; i < l->n_commands && !s->quit; i++) {
        int ret = io_run_line(s, l->commands[i]);
        if (ret < 0) {
            status = ret;
        }
    }
    return status;
}

/* Signals that end other programs and that `sigraise` cannot end qemu-io with. */
static void hold_signals(void)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGIO);
    sigaddset(&held, SIGALRM);
    sigaddset(&held, SIGBUS);
    sigaddset(&held, SIGUSR1);
    sigprocmask(SIG_BLOCK, &held, NULL);
    signal(SIGPIPE, SIG_IGN);
}

void io_body(struct tool *t)
{
    struct command_line l = {.writethrough = true, .flags = OPEN_UNMAP};
    struct io_session s = {.w = t->w};
    hold_signals();
    list_init(&s.tags);
    list_init(&s.aio);
    list_init(&s.done);
    if (parse_command_line(t, &l) == 0) {
        s.misalign = l.misalign;
        s.image_opts = l.image_opts;
        if (l.file && open_first_file(t, &s, &l) < 0) {
            t->status = 1;
        } else {
            t->status = run_commands(&s, &l) < 0;
            io_wait_idle(&s);
        }
    }
    if (s.blk) {
        blk_unref(s.blk);
    }
    while (!list_empty(&s.tags)) {
        struct list *tag = s.tags.next;
        list_remove(tag);
        mem_free(tag);
    }
    mem_free(l.commands);
}
