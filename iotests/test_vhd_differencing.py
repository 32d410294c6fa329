"""Differencing VHD images, which no program here writes: made by hand (vhd.py), read by our programs and by libvhdi.

QEMU opens them without their parent (docs/findings.md), so it is no judge of them.
"""
import os

import pytest

from iotests import readers, vhd
from iotests.blkimg import QCOW2

ours_alone = pytest.mark.only("blkref", "QEMU opens differencing VHD images without their parent")
BLOCK = 256 << 10
SIZE = 5 * BLOCK // 2
PARENT, CHILD, GRANDCHILD = b"parent id 16 byt", b"child id 16 byte", b"grandchild 16 by"
ALL = range(BLOCK // 512)


def sectors(block, salt=0):
    """A block's data, each sector unlike its neighbours."""
    return b"".join(bytes([1 + (i * 7 + block * 13 + salt) % 250]) * 512 for i in ALL)


def parent_disk():
    return sectors(0) + sectors(1) + bytes(SIZE - 2 * BLOCK)


def parent_image():
    return vhd.image(SIZE, {0: (ALL, sectors(0)), 1: (ALL, sectors(1))}, unique_id=PARENT, block=BLOCK)


def overlaid(disk, block, owned, data):
    disk = bytearray(disk)
    for i in owned:
        at = block * BLOCK + i * 512
        disk[at:at + 512] = data[i * 512:i * 512 + 512]
    return bytes(disk)


SPARSE = [0, 1, 9, 10, 64, 127, 128, 400, 511]
WHOLE_BYTES = [*range(8, 16), 31, *range(64, 128), *range(504, 512)]


def child_image(owned=SPARSE, relative=".\\parent.vhd", parent_id=PARENT, **more):
    data = sectors(0, 100)
    return vhd.differencing(SIZE, {0: (owned, data), 2: (ALL[:256], sectors(2, 100))}, parent_id, relative,
                            unique_id=CHILD, block=BLOCK, **more)


def child_disk(owned=SPARSE):
    disk = overlaid(parent_disk(), 0, owned, sectors(0, 100))
    return disk[:2 * BLOCK] + sectors(2, 100)[:SIZE - 2 * BLOCK]


@ours_alone
@pytest.mark.parametrize("owned", [SPARSE, WHOLE_BYTES, [], ALL], ids=["sparse", "bytes", "none", "all"])
def test_sectors_come_from_child_or_parent(lab, owned):
    lab.write_file("parent.vhd", parent_image())
    lab.write_file("child.vhd", child_image(owned))
    assert lab.bytes("child.vhd", "vpc") == child_disk(owned)


@ours_alone
def test_map_and_info(lab):
    lab.write_file("parent.vhd", parent_image())
    lab.write_file("child.vhd", child_image([1, 2]))
    below, own, zero = (1, True, False, True), (0, True, False, True), (1, True, True, False)
    assert lab.map("child.vhd", "vpc") == [
        (0, 512, below), (512, 1024, own), (1536, 2 * BLOCK - 1536, below), (2 * BLOCK, BLOCK // 2, own)]
    info = lab.info("child.vhd", "vpc")
    assert (info["backing-filename"], info["backing-filename-format"]) == ("parent.vhd", "vpc")
    lab.write_file("empty.vhd", vhd.differencing(SIZE, {}, PARENT, ".\\parent.vhd", unique_id=CHILD, block=BLOCK))
    assert lab.map("empty.vhd", "vpc") == [(0, 2 * BLOCK, below), (2 * BLOCK, BLOCK // 2, zero)]


@ours_alone
def test_libvhdi_reads_the_same_bytes(lab):
    """libvhdi 20210425 takes all bits behind a set one in its byte as set, so the bits end at bytes here."""
    pyvhdi = readers.module("pyvhdi", "python3-libvhdi")
    lab.write_file("parent.vhd", parent_image())
    lab.write_file("child.vhd", child_image(WHOLE_BYTES, name="parent.vhd"))
    parent, child = pyvhdi.file(), pyvhdi.file()
    parent.open(lab.path(lab.subjects[0], "parent.vhd"))
    child.open(lab.path(lab.subjects[0], "child.vhd"))
    assert child.get_parent_identifier() == parent.get_identifier()
    assert child.get_parent_filename() == "parent.vhd"
    child.set_parent(parent)
    assert child.read_buffer_at_offset(SIZE, 0) == lab.bytes("child.vhd", "vpc")
    child.close()
    parent.close()


@ours_alone
def test_chain_of_three_and_overlay(lab):
    """Fixed disk, child, grandchild; a qcow2 overlay on top takes the writes."""
    lab.write_file("parent.vhd", parent_disk() + vhd.footer(SIZE, vhd.FIXED, PARENT))
    lab.write_file("child.vhd", child_image())
    data = sectors(0, 200)
    lab.write_file("grand.vhd", vhd.differencing(SIZE, {0: ([5, 9], data)}, CHILD, "child.vhd", unique_id=GRANDCHILD,
                                                 block=BLOCK))
    expected = overlaid(child_disk(), 0, [5, 9], data)
    assert lab.bytes("grand.vhd", "vpc") == expected
    lab.create(QCOW2, "top.qcow2", None, backing="grand.vhd", backing_fmt="vpc")
    lab.io("top.qcow2", "write -P 77 1k 1k")
    assert lab.bytes("top.qcow2") == expected[:1024] + b"\x4d" * 1024 + expected[2048:]
    for name in ("parent.vhd", "child.vhd", "grand.vhd"):
        lab.img("commit", "-f", "vpc", name, status=1, look=False)


NAMES = {
    "relative": ("parent.vhd", [(b"W2ru", ".\\parent.vhd".encode("utf-16-le"))], ""),
    "in a folder": ("deep/er/parent.vhd", [(b"W2ru", "deep\\er\\parent.vhd".encode("utf-16-le"))], ""),
    "big-endian": ("parent.vhd", [(b"W2ru", "parent.vhd".encode("utf-16-be"))], ""),
    "with a mark": ("parent.vhd", [(b"W2ru", "parent.vhd".encode("utf-16"))], ""),
    "beyond ASCII": ("\u00fc\u4e16\U0001f4be.vhd", [(b"W2ru", "\u00fc\u4e16\U0001f4be.vhd".encode("utf-16-le"))], ""),
    "ends with NULs": ("parent.vhd", [(b"W2ru", "parent.vhd\0\0x".encode("utf-16-le"))], ""),
    "not a protocol": ("nbd:parent.vhd", [(b"W2ru", ".\\nbd:parent.vhd".encode("utf-16-le"))], ""),
    "absolute": ("parent.vhd", [(b"W2ku", "@DIR/parent.vhd")], ""),
    "a URL": ("a b.vhd", [(b"MacX", "file://localhost@DIR/a%20b.vhd")], ""),
    "relative is gone": ("parent.vhd", [(b"W2ru", "gone.vhd".encode("utf-16-le")), (b"W2ku", "@DIR/parent.vhd")], ""),
    "absolute is listed first": ("parent.vhd", [(b"W2ku", "@DIR/other.vhd"),
                                                (b"W2ru", "parent.vhd".encode("utf-16-le"))], ""),
    "a drive's letter": ("parent.vhd", [(b"W2ku", "C:\\Disks\\parent.vhd".encode("utf-16-le"))], ""),
    "header alone": ("parent.vhd", [], "D:\\Disks\\parent.vhd"),
    "unknown locators": ("parent.vhd", [(b"Wi2r", b"?" * 20), (b"\0\0\0\0", b"")], "parent.vhd"),
}


@ours_alone
@pytest.mark.parametrize("how", NAMES)
def test_names_of_the_parent(lab, how):
    name, locators, header_name = NAMES[how]
    folder = lab.dir(lab.subjects[0])

    def resolved(code, text):
        if isinstance(text, bytes):
            return code, text
        text = text.replace("@DIR", folder)
        return code, text.encode() if code == b"MacX" else text.replace("/", "\\").encode("utf-16-le")
    os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
    lab.write_file(name, parent_image())
    lab.write_file("other.vhd", b"no parent")
    lab.write_file("child.vhd", vhd.image(SIZE, {}, vhd.DIFFERENCING, CHILD, BLOCK, PARENT,
                                          parent_name=header_name, locators=[resolved(*row) for row in locators]))
    assert lab.bytes("child.vhd", "vpc") == parent_disk()


@ours_alone
def test_only_read(lab):
    lab.write_file("parent.vhd", parent_image())
    lab.write_file("child.vhd", child_image())
    refused = "Differencing VHD images can only be read"
    assert refused in lab.io("child.vhd", "write 0 512", fmt="vpc", status=1, look=False).err
    for words in (["commit", "child.vhd"], ["resize", "child.vhd", "6M"], ["rebase", "-u", "-b", "", "child.vhd"]):
        assert refused in lab.img(*words, status=1, look=False).err
    with lab.session("-r", "-f", "vpc", "child.vhd") as session:
        assert refused in session.do("reopen -w")
        assert "read 512/512" in session.do("read -P %d 0 512" % child_disk()[0])
    assert "read 512/512" in lab.io("", "open -r child.vhd", "read 0 512").out


def open_fails(lab, message, *args):
    done = lab.img("convert", *args, "-O", "raw", "child.vhd", "out.raw", status=1, look=False)
    assert message in done.err, done.err
    assert "child.vhd" in done.err


@ours_alone
def test_wrong_parents(lab):
    lab.write_file("parent.vhd", vhd.image(SIZE, {}, unique_id=CHILD, block=BLOCK))
    lab.write_file("child.vhd", child_image())
    open_fails(lab, "'parent.vhd' is not the parent of 'child.vhd': its unique id is "
                    "6368696c-6420-6964-2031-362062797465, not 70617265-6e74-2069-6420-313620627974")
    lab.write_file("parent.vhd", bytes(1 << 20))
    open_fails(lab, "Could not open backing file: ")
    os.unlink(lab.path(lab.subjects[0], "parent.vhd"))
    open_fails(lab, "Could not open 'parent.vhd': No such file or directory")
    assert lab.info("child.vhd", "vpc")["backing-filename"] == "parent.vhd"


@ours_alone
def test_given_parents_are_judged_too(lab):
    lab.write_file("elsewhere.vhd", parent_image())
    lab.write_file("wrong.vhd", vhd.image(SIZE, {}, unique_id=GRANDCHILD, block=BLOCK))
    lab.write_file("flat.raw", parent_disk())
    lab.write_file("child.vhd", child_image(relative="gone.vhd"))
    given = "driver=vpc,file.filename=child.vhd,backing.driver=%s,backing.file.filename=%s"
    lab.img("convert", "--image-opts", given % ("vpc", "elsewhere.vhd"), "-O", "raw", "out.raw", look=False)
    with open(lab.path(lab.subjects[0], "out.raw"), "rb") as out:
        assert out.read() == child_disk()
    for words, message in ((("vpc", "wrong.vhd"), "is not the parent of"), (("raw", "flat.raw"), "is no VHD image")):
        done = lab.img("convert", "--image-opts", given % words, "-O", "raw", "out.raw", status=1, look=False)
        assert message in done.err


@ours_alone
def test_chains_that_never_end(lab):
    lab.write_file("child.vhd", child_image(relative=".\\child.vhd", parent_id=CHILD))
    open_fails(lab, "Backing file 'child.vhd' creates an infinite loop.")
    lab.write_file("other.vhd", vhd.differencing(SIZE, {}, CHILD, "child.vhd", unique_id=PARENT, block=BLOCK))
    lab.write_file("child.vhd", child_image(relative="other.vhd"))
    open_fails(lab, "creates an infinite loop.")


@ours_alone
def test_damaged_locators(lab):
    lab.write_file("parent.vhd", parent_image())
    lab.write_file("child.vhd", vhd.differencing(SIZE, {}, PARENT))
    open_fails(lab, "Differencing VHD image does not name its parent")
    row = 512 + 576
    for offset, raw in ((8, b"\xff\xff\xff\xff"), (8, b"\0\1\0\1"), (16, b"\xff" * 8)):
        lab.write_file("child.vhd", child_image())
        lab.patch("child.vhd", row + offset, raw)
        open_fails(lab, "Parent locator is invalid (")
    lab.write_file("child.vhd", child_image(relative="\ud800".encode("utf-16-le", "surrogatepass").decode("latin-1")))
    lab.patch("child.vhd", row + 16, (1 << 40).to_bytes(8, "big"))  # behind the end of the file: zeroes
    open_fails(lab, "Differencing VHD image does not name its parent")


def test_other_disks_have_no_backing_file(lab):
    lab.write_file("parent.vhd", parent_image())
    lab.write_file("child.vhd", vhd.image(SIZE, {}, unique_id=CHILD, block=BLOCK))
    done = lab.img("info", "--image-opts", "driver=vpc,file.filename=child.vhd", look=False)
    assert "backing" not in done.out
    given = "driver=vpc,file.filename=child.vhd,backing.driver=vpc,backing.file.filename=parent.vhd"
    done = lab.img("convert", "--image-opts", given, "-O", "raw", "out.raw", status=1, look=False)
    assert "Driver doesn't support backing files" in done.err
