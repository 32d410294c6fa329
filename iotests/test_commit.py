"""commit: into the backing file, with -b further down, -d, -r; chains of all forms and sizes."""
import pytest

from iotests import blkimg
from iotests.blkimg import DATA, EVERY, EXT, QCOW2, QCOW2_SETS, RAW, SMALL, V2, able

tops = pytest.mark.parametrize("variant", able("backing", among=[v for v in QCOW2_SETS if v.name != "qcow2-data-raw"]
                                               + EVERY[2:]), ids=str)


def chain(lab, variant=QCOW2, base=RAW, base_size="1M", size=None):
    lab.create(base, "b.img", base_size)
    lab.io("b.img", "write -P 9 0 %s" % base_size)
    lab.create(variant, "t.img", size, backing="b.img")
    for image in lab.images.values():
        image.map = False  # where zeroes become holes of the base is the copying job's choice
    lab.io("t.img", "write -P 1 0 64k", "write -P 2 100k 300k", "write -z 512k 128k", "write -P 3 1047552 1k")


@tops
def test_into_the_backing_file(lab, variant):
    """The backing file reads as the overlay did, and the overlay is empty (where the format can be)."""
    chain(lab, variant)
    before = lab.bytes("t.img")
    lab.img("commit", "-f", variant.fmt, "t.img")
    assert lab.bytes("b.img") == before == lab.bytes("t.img")
    lab.io("t.img", "write -P 4 64k 100k")
    lab.img("commit", "-f", variant.fmt, "t.img")
    assert lab.bytes("b.img")[65536] == 4


@pytest.mark.parametrize("variant", [QCOW2, V2, EXT, DATA, *able("backing", among=EVERY[2:])], ids=str)
def test_dropping(lab, variant):
    """-d leaves the overlay as it is."""
    chain(lab, variant)
    def own():
        return [[run for run in blkimg.image_map(s, "t.img", variant.fmt, lab.dir(s)) if run[2][0] == 0]
                for s in lab.subjects]
    before = own()
    lab.img("commit", "-d", "-f", variant.fmt, "t.img")
    assert own() == before
    assert lab.bytes("b.img") == lab.bytes("t.img")


@pytest.mark.parametrize("base", [v for v in EVERY + [V2, SMALL, EXT]], ids=str)
def test_bases_of_all_formats(lab, base):
    chain(lab, base=base)
    lab.img("commit", "t.img")
    assert lab.bytes("b.img") == lab.bytes("t.img")


@pytest.mark.parametrize("base", [RAW, QCOW2, EVERY[2]], ids=str)
@pytest.mark.parametrize("sizes", [("512k", "1M"), ("1M", "1500k"), ("2M", "1M"), ("1000k", "1M")], ids="-".join)
def test_other_sizes(lab, base, sizes):
    """A shorter base grows if it can; a longer one keeps its end."""
    chain(lab, base=base, base_size=sizes[0], size=sizes[1])
    lab.img("commit", "t.img", status=None)
    lab.img("info", "b.img", look=False)
    lab.bytes("b.img")


def long_chain(lab, n=4):
    lab.create(RAW, "0.img", "1M")
    lab.io("0.img", "write -P 1 0 1M")
    for i in range(1, n):
        lab.create(QCOW2, "%d.img" % i, None, backing="%d.img" % (i - 1))
        lab.io("%d.img" % i, "write -P %d %dk 64k" % (i + 1, 64 * i), "write -z %dk 64k" % (512 + 64 * i))


@pytest.mark.parametrize("base", ["0.img", "1.img", "2.img", "3.img", "none.img", "./1.img", ""])
def test_base_further_down(lab, base):
    """-b NAME commits everything above that image; what is between becomes invalid but stays."""
    long_chain(lab)
    before = lab.bytes("3.img")
    done = lab.img("commit", "-b", base, "3.img", status=None)
    if done.status == 0 and base in lab.images:
        assert lab.bytes(base) == before


def test_base_by_other_names(lab):
    long_chain(lab)
    lab.img("commit", "-b", "@DIR/1.img", "3.img", status=None)
    lab.img("commit", "-d", "-b", "file:0.img", "3.img", status=None)
    lab.img("commit", "-b", 'json:{"driver":"raw","file":{"driver":"file","filename":"0.img"}}', "3.img", status=None)


def test_middle_of_a_chain(lab):
    """Committing a middle image changes nothing for those above it."""
    long_chain(lab)
    before = lab.bytes("3.img")
    lab.img("commit", "2.img")
    assert lab.bytes("3.img") == before


@pytest.mark.parametrize("sizes", [("1M", "1M", "2M"), ("1M", "2M", "2M"), ("1M", "512k", "2M"), ("512k", "1M", "1536k")],
                         ids=lambda s: "-".join(s))
@pytest.mark.parametrize("below", [False, True], ids=["alone", "backing"])
def test_growing_base(lab, sizes, below):
    """What the base lacked before it grew reads as zeroes, even above a longer backing file; maps are equal, too."""
    if below:
        lab.create(QCOW2, "bb.img", "4M")
        lab.io("bb.img", "write -P 9 0 4M")
    lab.create(QCOW2, "0.img", sizes[0], backing="bb.img" if below else None)
    lab.create(QCOW2, "1.img", sizes[1], backing="0.img")
    lab.create(QCOW2, "2.img", sizes[2], backing="1.img")
    lab.io("1.img", "write -P 1 64k 64k", "write -z 192k 64k")
    lab.io("2.img", "write -P 2 128k 64k", "write -P 3 1200k 64k")
    before = lab.bytes("2.img")
    lab.img("commit", "-b", "0.img", "2.img")
    assert lab.bytes("0.img") == before


def test_snapshots_in_the_overlay(lab):
    """An overlay with snapshots keeps them."""
    chain(lab)
    lab.img("snapshot", "-c", "one", "t.img")
    lab.io("t.img", "write -P 7 300k 64k")
    lab.img("commit", "t.img")
    lab.img("snapshot", "-l", "t.img")
    lab.img("snapshot", "-a", "one", "t.img")
    lab.bytes("t.img")


def test_compressed_overlay(lab):
    lab.create(RAW, "b.img", "1M")
    lab.create(QCOW2, "t.img", None, backing="b.img")
    lab.io("t.img", "write -c -P 5 64k 64k", "write -c -P 6 256k 64k")
    lab.img("commit", "t.img")
    assert lab.runs("b.img")[1] == (65536, 65536, 5)


@pytest.mark.parametrize("rate", ["10M", "1G", "1k", "x", "-1", "0", ""])
def test_rate(lab, rate):
    lab.create(RAW, "b.img", "1M")
    lab.create(QCOW2, "t.img", None, backing="b.img")
    if rate != "1k":
        lab.io("t.img", "write -P 5 64k 64k")
    lab.img("commit", "-r", rate, "t.img", status=None)


@pytest.mark.parametrize("args", [
    ["-p", "t.img"], ["-q", "t.img"], ["-q", "-p", "t.img"], ["-t", "none", "t.img"], ["-t", "nope", "t.img"],
    ["-f", "raw", "t.img"], ["-f", "nope", "t.img"], ["b.img"], ["-f", "raw", "b.img"], ["none.img"], [],
    ["t.img", "x"], ["-Z", "t.img"], ["-b"], ["-r"], ["--image-opts", "driver=qcow2,file.filename=t.img"],
    ["-d", "-b", "b.img", "t.img"], ["--object", "nope,id=x", "t.img"],
], ids=" ".join)
def test_arguments(lab, args):
    chain(lab)
    lab.img("commit", *args, status=None, filters=["usage", "progress"])


def test_missing_and_read_only_bases(lab):
    import os
    chain(lab)
    for folder in lab.dirs():
        os.rename(folder + "/b.img", folder + "/c.img")
    lab.img("commit", "t.img", status=1, look=False)
    lab.images.clear()


@pytest.mark.parametrize("name", ["a.img", "b.img"])
def test_base_below_options(lab, name):
    """-b names what is there, not what the header would have."""
    lab.create(QCOW2, "a.img", "1M")
    lab.create(QCOW2, "b.img", "1M")
    lab.create(QCOW2, "t.img", None, backing="b.img")
    lab.io("t.img", "write -P 1 0 64k")
    lab.img("commit", "--image-opts", "-b", name, "driver=qcow2,file.filename=t.img,backing.file.filename=a.img",
            status=0 if name == "a.img" else 1)
