/*
 * blkref-nbd: answers --help and --version; serving is refused until the NBD export exists.
 */
#include "ref/tools/cli.h"

static const char usage[] = "Usage: qemu-nbd [OPTIONS] FILE\n"
                            "  -h, --help       show this text\n"
                            "  -V, --version    show the version\n"
                            "\n"
                            "This build answers probes only: it has no NBD server.\n";

void nbd_body(struct tool *t)
{
    for (int i = 1; i < t->argc; i++) {
        const char *a = t->argv[i];
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            fputs(usage, stdout);
            return;
        }
        if (!strcmp(a, "--version") || !strcmp(a, "-V")) {
            cli_version("qemu-nbd");
            return;
        }
    }
    cli_refuse(t, "serving images over NBD");
}
