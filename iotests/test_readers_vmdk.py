"""Second opinions on the VMware disks that our programs write: 7-Zip's bytes, libvmdk's description.

Skipped, each with its reason, where a reader is not installed.
"""
import os
import random
import shutil
import subprocess

import pytest

SUBFORMATS = {
    "monolithicSparse": "Monolithic sparse",
    "monolithicFlat": "Monolithic flat",
    "twoGbMaxExtentSparse": "2GB extent sparse",
    "twoGbMaxExtentFlat": "2GB extent flat",
    "streamOptimized": "Stream optimized",
}
SIZE = 40 << 20


def reader(name, package):
    path = shutil.which(name)
    if not path:
        pytest.skip("%s is not installed (package %s)" % (name, package))
    return path


@pytest.fixture
def ours(subjects):
    found = [s for s in subjects if s.name == "blkref"]
    if not found:
        pytest.skip("only what our programs write is judged here")
    return found[0]


@pytest.fixture
def source(folder):
    """Random data, text and holes, with an end that is no whole grain."""
    rng = random.Random(5)
    path = os.path.join(folder, "source.raw")
    with open(path, "wb") as out:
        out.write(rng.randbytes(700000))
        out.seek(9 << 20)
        out.write(b"the quick brown fox " * 70000)
        out.seek(SIZE - 5000)
        out.write(rng.randbytes(5000))
    return path


def convert(ours, source, folder, subformat):
    target = os.path.join(folder, "disk.vmdk")
    done = ours.run("img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                    "subformat=" + subformat, source, target)
    assert done.status == 0, done.err
    return target


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_seven_zip_reads_the_same_bytes(ours, source, folder, subformat):
    program = reader("7z", "p7zip-full")
    target = convert(ours, source, folder, subformat)
    done = subprocess.run([program, "x", "-so", target], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with open(source, "rb") as raw:
        assert done.stdout == raw.read()


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_libvmdk_describes_it(ours, source, folder, subformat):
    program = reader("vmdkinfo", "libvmdk-utils")
    target = convert(ours, source, folder, subformat)
    done = subprocess.run([program, target], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=120, check=False, universal_newlines=True)
    assert done.returncode == 0, done.stdout
    said = dict(line.strip().split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    said = {key: value.strip() for key, value in said.items()}
    assert said["Disk type"] == SUBFORMATS[subformat]
    assert "(%d bytes)" % SIZE in said["Media size"]
    assert said["Parent content identifier"] == "0xffffffff"
    assert said["Number of extents"] == "1"
