/*
 * The command table of qemu-io, `help`, and running one line.
 */
#include "ref/tools/io/io.h"

#include <errno.h>
#include <unistd.h>
#include "ref/base/mem.h"

static const char read_help[] =
    "\n"
    " Reads a range of bytes, to measure, to verify or to show it.\n"
    "\n"
    " Example:\n"
    " 'read -v 512 1k' - shows 1 kilobyte from offset 512\n"
    "\n"
    " -b, -- from the VM state area instead of the disk\n"
    " -C, -- statistics as comma-separated values\n"
    " -L, -- label the request and what is done for it (an extension of ours)\n"
    " -l, -- length of the part to verify (with -P)\n"
    " -p, -- has no effect, as in every release since 2.1\n"
    " -P, -- verify that all bytes have this value\n"
    " -q, -- print no statistics\n"
    " -s, -- start of the part to verify (with -P)\n"
    " -v, -- dump the data\n"
    "\n";
static const char readv_help[] =
    "\n"
    " Reads a range of bytes into several buffers.\n"
    "\n"
    " Example:\n"
    " 'readv -v 512 1k 1k' - shows 2 kilobytes from offset 512\n"
    "\n"
    " -C, -- statistics as comma-separated values\n"
    " -L, -- label the request and what is done for it (an extension of ours)\n"
    " -P, -- verify that all bytes have this value\n"
    " -v, -- dump the data\n"
    " -q, -- print no statistics\n"
    "\n";
static const char write_help[] =
    "\n"
    " Writes a range of bytes, each 0xcd unless said otherwise.\n"
    "\n"
    " Example:\n"
    " 'write 512 1k' - writes 1 kilobyte at offset 512\n"
    "\n"
    " -b, -- to the VM state area instead of the disk\n"
    " -c, -- compressed\n"
    " -f, -- with Force Unit Access\n"
    " -L, -- label the request and what is done for it (an extension of ours)\n"
    " -n, -- with -z: fail rather than write a buffer of zeroes\n"
    " -p, -- has no effect, as in every release since 2.1\n"
    " -P, -- write this byte\n"
    " -s, -- write the contents of a file, over and over\n"
    " -C, -- statistics as comma-separated values\n"
    " -q, -- print no statistics\n"
    " -u, -- with -z: the range may be unmapped\n"
    " -z, -- write zeroes by the driver's own means\n"
    "\n";
static const char writev_help[] =
    "\n"
    " Writes a range of bytes from several buffers.\n"
    "\n"
    " Example:\n"
    " 'writev 512 1k 1k' - writes 2 kilobytes at offset 512\n"
    "\n"
    " -L, -- label the request and what is done for it (an extension of ours)\n"
    " -P, -- write this byte\n"
    " -C, -- statistics as comma-separated values\n"
    " -f, -- with Force Unit Access\n"
    " -q, -- print no statistics\n"
    "\n";
static const char aio_read_help[] =
    "\n"
    " Starts a read and does not wait for it: aio_flush does.  Failures show in its output, not in "
    "the status of the\n"
    " command.\n"
    "\n"
    " -C, -- statistics as comma-separated values\n"
    " -i, -- count it as an invalid request instead of sending it\n"
    " -L, -- label the request and what is done for it (an extension of ours)\n"
    " -P, -- verify that all bytes have this value\n"
    " -v, -- dump the data\n"
    " -q, -- print no statistics\n"
    "\n";
static const char aio_write_help[] =
    "\n"
    " Starts a write and does not wait for it: aio_flush does.  Failures show in its output, not "
    "in the status of the\n"
    " command.\n"
    "\n"
    " -C, -- statistics as comma-separated values\n"
    " -f, -- with Force Unit Access\n"
    " -i, -- count it as an invalid request instead of sending it\n"
    " -L, -- label the request and what is done for it (an extension of ours)\n"
    " -P, -- write this byte\n"
    " -q, -- print no statistics\n"
    " -u, -- with -z: the range may be unmapped\n"
    " -z, -- write zeroes by the driver's own means\n"
    "\n";
static const char discard_help[] =
    "\n"
    " Tells the image that a range is not needed any more.\n"
    "\n"
    " -C, -- statistics as comma-separated values\n"
    " -L, -- label the request and what is done for it (an extension of ours)\n"
    " -q, -- print no statistics\n"
    "\n";
static const char open_help[] =
    "\n"
    " Opens the file that all other commands work on.\n"
    "\n"
    " Example:\n"
    " 'open -n -o driver=raw /tmp/data' - opens a raw file for writing, past the host's cache\n"
    "\n"
    " -r, -- read-only\n"
    " -s, -- changes go to a temporary file\n"
    " -C, -- copy on read\n"
    " -n, -- no host cache, short for -t none\n"
    " -U, -- although others may be writing\n"
    " -k, -- kernel AIO (better: -i)\n"
    " -i, -- threads, native or io_uring\n"
    " -t, -- cache mode\n"
    " -d, -- discard mode\n"
    " -o, -- options for the block driver\n"
    "\n";
static const char reopen_help[] =
    "\n"
    " Changes options of the open image.\n"
    "\n"
    " Example:\n"
    " 'reopen -o lazy-refcounts=on' - lets a qcow2 image be lazy with its refcounts\n"
    "\n"
    " -r, -- read-only from now on\n"
    " -w, -- read-write from now on\n"
    " -c, -- cache mode\n"
    " -o, -- options of the block driver (see 'open')\n"
    "\n";
static const char break_help[] =
    "\n"
    " Stops the next request that causes the event. Words behind the tag choose among such\n"
    " requests (an extension of ours):\n"
    "\n"
    " label=GLOB -- only requests labelled so (see -L of the commands)\n"
    " nth=N      -- the Nth of them\n"
    " sector=S   -- only requests that overlap this sector\n"
    "\n"
    " With '-' in place of an event and a label, the request stops when it is submitted.\n"
    "\n";
static const char flush_help[] =
    "\n"
    " -L, -- label the request and what is done for it (an extension of ours)\n"
    "\n";
static const char wait_help[] =
    "\n"
    " Waits until every asynchronous request whose label matches the glob is done, and reports\n"
    " those that are done.\n"
    "\n"
    " Example:\n"
    " 'wait A*' - waits for 'aio_write -L A1 ...' and 'aio_read -L A2 ...'\n"
    "\n";
static const char sigraise_help[] = "\n"
                                    " Sends this process a signal.\n"
                                    "\n"
                                    " Example:\n"
                                    " 'sigraise 15' - ends it with SIGTERM\n"
                                    "\n";

#define W (PERM_WRITE)

/* In the order of `help`. */
static const struct io_command table[] = {
    {"abort", NULL, io_cmd_abort, 0, 0, 0, true, NULL, "simulate a program crash using abort(3)",
     NULL},
    {"aio_flush", NULL, io_cmd_aio_flush, 0, 0, 0, false, NULL,
     "completes all outstanding aio requests", NULL},
    {"aio_read", NULL, io_cmd_aio_read, 2, -1, 0, false, "[-Ciqv] [-P pattern] off len [len..]",
     "asynchronously reads a number of bytes", aio_read_help},
    {"aio_write", NULL, io_cmd_aio_write, 2, -1, W, false, "[-Cfiquz] [-P pattern] off len [len..]",
     "asynchronously writes a number of bytes", aio_write_help},
    {"alloc", "a", io_cmd_alloc, 1, 2, 0, false, "offset [count]",
     "checks if offset is allocated in the file", NULL},
    {"break", NULL, io_cmd_break, 2, 2, 0, false, "event tag",
     "sets a breakpoint on event and tags the stopped request as tag", break_help},
    {"close", "c", io_cmd_close, 0, 0, 0, false, NULL, "close the current open file", NULL},
    {"discard", "d", io_cmd_discard, 2, -1, W, false, "[-Cq] off len",
     "discards a number of bytes at a specified offset", discard_help},
    {"flush", "f", io_cmd_flush, 0, 0, 0, false, NULL, "flush all in-core file state to disk",
     flush_help},
    {"help", "?", io_cmd_help, 0, 1, 0, true, "[command]", "help for one or all commands", NULL},
    {"info", "i", io_cmd_info, 0, 0, 0, false, NULL, "prints information about the current file",
     NULL},
    {"length", "l", io_cmd_length, 0, 0, 0, false, NULL, "gets the length of the current file",
     NULL},
    {"map", NULL, io_cmd_map, 0, 0, 0, false, "", "prints the allocated areas of a file", NULL},
    {"open", "o", io_cmd_open, 1, -1, 0, true,
     "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path",
     open_help},
    {"quit", "q", io_cmd_quit, 0, -1, 0, true, NULL, "exit the program", NULL},
    {"read", "r", io_cmd_read, 2, -1, 0, false, "[-abCqv] [-P pattern [-s off] [-l len]] off len",
     "reads a number of bytes at a specified offset", read_help},
    {"readv", NULL, io_cmd_readv, 2, -1, 0, false, "[-Cqv] [-P pattern] off len [len..]",
     "reads a number of bytes at a specified offset", readv_help},
    {"remove_break", NULL, io_cmd_remove_break, 1, 1, 0, false, "tag", "remove a breakpoint by tag",
     NULL},
    {"reopen", NULL, io_cmd_reopen, 0, -1, 0, false, "[(-r|-w)] [-c cache] [-o options]",
     "reopens an image with new options", reopen_help},
    {"resume", NULL, io_cmd_resume, 1, 1, 0, false, "tag", "resumes the request tagged as tag",
     NULL},
    {"sigraise", NULL, io_cmd_sigraise, 1, 1, 0, true, "signal", "raises a signal", sigraise_help},
    {"sleep", NULL, io_cmd_sleep, 1, 1, 0, true, NULL, "waits for the given value in milliseconds",
     NULL},
    {"truncate", "t", io_cmd_truncate, 1, 3, W | PERM_RESIZE, false, "[-m prealloc_mode] off",
     "truncates the current file at the given offset", NULL},
    {"wait", NULL, io_cmd_wait, 1, 1, 0, false, "label",
     "waits for the asynchronous requests labelled so (an extension of ours)", wait_help},
    {"wait_break", NULL, io_cmd_wait_break, 1, 1, 0, false, "tag",
     "waits for the suspension of a request", NULL},
    {"write", "w", io_cmd_write, 2, -1, W, false,
     "[-bcCfnquz] [-P pattern | -s source_file] off len",
     "writes a number of bytes at a specified offset", write_help},
    {"writev", NULL, io_cmd_writev, 2, -1, W, false, "[-Cfq] [-P pattern] off len [len..]",
     "writes a number of bytes at a specified offset", writev_help},
};

const struct io_command *io_table(size_t *n)
{
    *n = ARRAY_SIZE(table);
    return table;
}

const struct io_command *io_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (!strcmp(table[i].name, name) || (table[i].alias && !strcmp(table[i].alias, name))) {
            return &table[i];
        }
    }
    return NULL;
}

static void print_synopsis(const struct io_command *c, const char *name)
{
    printf("%s ", name);
    if (c->args) {
        printf("%s ", c->args);
    }
    printf("-- %s\n", c->summary);
}

int io_usage(const char *command)
{
    print_synopsis(io_find(command), command);
    return -EINVAL;
}

int io_cmd_help(struct io_session *s, int argc, char **argv)
{
    if (argc == 1) {
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
            print_synopsis(&table[i], table[i].name);
        }
        printf("\nUse 'help commandname' for extended help.\n");
        return 0;
    }
    const struct io_command *c = io_find(argv[1]);
    if (!c) {
        printf("command %s not found\n", argv[1]);
        return -EINVAL;
    }
    print_synopsis(c, argv[1]);
    if (c->help) {
        fputs(c->help, stdout);
    }
    return 0;
}

int io_cmd_quit(struct io_session *s, int argc, char **argv)
{
    s->quit = true;
    return 0;
}

int io_getopt(int argc, char **argv, const char *options, bool *restart)
{
    if (*restart) {
        optind = 0;
        *restart = false;
    }
    opterr = 0;
    int c = getopt(argc, argv, options);
    if (c == '?') {
        const char *known = strchr(options, optopt);
        if (known && known[1] == ':') {
            fprintf(stderr, "%s: option requires an argument -- '%c'\n", argv[0], optopt);
        } else {
            fprintf(stderr, "%s: invalid option -- '%c'\n", argv[0], optopt);
        }
    }
    return c;
}

/* Is the first word too many one of our extension: "-L", "label=GLOB"? */
static bool is_extension(const struct io_command *c, char **argv)
{
    const char *word = argv[c->max_args + 1];
    return c->run == io_cmd_flush   ? !strncmp(word, "-L", 2)
           : c->run == io_cmd_break ? strchr(word, '=') != NULL
                                    : false;
}

static bool check_arguments(const struct io_command *c, int n, char **argv)
{
    const char *name = argv[0];
    if (n >= c->min_args && (c->max_args < 0 || n <= c->max_args || is_extension(c, argv))) {
        return true;
    }
    if (c->max_args < 0) {
        fprintf(stderr, "bad argument count %d to %s, expected at least %d arguments\n", n, name,
                c->min_args);
    } else if (c->min_args == c->max_args) {
        fprintf(stderr, "bad argument count %d to %s, expected %d arguments\n", n, name,
                c->min_args);
    } else {
        fprintf(stderr, "bad argument count %d to %s, expected between %d and %d arguments\n", n,
                name, c->min_args, c->max_args);
    }
    return false;
}

/* Adds what the command needs to the backend's permissions. */
static int take_permissions(struct io_session *s, unsigned perm)
{
    struct child *root = s->blk ? blk_root(s->blk) : NULL;
    if (!perm || !root || (root->perm & perm) == perm) {
        return 0;
    }
    struct error *err = NULL;
    int ret = blk_set_perm(s->blk, root->perm | perm, root->shared, &err);
    if (ret < 0) {
        world_report_error(s->w, err);
    }
    return ret;
}

static int run_words(struct io_session *s, int argc, char **argv)
{
    const struct io_command *c = io_find(argv[0]);
    if (!c) {
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        return -EINVAL;
    }
    if (!c->no_file && !s->blk) {
        fprintf(stderr, "no file open, try 'help open'\n");
        return -EINVAL;
    }
    if (!check_arguments(c, argc - 1, argv)) {
        return -EINVAL;
    }
    int ret = take_permissions(s, c->perm);
    return ret < 0 ? ret : c->run(s, argc, argv);
}

int io_run_line(struct io_session *s, const char *line)
{
    char *text = str_dup(line), *rest = text, *word;
    char **argv = NULL;
    int argc = 0, cap = 0, ret = 0;
    while ((word = strsep(&rest, " "))) {
        if (!*word) {
            continue;
        }
        if (argc + 1 >= cap) {
            cap = cap ? cap * 2 : 16;
            argv = mem_realloc(argv, (size_t)cap * sizeof(*argv));
        }
        argv[argc++] = word;
        argv[argc] = NULL;
    }
    if (argc) {
        ret = run_words(s, argc, argv);
    }
    mem_free(argv);
    mem_free(text);
    return ret;
}
