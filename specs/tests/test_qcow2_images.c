/*
 * The spec checker on images made by qemu-img and qemu-io: in every combination of options below it
 * finds nothing.  Skipped where these programs are not installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "specs/runtime/qcow2_check.h"

/* Each is run by the shell in a folder of its own, where base.qcow2 exists, and makes the image i.
 */
#define WRITES                                                                                     \
    " && qemu-io -f qcow2 -c 'write -P 3 1M 3M' -c 'write -P 4 5000k 700' -c 'write -z 9M 2M'"     \
    " -c 'discard 2M 1M' -c 'write -P 5 30M 1M' i"
#define CREATE(opts) "qemu-img create -f qcow2 -o " opts " i 40M" WRITES
#define SNAPSHOTS                                                                                  \
    " && qemu-img snapshot -c a i && qemu-io -c 'write 1M 300k' i && qemu-img snapshot -c b i"     \
    " && qemu-io -c 'write 30M 64k' i && qemu-img snapshot -d a i"

static const char *const recipes[] = {
    CREATE("compat=0.10"),
    CREATE("compat=1.1"),
    CREATE("cluster_size=512"),
    CREATE("cluster_size=1k"),
    CREATE("cluster_size=2M"),
    CREATE("refcount_bits=1"),
    CREATE("refcount_bits=2"),
    CREATE("refcount_bits=4"),
    CREATE("refcount_bits=8"),
    CREATE("refcount_bits=32"),
    CREATE("refcount_bits=64"),
    CREATE("extended_l2=on"),
    CREATE("extended_l2=on,cluster_size=16k"),
    CREATE("extended_l2=on,backing_file=base.qcow2,backing_fmt=qcow2"),
    CREATE("backing_file=base.qcow2,backing_fmt=qcow2"),
    CREATE("lazy_refcounts=on"),
    CREATE("data_file=raw"),
    CREATE("data_file=raw,data_file_raw=on"),
    CREATE("data_file=raw,extended_l2=on"),
    CREATE("preallocation=metadata"),
    CREATE("preallocation=metadata,extended_l2=on"),
    CREATE("preallocation=falloc"),
    CREATE("preallocation=full"),
    "qemu-img create -f qcow2 i 0",
    "qemu-img convert -c -O qcow2 base.qcow2 i",
    "qemu-img convert -c -O qcow2 -o compression_type=zstd base.qcow2 i",
    "qemu-img convert -c -O qcow2 -o cluster_size=512 base.qcow2 i",
    "qemu-img convert -c -O qcow2 -o cluster_size=2M,extended_l2=on base.qcow2 i",
    "qemu-img convert -c -O qcow2 -o compat=0.10 base.qcow2 i",
    CREATE("compat=0.10") SNAPSHOTS,
    CREATE("compat=1.1") SNAPSHOTS,
    CREATE("cluster_size=512") SNAPSHOTS,
    CREATE("refcount_bits=2") SNAPSHOTS,
    CREATE("refcount_bits=64") SNAPSHOTS,
    CREATE("extended_l2=on") SNAPSHOTS,
    CREATE("lazy_refcounts=on") SNAPSHOTS,
    CREATE("compat=1.1") SNAPSHOTS " && qemu-img snapshot -a b i && qemu-img resize i 100M"
                                   " && qemu-img resize --shrink i 10M",
    CREATE("compat=1.1") " && qemu-img bitmap --add i x && qemu-img bitmap --add -g 512 i fine"
                         " && qemu-io -c 'write 0 20M' i && qemu-img bitmap --disable i x",
    CREATE("cluster_size=16k,extended_l2=on") " && qemu-img bitmap --add -g 512 i fine"
                                              " && qemu-io -c 'write 0 40M' i",
    ("qemu-img create -f qcow2 --object secret,id=s,data=abc"
     " -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 i 10M"),
};

static int read_fd(void *opaque, uint64_t offset, void *buf, size_t len)
{
    return pread(*(int *)opaque, buf, len, (off_t)offset) == (ssize_t)len ? 0 : -5;
}

static int shell(const char *dir, const char *command)
{
    char line[2048];
    int n = snprintf(line, sizeof(line), "cd %s && { %s; } >/dev/null 2>&1", dir, command);
    assert_true(n > 0 && (size_t)n < sizeof(line));
    return system(line);
}

static bool judge(const char *dir, const char *recipe)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof(path), "%s/i", dir);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    struct spec_image image = {read_fd, &fd, (uint64_t)st.st_size};
    struct spec_report *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    assert_int_equal(spec_qcow2_check(&image, NULL, NULL, r), 0);
    bool clean = r->nr_findings == 0;
    if (!clean) {
        print_error("%s\n  %s: %s\n", recipe, r->findings[0].clause, r->findings[0].message);
    }
    free(r);
    close(fd);
    return clean;
}

static void test_images(void **state)
{
    char dir[] = "/tmp/blkref-specs-XXXXXX";
    unsigned bad = 0;
    if (shell("/tmp", "qemu-img --version && qemu-io --version")) {
        skip();
    }
    assert_non_null(mkdtemp(dir));
    assert_int_equal(
        shell(dir,
              "qemu-img create -f qcow2 base.qcow2 8M && qemu-io -c 'write -P 1 0 7M' base.qcow2"),
        0);
    for (size_t i = 0; i < sizeof(recipes) / sizeof(recipes[0]); i++) {
        /* Measuring PBKDF iterations may fail in qemu-img on a busy machine. */
        int ret = -1;
        for (int tries = 0; ret && tries < 3; tries++) {
            shell(dir, "rm -f i raw");
            ret = shell(dir, recipes[i]);
        }
        if (ret) {
            print_error("cannot run: %s\n", recipes[i]);
            bad++;
            continue;
        }
        bad += !judge(dir, recipes[i]);
    }
    shell(dir, "rm -f i raw base.qcow2");
    rmdir(dir);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_images)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
