"""We read, and go on writing, images that other writers than QEMU could have made (foreign.py, vhd.py).

QEMU's programs are asked as well, where there are any: the same bytes.
"""
import random

import pytest

from iotests import foreign, vhd

SIZE = 5 * foreign.MIB
ORDER = [3, 0, 4]


def disk(stored, block, size=SIZE):
    """A disk of which the blocks in `stored` have random data and the others nothing."""
    rng = random.Random(len(stored))
    return b"".join(rng.randbytes(min(block, size - at)) if at // block in stored else bytes(min(block, size - at))
                    for at in range(0, size, block))


def read_and_write(lab, fmt, name, expected):
    """The guest's bytes as they were made, and again behind writes into and between the blocks."""
    assert lab.bytes(name, fmt) == expected
    half = len(expected) // 8192 * 4096
    lab.io(name, "write -P 1 100k 4k", "write -P 2 %d 128k" % half, fmt=fmt)
    expected = bytearray(expected)
    expected[100 << 10:104 << 10] = b"\1" * 4096
    expected[half:half + (128 << 10)] = b"\2" * (128 << 10)
    assert lab.bytes(name, fmt) == bytes(expected)


def test_vdi(lab):
    expected = disk(ORDER, foreign.MIB)
    lab.write_file("t.vdi", foreign.vdi(expected, ORDER, gone=[1]))
    read_and_write(lab, "vdi", "t.vdi", expected)
    lab.img("check", "-f", "vdi", "t.vdi")


def vhdx(lab, sector):
    """Every state of a block, blocks in no order, the first header the newer one."""
    expected = disk(ORDER, foreign.MIB)
    states = [foreign.PRESENT, foreign.UNMAPPED, foreign.ZERO, foreign.PRESENT, foreign.PRESENT]
    lab.write_file("t.vhdx", foreign.vhdx(expected, states, ORDER, sector))
    read_and_write(lab, "vhdx", "t.vhdx", expected)
    lab.img("check", "-f", "vhdx", "t.vhdx", look=False, same=False)


def test_vhdx(lab):
    vhdx(lab, 512)


@pytest.mark.only("blkref", "QEMU opens no VHDX disks with logical sectors of 4096 bytes")
def test_vhdx_of_large_sectors(lab):
    vhdx(lab, 4096)


def test_differencing_vhdx_is_refused(lab):
    """By name and reason, never read as if it were a disk of its own."""
    lab.write_file("t.vhdx", foreign.vhdx(disk([], foreign.MIB), [0] * 5, [], parent="p.vhdx"))
    done = lab.img("convert", "-f", "vhdx", "-O", "raw", "t.vhdx", "t.raw", status=1, same=False)
    assert "t.vhdx" in done.err and "ifferencing" in done.err


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("cluster", [64 << 10, 63 * 512])
def test_parallels(lab, extended, cluster):
    order = [7, 0, 40, 2]
    expected = disk(order, cluster)
    lab.write_file("t.hdd", foreign.parallels(expected, cluster, order, extended))
    read_and_write(lab, "parallels", "t.hdd", expected)
    lab.img("check", "-f", "parallels", "t.hdd", same=False)


SIZED_BY_GEOMETRY = ["vpc ", "vs  ", "qemu", "vbox", "abcd"]
SIZED_BY_FOOTER = ["win ", "d2v ", "tap\0", "CTXS", "qem2"]
GEOMETRY, SMALLER = (9, 4, 33), 9 * 4 * 33 * 512


def vhd_of(lab, creator):
    """Three blocks in no order; their bitmaps, with holes, are no matter in a dynamic disk."""
    block = 256 << 10
    expected = disk([2, 0], block, 3 * block)
    blocks = {n: (range(0, 512, 3), expected[n * block:(n + 1) * block]) for n in (2, 0)}
    lab.write_file("t.vhd", vhd.image(len(expected), blocks, block=block, creator=creator.encode(), geometry=GEOMETRY))
    return expected


@pytest.mark.parametrize("creator", SIZED_BY_GEOMETRY + SIZED_BY_FOOTER)
def test_vhd_of_many_creators(lab, creator):
    """Two opinions on the size: whose geometry counts, and whose is a hint."""
    expected = vhd_of(lab, creator)
    read_and_write(lab, "vpc", "t.vhd", expected[:SMALLER] if creator in SIZED_BY_GEOMETRY else expected)


@pytest.mark.parametrize("calc", ["chs", "current_size"])
def test_vhd_size_as_told(lab, calc):
    expected = vhd_of(lab, "abcd")
    opts = "driver=vpc,file.filename=t.vhd,force_size_calc=" + calc
    info = lab.img("info", "--output=json", "--image-opts", opts).json()
    assert info["virtual-size"] == (SMALLER if calc == "chs" else len(expected))
