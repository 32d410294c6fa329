/*
 * main() of blkref-system, the drop-in for qemu-system-x86_64.
 */
#include "ref/tools/tool.h"

int main(int argc, char **argv)
{
    return tool_run("qemu-system-x86_64", argc, argv, system_body);
}
