"""rebase: safe and unsafe, onto other and onto no backing files, of other sizes and cluster sizes."""
import os

import pytest

from iotests.blkimg import DATA, EVERY, EXT, QCOW2, QCOW2_SETS, RAW, SMALL, V2, able

tops = pytest.mark.parametrize("variant", able("backing", among=[v for v in QCOW2_SETS if v.name != "qcow2-data-raw"]
                                               + [v for v in EVERY[2:] if v.fmt != "qcow"]), ids=str)
few_tops = pytest.mark.parametrize("variant", [QCOW2, V2, SMALL, EXT, DATA] + [v for v in EVERY if v.fmt == "qed"], ids=str)


def bases(lab, size="1M", other="1M", base=RAW):
    lab.create(base, "a.img", size)
    lab.io("a.img", "write -P 1 0 %s" % size)
    lab.create(base, "b.img", other)
    lab.io("b.img", "write -P 1 0 100k", "write -P 2 128k 64k", "write -P 1 300k 100k", "write -P 3 500k 512")


def overlay(lab, variant=QCOW2, size=None, backing="a.img"):
    lab.create(variant, "t.img", size, backing=backing)
    lab.io("t.img", "write -P 7 64k 64k", "write -z 256k 64k", "write -P 8 1000k 4k")


@tops
def test_safe(lab, variant):
    """Onto another file, and back: the guest's bytes stay."""
    bases(lab)
    overlay(lab, variant)
    before = lab.bytes("t.img")
    lab.img("rebase", "-f", variant.fmt, "-b", "b.img", "-F", "raw", "t.img")
    assert lab.bytes("t.img") == before
    lab.img("info", "t.img", look=False)
    lab.img("rebase", "-f", variant.fmt, "-b", "a.img", "-F", "raw", "t.img")
    assert lab.bytes("t.img") == before


@few_tops
def test_onto_nothing(lab, variant):
    """-b "" copies everything that the backing file has into the image."""
    bases(lab)
    overlay(lab, variant)
    before = lab.bytes("t.img")
    lab.img("rebase", "-f", variant.fmt, "-b", "", "t.img")
    assert lab.bytes("t.img") == before
    assert "backing-filename" not in lab.info("t.img")


@few_tops
def test_from_nothing(lab, variant):
    """What read as zeroes must not show the new backing file."""
    bases(lab)
    if variant is V2 or variant.fmt == "qcow":
        return  # see below
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 7 64k 64k")
    before = lab.bytes("t.img")
    lab.img("rebase", "-f", variant.fmt, "-b", "b.img", "-F", "raw", "t.img", status=None)
    assert lab.bytes("t.img") == before


@pytest.mark.only("blkref", "QEMU lets the new backing file show through where a version 2 image has no clusters")
def test_from_nothing_in_version_2(lab):
    bases(lab)
    lab.create(V2, "t.img", "1M")
    lab.io("t.img", "write -P 7 64k 64k")
    before = lab.bytes("t.img")
    lab.img("rebase", "-b", "b.img", "-F", "raw", "t.img")
    assert lab.bytes("t.img") == before


@few_tops
def test_unsafe(lab, variant):
    """-u only writes the name: the bytes change with the file behind it."""
    bases(lab)
    overlay(lab, variant)
    lab.img("rebase", "-u", "-f", variant.fmt, "-b", "b.img", "-F", "raw", "t.img")
    assert lab.bytes("t.img")[131072] == 2
    lab.img("rebase", "-u", "-f", variant.fmt, "-b", "", "t.img")
    assert lab.bytes("t.img")[131072] == 0
    lab.img("rebase", "-u", "-f", variant.fmt, "-b", "none.img", "-F", "raw", "t.img", look=False)
    lab.img("info", "t.img", look=False)
    lab.images.clear()


SIZES = [
    ("1M", "512k", "1M"), ("512k", "1M", "1M"), ("1M", "2M", "1M"), ("2M", "1M", "1M"), ("512k", "700k", "1M"),
    ("700k", "512k", "1M"), ("1M", "1M", "2M"), ("1000k", "1001k", "1M"), ("512k", "512k", "513k")]


@pytest.mark.parametrize("variant, old, new, size", [(QCOW2, *s) for s in SIZES] + [(V2, *s) for s in SIZES[:2]], ids=str)
def test_sizes(lab, variant, old, new, size):
    """Old and new backing files shorter or longer than the image and than each other."""
    lab.create(RAW, "a.img", old)
    lab.io("a.img", "write -P 1 0 %s" % old)
    lab.create(RAW, "b.img", new)
    lab.io("b.img", "write -P 2 0 %s" % new)
    lab.create(variant, "t.img", size, backing="a.img")
    lab.io("t.img", "write -P 7 64k 1k")
    before = lab.bytes("t.img")
    lab.img("rebase", "-b", "b.img", "-F", "raw", "t.img")
    assert lab.bytes("t.img") == before
    lab.img("rebase", "-b", "", "t.img")
    assert lab.bytes("t.img") == before


@pytest.mark.parametrize("top", [SMALL, QCOW2, EXT], ids=str)
@pytest.mark.parametrize("below", [SMALL, QCOW2, EXT], ids=str)
def test_cluster_sizes(lab, top, below):
    lab.create(below, "a.img", "1M")
    lab.io("a.img", "write -P 1 1k 2k", "write -P 1 100k 300k")
    lab.create(below, "b.img", "1M")
    lab.io("b.img", "write -P 1 100k 1k", "write -P 2 512k 512", "write -z 700k 100k")
    lab.create(top, "t.img", None, backing="a.img")
    lab.io("t.img", "write -P 7 200k 512")
    before = lab.bytes("t.img")
    lab.img("rebase", "-b", "b.img", "-F", "qcow2", "t.img")
    assert lab.bytes("t.img") == before


def chain(lab):
    lab.create(RAW, "a.img", "1M")
    lab.io("a.img", "write -P 1 0 1M")
    for i, name in enumerate(("b", "c", "t")):
        lab.create(QCOW2, name + ".img", None, backing="%s.img" % "abc"[i])
        lab.io(name + ".img", "write -P %d %dk 64k" % (i + 2, i * 64))


@pytest.mark.parametrize("name", ["a.img", "../a.img", "b.img", "../b.img", "@DIR/a.img"])
def test_names_from_another_folder(lab, name):
    """A new backing file is looked for beside the image, even where the chain has one of that name."""
    bases(lab, base=QCOW2)
    lab.create(QCOW2, "c.img", None, backing="a.img")
    for folder in lab.dirs():
        os.mkdir(os.path.join(folder, "sub"))
    lab.img("create", "-q", "-f", "qcow2", "-u", "-b", "../c.img", "-F", "qcow2", "sub/t.img", "1M", look=False)
    lab.img("rebase", "-b", name, "-F", "qcow2", "sub/t.img", look=False, status=None)
    lab.img("info", "--backing-chain", "sub/t.img", look=False)


@pytest.mark.parametrize("name", ["file:a.img", "file:@DIR/a.img", "./a.img", "blkdebug::a.img", "null-co://"])
def test_names_with_a_protocol(lab, name):
    """The chain is the header's, however its file is named there: relative names go on from the image."""
    bases(lab)
    for command in (["commit"], ["rebase", "-b", "b.img", "-F", "raw"]):
        lab.img("create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", "raw", "t.img", "1M", look=False)
        lab.io("t.img", "write -P 9 64k 64k", fmt="qcow2", look=False)
        lab.img(command[0], *command[1:], "t.img", look=False)


@pytest.mark.parametrize("target", ["a.img", "b.img", "c.img", ""])
def test_within_the_chain(lab, target):
    """Onto a file further down its own chain: what is between goes into the image."""
    chain(lab)
    before = lab.bytes("t.img")
    fmt = ["-F", lab.images[target].fmt] if target else []
    lab.img("rebase", "-b", target, *fmt, "t.img")
    assert lab.bytes("t.img") == before
    lab.img("info", "--backing-chain", "t.img", look=False)


@pytest.mark.parametrize("sizes", [("1M", "1M", "2M"), ("2M", "1M", "2M"), ("1M", "2M", "2M"), ("2M", "1M", "2M", "2M"),
                                   ("2M", "2M", "1M", "2M"), ("1M", "512k", "1M", "1536k"), ("1M", "512k", "512k")],
                         ids="-".join)
def test_within_a_chain_of_other_sizes(lab, sizes):
    """Layers between that end earlier read as zeroes there, whatever is below them."""
    for i, size in enumerate(sizes):
        lab.create(QCOW2, "%d.img" % i, size, backing="%d.img" % (i - 1) if i else None)
        lab.io("%d.img" % i, "write -P %d %dk 64k" % (i + 1, 64 * i), *(["write -P 9 512k 512k"] if i == 0 else []))
    top = "%d.img" % (len(sizes) - 1)
    before = lab.bytes(top)
    lab.img("rebase", "-b", "0.img", "-F", "qcow2", top)
    assert lab.bytes(top) == before


def test_middle_of_a_chain(lab):
    chain(lab)
    before = lab.bytes("t.img")
    lab.img("rebase", "-b", "a.img", "-F", "raw", "c.img")
    assert lab.bytes("t.img") == before


@pytest.mark.parametrize("target", ["t.img", "none.img", "u.img"])
def test_loops_and_missing_files(lab, target):
    """Onto itself, onto an image that stands on it, onto nothing there."""
    chain(lab)
    lab.create(QCOW2, "u.img", None, backing="t.img")
    lab.img("rebase", "-b", target, "-F", "qcow2", "t.img", status=1)
    lab.img("info", "t.img", look=False)


def test_qcow(lab):
    """The format has no place for a backing format, and the tool wants one."""
    qcow = next(v for v in EVERY if v.fmt == "qcow")
    bases(lab)
    overlay(lab, qcow)
    for args in (["-b", "b.img", "-F", "raw"], ["-b", "b.img"], ["-u", "-b", "b.img"], ["-u", "-b", "b.img", "-F", "raw"],
                 ["-b", ""], ["-u", "-b", ""]):
        lab.img("rebase", "-f", "qcow", *args, "t.img", status=None)


def test_old_backing_file_is_gone(lab):
    import os
    bases(lab)
    overlay(lab)
    for folder in lab.dirs():
        os.unlink(folder + "/a.img")
    lab.unwatch("a.img")
    lab.img("rebase", "-b", "b.img", "-F", "raw", "t.img", status=1, look=False)
    lab.img("rebase", "-u", "-b", "b.img", "-F", "raw", "t.img")
    lab.bytes("t.img")


def test_snapshots_keep_their_bytes(lab):
    """Safe rebase copies for the active disk only; a snapshot then stands on the new file."""
    bases(lab)
    overlay(lab)
    lab.img("snapshot", "-c", "one", "t.img")
    lab.io("t.img", "write -P 9 400k 64k")
    before = lab.bytes("t.img")
    lab.img("rebase", "-b", "b.img", "-F", "raw", "t.img")
    assert lab.bytes("t.img") == before
    lab.img("snapshot", "-a", "one", "t.img")
    lab.bytes("t.img")


@pytest.mark.parametrize("args", [
    [], ["t.img"], ["-b", "b.img"], ["-b", "b.img", "t.img", "x"], ["-b", "b.img", "t.img"],
    ["-u", "-b", "b.img", "t.img"], ["-F", "raw", "t.img"], ["-u", "-F", "raw", "t.img"],
    ["-b", "b.img", "-F", "nope", "t.img"], ["-u", "-b", "b.img", "-F", "nope", "t.img"],
    ["-b", "b.img", "-F", "qcow2", "t.img"], ["-f", "nope", "-b", "b.img", "-F", "raw", "t.img"],
    ["-f", "raw", "-b", "b.img", "-F", "raw", "t.img"], ["-f", "raw", "-u", "-b", "b.img", "-F", "raw", "b.img"],
    ["-p", "-b", "b.img", "-F", "raw", "t.img"], ["-q", "-b", "b.img", "-F", "raw", "t.img"],
    ["-t", "none", "-T", "none", "-b", "b.img", "-F", "raw", "t.img"], ["-t", "x", "-b", "b.img", "t.img"],
    ["-T", "x", "-b", "b.img", "t.img"], ["-U", "-b", "b.img", "-F", "raw", "t.img"],
    ["-U", "-u", "-b", "b.img", "-F", "raw", "t.img"], ["-Z", "t.img"],
    ["-b", "b.img", "-F", "raw", "none.img"], ["-u", "-b", "", "-F", "raw", "t.img"], ["-b", "", "-F", "raw", "t.img"],
    ["--image-opts", "-b", "b.img", "-F", "raw", "driver=qcow2,file.filename=t.img"],
    ["-u", "-b", "b" * 1023, "-F", "raw", "t.img"], ["-u", "-b", "b" * 1024, "-F", "raw", "t.img"],
    ["-u", "-b", "json:{\"driver\":\"raw\"}", "-F", "raw", "t.img"],
], ids=lambda a: " ".join(a)[:50])
def test_arguments(lab, args):
    bases(lab)
    overlay(lab)
    lab.images["t.img"].clean = "-u" not in args
    lab.img("rebase", *args, status=None, filters=["usage", "progress"], look="-u" not in args)
    lab.images.clear()
