/*
 * `blkref check-spec FILE`: the spec checker's findings, one line each; status 2 when the image
 * breaks a rule.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "harness/cli/cli.h"
#include "specs/runtime/checkers.h"

static int read_file(void *opaque, uint64_t offset, void *buf, size_t len)
{
    int fd = *(int *)opaque;
    while (len) {
        ssize_t n = pread(fd, buf, len, (off_t)offset);
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        buf = (char *)buf + n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* True when a finding is more than advice. */
static bool print_report(const struct spec_report *r)
{
    static const char *const words[SPEC_NR_SEVERITY] = {"corruption", "leak", "tolerated",
                                                        "advice"};
    bool broken = false;
    for (unsigned i = 0; i < r->nr_findings; i++) {
        const struct spec_finding *f = &r->findings[i];
        broken = broken || f->severity <= SPEC_LEAK;
        printf("%s %s at 0x%llx: %s\n", words[f->severity], f->clause,
               (unsigned long long)f->offset, f->message);
    }
    for (unsigned i = 0; i < r->nr_tally; i++) {
        broken = broken || r->tally[i].worst <= SPEC_LEAK;
        printf("%s: %llu\n", r->tally[i].clause, (unsigned long long)r->tally[i].count);
    }
    return broken;
}

/* By the first bytes; what is not known is judged, and found wrong, as qcow2. */
static const struct spec_checker *choose(const struct spec_image *image)
{
    uint8_t head[512] = {0};
    size_t n = image->size < sizeof(head) ? (size_t)image->size : sizeof(head);
    const struct spec_checker *c = NULL;
    if (read_file(image->opaque, 0, head, n) == 0) {
        c = spec_checker_probe(head, n);
    }
    return c ? c : spec_checker_find("qcow2");
}

static int check(const char *name, const char *format, int fd, uint64_t size)
{
    struct spec_image image = {.read = read_file, .opaque = &fd, .size = size};
    struct spec_report report = {0};
    const struct spec_checker *c = format ? spec_checker_find(format) : choose(&image);
    const char *clause;
    if (!c) {
        fprintf(stderr, "blkref check-spec: no checker for format '%s'\n", format);
        return 1;
    }
    int ret = c->check(&image, NULL, &report, &clause);
    if (ret < 0) {
        fprintf(stderr, "blkref check-spec: %s: %s\n", name, strerror(-ret));
    }
    bool broken = print_report(&report);
    return ret < 0 ? 1 : broken ? 2 : 0;
}

int check_spec_main(int argc, char **argv)
{
    static const char usage[] = "usage: blkref check-spec [--format FORMAT] FILE\n"
                                "Status: 0 clean, 2 breaks a rule, 1 could not be checked.\n";
    const char *format = argc == 4 && !strcmp(argv[1], "--format") ? argv[2] : NULL;
    const char *file = argv[argc - 1];
    struct stat st;
    if (argc == 2 && !strcmp(file, "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    if ((argc != 2 && !format) || file[0] == '-') {
        fputs(usage, stderr);
        return 1;
    }
    int fd = open(file, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        fprintf(stderr, "blkref check-spec: %s: %m\n", file);
        return 1;
    }
    int status = check(file, format, fd, (uint64_t)st.st_size);
    close(fd);
    return status;
}
