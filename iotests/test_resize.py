"""resize: growing, shrinking, preallocation, over backing files and under snapshots."""
import pytest

from iotests.blkimg import ALL, DATA, DATA_RAW, EVERY, EXT, QCOW2, QCOW2_SETS, RAW, SMALL, V2, Variant, able

variants = pytest.mark.parametrize("variant", ALL, ids=str)


@variants
def test_grows_and_shrinks(lab, variant):
    """What was cut off is gone but for the rest of the last cluster: regrown bytes are zeroes."""
    lab.create(variant, "t.img", "2M")
    lab.io("t.img", "write -P 1 0 2M")
    for size in ("3M", "+512k", "4M"):
        lab.img("resize", "-f", variant.fmt, "t.img", size, status=None)
    lab.img("resize", "-f", variant.fmt, "t.img", "1M", status=1)
    lab.img("resize", "-f", variant.fmt, "--shrink", "t.img", "1M", status=None)
    lab.img("resize", "-f", variant.fmt, "--shrink", "t.img", "-300k", status=None)
    lab.img("resize", "-f", variant.fmt, "t.img", "2M", status=None)
    if "data" not in variant.name:
        kept = (724 << 10) if variant is RAW else -(-(724 << 10) // variant.cluster) * variant.cluster
        assert lab.runs("t.img") == [r for r in ((0, kept, 1), (kept, (2 << 20) - kept, 0)) if r[1]]
    lab.io("t.img", "write -P 2 700k 600k", "read -P 2 700k 600k", status=None)


@pytest.mark.parametrize("variant", [v for v in EVERY if v not in able("grow")], ids=str)
def test_formats_that_cannot(lab, variant):
    lab.create(variant, "t.img", "1M")
    lab.img("resize", "-f", variant.fmt, "t.img", "2M", status=1)
    lab.img("resize", "-f", variant.fmt, "--shrink", "t.img", "512k", status=1)


@pytest.mark.parametrize("fmt", ["vmdk", "vhdx", "parallels"])
def test_other_formats_that_cannot(lab, fmt):
    lab.img("create", "-f", fmt, "t.img", "4M")
    for words in (["t.img", "8M"], ["t.img", "1M"], ["--shrink", "t.img", "1M"], ["--preallocation=full", "t.img", "8M"]):
        lab.img("resize", "-f", fmt, *words, status=1)


@pytest.mark.parametrize("variant", [v for v in able("grow") if v not in able("shrink")], ids=str)
def test_formats_that_only_grow(lab, variant):
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 1M")
    lab.img("resize", "-f", variant.fmt, "t.img", "2M")
    assert lab.runs("t.img")[1] == (1 << 20, 1 << 20, 0)
    if variant.fmt != "qed":  # ours shrinks it, below
        lab.img("resize", "-f", variant.fmt, "--shrink", "t.img", "1M", status=1)


def test_qed_shrinks(lab, both):
    """An extension of ours; what it leaves is an image for QEMU, which grows it again without old bytes."""
    ours, theirs = both
    qed = Variant("qed", "qed", ("cluster_size=4096", "table_size=2"))
    lab.create(qed, "t.img", "4M")
    lab.io("t.img", "write -P 1 0 4M")
    lab.unwatch("t.img")
    lab.img("resize", "t.img", "1000k", status=1)  # not without --shrink
    image = lab.path(ours, "t.img")
    assert ours.run("img", "resize", "--shrink", image, "1000k").out == "Image resized.\n"
    for subject in (ours, theirs):
        report = subject.run("img", "check", "--output=json", image).json()
        assert report["check-errors"] == 0 and "corruptions" not in report
        assert report["leaks"] > 0  # the table lies behind what was written first
    assert theirs.run("img", "resize", image, "4M").status == 0
    with open(image, "rb") as file:
        lab.write_file("t.img", file.read())
    assert lab.runs("t.img", "qed") == [(0, 1000 << 10, 1), (1000 << 10, (4 << 20) - (1000 << 10), 0)]
    done = theirs.run("img", "resize", "--shrink", image, "1M")
    assert (done.status, done.err) == (1, "qemu-img: Shrinking images is currently not supported\n")


@pytest.mark.parametrize("size", ["", "x", "1", "513", "+1", "-1", "+0", "-0", "0", "+x", "-9E", "9E", "8E",
                                  "1048576", "1M", "+1k", "1.5M", "-1M", "-2M", "0x200000"])
@pytest.mark.parametrize("variant", [RAW, QCOW2], ids=str)
def test_sizes(lab, variant, size):
    lab.create(variant, "t.img", "1M")
    if size == "-9E":
        lab.img("resize", "-f", variant.fmt, "--shrink", "t.img", size, look=False,
                differs="QEMU reckons modulo 2^64 and grows an image that should shrink by 9E")
        lab.images.clear()
        return
    lab.img("resize", "-f", variant.fmt, "--shrink", "t.img", size, status=None)
    lab.img("info", "t.img", look=False)


MODES = ["off", "metadata", "falloc", "full"]


@pytest.mark.parametrize("variant, mode", [(v, m) for v in (RAW, QCOW2) for m in [*MODES, "x", ""]] +
                         [(v, m) for v in (V2, SMALL, EXT) for m in ("metadata", "full")], ids=str)
def test_preallocation(lab, variant, mode):
    lab.create(variant, "t.img", "512k")
    lab.io("t.img", "write -P 1 0 512k")
    lab.img("resize", "-f", variant.fmt, "--preallocation=" + mode, "t.img", "1100k", status=None)
    lab.io("t.img", "read -P 1 0 512k", "read -P 0 512k 588k", "write -P 2 1000k 50k", status=None)
    lab.img("resize", "-f", variant.fmt, "--shrink", "--preallocation=" + mode, "t.img", "256k", status=None)


@pytest.mark.parametrize("variant", [v for v in QCOW2_SETS if "data" in v.name], ids=str)
@pytest.mark.parametrize("mode", ["metadata", "falloc", "full"])
def test_preallocation_in_a_data_file(lab, variant, mode):
    lab.create(variant, "t.img", "512k")
    lab.io("t.img", "write -P 1 0 512k")
    lab.img("resize", "--preallocation=" + mode, "t.img", "1M", status=None)
    lab.io("t.img", "write -P 2 1000k 20k", "read -P 2 1000k 20k", status=None)


@pytest.mark.only("blkref", "QEMU cuts a data file that is not raw")
def test_growing_leaves_vm_state_in_a_data_file(lab):
    for variant, mode in ((DATA, "off"), (DATA_RAW, "off"), (DATA, "falloc"), (DATA_RAW, "metadata")):
        lab.create(variant, "t.img", "1M", look=False)
        lab.io("t.img", "write -b -P 7 1k 1k", look=False)
        lab.img("resize", "-f", "qcow2", "--preallocation=" + mode, "t.img", "3M", look=False)
        lab.io("t.img", "read -b -P 7 1k 1k", "read -P 0 0 3M", look=False)


@pytest.mark.parametrize("variant", able("backing", "grow", among=QCOW2_SETS + EVERY[2:]), ids=str)
def test_over_a_backing_file(lab, variant):
    """A longer backing file must not show in the part that is new."""
    lab.create(RAW, "b.img", "2M")
    lab.io("b.img", "write -P 9 0 2M")
    made = lab.create(variant, "t.img", "1000k", backing="b.img", status=None)
    if made.status:
        return
    lab.io("t.img", "write -P 1 64k 64k")
    lab.img("resize", "-f", variant.fmt, "t.img", "1500k", status=None)
    lab.img("resize", "-f", variant.fmt, "t.img", "3M", status=None)
    lab.bytes("t.img")
    lab.io("t.img", "write -P 2 1010k 4k", "write -P 3 2M 4k", status=None)


@pytest.mark.parametrize("variant, backing", [(QCOW2, "512k"), (QCOW2, "1M"), (QCOW2, "1500k"), (QCOW2, "3M"),
                                              (V2, "1500k"), (EXT, "1500k")], ids=str)
def test_over_backing_files_of_all_sizes(lab, variant, backing):
    lab.create(QCOW2, "b.img", backing)
    lab.io("b.img", "write -P 9 0 " + backing)
    lab.create(variant, "t.img", "1M", backing="b.img")
    for size in ("1200k", "2M", "4M"):
        lab.img("resize", "t.img", size, status=None)
    lab.bytes("t.img")
    lab.img("resize", "--shrink", "t.img", "700k", status=None)
    lab.img("resize", "t.img", "1M", status=None)
    lab.bytes("t.img")
    lab.img("resize", "--preallocation=metadata", "t.img", "2M", status=None)


@pytest.mark.parametrize("variant", [QCOW2, SMALL, V2], ids=str)
def test_under_snapshots(lab, variant):
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 1M")
    lab.img("snapshot", "-c", "one", "t.img")
    lab.img("resize", "t.img", "2M", status=None)
    lab.img("resize", "--shrink", "t.img", "512k", status=None)
    lab.io("t.img", "write -P 2 0 512k")
    lab.img("snapshot", "-a", "one", "t.img", status=None)
    lab.bytes("t.img")


def test_shrinking_gives_clusters_back(lab):
    """Data, compressed and zero clusters behind the new end are free again."""
    lab.create(QCOW2, "t.img", "2M")
    lab.io("t.img", "write -P 1 0 1M", "write -c -P 2 1M 64k", "write -c -P 3 1088k 64k", "write -z 1536k 64k",
           "write -P 4 1600k 64k")
    lab.img("resize", "--shrink", "t.img", "1100k")
    lab.img("check", "--output=json", "t.img", filters=["offset"])
    lab.img("resize", "--shrink", "t.img", "100k")
    lab.img("check", "--output=json", "t.img", filters=["offset"])
    lab.img("resize", "t.img", "2M")
    assert lab.runs("t.img") == [(0, 131072, 1), (131072, 1966080, 0)]


def test_many_l1_entries(lab):
    """Growing over the end of the L1 table and of the refcount table."""
    lab.create(SMALL, "t.img", "64k")
    lab.io("t.img", "write -P 1 0 64k")
    for size in ("1M", "16M", "128M"):
        lab.img("resize", "t.img", size)
    lab.io("t.img", "write -P 2 127M 64k", "read -P 1 0 64k")
    lab.img("resize", "--shrink", "t.img", "32k")
    lab.io("t.img", "read -P 1 0 32k")


@pytest.mark.parametrize("args", [
    ["t.img"], ["2M"], [], ["t.img", "2M", "3M"], ["-f", "nope", "t.img", "2M"], ["-q", "t.img", "2M"],
    ["--image-opts", "driver=qcow2,file.filename=t.img", "2M"], ["--image-opts", "driver=nope", "2M"],
    ["none.img", "2M"], ["-Z", "t.img", "2M"], ["--preallocation", "t.img", "2M"], ["-f", "raw", "t.img", "1M"],
], ids=" ".join)
def test_arguments(lab, args):
    lab.create(QCOW2, "t.img", "1M")
    lab.img("resize", *args, status=None, filters=["usage"])


def test_probed_raw_is_warned_of(lab):
    """A raw image whose format was guessed: the first sector may not be made to look like a format."""
    lab.create(RAW, "t.img", "1M")
    lab.img("resize", "t.img", "2M")
