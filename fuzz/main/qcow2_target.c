/*
 * The fuzz target: qcow2 images from AFL++ in persistent mode, one world an iteration, all in this
 * process.
 *
 * With file names as arguments it runs these once and says what it saw: a reproducer.  A broken
 * promise aborts, so that the fuzzer counts it as a crash.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fuzz/fuzz_qcow2.h"

#ifdef __AFL_FUZZ_TESTCASE_LEN
__AFL_FUZZ_INIT();
#endif

static void once(struct fuzz *f, const uint8_t *data, size_t len)
{
    struct error *err = NULL;
    if (fuzz_qcow2(f, data, len, &err) < 0) {
        fprintf(stderr, "%s\n", err->msg);
        abort();
    }
}

static int run_file(struct fuzz *f, const char *name)
{
    static const size_t max = FUZZ_MAX_INPUT;
    uint8_t *buf = malloc(max);
    FILE *in = fopen(name, "rb");
    if (!in || !buf) {
        perror(name);
        return 1;
    }
    size_t len = fread(buf, 1, max, in);
    fclose(in);
    once(f, buf, len);
    free(buf);
    printf("%s: %zu bytes, %s, %llu writes\n", name, len, f->opened ? "opens" : "does not open",
           (unsigned long long)f->wrote);
    return 0;
}

int main(int argc, char **argv)
{
    const char *plant = getenv("BLKREF_FUZZ_PLANT"), *profile = getenv("BLKREF_PROFILE");
    struct fuzz f = {.profile = profile && !strcmp(profile, "optimized") ? &profile_optimized
                                                                         : &profile_reference,
                     .flip_byte = plant && !strcmp(plant, "flip-byte")};
    int status = 0;
#ifdef __AFL_FUZZ_TESTCASE_LEN
    if (argc < 2) {
        __AFL_INIT();
    }
#endif
    f.process = process_new();
    for (int i = 1; i < argc; i++) {
        status |= run_file(&f, argv[i]);
    }
#ifdef __AFL_FUZZ_TESTCASE_LEN
    if (argc < 2) {
        unsigned char *buf = __AFL_FUZZ_TESTCASE_BUF;
        while (__AFL_LOOP(10000)) {
            once(&f, buf, (size_t)__AFL_FUZZ_TESTCASE_LEN);
        }
    }
#endif
    process_free(f.process);
    return status;
}
