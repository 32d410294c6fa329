"""snapshot: -c, -a, -d and -l, what info lists, and what happens to clusters that snapshots share."""
import pytest

from iotests.blkimg import EVERY, QCOW2, QCOW2_SETS, RAW, able

variants = pytest.mark.parametrize("variant", QCOW2_SETS, ids=str)
FLAT = [v for v in QCOW2_SETS if "data" not in v.name]


def with_two(lab, variant, size="1M"):
    lab.create(variant, "t.img", size)
    lab.io("t.img", "write -P 1 0 512k")
    lab.img("snapshot", "-c", "one", "t.img")
    lab.io("t.img", "write -P 2 100k 200k", "write -z 400k 64k")
    lab.img("snapshot", "-c", "two", "t.img")
    lab.io("t.img", "write -P 3 0 1M")


@variants
def test_life_of_snapshots(lab, variant):
    """Created, written over, gone back to, deleted: every state has its own bytes."""
    if variant.name == "qcow2-rc1":
        lab.create(variant, "t.img", "1M")
        lab.io("t.img", "write -P 1 0 512k")
        lab.images["t.img"].clean = False  # QEMU leaks the table: docs/findings.md
        lab.img("snapshot", "-c", "one", "t.img", status=1)
        return
    if "data" in variant.name:
        lab.create(variant, "t.img", "1M")
        lab.img("snapshot", "-c", "one", "t.img", status=1)
        return
    with_two(lab, variant)
    assert lab.runs("t.img") == [(0, 1 << 20, 3)]
    lab.img("snapshot", "-a", "one", "t.img")
    assert lab.runs("t.img") == [(0, 512 << 10, 1), (512 << 10, 512 << 10, 0)]
    lab.img("snapshot", "-a", "two", "t.img")
    assert lab.runs("t.img")[1] == (100 << 10, 200 << 10, 2)
    lab.img("snapshot", "-d", "one", "t.img")
    lab.io("t.img", "write -P 4 0 300k", "discard 512k 256k")
    lab.img("snapshot", "-d", "two", "t.img")
    assert lab.img("snapshot", "-l", "t.img", look=False).out == ""
    lab.io("t.img", "write -P 5 0 1M", "read -P 5 0 1M")


@pytest.mark.parametrize("variant", FLAT[:5], ids=str)
def test_what_is_listed(lab, variant):
    lab.create(variant, "t.img", "1M")
    for name in ("one", "a name with blanks", "x" * 60, "8", "ä", "one"):
        lab.img("snapshot", "-c", name, "t.img", status=None)
    lab.img("snapshot", "-l", "t.img", look=False)
    lab.img("snapshot", "t.img", look=False)
    lab.img("info", "t.img", look=False)
    info = lab.info("t.img")
    assert [s["id"] for s in info["snapshots"]][:3] == ["1", "2", "3"]
    lab.img("info", "--output=json", "t.img", look=False)


@pytest.mark.parametrize("name", ["x" * 127, "x" * 128, "x" * 255, "x" * 256, "x" * 1024, "", "1", "-x", "a/b", "é\n"])
def test_names(lab, name):
    """Long, empty and odd names: kept, cut or refused alike."""
    lab.create(QCOW2, "t.img", "1M")
    lab.img("snapshot", "-c", name, "t.img", status=None)
    lab.img("snapshot", "-l", "t.img", look=False)
    lab.img("info", "--output=json", "t.img", look=False)
    lab.img("snapshot", "-a", name, "t.img", status=None)
    lab.img("snapshot", "-d", name, "t.img", status=None)


def test_names_that_look_like_ids(lab):
    """-a takes an id first, then a name; -d only a name."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 64k")
    lab.img("snapshot", "-c", "2", "t.img")
    lab.io("t.img", "write -P 2 0 64k")
    lab.img("snapshot", "-c", "other", "t.img")
    lab.io("t.img", "write -P 3 0 64k")
    lab.img("snapshot", "-a", "2", "t.img", status=None)
    lab.bytes("t.img")
    lab.img("snapshot", "-d", "2", "t.img", status=None)
    lab.img("snapshot", "-l", "t.img", look=False)
    lab.img("snapshot", "-c", "new", "t.img")
    lab.img("snapshot", "-l", "t.img", look=False)
    lab.img("snapshot", "-d", "none", "t.img", status=1)
    lab.img("snapshot", "-a", "none", "t.img", status=1)


def test_deleting_by_id(lab):
    """An id is no name: what it belongs to stays."""
    lab.create(QCOW2, "t.img", "1M")
    for name in ("a", "1", "b"):
        lab.img("snapshot", "-c", name, "t.img")
    for name in ("2", "3", "1", "1", "a"):
        lab.img("snapshot", "-d", name, "t.img", status=None)
        lab.img("snapshot", "-l", "t.img", look=False)


def test_same_name_twice(lab):
    lab.create(QCOW2, "t.img", "1M")
    for byte in (1, 2, 3):
        lab.io("t.img", "write -P %d 0 64k" % byte)
        lab.img("snapshot", "-c", "same", "t.img", status=None)
    lab.img("snapshot", "-l", "t.img", look=False)
    lab.img("snapshot", "-a", "same", "t.img")
    lab.bytes("t.img")
    for _ in range(4):
        lab.img("snapshot", "-d", "same", "t.img", status=None)
        lab.img("snapshot", "-l", "t.img", look=False)


@pytest.mark.parametrize("variant", [v for v in EVERY if v not in able("snapshot")], ids=str)
def test_formats_without(lab, variant):
    lab.create(variant, "t.img", "1M")
    for args in (["-c", "a"], ["-a", "a"], ["-d", "a"], ["-l"]):
        image = "driver=%s,file.filename=t.img" % variant.fmt
        lab.img("snapshot", "--image-opts", *args, image, status=None)


@pytest.mark.parametrize("args", [
    [], ["-c"], ["-a"], ["-d"], ["-l", "-c", "a"], ["-c", "a", "-c", "b"], ["-c", "a", "-a", "a"], ["-Z"],
    ["-l", "-l"], ["-q", "-c", "a"], ["-q", "-l"], ["-U", "-l"], ["-U", "-c", "a"], ["-f", "qcow2", "-l"],
    ["--image-opts", "-l"], ["--object", "nope,id=x", "-l"], ["-l", "extra"],
], ids=" ".join)
def test_arguments(lab, args):
    lab.create(QCOW2, "t.img", "1M")
    image = "driver=qcow2,file.filename=t.img" if "--image-opts" in args else "t.img"
    lab.img("snapshot", *args, image, status=None, filters=["usage"])
    lab.img("snapshot", *args, status=1, filters=["usage"])


@pytest.mark.parametrize("variant", FLAT[:4], ids=str)
def test_of_other_sizes(lab, variant):
    """A snapshot has the size of its time; going back to it resizes the disk, or is refused."""
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 1M")
    lab.img("snapshot", "-c", "small", "t.img")
    lab.img("resize", "t.img", "2M", status=None)
    lab.io("t.img", "write -P 2 512k 1M", status=None)
    lab.img("snapshot", "-c", "large", "t.img")
    lab.img("resize", "--shrink", "t.img", "1536k", status=None)
    lab.img("snapshot", "-a", "small", "t.img", status=None)
    lab.img("info", "t.img", look=False)
    lab.img("snapshot", "-a", "large", "t.img", status=None)
    lab.img("info", "t.img", look=False)
    lab.bytes("t.img")
    lab.img("snapshot", "-d", "small", "t.img", status=None)
    lab.img("snapshot", "-d", "large", "t.img", status=None)


def test_with_a_backing_file(lab):
    lab.create(RAW, "b.img", "1M")
    lab.io("b.img", "write -P 9 0 1M")
    lab.create(QCOW2, "t.img", None, backing="b.img")
    lab.img("snapshot", "-c", "bare", "t.img")
    lab.io("t.img", "write -P 1 0 64k", "write -z 64k 64k", "discard 128k 64k")
    lab.img("snapshot", "-c", "full", "t.img")
    lab.img("snapshot", "-a", "bare", "t.img")
    assert lab.runs("t.img") == [(0, 1 << 20, 9)]
    lab.img("snapshot", "-a", "full", "t.img")
    assert lab.runs("t.img")[0] == (0, 65536, 1)
    lab.img("snapshot", "-d", "full", "t.img")
    lab.img("snapshot", "-d", "bare", "t.img")


def test_with_vm_state(lab):
    """VM state in front of a snapshot belongs to it, and going back finds it again."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 64k", "write -b -P 7 0 100k")
    lab.img("snapshot", "-c", "vm", "t.img")
    lab.io("t.img", "write -b -P 8 0 100k", "write -P 2 0 64k")
    lab.img("snapshot", "-l", "t.img", look=False)
    lab.img("snapshot", "-a", "vm", "t.img")
    lab.io("t.img", "read -b -P 7 0 100k", status=None)
    lab.img("snapshot", "-d", "vm", "t.img", status=None)


@pytest.mark.parametrize("kind", ["zlib", "zstd"])
def test_of_compressed_clusters(lab, kind):
    """Compressed clusters are shared by host cluster, so their refcounts count guests, too."""
    lab.create(QCOW2, "t.img", "1M", extra=["compression_type=" + kind])
    lab.io("t.img", "write -c -P 1 0 64k", "write -c -P 2 64k 64k", "write -c -P 3 128k 64k")
    lab.img("snapshot", "-c", "one", "t.img")
    lab.io("t.img", "write -P 4 64k 64k", "write -c -P 5 192k 64k")
    lab.img("snapshot", "-c", "two", "t.img")
    lab.io("t.img", "discard 0 1M")
    lab.img("snapshot", "-a", "one", "t.img")
    assert lab.runs("t.img")[:3] == [(0, 65536, 1), (65536, 65536, 2), (131072, 65536, 3)]
    lab.img("snapshot", "-d", "two", "t.img")
    lab.img("snapshot", "-d", "one", "t.img")


def test_many(lab):
    """A table that needs several clusters grows and shrinks again."""
    lab.create(QCOW2, "t.img", "64k", extra=["cluster_size=512"])
    lab.io("t.img", "write -P 1 0 64k")
    for number in range(12):
        lab.img("snapshot", "-c", "snapshot-%02d" % number, "t.img", look=number % 6 == 0)
    lab.img("snapshot", "-l", "t.img")
    for number in range(0, 12, 2):
        lab.img("snapshot", "-d", "snapshot-%02d" % number, "t.img", look=False)
    lab.look(everything=True)
    lab.img("snapshot", "-l", "t.img")


def test_check_of_snapshots(lab):
    """A refcount too low or too high under a shared cluster is seen and repaired."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 128k")
    lab.img("snapshot", "-c", "one", "t.img")
    lab.images["t.img"].clean = False
    for bad, status in ((b"\0\1", 2), (b"\0\3", 3)):
        lab.patch("t.img", 0x20000 + 2 * 5, bad)
        lab.img("check", "t.img", status=status, filters=["offset"])
        lab.img("check", "-r", "all", "t.img", filters=["offset"])
    lab.images["t.img"].clean = True
    lab.look(everything=True)
    lab.img("snapshot", "-d", "one", "t.img")


@pytest.mark.only("blkref", "QEMU writes the header before it has read the snapshots: all are lost")
@pytest.mark.parametrize("fix", ["leaks", "all"])
def test_repair_beside_an_unknown_autoclear_bit(lab, fix):
    """The bit goes when the image is opened for writing, the snapshots stay."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 200k")
    lab.img("snapshot", "-c", "s", "t.img")
    lab.patch("t.img", 95, b"\x20")
    lab.img("check", "-r", fix, "t.img")
    assert " s " in lab.img("snapshot", "-l", "t.img").out
