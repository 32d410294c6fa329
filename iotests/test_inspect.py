"""info, map, check and compare: their flags, their output in both forms, and what they refuse."""
import os

import pytest

from iotests.blkimg import ALL, BASIC, QCOW2, QCOW2_SETS, RAW, normal_map

variants = pytest.mark.parametrize("variant", ALL, ids=str)
basic = pytest.mark.parametrize("variant", BASIC, ids=str)


def some_data(lab, variant, name="t.img", size="4M"):
    lab.create(variant, name, size)
    lab.io(name, "write -P 1 0 64k", "write -P 2 1M 300k", "write -z 2M 128k", "write -P 3 4194000 304")


@variants
def test_map_forms(lab, variant):
    """Every entry kind, in both forms, cut by --start-offset and --max-length."""
    some_data(lab, variant)
    lab.img("map", "t.img", look=False, filters=["offset"], same=variant.fmt == "raw")
    lab.img("map", "--output=json", "t.img", look=False, same=variant.fmt == "raw")
    for cut in (["--start-offset=1M"], ["--max-length=1M"], ["-s", "1048576", "-l", "100k"],
                ["-s", "3M", "-l", "9M"], ["-s", "4M"], ["-s", "5M"], ["-l", "0"]):
        done = [normal_map(r.json(), below=variant.fmt != "raw")
                for _, r in lab.each("img", "map", "--output=json", *cut, "t.img")]
        assert all(d == done[0] for d in done), (cut, done)
    for wrong in (["-s", "x"], ["-l", "-1"], ["--output=xml"], ["-s"]):
        lab.img("map", *wrong, "t.img", look=False, status=1)


@variants
def test_info_forms(lab, variant):
    some_data(lab, variant)
    lab.img("info", "t.img", look=False)
    lab.img("info", "-f", variant.fmt, "--output=json", "t.img", look=False)
    lab.img("info", "--backing-chain", "t.img", look=False)
    lab.img("info", "--backing-chain", "--output=json", "t.img", look=False)
    lab.img("info", "--output=xml", "t.img", look=False, status=1)
    lab.img("info", "-f", "nope", "t.img", look=False, status=1)
    lab.img("info", "none.img", look=False, status=1)
    if variant.fmt != "raw":
        info = lab.info("t.img")
        assert info["format"] == "qcow2" and info["cluster-size"] == variant.cluster


def test_info_of_a_chain(lab):
    """Each layer once, in order, with its own file's format and name."""
    lab.create(RAW, "a.img", "1M")
    lab.create(QCOW2, "b.img", None, backing="a.img")
    lab.create(QCOW2, "c.img", "2M", backing="b.img")
    lab.img("info", "--backing-chain", "c.img", look=False)
    done = lab.img("info", "--backing-chain", "--output=json", "c.img", look=False)
    assert [i["filename"] for i in done.json()] == ["c.img", "b.img", "a.img"]
    assert [i["format"] for i in done.json()] == ["qcow2", "qcow2", "raw"]


@pytest.mark.parametrize("options", [
    "driver=null-co", "driver=raw,file.driver=null-co", "driver=raw,offset=512,file.driver=null-co",
    "driver=null-co,read-zeroes=on", "driver=qcow2,file.filename=a.img,backing.driver=raw,backing.file.driver=null-co",
    "driver=qcow2,file.driver=blkdebug,file.image.filename=a.img",
    "driver=blkdebug,image.driver=qcow2,image.file.filename=b.img",
    "driver=qcow2,file.filename=a.img,backing.driver=blkdebug,backing.image.driver=qcow2,backing.image.file.filename=b.img",
])
def test_map_through_filters(lab, options):
    """A filter is no layer of the chain; it names itself where it holds the file; what nobody knows has no place."""
    lab.create(QCOW2, "a.img", "1M")
    lab.io("a.img", "write -P 1 0 64k")
    lab.create(QCOW2, "b.img", None, backing="a.img")
    lab.io("b.img", "write -P 2 128k 64k")
    lab.img("map", "--image-opts", options, look=False)
    lab.img("map", "--output=json", "--image-opts", options, look=False)


@pytest.mark.only("blkref", "an assertion in QEMU")
@pytest.mark.parametrize("offset", [1, 511, 1000])
def test_map_of_a_window_at_no_sector(lab, offset):
    """The last sector of the window ends behind the file: zeroes, and an end of the map."""
    lab.create(RAW, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 1M")
    options = "driver=raw,offset=%d,file.filename=t.img" % offset
    length = 1048576 - offset + offset % 512
    there = (0, 1048576 - offset, (0, True, False, True))
    behind = (1048576 - offset, offset % 512, (0, True, True, False))
    done = lab.img("map", "--output=json", "--image-opts", options, look=False)
    assert normal_map(done.json()) == [there, behind] and sum(e["length"] for e in done.json()) == length
    lab.img("convert", "-O", "raw", "--image-opts", options, "u.img", look=False)
    assert lab.runs("u.img", "raw") == [(0, there[1], 1), (behind[0], behind[1], 0)]


def test_map_of_a_chain(lab):
    lab.create(RAW, "a.img", "1M")
    lab.io("a.img", "write -P 1 0 1M")
    lab.create(QCOW2, "b.img", "2M", backing="a.img")
    lab.io("b.img", "write -P 2 64k 64k", "write -z 256k 64k", "discard 512k 64k")
    lab.create(QCOW2, "c.img", "4M", backing="b.img")
    lab.io("c.img", "write -P 3 1536k 64k", "write -P 4 3M 64k")
    depths = {facts[0] for _, _, facts in lab.map("c.img")}
    assert depths == {0, 1, 2}
    lab.img("map", "c.img", look=False, same=False)
    lab.img("map", "--output=json", "-s", "100k", "-l", "300k", "c.img", look=False, filters=["offset"],
            same=False)
    assert lab.bytes("c.img")[65536:65537] == b"\2"


@pytest.mark.parametrize("variant", QCOW2_SETS, ids=str)
def test_check_forms(lab, variant):
    some_data(lab, variant)
    lab.img("check", "t.img", look=False, filters=["offset"])
    for more in ([], ["--output=json"], ["--output=json", "-r", "all"]):
        assert lab.img("check", "-f", "qcow2", "-q", *more, "t.img", look=False).out == ""
    done = lab.img("check", "--output=json", "t.img", look=False, filters=["offset"])
    assert done.json()["check-errors"] == 0 and "leaks" not in done.json()
    lab.img("check", "-r", "leaks", "t.img", filters=["offset"])
    lab.img("check", "-r", "all", "t.img", filters=["offset"])


def test_check_refuses(lab):
    lab.create(RAW, "r.img", "1M")
    lab.create(QCOW2, "q.img", "1M")
    lab.img("check", "r.img", status=63)
    lab.img("check", "-f", "raw", "r.img", status=63)
    lab.img("check", "--output=json", "r.img", status=63)
    lab.img("check", "-r", "some", "q.img", status=1)
    lab.img("check", "-r", "q.img", status=1)
    lab.img("check", "none.img", status=1)
    lab.img("check", "-f", "qcow2", "r.img", status=1)
    lab.img("check", "--output=xml", "q.img", status=1)
    lab.img("check", "-T", "nope", "q.img", status=1)
    lab.img("check", status=1)


@pytest.mark.parametrize("fmt, length, write", [("vmdk", 65536, "write 0 100k"), ("qed", 300000, "length")])
def test_check_that_cannot_go_on(lab, fmt, length, write):
    """A table behind the end of the file: no result is printed, in neither form."""
    lab.img("create", "-q", "-f", fmt, "t.img", "4M", look=False)
    lab.io("t.img", write, fmt=fmt, look=False)
    for folder in lab.dirs():
        os.truncate(os.path.join(folder, "t.img"), length)
    for form in ("human", "json"):
        assert lab.img("check", "-f", fmt, "--output=" + form, "t.img", status=1, look=False).out == ""


def test_check_finds_and_repairs_leaks(lab):
    """A cluster that nobody uses is a leak (status 3) until -r leaks."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 5 0 128k")
    lab.images["t.img"].clean = False
    lab.patch("t.img", 0x40000, b"\0" * 8)  # the L2 entry of the first cluster
    done = lab.img("check", "t.img", status=3, filters=["offset"])
    assert "1 leaked clusters were found on the image." in done.out
    lab.img("check", "--output=json", "t.img", status=3, filters=["offset"])
    lab.img("check", "-q", "t.img", status=3, filters=["offset"])
    lab.img("check", "-r", "leaks", "t.img", status=0, filters=["offset"])
    lab.images["t.img"].clean = True
    lab.look(everything=True)


def test_check_finds_and_repairs_corruption(lab):
    """A refcount of zero under a used cluster is corruption (status 2) until -r all."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 5 0 128k")
    lab.images["t.img"].clean = False
    lab.patch("t.img", 0x20000 + 2 * 5, b"\0\0")
    lab.img("check", "t.img", status=2, filters=["offset"])
    lab.img("check", "--output=json", "t.img", status=2, filters=["offset"])
    lab.img("check", "-r", "leaks", "t.img", status=1, filters=["offset"])
    lab.img("check", "-r", "all", "t.img", status=0, filters=["offset"])
    lab.images["t.img"].clean = True
    lab.look(everything=True)
    assert lab.runs("t.img")[0] == (0, 131072, 5)


# ---- compare ----

def two(lab, variant, *commands):
    lab.create(variant, "a.img", "1M")
    lab.io("a.img", "write -P 1 64k 128k")
    lab.create(RAW, "b.img", "1M")
    lab.io("b.img", "write -P 1 64k 128k", *commands)


@variants
def test_compare_equal(lab, variant):
    two(lab, variant)
    done = lab.img("compare", "a.img", "b.img", "-f", variant.fmt, "-F", "raw")
    assert done.out == "Images are identical.\n"
    assert lab.img("compare", "-q", "-f", variant.fmt, "-F", "raw", "a.img", "b.img").out == ""
    lab.img("compare", "-p", "-f", variant.fmt, "-F", "raw", "a.img", "b.img", same=False)
    if "qcow2-" not in variant.name:
        lab.img("compare", "-s", "-f", variant.fmt, "-F", "raw", "a.img", "b.img", status=None)


@basic
def test_compare_different(lab, variant):
    two(lab, variant, "write -P 2 100k 1")
    done = lab.img("compare", "-f", variant.fmt, "-F", "raw", "a.img", "b.img", status=1)
    assert done.out == "Content mismatch at offset 102400!\n"
    lab.img("compare", "-f", variant.fmt, "-F", "raw", "b.img", "a.img", status=1 if variant is RAW else None)
    lab.io("b.img", "write -P 1 100k 1", "write -P 9 1023k 1k")
    lab.img("compare", "-f", variant.fmt, "-F", "raw", "a.img", "b.img", status=1)


@basic
def test_compare_sizes(lab, variant):
    """A longer image is the same if its tail reads as zeroes, but never with -s."""
    lab.create(variant, "a.img", "1M")
    lab.create(RAW, "b.img", "2M")
    args = ["-f", variant.fmt, "-F", "raw", "a.img", "b.img"]
    lab.img("compare", *args)
    assert lab.img("compare", "-s", *args, status=1).out == "Strict mode: Image size mismatch!\n"
    lab.io("b.img", "write -P 1 1536k 1k")
    lab.img("compare", *args, status=1)
    lab.io("b.img", "write -z 1536k 1k")
    lab.img("compare", *args)


def test_compare_strict_allocation(lab):
    lab.create(QCOW2, "a.img", "1M")
    lab.create(QCOW2, "b.img", "1M")
    lab.io("b.img", "write -z 64k 64k")
    lab.img("compare", "a.img", "b.img")
    lab.img("compare", "-s", "a.img", "b.img", status=None)
    lab.io("b.img", "write -P 0 256k 64k")
    lab.img("compare", "-s", "a.img", "b.img", status=1)


def test_compare_refuses(lab):
    lab.create(RAW, "a.img", "1M")
    lab.img("compare", "-f", "raw", "-F", "raw", "a.img", "none.img", status=2)
    lab.img("compare", "-f", "raw", "-F", "raw", "none.img", "a.img", status=2)
    lab.img("compare", "-f", "qcow2", "a.img", "a.img", status=2)
    lab.img("compare", "a.img", status=1)
    lab.img("compare", status=1)
    lab.img("compare", "-T", "nope", "a.img", "a.img", status=None)
    lab.img("compare", "a.img", "a.img", "a.img", status=1)
