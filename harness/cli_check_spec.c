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
#include "harness/cli.h"
#include "specs/runtime/qcow2_check.h"
#include "specs/runtime/vmdk_check.h"

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
static int check_image(const struct spec_image *image, struct spec_report *r)
{
    uint8_t magic[4] = {0};
    int ret = image->size >= sizeof(magic) ? read_file(image->opaque, 0, magic, sizeof(magic)) : 0;
    if (ret < 0) {
        return ret;
    }
    bool vmdk = !memcmp(magic, "KDMV", 4) || !memcmp(magic, "COWD", 4);
    return vmdk ? spec_vmdk_check(image, NULL, NULL, r) : spec_qcow2_check(image, NULL, NULL, r);
}

static int check(const char *name, int fd, uint64_t size)
{
    struct spec_image image = {.read = read_file, .opaque = &fd, .size = size};
    struct spec_report report = {0};
    int ret = check_image(&image, &report);
    if (ret < 0) {
        fprintf(stderr, "blkref check-spec: %s: %s\n", name, strerror(-ret));
    }
    bool broken = print_report(&report);
    return ret < 0 ? 1 : broken ? 2 : 0;
}

int check_spec_main(int argc, char **argv)
{
    struct stat st;
    if (argc != 2 || argv[1][0] == '-') {
        fputs("usage: blkref check-spec FILE\nStatus: 0 clean, 2 breaks a rule, 1 could not be "
              "checked.\n",
              stderr);
        return 1;
    }
    int fd = open(argv[1], O_RDONLY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        fprintf(stderr, "blkref check-spec: %s: %m\n", argv[1]);
        return 1;
    }
    int status = check(argv[1], fd, (uint64_t)st.st_size);
    close(fd);
    return status;
}
