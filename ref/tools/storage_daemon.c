/*
 * blkref-storage-daemon: answers --help and --version; the daemon itself is refused until exports
 * and QMP exist.
 */
#include "ref/tools/cli.h"

static const char usage[] =
    "Usage: qemu-storage-daemon [options]\n"
    "  -h, --help       show this text\n"
    "  -V, --version    show the version\n"
    "\n"
    "This build answers probes only: it has neither exports nor a monitor.\n";

void storage_daemon_body(struct tool *t)
{
    for (int i = 1; i < t->argc; i++) {
        const char *a = t->argv[i];
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            fputs(usage, stdout);
            return;
        }
        if (!strcmp(a, "--version") || !strcmp(a, "-V")) {
            cli_version("qemu-storage-daemon version");
            return;
        }
    }
    cli_refuse(t, t->argc > 1 ? t->argv[1] : "running as a daemon");
}
