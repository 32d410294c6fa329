/*
 * main() of blkref-img, the drop-in for qemu-img.
 */
#include "ref/tools/tool.h"

int main(int argc, char **argv)
{
    return tool_run("qemu-img", argc, argv, img_body);
}
