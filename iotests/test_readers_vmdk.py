"""Second opinions on the VMware disks that our programs write: 7-Zip's bytes, libvmdk's description.

Skipped, each with its reason, where a reader is not installed.
"""
import os

import pytest

from iotests import readers

SUBFORMATS = {
    "monolithicSparse": "Monolithic sparse",
    "monolithicFlat": "Monolithic flat",
    "twoGbMaxExtentSparse": "2GB extent sparse",
    "twoGbMaxExtentFlat": "2GB extent flat",
    "streamOptimized": "Stream optimized",
}
SIZE = 40 << 20


@pytest.fixture
def source(folder):
    return readers.source(folder, SIZE)


def convert(ours, source, folder, subformat):
    target = os.path.join(folder, "disk.vmdk")
    done = ours.run("img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                    "subformat=" + subformat, source, target)
    assert done.status == 0, done.err
    return target


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_seven_zip_reads_the_same_bytes(ours, source, folder, subformat):
    program = readers.program("7z", "p7zip-full")
    target = convert(ours, source, folder, subformat)
    with open(source, "rb") as raw:
        assert readers.run(program, "x", "-so", target) == raw.read()


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_libvmdk_describes_it(ours, source, folder, subformat):
    program = readers.program("vmdkinfo", "libvmdk-utils")
    text = readers.run(program, convert(ours, source, folder, subformat)).decode()
    said = dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)
    said = {key: value.strip() for key, value in said.items()}
    assert said["Disk type"] == SUBFORMATS[subformat]
    assert "(%d bytes)" % SIZE in said["Media size"]
    assert said["Parent content identifier"] == "0xffffffff"
    assert said["Number of extents"] == "1"
