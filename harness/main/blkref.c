/*
 * The framework's program.
 */
#include <malloc.h>
#include "harness/cli/cli.h"

int main(int argc, char **argv)
{
    /* Worlds come and go by the thousand: what one gives back the next takes, not the kernel. */
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    mallopt(M_MMAP_THRESHOLD, 16 << 20);
    return cli_main(argc, argv);
}
