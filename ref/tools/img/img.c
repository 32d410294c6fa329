/*
 * The command table of qemu-img and its dispatch.
 */
#include "ref/tools/img/img.h"

#include <pthread.h>
#include <signal.h>

#include "ref/tools/cli.h"
#include "ref/tools/img/help.h"

const struct img_command img_commands[] = {
    {"amend", img_amend,
     "[--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options "
     "filename"},
    {"bench", img_bench,
     "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] [--no-drain] "
     "[-o offset] "
     "[--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename"},
    {"bitmap", img_bitmap,
     "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F "
     "source_fmt]] "
     "[-g granularity] [--object objectdef] [--image-opts | -f fmt] filename bitmap"},
    {"check", img_check,
     "[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T "
     "src_cache] [-U] filename"},
    {"commit", img_commit,
     "[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] "
     "[-p] filename"},
    {"compare", img_compare,
     "[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] "
     "filename1 filename2"},
    {"convert", img_convert,
     "[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps] "
     "[-U] [-C] [-c] [-p] [-q] "
     "[-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] "
     "[-o options] "
     "[-l snapshot_param] [-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] "
     "filename [filename2 "
     "[...]] output_filename"},
    {"create", img_create,
     "[--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] "
     "filename [size]"},
    {"dd", img_dd,
     "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] "
     "if=input of=output"},
    {"info", img_info,
     "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] "
     "filename"},
    {"map", img_map,
     "[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] "
     "[--output=ofmt] [-U] "
     "filename"},
    {"measure", img_measure,
     "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] [--image-opts] "
     "[-f fmt] "
     "[-l snapshot_param] filename]"},
    {"snapshot", img_snapshot,
     "[--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] "
     "filename"},
    {"rebase", img_rebase,
     "[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] "
     "-b backing_file "
     "[-F backing_fmt] filename"},
    {"resize", img_resize,
     "[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] "
     "filename [+ | -]size"},
    {NULL, NULL, NULL},
};

/* Standard options before the command; returns the index of the command, or -1 when the program is
 * to end. */
static int standard_options(struct tool *t)
{
    static const struct option long_options[] = {
        {"help", no_argument, 0, 'h'},
        {"version", no_argument, 0, 'V'},
        {"trace", required_argument, 0, 'T'},
        {0, 0, 0, 0},
    };
    int c;
    while ((c = img_getopt(t, t->argc, t->argv, "+:hVT:", long_options)) != -1) {
        switch (c) {
        case 'V':
            cli_version("qemu-img version");
            return -1;
        case 'T':
            if (cli_trace(t, optarg) < 0) {
                return -1;
            }
            break;
        case 'h':
            img_print_help(t);
            return -1;
        default:
            t->status = 1;
            return -1;
        }
    }
    return optind;
}

/* A question for progress must not end those who do not answer it. */
static void hold_back_usr1(void)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
}

void img_body(struct tool *t)
{
    hold_back_usr1();
    int first = standard_options(t);
    if (first < 0) {
        return;
    }
    if (first >= t->argc) {
        t->status = img_usage_error(t, "Not enough arguments");
        return;
    }
    int argc = t->argc - first;
    char **argv = t->argv + first;
    for (const struct img_command *c = img_commands; c->name; c++) {
        if (!strcmp(c->name, argv[0])) {
            optind = 0;
            t->status = c->run(t, argc, argv);
            return;
        }
    }
    t->status = img_usage_error(t, "Command not found: %s", argv[0]);
}
