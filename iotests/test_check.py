"""check: damages planted in metadata, what both programs say of them, and what -r leaks|all leaves."""
import re
import struct

import pytest

from iotests.blkimg import EVERY, QCOW2, able

CLUSTER = 65536
# The layout of a new qcow2 image: header, refcount table, refcount block, L1 table, L2 table, data.
TABLE, BLOCK, L1, L2, DATA = (n * CLUSTER for n in (1, 2, 3, 4, 5))
COPIED = 1 << 63


def be16(value):
    return struct.pack(">H", value)


def be64(value):
    return struct.pack(">Q", value)


# name: [(offset, bytes)...] over an image of 1 MiB with data in its first two clusters
DAMAGES = {
    "refcount 0 of data": [(BLOCK + 2 * 5, be16(0))],
    "refcount 2 of data": [(BLOCK + 2 * 5, be16(2))],
    "refcount 0 of the header": [(BLOCK, be16(0))],
    "refcount 0 of the L1 table": [(BLOCK + 2 * 3, be16(0))],
    "refcount 0 of the L2 table": [(BLOCK + 2 * 4, be16(0))],
    "refcount 3 of the L2 table": [(BLOCK + 2 * 4, be16(3))],
    "refcount 0 of the refcount block": [(BLOCK + 2 * 2, be16(0))],
    "refcount 0 of the refcount table": [(BLOCK + 2 * 1, be16(0))],
    "leak behind the end": [(BLOCK + 2 * 9, be16(1))],
    "leaks far behind the end": [(BLOCK + 2 * 1000, be16(1)), (BLOCK + 2 * 2000, be16(7))],
    "entry lost": [(L2, be64(0))],
    "L1 entry lost": [(L1, be64(0))],
    "copied flag of data missing": [(L2, be64(DATA))],
    "copied flag of the L2 table missing": [(L1, be64(L2))],
    "copied flag of shared data": [(BLOCK + 2 * 5, be16(2)), (L2, be64(COPIED | DATA))],
    "two entries to one cluster": [(L2 + 8, be64(COPIED | DATA))],
    "data unaligned": [(L2, be64(COPIED | DATA + 512))],
    "data behind the end": [(L2, be64(COPIED | 100 * CLUSTER))],
    "data far behind the end": [(L2, be64(COPIED | 1 << 50))],
    "data over the header": [(L2, be64(COPIED | 0 * CLUSTER))],
    "data over the L2 table": [(L2, be64(COPIED | L2))],
    "data over the refcount block": [(L2, be64(COPIED | BLOCK))],
    "data over the L1 table": [(L2, be64(COPIED | L1))],
    "reserved bits of an entry": [(L2, be64(COPIED | 1 << 58 | DATA))],
    "reserved low bits of an entry": [(L2, be64(COPIED | DATA | 2))],
    "zero cluster with data": [(L2, be64(COPIED | DATA | 1))],
    "zero cluster unaligned": [(L2, be64(COPIED | DATA + 512 | 1))],
    "L2 table unaligned": [(L1, be64(COPIED | L2 + 512))],
    "L2 table behind the end": [(L1, be64(COPIED | 100 * CLUSTER))],
    "L2 table over the L1 table": [(L1, be64(COPIED | L1))],
    "reserved bits of an L1 entry": [(L1, be64(COPIED | 1 << 60 | L2))],
    "compressed behind the end": [(L2, be64(1 << 62 | 1 << 61 | 100 * CLUSTER))],
    "compressed over the header": [(L2, be64(1 << 62 | 512))],
    "refcount block unaligned": [(TABLE, be64(BLOCK + 512))],
    "refcount block behind the end": [(TABLE, be64(100 * CLUSTER))],
    "refcount block lost": [(TABLE, be64(0))],
    "second refcount block over the first": [(TABLE + 8, be64(BLOCK))],
    "second refcount block behind the end": [(TABLE + 8, be64(1000 * CLUSTER))],
    "reserved bits of a refcount table entry": [(TABLE, be64(BLOCK | 1))],
    "refcount table behind the end": [(48, be64(100 * CLUSTER))],
    "refcount table of no clusters": [(56, struct.pack(">I", 0))],
    "refcount table too large": [(56, struct.pack(">I", 1 << 20))],
    "L1 table behind the end": [(40, be64(100 * CLUSTER))],
    "L1 table unaligned": [(40, be64(L1 + 512))],
    "corrupt bit": [(72, be64(2))],
    "dirty bit": [(72, be64(1))],
    "dirty bit and wrong refcounts": [(72, be64(1)), (BLOCK + 2 * 5, be16(0)), (BLOCK + 2 * 9, be16(4))],
    "everything lost": [(BLOCK, b"\0" * 64)],
}


def planted(lab, name):
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 128k")
    lab.images.clear()
    for offset, data in DAMAGES[name]:
        lab.patch("t.img", offset, data)


@pytest.mark.parametrize("name", DAMAGES)
def test_found(lab, name):
    """Both programs name the same damages, in words, in numbers and by status."""
    planted(lab, name)
    lab.img("check", "t.img", status=None, filters=["offset"])
    lab.img("check", "--output=json", "t.img", status=None, filters=["offset"])


@pytest.mark.parametrize("name", DAMAGES)
def test_repaired(lab, name):
    """-r all leaves what both call clean, or both give up; the guest's bytes are the same then."""
    planted(lab, name)
    lab.img("check", "-r", "all", "t.img", status=None, filters=["offset"])
    gone = [done.status for _, done in lab.each("img", "check", "t.img")]
    assert len(set(gone)) == 1, gone
    if gone[0] == 0 and lab.io("t.img", "read 0 1M", fmt="qcow2", status=None).status == 0:
        lab.watch("t.img", "qcow2")
        lab.look()
        lab.images["t.img"].clean = False  # one of two references may be gone, a leak behind the end come to light
        lab.io("t.img", "write -P 9 64k 900k", "read -P 9 64k 900k")


@pytest.mark.parametrize("name", DAMAGES)
def test_leaks_repaired(lab, name):
    """-r leaks touches leaks only."""
    planted(lab, name)
    lab.img("check", "-r", "leaks", "t.img", status=None, filters=["offset"])
    lab.img("check", "t.img", status=None, filters=["offset"])


def test_snapshot_damages(lab):
    """The tables of snapshots count, too."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 128k")
    lab.img("snapshot", "-c", "one", "t.img")
    lab.io("t.img", "write -P 2 0 64k")
    lab.images.clear()
    lab.copy("t.img", "good.img")
    with open(lab.path(lab.subjects[0], "t.img"), "rb") as image:
        header = image.read(CLUSTER)
    table = struct.unpack(">Q", header[64:72])[0]
    for offset, data in ((table, be64(1 << 40)), (table, be64(512)), (table + 8, struct.pack(">I", 1 << 24)),
                         (table + 36, struct.pack(">I", 0xffffffff)),
                         (60, struct.pack(">I", 2)), (60, struct.pack(">I", 0))):
        lab.copy("good.img", "t.img")
        lab.patch("t.img", offset, data)
        lab.img("check", "t.img", status=None, filters=["offset"])
        lab.img("check", "-r", "all", "t.img", status=None, filters=["offset"])
        lab.each("img", "check", "t.img")


@pytest.mark.parametrize("variant", [v for v in able("check") if v.fmt != "qcow2"], ids=str)
def test_other_formats(lab, variant):
    """Every eighth byte of the header and first tables set, one at a time: same verdict."""
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 128k")
    lab.img("check", "-f", variant.fmt, "t.img", filters=["offset"], status=None)
    lab.img("check", "-f", variant.fmt, "--output=json", "t.img", filters=["offset"], status=None)
    lab.img("check", "-f", variant.fmt, "-r", "all", "t.img", filters=["offset"], status=None)


def test_read_only_and_busy(lab):
    lab.create(QCOW2, "t.img", "1M")
    with lab.session("t.img") as session:
        session.do("read 0 512")
        lab.img("check", "t.img", status=1, look=False)
        lab.img("check", "-U", "t.img", look=False, filters=["offset"])
        lab.img("check", "-r", "all", "t.img", status=1, look=False)
        lab.img("check", "-U", "-r", "all", "t.img", status=1, look=False)


def test_unfinished_refcount_widths(lab):
    """Refcounts of every width are read right: 1 to 64 bits."""
    for bits in (1, 2, 4, 8, 16, 32, 64):
        name = "t%d.img" % bits
        lab.create(QCOW2, name, "1M", extra=["refcount_bits=%d" % bits])
        lab.io(name, "write -P 1 0 128k")
        lab.images.pop(name)
        lab.patch(name, BLOCK, b"\0" * 8)
        lab.img("check", name, status=2, filters=["offset"])
        lab.img("check", "-r", "all", name, filters=["offset"])
        lab.img("check", name)


# The header may name 65536 entries and many more; of the 40 MiB behind it each entry is one of zeroes.
@pytest.mark.only("blkref", "QEMU's count wraps around: -2147418073 corruptions, or a check that goes on")
@pytest.mark.parametrize("named", [0x7fffffff, 0x80000000 + 65535, 0xffffffff])
def test_more_snapshots_than_a_count_holds(lab, named):
    lab.create(QCOW2, "t.img", "1M")
    lab.images.clear()
    lab.patch("t.img", 60, struct.pack(">IQ", named, 1 << 20))
    lab.patch("t.img", (1 << 20) + 40 * CLUSTER - 1, b"\0")
    lab.img("check", "t.img", status=1, look=False)
    done = lab.one(lab.subjects[0], "img", "check", "-r", "all", "t.img")
    assert done.status == 0 and "Discarding %d overhanging snapshots" % (named - 65536) in done.out + done.err
    counted = re.search(r"(-?\d+) corruptions", done.out)
    assert counted and int(counted.group(1)) > 1 << 30, done.out[-300:]
    lab.img("check", "t.img", filters=["offset"])
