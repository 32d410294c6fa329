/*
 * The fuzz target: images of one format from AFL++ in persistent mode, packed (fuzz/pack.c), one
 * world an iteration, all in this process.
 *
 * fuzz_target FORMAT; with file names behind it runs these once and says what it saw: a reproducer.
 * A finding aborts, so that the fuzzer counts it as a crash.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fuzz/fuzz_image.h"

#ifdef __AFL_FUZZ_TESTCASE_LEN
__AFL_FUZZ_INIT();
#endif

static void once(struct fuzz *f, const uint8_t *data, size_t len)
{
    struct error *err = NULL;
    struct disk *d = fuzz_unpack(f->pool, data, len);
    if (fuzz_image(f, d, &err) < 0) {
        fprintf(stderr, "%s\n", err->msg);
        abort();
    }
    disk_free(d);
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
    const struct fuzz_format *format = argc > 1 ? fuzz_format_find(argv[1]) : NULL;
    struct process *process;
    struct fuzz f;
    int status = 0;
    if (!format) {
        fprintf(stderr, "usage: %s FORMAT [FILE...]\n", argv[0]);
        return 2;
    }
#ifdef __AFL_FUZZ_TESTCASE_LEN
    if (argc < 3) {
        __AFL_INIT();
    }
#endif
    process = process_new();
    if (fuzz_start(&f, process,
                   profile && !strcmp(profile, "optimized") ? &profile_optimized
                                                            : &profile_reference,
                   format, NULL) < 0) {
        return 2;
    }
    f.plant = plant && !strcmp(plant, "flip-byte") ? FUZZ_PLANT_FLIP_BYTE : FUZZ_PLANT_NONE;
    for (int i = 2; i < argc; i++) {
        status |= run_file(&f, argv[i]);
    }
#ifdef __AFL_FUZZ_TESTCASE_LEN
    if (argc < 3) {
        unsigned char *buf = __AFL_FUZZ_TESTCASE_BUF;
        while (__AFL_LOOP(10000)) {
            once(&f, buf, (size_t)__AFL_FUZZ_TESTCASE_LEN);
        }
    }
#endif
    fuzz_end(&f);
    process_free(process);
    return status;
}
