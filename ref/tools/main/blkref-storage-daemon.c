/*
 * main() of blkref-storage-daemon, the drop-in for qemu-storage-daemon.
 */
#include "ref/tools/tool.h"

int main(int argc, char **argv)
{
    return tool_run("qemu-storage-daemon", argc, argv, storage_daemon_body);
}
