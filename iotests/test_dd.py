"""dd: block sizes, counts, skips and formats; it reads and writes in guest bytes."""
import pytest

from iotests.blkimg import ALL, EVERY, QCOW2, RAW

CONTENT = ["write -P 1 0 64k", "write -P 2 64k 300k", "write -z 512k 64k", "write -P 3 1047552 1k"]


def source(lab, variant=QCOW2):
    lab.create(variant, "s.img", "1M")
    lab.io("s.img", *CONTENT)


@pytest.mark.parametrize("variant", ALL + EVERY[2:], ids=str)
@pytest.mark.parametrize("target", [RAW, QCOW2], ids=str)
def test_whole_images(lab, variant, target):
    source(lab, variant)
    lab.img("dd", "-f", variant.fmt, "-O", target.fmt, "if=s.img", "of=t.img", "bs=64k")
    lab.watch("t.img", target.fmt)
    lab.look()
    assert lab.bytes("t.img") == lab.bytes("s.img")


@pytest.mark.parametrize("target", EVERY[2:], ids=str)
def test_into_other_formats(lab, target):
    source(lab)
    lab.img("dd", "-O", target.fmt, "if=s.img", "of=t.img", "bs=64k", status=None)
    lab.watch("t.img", target.fmt)
    lab.look()


@pytest.mark.parametrize("operands", [
    "bs=512", "bs=1", "bs=1000", "bs=1M", "bs=2M", "bs=3M", "bs=64k count=4", "bs=64k count=0", "bs=64k count=100",
    "bs=64k skip=1", "bs=64k skip=15", "bs=64k skip=16", "bs=64k skip=17", "bs=64k skip=4 count=4",
    "bs=1000 skip=3 count=7", "count=3", "skip=2", "bs=512 skip=2047", "bs=512 count=1k",
    "bs=64k skip=9223372036854775807", "bs=64k count=9223372036854775807", "bs=4k count=5 skip=250",
])
@pytest.mark.parametrize("target", [RAW, QCOW2], ids=str)
def test_blocks(lab, operands, target):
    if operands in ("bs=1",):
        lab.create(QCOW2, "s.img", "2k")
        lab.io("s.img", "write -P 3 100 1000")
    else:
        source(lab)
    done = lab.img("dd", "-O", target.fmt, *operands.split(), "if=s.img", "of=t.img", status=None)
    lab.watch("t.img", target.fmt)
    if done.status == 0:
        lab.look()


@pytest.mark.parametrize("args", [
    "", "if=s.img", "of=t.img", "if=none.img of=t.img", "if=s.img of=nodir/t.img", "if=s.img of=t.img bs=0",
    "if=s.img of=t.img bs=-1", "if=s.img of=t.img bs=x", "if=s.img of=t.img bs=", "if=s.img of=t.img bs=3G",
    "if=s.img of=t.img count=x", "if=s.img of=t.img count=-1", "if=s.img of=t.img skip=x", "if=s.img of=t.img skip=-1",
    "if=s.img of=t.img nope=1", "if=s.img of=t.img nope", "if= of=t.img", "if=s.img of=", "if=s.img if=s.img of=t.img",
    "if=s.img of=t.img of=u.img", "if=s.img of=t.img bs=1k bs=2k", "-f nope if=s.img of=t.img",
    "-O nope if=s.img of=t.img", "-f raw if=s.img of=t.img", "-U if=s.img of=t.img", "-Z if=s.img of=t.img",
    "if=s.img of=s.img", "if=s.img of=t.img conv=notrunc", "if=s.img of=t.img seek=1",
    "if=s.img of=t.img iflag=x", "if=s.img of=t.img oflag=x",
])
def test_arguments(lab, args):
    source(lab)
    lab.img("dd", *args.split(), status=None, filters=["usage"], look=False)
    lab.images.clear()


def test_image_options(lab):
    source(lab)
    lab.img("dd", "--image-opts", "if=driver=qcow2,file.filename=s.img", "of=t.img", status=None)
    lab.img("dd", "--image-opts", "-f", "qcow2", "if=driver=qcow2,file.filename=s.img", "of=t.img", status=None)


def test_over_an_existing_file(lab):
    """The old file is replaced: nothing of it is left behind the new end."""
    source(lab)
    lab.create(RAW, "t.img", "4M")
    lab.io("t.img", "write -P 9 0 4M")
    lab.img("dd", "if=s.img", "of=t.img", "bs=64k", "count=2")
    assert lab.runs("t.img") == [(0, 65536, 1), (65536, 65536, 2)]


@pytest.mark.parametrize("size", [1, 511, 513, 1000, 100001])
def test_odd_sizes(lab, size):
    lab.write_file("s.img", bytes([5]) * size)
    for target in ("raw", "qcow2"):
        lab.watch("t." + target, target)
        lab.img("dd", "-f", "raw", "-O", target, "if=s.img", "of=t." + target, "bs=1000", status=None)
