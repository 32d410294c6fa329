/*
 * The program runner: what other builds do for a campaign, and what a person runs to watch one
 * program.
 */
#include "harness/subject/runner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "harness/subject/subject.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"
#include "ref/engine/world.h"

struct runner_request {
    const char *dir, *file;
    const struct profile *profile;
    bool lines;
};

/* The guest's bytes, hashed; 0 and a failing status when they cannot be read. */
static uint64_t hash_guest(struct subject *s, int64_t length, int *status)
{
    uint8_t *buf = mem_try_alloc((size_t)MAX(length, 1));
    int ret = buf ? s->ops->read(s, 0, buf, (size_t)length, NULL) : -1;
    uint64_t hash = ret < 0 ? 0 : hash_bytes(buf, (size_t)length, 0);
    if (ret < 0 && *status == 0) {
        *status = SUBJECT_ERROR;
    }
    mem_free(buf);
    return hash;
}

static void print_result(struct subject *s, int status)
{
    struct strbuf text = STRBUF_INIT;
    struct extent *map = NULL;
    int64_t length = s->ops->length(s);
    uint64_t hash = length < 0 ? 0 : hash_guest(s, length, &status);
    int n = length < 0 ? 0 : s->ops->map(s, &map, NULL);
    strbuf_printf(&text, "%d %lld %016" PRIx64 " ", status, (long long)length, hash);
    for (int i = 0; i < n; i++) {
        strbuf_puts(&text, i ? " " : "");
        extent_text(&text, &map[i]);
    }
    puts(text.s);
    fflush(stdout);
    strbuf_free(&text);
    mem_free(map);
}

static void print_check(struct subject *s)
{
    struct subject_check found = {.leaks = 0};
    int ret = s->ops->check(s, &found, NULL);
    printf("%d %lld 0 %d %d %d\n", ret, (long long)s->ops->length(s), found.corruptions,
           found.leaks, found.check_errors);
    fflush(stdout);
}

/* One line of a stream; < 0 when it makes no sense. */
static int run_line(struct subject *s, const char *line, bool *have_image, struct error **err)
{
    struct error *failed = NULL;
    int ret;
    if (!strcmp(line, "check")) {
        print_check(s);
        return 0;
    }
    if (!*have_image) {
        struct program p;
        ret = program_parse(line, &p, err);
        if (ret < 0) {
            return ret;
        }
        *have_image = true;
        ret = s->ops->create(s, &p, &failed);
        program_free(&p);
    } else {
        struct op op;
        ret = op_parse(line, &op, err);
        if (ret < 0) {
            return ret;
        }
        ret = s->ops->apply(s, &op, &failed);
    }
    print_result(s, ret);
    error_clear(&failed);
    return 0;
}

static int run_stream(struct subject *s, FILE *in, bool echo)
{
    char line[512];
    bool have_image = false;
    struct error *err = NULL;
    int ret = 0;
    while (ret == 0 && fgets(line, sizeof(line), in)) {
        line[strcspn(line, "#\r\n")] = 0;
        if (line[strspn(line, " \t")]) {
            if (echo) {
                printf("%s\n    ", line);
            }
            ret = run_line(s, line, &have_image, &err);
        }
    }
    if (ret == 0 && echo && have_image) {
        printf("check\n    ");
        print_check(s);
    }
    if (ret < 0) {
        fprintf(stderr, "blkref run: %s\n", err->msg);
    }
    error_clear(&err);
    return ret < 0;
}

static int usage(void)
{
    fputs("usage: blkref run [--profile reference|optimized] [--dir DIR] [--lines] PROGRAM|-\n",
          stderr);
    return 1;
}

static bool parse(struct runner_request *r, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--lines")) {
            r->lines = true;
        } else if (!strcmp(argv[i], "--dir") && i + 1 < argc) {
            r->dir = argv[++i];
        } else if (!strcmp(argv[i], "--profile") && i + 1 < argc) {
            i++;
            r->profile = !strcmp(argv[i], "reference")   ? &profile_reference
                         : !strcmp(argv[i], "optimized") ? &profile_optimized
                                                         : NULL;
        } else if (!r->file && (argv[i][0] != '-' || !argv[i][1])) {
            r->file = argv[i];
        } else {
            return false;
        }
    }
    return r->file && r->profile;
}

int runner_main(int argc, char **argv)
{
    struct runner_request r = {.profile = &profile_optimized};
    if (!parse(&r, argc, argv)) {
        return usage();
    }
    FILE *in = strcmp(r.file, "-") ? fopen(r.file, "r") : stdin;
    if (!in) {
        fprintf(stderr, "blkref run: %s: %m\n", r.file);
        return 1;
    }
    struct process *process = process_new();
    struct subject *s = subject_ref_new(process, "run", r.profile, r.dir, PLANT_NONE);
    int status = run_stream(s, in, !r.lines);
    subject_free(s);
    process_free(process);
    if (in != stdin) {
        fclose(in);
    }
    return status;
}
