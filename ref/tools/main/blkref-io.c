/*
 * main() of blkref-io, the drop-in for qemu-io.
 */
#include "ref/tools/tool.h"

int main(int argc, char **argv)
{
    return tool_run("qemu-io", argc, argv, io_body);
}
