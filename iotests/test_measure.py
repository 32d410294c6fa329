"""measure: what is promised for every source and target, and what a convert then really makes."""
import os

import pytest

from iotests.blkimg import ALL, EVERY, QCOW2, QCOW2_SETS, RAW

CONTENT = ["write -P 1 0 300k", "write -P 2 1M 64k", "write -z 1500k 64k", "write -P 3 2047k 1k"]
FLAT = [v for v in ALL if "data" not in v.name]


def measured(lab, *args):
    return lab.img("measure", "--output=json", *args, look=False).json()


def file_size(lab, name):
    """Bytes of the file, the same on all subjects."""
    sizes = {os.stat(os.path.join(d, name)).st_size for d in lab.dirs()}
    assert len(sizes) == 1, sizes
    return sizes.pop()


def target_options(variant):
    return ["-o", variant.options("x.img")] if variant.opts else []


@pytest.mark.parametrize("source", [RAW, QCOW2], ids=str)
@pytest.mark.parametrize("variant", FLAT, ids=str)
def test_convert_keeps_the_promise(lab, source, variant):
    """The file that convert makes is as long as was said, and never longer than `fully-allocated`."""
    lab.create(source, "s.img", "2M")
    lab.io("s.img", *CONTENT)
    said = measured(lab, "-f", source.fmt, "-O", variant.fmt, *target_options(variant), "s.img")
    lab.img("measure", "-f", source.fmt, "-O", variant.fmt, *target_options(variant), "s.img", look=False)
    lab.img("convert", "-S", "0", "-f", source.fmt, "-O", variant.fmt, *target_options(variant), "s.img", "full.img")
    lab.img("convert", "-f", source.fmt, "-O", variant.fmt, *target_options(variant), "s.img", "t.img")
    assert file_size(lab, "t.img") <= said["fully-allocated"]
    assert file_size(lab, "full.img") <= said["fully-allocated"]
    if variant.fmt != "raw":
        assert file_size(lab, "t.img") <= said["required"]


@pytest.mark.parametrize("mode", ["off", "metadata", "falloc", "full"])
@pytest.mark.parametrize("more", ["", "cluster_size=4k", "extended_l2=on", "refcount_bits=64"])
def test_preallocation(lab, mode, more):
    opts = ",".join(o for o in ("preallocation=" + mode, more) if o)
    said = measured(lab, "-O", "qcow2", "-o", opts, "--size", "2M")
    lab.img("create", "-f", "qcow2", "-o", opts, "t.img", "2M")
    lab.watch("t.img", "qcow2")
    assert file_size(lab, "t.img") <= said["fully-allocated"]
    if mode in ("falloc", "full"):
        assert said["required"] == said["fully-allocated"]


@pytest.mark.parametrize("variant", ALL, ids=str)
def test_sizes(lab, variant):
    sizes = ["0", "1", "64k", "1G", "1P", "8E", "7E"] + (["9E", "x", "-1", ""] if variant in (RAW, QCOW2) else [])
    for size in sizes:
        lab.img("measure", "-O", variant.fmt, *target_options(variant), "--size", size, status=None)


@pytest.mark.parametrize("variant", EVERY[2:], ids=str)
def test_formats_that_cannot(lab, variant):
    lab.create(RAW, "s.img", "1M")
    lab.img("measure", "-O", variant.fmt, "--size", "1M", status=1)
    lab.img("measure", "-O", variant.fmt, "-f", "raw", "s.img", status=1)


def test_snapshots(lab):
    """-l measures the snapshot's disk."""
    lab.create(QCOW2, "s.img", "2M")
    lab.io("s.img", "write -P 1 0 1M")
    lab.img("snapshot", "-c", "full", "s.img")
    lab.io("s.img", "discard 0 1M")
    for name in ("full", "1", "snapshot.name=full"):
        assert measured(lab, "-l", name, "-O", "qcow2", "s.img")["required"] > \
            measured(lab, "-O", "qcow2", "s.img")["required"]
    lab.img("measure", "-l", "none", "-O", "qcow2", "s.img", status=1)


def test_chains_and_backing_options(lab):
    lab.create(RAW, "b.img", "2M")
    lab.io("b.img", "write -P 1 0 1M")
    lab.create(QCOW2, "s.img", None, backing="b.img")
    lab.io("s.img", "write -P 2 64k 64k")
    for opts in ("backing_file=b.img", "backing_file=b.img,backing_fmt=raw", "backing_fmt=raw", "data_file=d",
                 "data_file=d,data_file_raw=on", "size=1M", "size=4M"):
        lab.img("measure", "-O", "qcow2", "-o", opts, "s.img", status=None)
    lab.img("measure", "-O", "raw", "s.img")
    lab.img("measure", "--image-opts", "-O", "qcow2", "driver=qcow2,file.filename=s.img")


def test_compressed_source(lab):
    lab.create(QCOW2, "s.img", "2M")
    lab.io("s.img", "write -c -P 1 0 64k", "write -c -P 2 64k 64k", "write -P 3 1M 64k")
    for variant in QCOW2_SETS:
        lab.img("measure", "-O", "qcow2", *target_options(variant), "s.img", look=False)


def test_what_info_says_of_raw_files(lab):
    """`required` of raw follows the data, down to a whole file of holes."""
    for size in ("0", "1k", "64k", "100M"):
        lab.create(RAW, "r.img", size)
        lab.img("measure", "-f", "raw", "-O", "raw", "r.img", look=False)
        lab.img("measure", "-f", "raw", "-O", "qcow2", "r.img", look=False)


KEY = ["--object", "secret,id=s,data=abc"]


@pytest.mark.parametrize("args", [
    ["--output=json", "--size", "1M"], ["--output=human", "--size", "1M"], ["--size", "1M", "s.img"],
    ["--size", "1M", "-f", "raw"], ["--size", "1M", "-l", "x"], ["--size", "1M", "--image-opts"], [],
    ["-O", "nope", "--size", "1M"], ["-o", "nope=1", "--size", "1M"], ["-O", "qcow2", "-o", "nope=1", "--size", "1M"],
    ["-O", "qcow2", "-o", "cluster_size=3", "--size", "1M"], ["-O", "qcow2", "-o", "refcount_bits=3", "--size", "1M"],
    ["-O", "qcow2", "-o", "compat=0.10,refcount_bits=8", "--size", "1M"],
    ["-O", "qcow2", "-o", "extended_l2=on,cluster_size=8k", "--size", "1M"],
    ["s.img", "s.img"], ["none.img"], ["-f", "qcow2", "s.img"], ["-f", "nope", "s.img"], ["-U", "s.img"],
    ["-O", "luks", *KEY, "-o", "key-secret=s,cipher-alg=3des", "s.img"],
    ["-O", "luks", *KEY, "-o", "key-secret=s,cipher-alg=cast5-128", "s.img"],
    ["-O", "qcow2", *KEY, "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.ivgen-alg=essiv,"
     "encrypt.ivgen-hash-alg=sha1", "s.img"],
    ["-O", "qcow2", "-o", "compat=1.2,refcount_bits=3", "s.img"], ["-O", "qcow2", "-o", "compat=", "s.img"],
    ["-O", "qcow2", "-o", "preallocation=nope,encrypt.format=luks", "s.img"], ["-O", "qcow2", "-o", "preallocation=", "s.img"],
    ["-O", "qcow2", "-o", "help", "--size", "1M"], ["-O", "luks", "--size", "1M"],
    ["-O", "luks", "-o", "key-secret=none", "s.img"], ["-O", "luks", "-o", "cipher-alg=nope", "s.img"],
], ids=" ".join)
def test_arguments(lab, args):
    lab.create(RAW, "s.img", "1M")
    lab.img("measure", *args, status=None, filters=["usage"], same="help" not in " ".join(args))
