/*
 * main() of blkref-nbd, the drop-in for qemu-nbd.
 */
#include "ref/tools/tool.h"

int main(int argc, char **argv)
{
    return tool_run("qemu-nbd", argc, argv, nbd_body);
}
