"""bench: its arguments; how long it takes is nobody's interface."""
import pytest

from iotests.blkimg import QCOW2, RAW


@pytest.mark.parametrize("args", [
    "-c 4", "-c 4 -d 1", "-c 4 -d 8 -s 4k", "-c 4 -w", "-c 4 -w --pattern=7", "-c 4 -w -o 64k -S 128k", "-c 4 -w --flush-interval=2",
    "-c 4 -w --flush-interval=2 --no-drain", "-c 4 -n", "-c 4 -t none", "-c 4 -i threads", "-c 4 -q", "-c 4 -U",
    "-c 0", "-c -1", "-c x", "-d -1", "-d x", "-s 0", "-s x", "-s 3G", "-S x", "-S 0", "-o x", "-o -1", "-o 2M -c 2",
    "--pattern=x", "--pattern=256 -w -c 2", "--pattern=-1", "--flush-interval=x -w", "--flush-interval=1 -w -d 4 -c 8",
    "--no-drain", "--flush-interval=2", "-t x", "-i x", "-f x", "-Z", "x",
])
def test_arguments(lab, args):
    lab.create(QCOW2, "t.img", "1M")
    lab.img("bench", *args.split(), "t.img", status=None, filters=["bench", "usage"])


@pytest.mark.parametrize("variant", [RAW, QCOW2], ids=str)
def test_what_is_written(lab, variant):
    """-w writes the pattern at each step; reading changes nothing."""
    lab.create(variant, "t.img", "1M")
    lab.img("bench", "-f", variant.fmt, "-w", "-c", "4", "-d", "1", "-s", "4k", "-S", "64k", "--pattern=5", "t.img", filters=["bench"])
    assert [r for r in lab.runs("t.img") if r[2] == 5] == [(n * 65536, 4096, 5) for n in range(4)]
    before = lab.bytes("t.img")
    lab.img("bench", "-f", variant.fmt, "-c", "4", "t.img", filters=["bench"])
    assert lab.bytes("t.img") == before
