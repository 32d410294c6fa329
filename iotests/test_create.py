"""create: every option of raw and qcow2, its errors, and what info and map say afterwards."""
import os

import pytest

from iotests.blkimg import ALL, BASIC, QCOW2, RAW, V2

variants = pytest.mark.parametrize("variant", ALL, ids=str)
basic = pytest.mark.parametrize("variant", BASIC, ids=str)


@variants
def test_options_are_kept(lab, variant):
    """Every option set is created, printed in order, and found again by info."""
    made = lab.create(variant, "t.img", "4M")
    assert made.out.startswith("Formatting 't.img', fmt=%s" % variant.fmt)
    info = lab.img("info", "t.img", look=False).out
    assert "virtual size: 4 MiB (4194304 bytes)" in info
    assert lab.info("t.img")["virtual-size"] == 4194304
    lab.img("info", "--output=json", "t.img", look=False)
    assert lab.runs("t.img") == [(0, 4194304, 0)]


@basic
@pytest.mark.parametrize("size", ["0", "1", "511", "512", "513", "65536", "1k", "1.5M", "1G", "1T",
                                  "0x10000", "8191b"])
def test_sizes(lab, variant, size):
    lab.create(variant, "t.img", size)
    lab.img("info", "t.img", look=False)


@basic
@pytest.mark.parametrize("size", ["", "x", "-1", "1Z", "1kk", "1.5", "9E", "99999999999999999999",
                                  " 1", "+1", "1 k", "1e3"])
def test_wrong_sizes(lab, variant, size):
    """Both programs agree on what is no size, and make nothing then."""
    lab.img("create", "-f", variant.fmt, "t.img", size, status=None)


@pytest.mark.parametrize("name", ["file:d", "file:a:b", "./d", "file:./d"])
def test_names_of_data_files(lab, name):
    """The header keeps what opens the file again, without a protocol."""
    lab.img("create", "-f", "qcow2", "-o", "data_file=" + name, "t.img", "1M")
    lab.img("info", "t.img")
    lab.io("t.img", "write -P 1 0 64k", "read -P 1 0 64k")
    lab.io("t.img", "read -P 1 0 64k")


@pytest.mark.parametrize("fmt", ["qcow2", "qed", "parallels", "vdi", "qcow"])
@pytest.mark.parametrize("size", ["18446744073709551105", "18446744073709551614"])
def test_sizes_that_wrap(lab, ours, fmt, size):
    """No disk of 2^64 bytes: rounded up to sectors it would be empty."""
    lab.img("create", "-q", "-f", fmt, "-o", "size=" + size, "t.img", look=False,
            differs="sizes that wrap when they are rounded up make an empty disk in QEMU")
    assert lab.one(ours, "img", "create", "-f", fmt, "-o", "size=" + size, "t.img").status == 1


@pytest.mark.only("blkref", "QEMU measures the machine for seconds, and names what it found")
def test_luks_of_negative_time(lab):
    """No key derivation is less than none: not taken for zero."""
    done = lab.img("create", "-q", "-f", "luks", "--object", "secret,id=s,data=abc", "-o", "key-secret=s,iter-time=-1",
                   "t.img", "1M", status=1, look=False)
    assert "PBKDF iterations" in done.err


@pytest.mark.parametrize("size", ["1E", "18446744073709551104"])
def test_parallels_too_large(lab, size):
    lab.img("create", "-q", "-f", "parallels", "-o", "size=" + size, "t.img", look=False, status=1)


@pytest.mark.parametrize("mode", ["off", "falloc", "full"])
def test_raw_preallocation(lab, mode):
    lab.create(RAW, "t.img", "1M", extra=["preallocation=" + mode])


@pytest.mark.parametrize("mode", ["off", "metadata", "falloc", "full"])
@pytest.mark.parametrize("more", ["", "compat=0.10", "extended_l2=on", "cluster_size=4096"])
def test_qcow2_preallocation(lab, mode, more):
    lab.create(QCOW2, "t.img", "1M", extra=[o for o in ["preallocation=" + mode, more] if o])
    lab.io("t.img", "read -P 0 0 1M")
    lab.io("t.img", "write -P 7 1000 70000", "read -P 7 1000 70000")


@pytest.mark.parametrize("made", ["off", "metadata", "falloc", "full"])
@pytest.mark.parametrize("grown", ["falloc", "full"])
@pytest.mark.parametrize("cluster", ["512", "64k"])
def test_growth_with_space(lab, made, grown, cluster):
    """Data and tables lie where QEMU puts them: the new data in one run, so that its space stays whole."""
    lab.create(QCOW2, "t.img", "2000k", extra=["preallocation=" + made, "cluster_size=" + cluster])
    lab.io("t.img", "write -P 5 0 2000k")
    lab.img("resize", "-f", "qcow2", "--preallocation=" + grown, "t.img", "+80k")
    lab.img("map", "--output=json", "t.img", same=made != "metadata")
    lengths = [os.path.getsize(os.path.join(folder, "t.img")) for folder in lab.dirs()]
    lab.io("t.img", "write -P 6 2000k 80k", "read -P 5 0 2000k", "read -P 6 2000k 80k")
    assert [os.path.getsize(os.path.join(folder, "t.img")) for folder in lab.dirs()] == lengths
    assert len(set(lengths)) == 1 or made == "metadata"


@pytest.mark.parametrize("options", [
    "cluster_size=512", "cluster_size=64k", "cluster_size=2M", "cluster_size=256", "cluster_size=4M",
    "cluster_size=65535", "cluster_size=0", "cluster_size=x",
    "compat=0.10", "compat=1.1", "compat=v2", "compat=v3", "compat=1.0", "compat=",
    "refcount_bits=1", "refcount_bits=2", "refcount_bits=8", "refcount_bits=64", "refcount_bits=0",
    "refcount_bits=7", "refcount_bits=128", "refcount_bits=-1", "refcount_bits=x",
    "refcount_bits=8,compat=0.10", "refcount_bits=16,compat=0.10",
    "lazy_refcounts=on", "lazy_refcounts=on,compat=0.10", "lazy_refcounts=maybe", "lazy_refcounts=",
    "extended_l2=on", "extended_l2=on,cluster_size=8k", "extended_l2=on,cluster_size=16k",
    "extended_l2=on,compat=0.10",
    "compression_type=zlib", "compression_type=zstd", "compression_type=lzma",
    "compression_type=zstd,compat=0.10",
    "data_file=d.data", "data_file=d.data,compat=0.10", "data_file_raw=on",
    "data_file=d.data,data_file_raw=on", "data_file_raw=on,data_file=",
    "preallocation=some", "preallocation=", "preallocation=metadata,extended_l2=on",
    "nocow=on", "nocow=x", "size=2M", "size=x", "backing_file=none.img", "backing_fmt=raw",
    "backing_file=none.img,backing_fmt=raw", "backing_fmt=nope,backing_file=none.img",
    "encryption=off", "unknown=1", "unknown", "", ",", "=", "cluster_size",
    "lazy_refcounts", "nolazy_refcounts", "help", "?", "lazy_refcounts=on,lazy_refcounts=off",
])
def test_qcow2_option_values(lab, options):
    """Right and wrong values of every option: same words, same status, same image."""
    lab.watch("t.img", "qcow2", local="data_file" in options)
    lab.img("create", "-f", "qcow2", "-o", options, "t.img", "1M", status=None)


@pytest.mark.parametrize("options", [
    "preallocation=metadata", "preallocation=x", "nocow=off", "extent_size_hint=x", "extent_size_hint=1M",
    "extent_size_hint=0", "extent_size_hint=1000", "extent_size_hint=8G", "nocow=on,extent_size_hint=64k",
    "size=1M", "cluster_size=512", "unknown=1", "backing_file=b.img",
])
def test_raw_option_values(lab, options):
    lab.watch("t.img", "raw")
    lab.img("create", "-f", "raw", "-o", options, "t.img", "1M", status=None)


def test_wrong_formats_and_names(lab):
    lab.img("create", "-f", "nope", "t.img", "1M", status=1)
    lab.img("create", "-f", "qcow2", "nodir/t.img", "1M", status=1)
    lab.img("create", "-f", "raw", "nodir/t.img", "1M", status=1)
    lab.img("create", "-f", "qcow2", "nope:t.img", "1M", status=1)
    lab.img("create", "-f", "qcow2", "", "1M", status=1)
    lab.img("create", "-f", "qcow2", "t.img", status=1)
    lab.img("create", "-f", "qcow2", status=1)
    lab.img("create", "-f", "qcow2", "t.img", "1M", "2M", status=1)
    lab.img("create", "-f", "null-co", "t.img", "1M", status=1)


def test_data_file_of_what_cannot_be(lab):
    """Neither file stays."""
    for options in ("data_file=d.img,compat=0.10", "data_file=d.img,cluster_size=3k"):
        lab.img("create", "-f", "qcow2", "-o", options, "t.img", "1M", status=1)
    lab.img("create", "-f", "qcow2", "-o", "data_file=d.img,data_file_raw=on", "-F", "raw", "t.img", "1M", status=1)
    assert not any(name in os.listdir(d) for d in lab.dirs() for name in ("t.img", "d.img"))


def test_size_given_twice(lab):
    lab.img("create", "-f", "qcow2", "-o", "size=1M", "t.img", "2M", status=None)
    lab.img("create", "-f", "qcow2", "-o", "size=1M", "u.img", status=None)


def test_backing(lab):
    """The size comes from the backing file unless it is given; -u does without the file."""
    lab.create(RAW, "b.img", "3M")
    lab.create(QCOW2, "t.img", None, backing="b.img")
    assert lab.info("t.img")["virtual-size"] == 3 << 20
    lab.create(QCOW2, "u.img", "5M", backing="b.img")
    lab.img("create", "-f", "qcow2", "-b", "b.img", "v.img", status=1)
    lab.img("create", "-f", "qcow2", "-b", "none.img", "-F", "raw", "v.img", status=1)
    lab.img("create", "-f", "qcow2", "-b", "none.img", "-F", "raw", "v.img", "1M", status=1)
    lab.img("create", "-f", "qcow2", "-u", "-b", "none.img", "-F", "raw", "w.img", "1M")
    lab.img("create", "-f", "qcow2", "-u", "-b", "none.img", "-F", "raw", "x.img", status=1)
    lab.img("create", "-f", "raw", "-b", "b.img", "-F", "raw", "y.img", status=1)
    lab.img("create", "-f", "qcow2", "-b", "b.img", "-F", "nope", "y.img", status=1)
    lab.img("create", "-f", "qcow2", "-F", "raw", "y.img", "1M", status=None)
    lab.img("create", "-f", "qcow2", "-b", "z.img", "-F", "qcow2", "z.img", status=1)
    lab.img("create", "-f", "qcow2", "-b", "", "z.img", "1M", status=None)


def test_quiet_and_over_an_old_file(lab):
    lab.write_file("t.img", b"x" * 100000)
    lab.watch("t.img", "qcow2")
    assert lab.img("create", "-q", "-f", "qcow2", "t.img", "1M").out == ""
    lab.create(V2, "t.img", "2M")
    lab.create(RAW, "t.img", "64k")
    assert lab.runs("t.img") == [(0, 65536, 0)]


@pytest.mark.parametrize("fmt", ["raw", "qcow2"])
def test_option_list(lab, fmt):
    lab.img("create", "-f", fmt, "-o", "help")
    lab.img("create", "-f", fmt, "-o", "?", "t.img")


def test_names_with_protocols(lab):
    lab.img("create", "-f", "qcow2", "file:t.img", "1M")
    lab.img("info", "t.img", look=False)
    lab.img("create", "-f", "qcow2", 'json:{"driver":"file","filename":"u.img"}', "1M", status=None)
    lab.img("create", "-f", "qcow2", "./a:b.img", "1M")
    lab.img("info", "./a:b.img", look=False)


@pytest.mark.parametrize("options", ["encryption=on", "encrypt.format=luks", "encrypt.format=aes"])
def test_encryption_needs_a_secret(lab, options):
    done = lab.img("create", "-f", "qcow2", "-o", options, "t.img", "1M", status=1)
    assert "Parameter 'encrypt.key-secret' is required for cipher" in done.err


@pytest.mark.only("qemu", "blkref has no warnings of sizes that are deprecated")
def test_hexadecimal_size_with_suffix(lab):
    assert "deprecated" in lab.img("create", "-f", "raw", "t.img", "0x10k").err


def test_protocol_that_is_not_there(lab):
    """What is wrong beside the URL comes first; without anything else, we refuse and QEMU asks the host."""
    lab.img("create", "-f", "bochs", "nbd://localhost:1", "64M", status=1)
    lab.img("info", "nbd://localhost:1", status=1, look=False, differs="ours has no NBD client")
