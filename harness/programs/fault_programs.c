/*
 * Programs for the fault explorer.  See fault_programs.h.
 */
#include "harness/programs/fault_programs.h"

#include "harness/programs/letters.h"
#include "ref/base/mem.h"

static const char *const programs[] = {
    /* the L1 table moves, and what the old or the new one had is taken */
    "image qcow2 1M cluster_size=512\nwrite 0 4k 1\nflush\nresize 32M\nwrite 8k 16k 2\nwrite 64k "
    "4k "
    "3\nread 0 128k\nflush\n",
    /* snapshots taken, deleted, gone back to; then writes to what they share */
    "image qcow2 1M cluster_size=512\nwrite 0 512 1\nwrite 64k 512 2\nflush\nsnapshot s\nwrite "
    "128k "
    "512 3\nwrite 0 512 4\nread 0 256k\nflush\n",
    "image qcow2 1M cluster_size=512,refcount_bits=64\nwrite 0 24k 1\nsnapshot s\nwrite 0 8k "
    "2\ndelsnap s\nwrite 32k 8k 3\nreopen\nread 0 64k\nflush\n",
    "image qcow2 1M cluster_size=4k\nwrite 0 16k 1\nsnapshot s\nwrite 0 4k 2\napply s\nwrite 8k 4k "
    "3\nwrite 64k 8k 4\nread 0 128k\nflush\n",
    /* clusters given up, and used again */
    "image qcow2 1M cluster_size=4k\nwritec 0 4k 1\nwrite 0 4k 2\ndiscard 0 4k\nwrite 32k 700 "
    "3\nread 0 64k\nflush\n",
    "image qcow2 1M cluster_size=512\nwrite 0 64k 1\nflush\nresize 16k\nresize 1M\nwrite 32k 700 "
    "2\nread 0 64k\nflush\n",
    "image qcow2 128k backing cluster_size=4k\nwrite 0 8k 1\nflush\ncommit\nwrite 1000 512 "
    "2\nwrite "
    "32k 4k 3\nread 0 64k\nflush\n",
    "image qcow2 1M cluster_size=4k\nwrite 0 8k 1\namend refcount_bits=64\nwrite 32k 4k 2\ndiscard "
    "0 "
    "4k\nwrite 48k 4k 3\nread 0 64k\nflush\n",
    "image qcow2 1M cluster_size=4k,data_file=data\nwrite 0 8k 1\nwrite 32k 700 2\ndiscard 0 "
    "4k\nwrite 100 700 3\nread 0 64k\nflush\n",
    /* options that are changed in place */
    "image qcow2 1M cluster_size=4k\nwrite 0 8k 1\nreopen lazy-refcounts=on\nwrite 32k 700 "
    "2\nreopen l2-cache-size=4k\nwrite 4k 4k 3\nread 0 64k\nflush\n",
};

size_t fault_program_count(void)
{
    return ARRAY_SIZE(programs);
}

void fault_program(size_t n, struct program *out)
{
    program_start(programs[n], out);
}
