/*
 * Programs that failed once, on both profiles beside the shadow: small, and each for a reason of
 * its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "harness/campaign/explore_stages.h"
#include "harness/oracle/compare.h"
#include "ref/base/mem.h"
#include "ref/engine/world.h"

static const struct {
    const char *why, *text;
} programs[] = {
    {"growth with preallocation keeps the last, partial cluster's backing data",
     "image qcow2 1450496 backing\nresize 2490368 metadata\n"},
    {"the same where the data are in a file of their own",
     "image qcow2 1450496 backing data_file=data\nresize 2490368 metadata\nwrite 1450000 1000 7\n"},
    {"a snapshot that fails for its refcounts gives back its L1 table",
     "image qcow2 1572864 refcount_bits=1,preallocation=metadata\nsnapshot s1\n"},
    {"and the references that it had taken until then",
     "image qcow2 350720 refcount_bits=2\nwrite 169840 180880 1\nsnapshot s1\nsnapshot s2\nwrite 0 "
     "169472 2\nsnapshot s3\nwrite 0 200k 3\n"},
    {"the same of compressed clusters",
     "image qcow2 1M refcount_bits=2\nwrite 256k 64k 1\nsnapshot s1\nsnapshot s2\nwritec 0 128k "
     "2\nsnapshot s3\nwrite 0 200k 3\n"},
    {"compressed data never goes into a cluster that became something else",
     "image qcow2 2883584\nwritec 1572864 65536 4\nwrite 1148416 458752 7\nwrite 0 128 9\nwritec "
     "458752 65536 11\n"},
    {"version 2 refuses zeroes without fallback as a whole",
     "image qcow2 1M compat=0.10\nwrite 0 64k 1\nzero 0 64k nofallback\nzero 0 64k\n"},
    {"a refcount block in a place that was free is not given back to the host any more",
     "image qcow2 1M cluster_size=512,refcount_bits=64\nresize 2M metadata\nzero 3425 77\nresize "
     "1M\nwritec 3584 512 6\nresize 2M metadata\ndiscard 48128 512\n"},
    {"growth of a raw data file",
     "image qcow2 1M data_file=data,data_file_raw=on\nresize 2M\nwrite 1M 512 1\n"},
    {"an encrypted data file that is cut and grows: holes are no zeroes",
     "image qcow2 1M data_file=data,encrypt.format=aes\nwrite 0 1M 1\nresize 520192\nresize 1M\n"},
    {"the same in subclusters, in steps",
     "image qcow2 1M cluster_size=512k,extended_l2=on,data_file=data,encrypt.format=aes\nwrite 0 "
     "400k "
     "1\nresize 10k\nresize 50k\nresize 300k\nresize 1M\n"},
    {"a resize down and up again under snapshots",
     "image qcow2 1M cluster_size=4k\nwrite 0 1M 1\nsnapshot a\nresize 512k\nwrite 0 4k 2\nresize "
     "2M\napply a\n"},
    {"commit of a longer overlay", "image qcow2 1M cluster_size=4k\nwrite 0 64k 1\noverlay\nresize "
                                   "2M\nwrite 1500000 1000 2\nzero 0 8k\ncommit\n"},
};

static void test_programs(void **state)
{
    static const struct profile *const profiles[] = {&profile_reference, &profile_optimized};
    struct process *process = process_new();
    struct subject *oracle =
        subject_ref_new(process, "reference", &profile_reference, NULL, PLANT_NONE);
    for (size_t i = 0; i < ARRAY_SIZE(programs) * 2; i++) {
        struct subject *s =
            subject_ref_new(process, profiles[i % 2]->name, profiles[i % 2], NULL, PLANT_NONE);
        struct program p;
        struct finding f;
        assert_int_equal(program_parse(programs[i / 2].text, &p, NULL), 0);
        if (compare_run(oracle, s, &p, &f)) {
            print_error("%s (%s): %s\n", programs[i / 2].why, s->name, f.detail);
            fail();
        }
        finding_free(&f);
        program_free(&p);
        subject_free(s);
    }
    subject_free(oracle);
    process_free(process);
}

/* The same on simulated disks, which may be longer than the image. */
static void test_long_disks(void **state)
{
    static const char *const texts[] = {
        /* the refcount table grew further than the move that made it grow had asked for */
        "image qcow2 1M cluster_size=512,refcount_bits=64\nwrite 0 768k 1\ndiscard 64k "
        "640k\nflush\nextend 2G\nresize 1100k falloc\nread 0 1100k\nflush\n",
        /* tables behind the new clusters were cut off with the file */
        "image qcow2 1M cluster_size=512\nextend 16M\nresize 1114112 falloc\n",
        /* of two snapshots of one name */
        "image qcow2 1M\nsnapshot s\nsnapshot s\nwrite 0 1 7\ndelsnap s\napply s\n",
    };
    static const char *const subjects[] = {"reference", "optimized"};
    struct campaign c = {.process = process_new()};
    for (size_t i = 0; i < ARRAY_SIZE(texts) * 2; i++) {
        struct error *err = NULL;
        if (repro_sequences(&c, subjects[i % 2], texts[i / 2], &err)) {
            print_error("%s (%s): %s\n", texts[i / 2], subjects[i % 2], err ? err->msg : "?");
            fail();
        }
    }
    process_free(c.process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_programs),
                                       cmocka_unit_test(test_long_disks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
