/*
 * `qemu-img --help`: synopses from the command table, the parameters in our words, the formats from
 * the driver list.
 */
#include "ref/tools/img/help.h"

#include "ref/tools/cli.h"
#include "ref/tools/img/img.h"

static const char head[] = "usage: qemu-img [standard options] command [command options]\n"
                           "Creates, converts, examines and repairs disk images\n"
                           "\n"
                           "    '-h', '--help'       show this help\n"
                           "    '-V', '--version'    show the version\n"
                           "    '-T', '--trace'      trace events; this build has none\n"
                           "\n"
                           "Command syntax:\n";

static const char parameters[] =
    "\n"
    "Command parameters:\n"
    "  'filename'    an image: a path, PROTOCOL:..., json:{...}; with --image-opts a list of "
    "options\n"
    "  'objectdef'   TYPE,id=ID,...: an object that images refer to by its id\n"
    "  'fmt'         the image's format; probed where it is not given\n"
    "  'cache'       none, writeback, writethrough, directsync or unsafe (convert starts with "
    "unsafe)\n"
    "  'size'        bytes; suffixes k, M, G, T, P, E are powers of 1024\n"
    "  'options'     name=value,...; `-o help` lists the names that the format has\n"
    "  'snapshot_param'  an internal snapshot: NAME_OR_ID, or snapshot.id=ID,snapshot.name=NAME\n"
    "  -c    (convert) write compressed clusters\n"
    "  -u    (create, rebase) do not open the backing file\n"
    "  -p    show progress; SIGUSR1 prints it once\n"
    "  -q    print errors only\n"
    "  -S    (convert) how many zero bytes in a row become a hole; 0 writes everything\n"
    "  -n    (convert) the target exists: do not create it\n"
    "  -m    (convert) how many requests run beside each other, 1 to 16\n"
    "  -W    (convert) write out of order\n"
    "  -r    (check) repair: 'leaks' or 'all'; (commit, convert) bytes a second\n"
    "  -s    (compare) sizes and allocation must be equal, too\n"
    "  -U    open although another program may be writing\n"
    "\n";

void img_print_help(struct tool *t)
{
    cli_version("qemu-img version");
    fputs(head, stdout);
    for (const struct img_command *c = img_commands; c->name; c++) {
        printf("  %s %s\n", c->name, c->synopsis);
    }
    fputs(parameters, stdout);
    cli_print_image_formats(t);
}
