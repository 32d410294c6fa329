/*
 * qemu-img's frame: the command table, option parsing, opening, printing.
 *
 * Each command is one file img_<name>.c with one function `int img_<name>(struct tool *t, int argc,
 * char **argv)`, argv[0] being the command's name; it returns the exit status.  Messages, prefixes
 * and exit codes are QEMU 7.2.0's.
 */
#ifndef BLKREF_TOOLS_IMG_IMG_H
#define BLKREF_TOOLS_IMG_IMG_H

#include <getopt.h>
#include "ref/base/error.h"
#include "ref/block/backend.h"
#include "ref/job/job.h"
#include "ref/tools/tool.h"

struct img_command {
    const char *name;
    int (*run)(struct tool *t, int argc, char **argv);
    const char *synopsis; /* for --help: what stands behind the name */
};
/* Ends with name == NULL; one line a command in img.c. */
extern const struct img_command img_commands[];

/* Values of long options without a letter. */
enum {
    IMG_OPT_OBJECT = 256,
    IMG_OPT_IMAGE_OPTS,
    IMG_OPT_TARGET_IMAGE_OPTS,
    IMG_OPT_OUTPUT,
    IMG_OPT_BACKING_CHAIN,
    IMG_OPT_PATTERN,
    IMG_OPT_FLUSH_INTERVAL,
    IMG_OPT_NO_DRAIN,
    IMG_OPT_SIZE,
    IMG_OPT_PREALLOCATION,
    IMG_OPT_SHRINK,
    IMG_OPT_SALVAGE,
    IMG_OPT_TARGET_IS_ZERO,
    IMG_OPT_ADD,
    IMG_OPT_REMOVE,
    IMG_OPT_CLEAR,
    IMG_OPT_ENABLE,
    IMG_OPT_DISABLE,
    IMG_OPT_MERGE,
    IMG_OPT_BITMAPS,
    IMG_OPT_FORCE,
    IMG_OPT_SKIP_BROKEN,
    IMG_OPT_START_OFFSET,
    IMG_OPT_MAX_LENGTH,
};

/* "qemu-img: MSG" and "Try 'qemu-img --help' for more information"; returns 1. */
int img_usage_error(struct tool *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

enum img_output { OUTPUT_HUMAN, OUTPUT_JSON };
/* false after "--output must be used with human or json as argument." */
bool img_parse_output(struct tool *t, const char *arg, enum img_output *out);
/* getopt_long(); '?' after a message, also for "missing argument for option 'X'". */
int img_getopt(struct tool *t, int argc, char **argv, const char *short_options,
               const struct option *long_options);
/* What options that mean the same in every command that has them have said. */
struct img_common {
    const char *fmt, *cache, *source_cache; /* -f, -t, -T */
    enum img_output output;
    bool image_opts, force_share, quiet, progress; /* --image-opts, -U, -q, -p */
    int bad_value;      /* exit status for a wrong value of an option; 0 is 1 */
    bool help_on_error; /* a wrong option: getopt's own message, then the help and success */
};
/* Takes one option of a command's own (its argument in optarg); false after a message. */
typedef bool img_take_fn(struct tool *t, void *request, int option);
/*
 * Goes through all options, also those behind operands (GNU permutation; operands follow from
 * argv[optind]).  short_options starts with ':'.  -h, -f, -t, -T, -p, -q, -U, --output, --object
 * and
 * --image-opts are taken here where the lists have them, the others by `take`.  Returns 0 to go on,
 * else 1 + the exit status, after "unrecognized option 'X'", "missing argument for option 'X'",
 * another message, or the help.
 */
int img_parse_options(struct tool *t, int argc, char **argv, const char *short_options,
                      const struct option *long_options, struct img_common *o, img_take_fn *take,
                      void *request);
/* Size argument as `qemu-img` takes it: -EINVAL/-ERANGE, or the value; messages are the caller's.
 */
int64_t img_parse_size(struct tool *t, const char *text);
/* QEMU's warning when text is a hexadecimal number with a suffix. */
void img_warn_hex(struct tool *t, const char *text);
/* The same for sizes among -o options, as often as QEMU reads them. */
void img_warn_hex_options(struct tool *t, const struct opt_desc *table, const char *options,
                          int times);
/* As above with the messages of a bad `what` ("image size", "start offset"); < 0 when bad. */
int64_t img_size_argument(struct tool *t, const char *what, const char *text);
/* As above for a value from min to max ("Invalid WHAT specified. Must be between 1 and
 * 2147483647."). */
int64_t img_size_between(struct tool *t, const char *what, const char *text, int64_t min,
                         int64_t max);
/* Parses a -l argument into *id_or_name (borrowed) or, for "snapshot.*=...", into *opts; false
 * after messages. */
bool img_parse_snapshot(struct tool *t, const char *text, const char **id_or_name,
                        struct value **opts);
/* Makes b's node show the snapshot that img_parse_snapshot() named (none: nothing happens); false
 * after a message. */
bool img_load_snapshot(struct tool *t, struct blk *b, const char *id_or_name,
                       const struct value *opts);
/* Prints the create options of a format, and of the protocol of filename (may be NULL); exit
 * status. */
int img_options_help(struct tool *t, const char *filename, const char *fmt);
/* Collects an --object argument; false after a message. */
bool img_add_object(struct tool *t, const char *text);

/*
 * Opens an image as the tools do: `image_opts`: name is dotted options (fmt must be NULL), else a
 * filename with optional format.  NULL after a message ("Could not open 'X': ...").
 */
struct blk *img_open(struct tool *t, bool image_opts, const char *filename, const char *fmt,
                     unsigned flags, bool writethrough, bool quiet, bool force_share);
/* As above, with further options (consumed), for convert's -l and rebase. */
struct blk *img_open_file(struct tool *t, struct value *options, const char *filename,
                          const char *fmt, unsigned flags, bool writethrough, bool quiet,
                          bool force_share);
/* Parses a -t / -T cache mode; false when invalid (no message). */
bool img_parse_cache(const char *mode, unsigned *flags, bool *writethrough);
/* printf to stdout unless quiet. */
void img_print(bool quiet, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Accumulates -o arguments ("a,b" + "c"): false after "Invalid option list: ...". */
bool img_add_options(struct tool *t, char **options, const char *arg);

/*
 * -p: "    (12.34/100%)\r" lines, each at least min_step further than the last one; without it
 * SIGUSR1 prints one to stderr.  Percent 0 to 100.  Nothing is printed before the first
 * img_progress(); the end is a new line, also of a command that has failed.
 */
struct img_progress {
    struct tool *t;
    bool enabled;
    float min_step, shown, current;
};
void img_progress_start(struct img_progress *p, struct tool *t, bool enabled, float min_step);
void img_progress(struct img_progress *p, float percent);
void img_progress_end(struct img_progress *p);
/* Runs j, which is CREATED, to its end and lets p follow it; 0 or -errno with err. */
int img_run_job(struct job *j, struct img_progress *p, struct error **err);

int img_amend(struct tool *t, int argc, char **argv);
int img_bench(struct tool *t, int argc, char **argv);
int img_bitmap(struct tool *t, int argc, char **argv);
int img_check(struct tool *t, int argc, char **argv);
int img_commit(struct tool *t, int argc, char **argv);
int img_compare(struct tool *t, int argc, char **argv);
int img_convert(struct tool *t, int argc, char **argv);
int img_create(struct tool *t, int argc, char **argv);
int img_dd(struct tool *t, int argc, char **argv);
int img_info(struct tool *t, int argc, char **argv);
int img_map(struct tool *t, int argc, char **argv);
int img_measure(struct tool *t, int argc, char **argv);
int img_snapshot(struct tool *t, int argc, char **argv);
int img_rebase(struct tool *t, int argc, char **argv);
int img_resize(struct tool *t, int argc, char **argv);

#endif
