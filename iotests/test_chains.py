"""Backing chains: how names are read, what json: names mean, formats, loops, depth, missing layers."""
import json
import os

import pytest

from iotests.blkimg import EVERY, QCOW2, RAW, able


def stamp(lab, name, byte, at, size="64k"):
    lab.io(name, "write -P %d %s %s" % (byte, at, size))


def base(lab, name="b.img", variant=RAW):
    lab.create(variant, name, "1M")
    stamp(lab, name, 9, "0", "1M")


# ---- names ----

@pytest.mark.parametrize("name", ["b.img", "./b.img", "sub/../b.img", "@DIR/b.img", "file:b.img", "file:@DIR/b.img"])
def test_names(lab, name):
    """Relative names are relative to the image that has them, absolute and protocol names are not."""
    for folder in lab.dirs():
        os.mkdir(folder + "/sub")
    base(lab)
    lab.img("create", "-f", "qcow2", "-b", name, "-F", "raw", "t.img")
    lab.img("info", "t.img")
    lab.img("info", "--output=json", "t.img")
    lab.img("map", "t.img", status=None)
    lab.io("t.img", "read -P 9 0 1M", fmt="qcow2")


def test_relative_to_the_image(lab):
    """An image opened from another folder still finds its neighbours."""
    for folder in lab.dirs():
        os.mkdir(folder + "/sub")
    base(lab, "sub/b.img")
    lab.img("create", "-f", "qcow2", "-b", "b.img", "-F", "raw", "sub/t.img")
    lab.img("create", "-f", "qcow2", "-b", "sub/t.img", "-F", "qcow2", "u.img")
    lab.io("u.img", "read -P 9 0 1M", fmt="qcow2")
    lab.img("info", "--backing-chain", "u.img")
    lab.img("create", "-f", "qcow2", "-b", "sub/b.img", "-F", "raw", "sub/v.img", status=1)
    lab.img("rebase", "-u", "-b", "./b.img", "-F", "raw", "sub/t.img")
    lab.io("u.img", "read -P 9 0 1M", fmt="qcow2")


def test_names_with_colons(lab):
    """A colon makes a protocol of what stands before it, unless a slash comes first."""
    base(lab, "./a:b.img")
    lab.img("create", "-f", "qcow2", "-b", "./a:b.img", "-F", "raw", "t.img")
    lab.io("t.img", "read -P 9 0 1M", fmt="qcow2")
    lab.img("create", "-f", "qcow2", "-b", "a:b.img", "-F", "raw", "u.img", status=None)
    lab.img("create", "-u", "-f", "qcow2", "-b", "a:b.img", "-F", "raw", "u.img", "1M", status=None)
    lab.img("info", "u.img", status=None)
    lab.img("map", "u.img", status=None)
    lab.img("create", "-f", "qcow2", "-b", "@DIR/a:b.img", "-F", "raw", "v.img", status=None)


# ---- json: ----

def pseudo(**options):
    return "json:" + json.dumps(options)


@pytest.mark.parametrize("options", [
    {"driver": "raw", "file": {"driver": "file", "filename": "b.img"}},
    {"driver": "raw", "file.driver": "file", "file.filename": "b.img"},
    {"driver": "raw", "file.filename": "b.img"},
    {"driver": "file", "filename": "b.img"},
    {"file": {"driver": "file", "filename": "b.img"}},
    {"driver": "raw", "offset": 65536, "size": 65536, "file": {"driver": "file", "filename": "b.img"}},
    {"driver": "raw", "file": {"driver": "blkdebug", "image": {"driver": "file", "filename": "b.img"}}},
    {"driver": "null-co", "size": 1048576, "read-zeroes": True},
    {"driver": "raw", "file": {"driver": "null-co", "size": 1048576, "read-zeroes": True}},
    {"driver": "nope"}, {}, {"driver": "raw"}, {"driver": "raw", "nope": 1, "file.filename": "b.img"},
    {"driver": "qcow2", "file.filename": "b.img"}, {"driver": "raw", "file.filename": "none.img"},
    {"driver": "raw", "file": "nope"}, {"driver": "raw", "size": "x", "file.filename": "b.img"},
    {"driver": "raw", "file.filename": "b.img", "node-name": "n"}, {"driver": "raw", "backing": None, "file.filename": "b.img"},
], ids=lambda o: json.dumps(o)[:60])
def test_pseudo_protocol(lab, options):
    """json:{} as an image's name, and as a backing file's name."""
    base(lab)
    name = pseudo(**options)
    lab.img("info", name, status=None, filters=["node"])
    lab.img("info", "--output=json", name, status=None, filters=["node"])
    lab.img("map", "--output=json", name, status=None)
    lab.run("io", name, "-c", "read -P 9 0 512", status=None, filters=["node"])
    lab.img("create", "-f", "qcow2", "-b", name, "-F", "raw", "t.img", status=None)
    lab.img("create", "-u", "-f", "qcow2", "-b", name, "-F", "raw", "u.img", "1M", status=None)
    lab.img("info", "--backing-chain", "u.img", status=None, filters=["node"])
    lab.run("io", "-f", "qcow2", "u.img", "-c", "read -P 9 0 512", status=None, filters=["node"])


@pytest.mark.parametrize("text", ["json:", "json:{", "json:{}", "json:[]", "json:1", "json:{'driver':'raw'}",
                                  "json:{\"driver\":\"raw\",}", "json:{\"driver\":\"raw\" x", "json: {}", "JSON:{}",
                                  "json:{\"driver\":1}", "json:{\"driver\":\"raw\",\"driver\":\"qcow2\"}",
                                  "json:{\"file.filename\":\"b.img\",\"file\":{}}", "json:{\"a\":{\"b\":[1,{\"c\":2}]}}"])
def test_wrong_json(lab, text):
    base(lab)
    lab.img("info", text, status=None)
    lab.img("create", "-f", "qcow2", "-b", text, "-F", "raw", "t.img", "1M", status=None)
    lab.img("create", "-u", "-f", "qcow2", "-b", text, "-F", "raw", "t.img", "1M", status=None)
    lab.img("info", "t.img", status=None)
    lab.img("map", "t.img", status=None)


def test_json_names_of_layers(lab):
    """Overlays on pseudo names give readable chains, and commit and rebase find their layers by them."""
    base(lab, "b.img", QCOW2)
    name = pseudo(driver="qcow2", file={"driver": "file", "filename": "b.img"})
    lab.img("create", "-f", "qcow2", "-b", name, "-F", "qcow2", "t.img")
    lab.watch("t.img", "qcow2", local=True)
    lab.io("t.img", "write -P 5 64k 64k")
    lab.img("info", "--backing-chain", "--output=json", "t.img")
    lab.img("commit", "-b", name, "t.img", status=None)
    lab.img("commit", "t.img")
    assert lab.bytes("b.img")[65536] == 5


# ---- formats ----

@pytest.mark.parametrize("top", able("backing"), ids=str)
@pytest.mark.parametrize("below", EVERY, ids=str)
def test_all_formats_below_all(lab, top, below):
    base(lab, "b.img", below)
    lab.create(top, "t.img", None, backing="b.img", status=None)
    stamp(lab, "t.img", 5, "64k", "4k")
    lab.img("info", "--backing-chain", "t.img")
    lab.map("t.img")


@pytest.mark.parametrize("given", ["raw", "qcow2", "vdi", "nope", None])
@pytest.mark.parametrize("below", [RAW, QCOW2], ids=str)
def test_backing_format(lab, below, given):
    """-F is taken at its word: qcow2 read as raw shows its header."""
    base(lab, "b.img", below)
    args = ["-F", given] if given else []
    lab.img("create", "-f", "qcow2", "-b", "b.img", *args, "t.img", status=None)
    lab.img("info", "t.img", status=None)
    lab.run("io", "-f", "qcow2", "t.img", "-c", "read -v 0 4", status=None)
    lab.img("create", "-u", "-f", "qcow2", "-b", "b.img", *args, "u.img", "1M", status=None)
    lab.run("io", "-f", "qcow2", "u.img", "-c", "read -v 0 4", status=None)
    lab.img("rebase", "-u", "-b", "b.img", *args, "u.img", status=None)


def test_probed_raw_backing_keeps_its_first_sector(lab):
    """Without a format an image that looks like another may not come into being below."""
    base(lab, "b.img")
    lab.img("create", "-f", "qcow", "-o", "backing_file=b.img", "t.img", status=None)
    lab.write_file("evil", b"QFI\xfb" + b"\0" * 508)
    lab.run("io", "b.img", "-c", "write -s evil 0 512", status=None)
    lab.run("io", "b.img", "-c", "write -P 3 0 512", status=None)
    lab.run("io", "b.img", "-c", "write -P 3 512 512", status=None)
    lab.run("io", "-f", "raw", "b.img", "-c", "write -s evil 0 512")
    lab.images.clear()


@pytest.mark.parametrize("options", ["backing.file.filename=r.img", "backing.file.filename=q.img",
                                     "backing.file.driver=file,backing.file.filename=r.img",
                                     "backing.driver=raw,backing.file.filename=q.img"])
@pytest.mark.parametrize("fmt", ["raw", "qcow2"])
def test_format_of_another_backing_file(lab, options, fmt):
    """The header's format holds for a file that options put in the place of its own, too."""
    lab.create(RAW, "r.img", "1M")
    lab.create(QCOW2, "q.img", "1M")
    lab.io("r.img", "write -P 1 0 64k")
    lab.io("q.img", "write -P 2 0 64k")
    lab.create(QCOW2, "t.img", None, backing="r.img" if fmt == "raw" else "q.img", backing_fmt=fmt)
    options = "driver=qcow2,file.filename=t.img," + options
    lab.img("convert", "-O", "raw", "--image-opts", options, "out.img", status=None)


def test_raw_has_no_information_of_its_file(lab):
    lab.create(QCOW2, "q.img", "1M")
    for more in ("", "size=64k,"):
        lab.img("info", "--image-opts", "driver=raw,%sfile.driver=qcow2,file.file.filename=q.img" % more)


# ---- loops and depth ----

@pytest.mark.parametrize("length", [1, 2, 3])
def test_loops(lab, length):
    """A chain that comes back to itself is refused by everything that walks it."""
    for i in range(length):
        lab.img("create", "-q", "-f", "qcow2", "%d.img" % i, "1M")
    for i in range(length):
        lab.img("rebase", "-u", "-b", "%d.img" % ((i + 1) % length), "-F", "qcow2", "%d.img" % i)
    lab.img("info", "0.img")
    lab.img("info", "--backing-chain", "0.img", status=1)
    lab.img("info", "--backing-chain", "--output=json", "0.img", status=1)


@pytest.mark.only("blkref", "QEMU opens a chain that loops for ever")
@pytest.mark.parametrize("protocol", ["", "file:"])
@pytest.mark.parametrize("command", [["map", "0.img"], ["convert", "0.img", "t.img"], ["compare", "0.img", "0.img"],
                                     ["commit", "0.img"], ["rebase", "-b", "", "0.img"],
                                     ["create", "-f", "qcow2", "-b", "0.img", "-F", "qcow2", "t.img"]], ids=lambda c: c[0])
def test_loops_are_refused(lab, command, protocol):
    for i in range(2):
        lab.img("create", "-q", "-u", "-f", "qcow2", "-b", "%s%d.img" % (protocol, 1 - i), "-F", "qcow2",
                "%d.img" % i, "1M")
    done = lab.img(*command, status=None)
    assert done.status in (1, 2) and "loop" in done.err and "0.img" in done.err


def test_links_do_not_hide_loops(lab):
    """info knows names only: a loop through a link is walked until the names repeat."""
    lab.img("create", "-q", "-u", "-f", "qcow2", "-b", "link.img", "-F", "qcow2", "0.img", "1M")
    for folder in lab.dirs():
        os.symlink("0.img", folder + "/link.img")
    lab.img("info", "--backing-chain", "0.img", status=1)


@pytest.mark.parametrize("depth", [30])
def test_deep_chains(lab, depth):
    lab.create(QCOW2, "0.img", "1M")
    for i in range(1, depth):
        lab.img("create", "-q", "-f", "qcow2", "-b", "%d.img" % (i - 1), "-F", "qcow2", "%d.img" % i, look=False)
    top = "%d.img" % (depth - 1)
    for i in (0, 1, depth // 2, depth - 1):
        lab.io("%d.img" % i, "write -P %d %dk 4k" % (i + 1, i * 16), fmt="qcow2", look=False)
    lab.watch(top, "qcow2")
    lab.look()
    depths = {facts[0] for _, _, facts in lab.map(top)}
    assert {0, depth - 1} <= depths
    lab.img("info", "--backing-chain", "--output=json", top)
    lab.img("commit", "-d", "-b", "1.img", top)
    lab.img("compare", top, "1.img")


# ---- layers that are gone, shorter, damaged ----

def test_missing_layers(lab):
    base(lab)
    lab.create(QCOW2, "m.img", None, backing="b.img")
    lab.create(QCOW2, "t.img", None, backing="m.img")
    for folder in lab.dirs():
        os.unlink(folder + "/b.img")
    lab.images.clear()
    for args in (["info", "t.img"], ["check", "t.img"], ["check", "-r", "all", "t.img"], ["info", "--backing-chain", "t.img"], ["map", "t.img"], ["convert", "t.img", "x.img"],
                 ["commit", "t.img"], ["rebase", "-b", "", "t.img"], ["snapshot", "-c", "a", "t.img"],
                 ["resize", "t.img", "2M"], ["compare", "t.img", "t.img"], ["measure", "t.img"],
                 ["amend", "-o", "size=2M", "t.img"], ["dd", "if=t.img", "of=x.img"]):
        lab.img(*args, status=None)
    lab.run("io", "t.img", "-c", "read 0 512", status=1)
    lab.run("io", "-c", "open -o driver=qcow2,backing=,file.filename=t.img", "-c", "read 0 512", status=None)
    lab.run("io", "--image-opts", "driver=qcow2,file.filename=t.img,backing.driver=null-co,backing.size=1M",
            "-c", "read 0 512", status=None)


@pytest.mark.parametrize("sizes", [("512k", "1M", "2M"), ("2M", "1M", "512k"), ("1M", "512k", "1M"), ("1M", "513", "64k")],
                         ids="-".join)
def test_sizes(lab, sizes):
    """Below a shorter layer nothing shines through behind its end."""
    base_size, middle, top = sizes
    lab.create(RAW, "b.img", base_size)
    stamp(lab, "b.img", 9, "0", base_size)
    lab.create(QCOW2, "m.img", middle, backing="b.img")
    lab.create(QCOW2, "t.img", top, backing="m.img")
    lab.bytes("t.img")
    lab.io("t.img", "write -P 1 0 512", "write -P 2 32k 1k", "discard 0 64k", "write -z 0 32k", status=None)
    lab.img("convert", "-O", "qcow2", "t.img", "flat.img")
    lab.watch("flat.img", "qcow2")
    assert lab.bytes("flat.img") == lab.bytes("t.img")


@pytest.mark.parametrize("variant", able("backing"), ids=str)
def test_copy_on_write(lab, variant):
    """Partial writes fill the rest of the cluster from below, over every kind of edge."""
    lab.create(RAW, "b.img", "1000k")
    lab.io("b.img", "write -P 1 0 100k", "write -P 2 300k 500k", "write -P 3 999k 1k")
    lab.create(variant, "t.img", "1100k", backing="b.img")
    for command in ("write -P 5 1k 1k", "write -P 6 99k 2k", "write -P 7 400000 1", "write -P 8 990k 20k",
                    "write -P 9 1099k 1k", "write -P 10 64k 128k"):
        lab.io("t.img", command)


def test_copy_on_read(lab):
    """-C copies what is read into the overlay."""
    base(lab)
    lab.create(QCOW2, "t.img", None, backing="b.img")
    lab.io("t.img", "read -P 9 100k 1k", flags=["-C"])
    assert lab.map("t.img")[1][2][0] == 0
    lab.io("t.img", "read -P 9 0 1M", flags=["-C", "-r"], status=None)
    lab.io("t.img", "read -P 9 0 1M", flags=["-C"])
